/** Pages of a room's events from the API, oldest first. */

import { api } from "@/api/client";
import type { Event } from "@/live/connection";
import type { Filter, Pages } from "@/live/room_log";

export function pagesOf(roomId: string): Pages {
  return {
    async page({ before, after, limit, newest }, filter: Filter): Promise<Event[]> {
      const { data } = await api.GET("/v1/events", {
        params: {
          query: {
            stream_type: "room",
            stream_id: roomId,
            limit,
            order: newest ? "desc" : "asc",
            ...(before === undefined ? {} : { before_seq: Math.min(before, Number.MAX_SAFE_INTEGER) }),
            ...(after === undefined ? {} : { from_seq: after }),
            ...(filter.types.length === 0 ? {} : { event_types: filter.types.join(",") }),
            ...(filter.run === "" ? {} : { run_id: filter.run }),
            ...(filter.correlation === "" ? {} : { correlation_id: filter.correlation }),
          },
        },
      });
      const events = data?.events ?? [];
      return newest ? events.toReversed() : events;
    },
  };
}
