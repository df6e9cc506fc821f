/** What of the timeline stands in the URL. */

import { type Filter, NO_FILTER } from "@/live/room_log";

export interface TimelineSearch {
  /** Comma separated. */
  types?: string;
  actor?: string;
  run?: string;
  correlation?: string;
  zone?: string;
  q?: string;
  /** 0: runs are not folded. */
  fold?: 0;
  /** The event whose drawer is open. */
  event?: string;
}

const MEMBERS = ["types", "actor", "run", "correlation", "zone", "q", "event"] as const;

export function validateSearch(given: Record<string, unknown>): TimelineSearch {
  const search: TimelineSearch = {};
  for (const member of MEMBERS) {
    const value = given[member];
    if (typeof value === "string" && value !== "") search[member] = value;
    else if (typeof value === "number") search[member] = String(value);
  }
  if (given["fold"] === 0) search.fold = 0;
  return search;
}

export function filterOf(search: TimelineSearch): Filter {
  return {
    types: search.types?.split(",").slice(0, 20) ?? NO_FILTER.types,
    actor: search.actor ?? "",
    run: search.run ?? "",
    correlation: search.correlation ?? "",
    zone: search.zone ?? "",
    text: search.q ?? "",
  };
}

export function isFiltered(search: TimelineSearch): boolean {
  return MEMBERS.some((member) => member !== "event" && search[member] !== undefined);
}
