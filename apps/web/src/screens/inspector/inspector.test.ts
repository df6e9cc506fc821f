import { expect, test } from "vitest";

import type { Event } from "@/live/connection";
import { imageOf, shapeOf } from "@/screens/inspector/artifact";
import { causesOf } from "@/screens/inspector/causes";
import type { Artifact, Attempt, Run, Step, ToolCall } from "@/screens/inspector/reading";
import { whole } from "@/screens/inspector/reading";
import { scaleOf } from "@/screens/inspector/scale";
import { searchFor, subjectOf, validateSearch } from "@/screens/inspector/search";
import { type Verdict, verifyStream } from "@/screens/inspector/verify";
import { barsOf, type Work } from "@/screens/inspector/waterfall";

const at = (second: number): string => new Date(second * 1_000).toISOString();

function run(given: Partial<Run> = {}): Run {
  return { run_id: "run_1", title: "R", status: "succeeded", created_at: at(0), started_at: at(10), ended_at: at(100), ...given } as Run;
}

function attempt(no: number, from: number, to: number | null): Attempt {
  const released_at = to === null ? null : at(to);
  return { run_attempt_id: `a${no}`, attempt_no: no, claimed_at: at(from), released_at, release_reason: null } as Attempt;
}

function step(id: string, from: number, to: number, status = "succeeded"): Step {
  return { step_id: id, kind: "work", title: id, status, created_at: at(from), updated_at: at(to) } as Step;
}

function work(given: Partial<Work>): Work {
  return { run: run(), attempts: [], steps: [], calls: [], events: [], ...given };
}

const told = (bars: ReturnType<typeof barsOf>, id: string) =>
  bars.find((bar) => bar.id === id)?.segments.map(({ phase, from, to, live }) => [phase, from / 1_000, to / 1_000, live]);

test("a run waits, is held, works, and is held again after it was let go", () => {
  const bars = barsOf(work({ attempts: [attempt(2, 60, 100), attempt(1, 10, 40)], steps: [step("s1", 15, 30), step("s2", 70, 90)] }), 0);
  expect(told(bars, "run_1")).toEqual([
    ["queued", 0, 10, false],
    ["leased", 10, 15, false],
    ["executing", 15, 40, false],
    ["queued", 40, 60, false],
    ["leased", 60, 70, false],
    ["executing", 70, 100, false],
  ]);
  expect(bars.map(({ id }) => id)).toEqual(["run_1", "a1", "a2", "s1", "s2"]);
});

test("what goes on ends now, and what failed is told apart", () => {
  const going = run({ ended_at: null, status: "running" });
  const call = { tool_call_id: "t1", step_id: "s1", tool_name: "grep", title: null, status: "failed", started_at: at(16), ended_at: at(18) };
  const bars = barsOf(work({ run: going, attempts: [attempt(1, 10, null)], steps: [step("s1", 15, 15, "running")], calls: [call as ToolCall] }), 50_000);
  expect(told(bars, "run_1")?.at(-1)).toEqual(["executing", 15, 50, true]);
  expect(told(bars, "s1")).toEqual([["executing", 15, 50, true]]);
  expect(told(bars, "t1")).toEqual([["failed", 16, 18, false]]);
});

test("from a question to a person to the answer is waiting; held is no answer", () => {
  const say = (event_type: string, second: number, data = {}) => ({ event_type, entity_id: "apr_1", recorded_at: at(second), data }) as Event;
  const events = [say("approval.requested", 20), say("approval.decided", 30, { decision: "hold" }), say("approval.decided", 45, { decision: "approve" })];
  const bars = barsOf(work({ attempts: [attempt(1, 10, 100)], events }), 0);
  expect(told(bars, "run_1")?.filter(([phase]) => phase === "waiting")).toEqual([["waiting", 20, 45, false]]);
});

test("a long stretch without work is drawn short, and order is kept", () => {
  const bars = barsOf(work({ steps: [step("s1", 0, 10), step("s2", 90, 100)] }), 0);
  const scale = scaleOf(bars, true);
  expect(scale.gaps).toEqual([{ from: 10_000, to: 90_000 }]);
  expect(scale.place(0)).toBe(0);
  expect(scale.place(100_000)).toBeCloseTo(1);
  expect(scale.place(10_000)).toBeGreaterThan(0.45);
  const places = Array.from({ length: 101 }, (_, second) => scale.place(second * 1_000));
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(scaleOf(bars, false).place(10_000)).toBeCloseTo(0.1);
});

test("events stand behind what caused them, also when they go round", () => {
  const event = (event_id: string, causation_id: string | null) => ({ event_id, causation_id }) as Event;
  const rows = causesOf([event("a", null), event("b", "gone"), event("c", "a"), event("d", "c"), event("e", "a"), event("x", "y"), event("y", "x")]);
  expect(rows.map((row) => [row.event.event_id, row.depth])).toEqual([
    ["a", 0], ["c", 1], ["d", 2], ["e", 1], ["b", 0], ["x", 0], ["y", 1],
  ]);
  expect(rows[0]?.children.map(({ event_id }) => event_id)).toEqual(["c", "e"]);
  expect(rows[2]?.parent?.event_id).toBe("c");
});

test("lists are read page by page, and on from the last page", async () => {
  const data = [1, 2, 3, 4, 5];
  const asked: (string | undefined)[] = [];
  const pages = ({ cursor }: { cursor?: string }) => {
    asked.push(cursor);
    const from = Number(cursor ?? 0);
    return Promise.resolve({ items: data.slice(from, from + 2), next: from + 2 < data.length ? String(from + 2) : null });
  };
  const first = await whole(pages);
  expect(first.items).toEqual(data);
  data.push(6, 7);
  asked.length = 0;
  expect((await whole(pages, first)).items).toEqual(data);
  expect(asked).toEqual(["4", "6"]);
});

test("a chain is verified to its end, or to where it is broken", async () => {
  const answer = (checked: number, valid = true) => ({ checked, valid, head_seq: 3_000, redacted: 1, first_mismatch: valid ? null : { stream_seq: 2_500 } });
  const tried = async (parts: object[]): Promise<Verdict[]> => {
    const verdicts: Verdict[] = [];
    await verifyStream(() => Promise.resolve(parts.shift() as never), (soFar) => verdicts.push(soFar), new AbortController().signal);
    return verdicts;
  };
  const good = await tried([answer(2_000), answer(1_000)]);
  expect(good.map(({ checked, done }) => [checked, done])).toEqual([[2_000, false], [3_000, true]]);
  expect(good.at(-1)).toMatchObject({ redacted: 2, mismatch: null });
  expect((await tried([answer(2_000), answer(500, false)])).at(-1)).toMatchObject({ done: true, mismatch: { stream_seq: 2_500 } });
});

test("the shape of an artifact", () => {
  const artifact = (given: Partial<Artifact>) => ({ content_type: "text", mime_type: null, content_uri: null, ...given }) as Artifact;
  expect(shapeOf(artifact({}), "plain")).toBe("text");
  expect(shapeOf(artifact({}), "diff --git a/x b/x\n")).toBe("diff");
  expect(shapeOf(artifact({ content_type: "json" }), "{}")).toBe("json");
  expect(shapeOf(artifact({ content_type: "uri", content_uri: "https://example.org/a.png" }), null)).toBe("elsewhere");
  const inline = artifact({ content_type: "uri", content_uri: "data:image/png;base64,iVBORw0=" });
  expect([shapeOf(inline, null), imageOf(inline, null)?.type, imageOf(inline, null)?.size]).toEqual(["image", "image/png", 5]);
  expect(imageOf(artifact({ mime_type: "image/png" }), "<b>no</b>")).toBeNull();
});

test("what stands in the address, and what a typed id asks for", () => {
  expect(validateSearch({ run_id: "run_1", view: "events", item: 7, other: "x" })).toEqual({ run_id: "run_1", view: "events", item: "7" });
  expect(validateSearch({ view: "nonsense" })).toEqual({});
  expect(subjectOf({ correlation_id: "c", event_id: "e" })).toEqual({ by: "correlation", id: "c" });
  expect(searchFor(" run_01 ")).toEqual({ run_id: "run_01" });
  expect(searchFor("019AB3C4-5d6e-7f80-9123-456789abcdef")).toEqual({ event_id: "019ab3c4-5d6e-7f80-9123-456789abcdef" });
  expect(searchFor("c-1")).toEqual({ correlation_id: "c-1" });
  expect(searchFor(" ")).toBeNull();
});
