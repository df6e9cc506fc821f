import { expect, test } from "vitest";

import type { Event } from "@/live/connection";
import { rowsOf, tally } from "@/screens/timeline/rows";
import { filterOf, isFiltered, validateSearch } from "@/screens/timeline/search";

const PLAIN = { fold: true, unfolded: new Set<string>(), newAfter: null, gap: null };

function event(seq: number, event_type = "message.created", run_id: string | null = null): Event {
  return { event_id: `e${seq}`, stream_seq: seq, event_type, run_id, data: {}, redaction_level: "none" } as Event;
}

const run = [1, 2, 3, 4, 5].map((seq) => event(seq, seq % 2 ? "tool.invoked" : "tool.succeeded", "run_1"));

test("a noisy stretch of one run is one row, and what matters stands by itself", () => {
  const rows = rowsOf([...run, event(6, "approval.requested", "run_1"), event(7)], PLAIN);
  expect(rows.map(({ kind }) => kind)).toEqual(["fold", "event", "event"]);
  expect(tally(run)).toEqual([["tool.invoked", 3], ["tool.succeeded", 2]]);
});

test("short stretches, other runs and the wish not to fold leave events as they are", () => {
  expect(rowsOf(run.slice(0, 3), PLAIN).length).toBe(3);
  const mixed = run.map((each, at) => ({ ...each, run_id: `run_${at % 2}` }));
  expect(rowsOf(mixed, PLAIN).every(({ kind }) => kind === "event")).toBe(true);
  expect(rowsOf(run, { ...PLAIN, fold: false }).length).toBe(5);
});

test("a fold that was opened stays open when events come before and after it", () => {
  const unfolded = new Set(["e3"]);
  expect(rowsOf(run.slice(1), { ...PLAIN, unfolded }).length).toBe(5);
  expect(rowsOf([...run, event(6, "tool.invoked", "run_1")], { ...PLAIN, unfolded }).length).toBe(7);
});

test("what is new since the last look, and what is missing, is marked", () => {
  const rows = rowsOf([event(1), event(2), event(3)], { ...PLAIN, newAfter: 2, gap: { after: 3, before: 9 } });
  expect(rows.map(({ kind }) => kind)).toEqual(["event", "event", "new", "event", "gap"]);
  expect(rowsOf([event(3)], { ...PLAIN, newAfter: 2 }).length).toBe(1);
});

test("the URL holds what was chosen and nothing else", () => {
  const search = validateSearch({ types: "run.created,run.failed", fold: 0, q: 42, evil: "x", actor: "" });
  expect(search).toEqual({ types: "run.created,run.failed", fold: 0, q: "42" });
  expect(filterOf(search).types).toEqual(["run.created", "run.failed"]);
  expect(isFiltered({ event: "e1", fold: 0 })).toBe(false);
  expect(isFiltered(search)).toBe(true);
});
