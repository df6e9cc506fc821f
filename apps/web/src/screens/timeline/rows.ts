/** From events to the rows of the timeline: noisy stretches of one run folded, what is missing and what is new marked. */

import type { Event } from "@/live/connection";

export type Row =
  | { readonly kind: "event"; readonly key: string; readonly event: Event; readonly inside: boolean }
  | {
      readonly kind: "fold";
      readonly key: string;
      readonly run: string;
      readonly events: readonly Event[];
      readonly open: boolean;
    }
  | { readonly kind: "new"; readonly key: string }
  | { readonly kind: "gap"; readonly key: string; readonly missing: number };

/** What matters to a person is never folded away. */
const LOUD = /^(message|approval|incident|secret|kill_switch|constraint|mistake|lesson|egress)\.|\.(failed|denied|created|completed|cancelled|lease_expired)$/;
const QUIET = /^(step|tool|artifact|policy|grant)\.(created|invoked|succeeded|completed|decided|used)$|^run\.(claimed|started|lease_released)$/;
const AT_LEAST = 4;

function isNoise(event: Event): boolean {
  return event.run_id !== null && (QUIET.test(event.event_type) || !LOUD.test(event.event_type));
}

/**
 * `unfolded` holds keys of folds that a person opened. A fold is named by its run and the first event that can not be
 * trimmed or paged in before it, so that it stays open while the list changes around it.
 */
export function rowsOf(
  events: readonly Event[],
  options: { fold: boolean; unfolded: ReadonlySet<string>; newAfter: number | null; gap: { after: number; before: number } | null },
): Row[] {
  const rows: Row[] = [];
  let marked = options.newAfter === null;
  const mark = (event: Event): void => {
    if (marked || event.stream_seq <= (options.newAfter ?? 0)) return;
    marked = true;
    if (rows.length > 0) rows.push({ kind: "new", key: "new" });
  };
  for (let at = 0; at < events.length; ) {
    const event = events[at] as Event;
    mark(event);
    let end = at + 1;
    if (options.fold && isNoise(event)) {
      while (end < events.length && isSameNoise(event, events[end] as Event)) end++;
    }
    if (end - at < AT_LEAST) {
      for (; at < end; at++) {
        const each = events[at] as Event;
        mark(each);
        rows.push({ kind: "event", key: each.event_id, event: each, inside: false });
      }
      continue;
    }
    const folded = events.slice(at, end);
    const key = `fold:${event.run_id}:${event.event_id}`;
    const open = folded.some((each) => options.unfolded.has(each.event_id));
    rows.push({ kind: "fold", key, run: event.run_id ?? "", events: folded, open });
    if (open) for (const each of folded) rows.push({ kind: "event", key: each.event_id, event: each, inside: true });
    at = end;
  }
  if (options.gap !== null) {
    rows.push({ kind: "gap", key: "gap", missing: options.gap.before - options.gap.after - 1 });
  }
  return rows;
}

function isSameNoise(first: Event, next: Event): boolean {
  return next.run_id === first.run_id && isNoise(next);
}

/** How often each type is in a fold, the most frequent first. */
export function tally(events: readonly Event[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const { event_type } of events) counts.set(event_type, (counts.get(event_type) ?? 0) + 1);
  return [...counts].toSorted((a, b) => b[1] - a[1]);
}
