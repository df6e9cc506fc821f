/** Which event came from which: the events of a list as trees, each behind the one that caused it. */

import type { Event } from "@/live/connection";

export interface Caused {
  readonly event: Event;
  readonly depth: number;
  /** The event that caused it, where it is in the list. */
  readonly parent: Event | null;
  readonly children: readonly Event[];
}

export function causesOf(events: readonly Event[]): Caused[] {
  const known = new Map(events.map((event) => [event.event_id, event]));
  const children = new Map<string, Event[]>();
  for (const event of events) {
    if (event.causation_id === null || !known.has(event.causation_id)) continue;
    const beside = children.get(event.causation_id);
    if (beside === undefined) children.set(event.causation_id, [event]);
    else beside.push(event);
  }
  const rows: Caused[] = [];
  const seen = new Set<string>();
  const follow = (root: Event): void => {
    const open = [{ event: root, depth: 0 }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { event, depth } = next;
      if (seen.has(event.event_id)) continue;
      seen.add(event.event_id);
      const below = children.get(event.event_id) ?? [];
      rows.push({ event, depth, parent: known.get(event.causation_id ?? "") ?? null, children: below });
      for (const child of below.toReversed()) open.push({ event: child, depth: depth + 1 });
    }
  };
  for (const event of events) if (event.causation_id === null || !known.has(event.causation_id)) follow(event);
  // Events that caused each other have no beginning; they are shown all the same.
  for (const event of events) follow(event);
  return rows;
}
