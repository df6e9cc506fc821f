/** A run as bars over time: when it waited, who held it, what was done meanwhile. */

import type { Event } from "@/live/connection";
import type { Attempt, Run, Step, ToolCall } from "@/screens/inspector/reading";

export type Phase = "queued" | "leased" | "waiting" | "executing" | "failed";

export interface Segment {
  readonly phase: Phase;
  /** ms since the epoch. */
  readonly from: number;
  readonly to: number;
  /** Whether it goes on: it ends now. */
  readonly live: boolean;
}

export interface Bar {
  /** Of the run, the attempt, the step or the tool call. */
  readonly id: string;
  readonly kind: "run" | "attempt" | "step" | "tool_call";
  readonly depth: 0 | 1 | 2;
  readonly name: string;
  readonly detail: string;
  readonly status: string;
  readonly segments: readonly Segment[];
}

export interface Work {
  readonly run: Run;
  readonly attempts: readonly Attempt[];
  readonly steps: readonly Step[];
  readonly calls: readonly ToolCall[];
  /** The run's events, for what it waited for. */
  readonly events: readonly Event[];
}

const ENDED = new Set(["succeeded", "failed", "cancelled", "completed"]);

function ms(iso: string): number {
  return Date.parse(iso);
}

export function barsOf(work: Work, now: number): Bar[] {
  const { run, attempts, steps, calls } = work;
  const over = run.ended_at !== null;
  const end = run.ended_at === null ? now : ms(run.ended_at);
  const worked = steps.map((step) => ms(step.created_at)).toSorted((a, b) => a - b);
  const held = attempts
    .toSorted((a, b) => a.attempt_no - b.attempt_no)
    .map((attempt) => ({ attempt, segments: heldBy(attempt, worked, end, over) }));
  const failed = run.status === "failed" ? "failed" : "executing";
  const bars: Bar[] = [
    {
      id: run.run_id,
      kind: "run",
      depth: 0,
      name: run.title ?? run.goal ?? run.run_id,
      detail: "",
      status: run.status,
      segments: [...lifeOf(run, held.map(({ segments }) => segments), end, over), ...waitsOf(work.events, end, over)].filter(
        ({ from, to, live }) => to > from || live,
      ),
    },
  ];
  if (held.length > 1) {
    for (const { attempt, segments } of held) {
      bars.push({
        id: attempt.run_attempt_id,
        kind: "attempt",
        depth: 1,
        name: `#${attempt.attempt_no}`,
        detail: attempt.claimed_by_actor_id,
        status: attempt.release_reason ?? (attempt.released_at === null && !over ? "running" : failed),
        segments,
      });
    }
  }
  const byStep = new Map<string, ToolCall[]>();
  for (const call of calls) byStep.set(call.step_id, [...(byStep.get(call.step_id) ?? []), call]);
  for (const step of steps.toSorted((a, b) => ms(a.created_at) - ms(b.created_at))) {
    const stopped = ENDED.has(step.status) ? ms(step.updated_at) : null;
    bars.push({
      id: step.step_id,
      kind: "step",
      depth: 1,
      name: step.title ?? step.kind,
      detail: step.title === null ? "" : step.kind,
      status: step.status,
      segments: [done(step.status, ms(step.created_at), stopped, end, over)],
    });
    for (const call of byStep.get(step.step_id) ?? []) {
      const stopped = call.ended_at === null ? null : ms(call.ended_at);
      bars.push({
        id: call.tool_call_id,
        kind: "tool_call",
        depth: 2,
        name: call.title ?? call.tool_name,
        detail: call.title === null ? "" : call.tool_name,
        status: call.status,
        segments: [done(call.status, ms(call.started_at), stopped, end, over)],
      });
    }
  }
  return bars;
}

/** What has no end of its own ends with the run, or goes on. */
function done(status: string, from: number, stopped: number | null, end: number, over: boolean): Segment {
  const to = Math.max(from, stopped ?? end);
  return { phase: status === "failed" ? "failed" : "executing", from, to, live: stopped === null && !over };
}

function heldBy(attempt: Attempt, worked: readonly number[], end: number, over: boolean): Segment[] {
  const from = ms(attempt.claimed_at);
  const to = Math.max(from, attempt.released_at === null ? end : ms(attempt.released_at));
  const live = attempt.released_at === null && !over;
  const first = worked.find((at) => at >= from && at <= to);
  if (first === undefined) return [{ phase: "leased", from, to, live }];
  return [
    { phase: "leased", from, to: first, live: false },
    { phase: "executing", from: first, to, live },
  ];
}

function lifeOf(run: Run, held: readonly Segment[][], end: number, over: boolean): Segment[] {
  const segments: Segment[] = [];
  let free = ms(run.created_at);
  for (const each of held) {
    const from = each[0]?.from ?? free;
    segments.push({ phase: "queued", from: free, to: from, live: false }, ...each);
    free = each.at(-1)?.to ?? from;
  }
  if (held.length === 0 && run.started_at !== null) {
    const from = ms(run.started_at);
    segments.push({ phase: "queued", from: free, to: from, live: false }, { phase: "executing", from, to: end, live: !over });
  } else if (free < end && run.status === "queued") {
    segments.push({ phase: "queued", from: free, to: end, live: !over });
  } else if (held.length === 0) segments.push({ phase: "queued", from: free, to: end, live: !over });
  return segments;
}

const ASKED = "approval.requested";
const ANSWERED = /^approval\.(decided|approved|denied|expired|cancelled|superseded|lapsed)$/;

/** From each question to a person to what came of it. */
function waitsOf(events: readonly Event[], end: number, over: boolean): Segment[] {
  const asked = new Map<string, number>();
  const waits: Segment[] = [];
  for (const event of events) {
    if (event.event_type === ASKED) asked.set(event.entity_id, ms(event.recorded_at));
    const from = asked.get(event.entity_id);
    if (from === undefined || !ANSWERED.test(event.event_type) || event.data["decision"] === "hold") continue;
    waits.push({ phase: "waiting", from, to: ms(event.recorded_at), live: false });
    asked.delete(event.entity_id);
  }
  for (const from of asked.values()) waits.push({ phase: "waiting", from, to: Math.max(from, end), live: !over });
  return waits;
}
