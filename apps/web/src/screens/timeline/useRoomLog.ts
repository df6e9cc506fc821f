import { useEffect, useMemo, useState, useSyncExternalStore } from "react";

import { recall, remember } from "@/lib/preference";
import { pagesOf } from "@/live/pages";
import { type Filter, RoomLog, type Snapshot } from "@/live/room_log";

/** The log of a room for as long as the screen shows it. A new filter begins anew. */
export function useRoomLog(roomId: string, filter: Filter): { log: RoomLog; snapshot: Snapshot } {
  const key = JSON.stringify(filter);
  const log = useMemo(() => new RoomLog(roomId, JSON.parse(key) as Filter, pagesOf(roomId)), [roomId, key]);
  useEffect(() => {
    log.start();
    return () => log.close();
  }, [log]);
  const snapshot = useSyncExternalStore(log.subscribe, log.get);
  return { log, snapshot };
}

function seenKey(roomId: string): string {
  return `seen.${roomId}`;
}

/** Up to where this browser had seen the room when the screen was opened; null: never. What is seen is kept. */
export function useSeen(roomId: string, log: RoomLog, snapshot: Snapshot): number | null {
  const [seen] = useState(() => {
    const kept = Number(recall(seenKey(roomId)));
    return kept > 0 ? kept : null;
  });
  useEffect(() => {
    if (!snapshot.loaded || !snapshot.following || document.visibilityState !== "visible") return;
    remember(seenKey(roomId), String(log.cursor));
  }, [roomId, log, snapshot]);
  return seen;
}
