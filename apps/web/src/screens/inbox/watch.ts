/** Rooms whose streams are listened to, so that what happens to an approval is on screen at once. */

import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { api } from "@/api/client";
import type { Event } from "@/live/connection";
import { SharedConnection } from "@/live/sharing";
import { refresh } from "@/screens/inbox/approvals";

/** A browser keeps six connections to a host: of more rooms is known what the lists tell. */
const MOST_ROOMS = 2;

async function headOf(roomId: string): Promise<number> {
  const query = { stream_type: "room", stream_id: roomId, order: "desc", limit: 1 } as const;
  const { data } = await api.GET("/v1/events", { params: { query } });
  return data?.events[0]?.stream_seq ?? 0;
}

/** Tells of approvals that something happened to in the room, from now on; of none by name where events were missed. */
function follow(roomId: string, onApprovals: (ids: ReadonlySet<string>, seq: number) => void): () => void {
  let connection: SharedConnection | null = null;
  let closed = false;
  const start = (cursor: number): void => {
    if (closed) return;
    let seen = cursor;
    connection = new SharedConnection(roomId, () => seen, {
      onEvents: (events: readonly Event[]) => {
        seen = Math.max(seen, events.at(-1)?.stream_seq ?? 0);
        const approvals = events.filter(({ event_type }) => event_type.startsWith("approval."));
        if (approvals.length > 0) onApprovals(new Set(approvals.map(({ entity_id }) => entity_id)), seen);
      },
      onHead: (head) => {
        if (head > seen) onApprovals(new Set(), head);
        seen = Math.max(seen, head);
      },
      onLink: () => undefined,
      onReset: (head) => (seen = head),
    });
  };
  // Without the head the stream would begin with the room's whole history. Where it cannot be had, lists tell.
  headOf(roomId).then(start, () => undefined);
  return () => {
    closed = true;
    connection?.close();
  };
}

export function useWatchedRooms(roomIds: readonly (string | null)[]): void {
  const queries = useQueryClient();
  const rooms = [...new Set(roomIds)].filter((each) => each !== null).slice(0, MOST_ROOMS).join(" ");
  useEffect(() => {
    if (rooms === "") return undefined;
    const ends = rooms.split(" ").map((room) =>
      follow(room, (ids, seq) => void refresh(queries, ids, `room/${room}@${seq}`)),
    );
    return () => {
      for (const end of ends) end();
    };
  }, [queries, rooms]);
}
