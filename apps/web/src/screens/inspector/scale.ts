/** From time to the width of the screen, with long stretches in which nothing was done drawn short. */

import type { Bar } from "@/screens/inspector/waterfall";

export interface Gap {
  readonly from: number;
  readonly to: number;
}

export interface Scale {
  readonly from: number;
  readonly to: number;
  /** Stretches that are drawn shorter than they were. */
  readonly gaps: readonly Gap[];
  /** Where a moment stands, 0 to 1. */
  place(at: number): number;
}

/** A stretch without work is a gap when it takes more than this part of the whole. */
const LONG = 0.05;
/** What a gap takes of the width, and all of them together at most. */
const GAP_WIDTH = 0.025;
const GAPS_WIDTH = 0.3;

export function scaleOf(bars: readonly Bar[], compress: boolean): Scale {
  const all = bars.flatMap(({ segments }) => segments);
  const from = Math.min(...all.map((segment) => segment.from));
  const to = Math.max(from + 1, ...all.map((segment) => segment.to));
  const gaps = compress ? gapsOf(bars, from, to) : [];
  const each = gaps.length === 0 ? 0 : Math.min(GAP_WIDTH, GAPS_WIDTH / gaps.length);
  const shown = to - from - gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const perMs = (1 - each * gaps.length) / Math.max(1, shown);
  return {
    from,
    to,
    gaps,
    place(at) {
      const moment = Math.min(to, Math.max(from, at));
      let left = 0;
      let reached = from;
      for (const gap of gaps) {
        if (moment <= gap.from) break;
        left += (gap.from - reached) * perMs;
        if (moment < gap.to) return left + (each * (moment - gap.from)) / (gap.to - gap.from);
        left += each;
        reached = gap.to;
      }
      return Math.min(1, left + (moment - reached) * perMs);
    },
  };
}

function gapsOf(bars: readonly Bar[], from: number, to: number): Gap[] {
  const busy = bars
    .filter(({ kind }) => kind === "step" || kind === "tool_call")
    .flatMap(({ segments }) => segments)
    .toSorted((a, b) => a.from - b.from);
  if (busy.length === 0) return [];
  const gaps: Gap[] = [];
  let reached = from;
  const until = (at: number): void => {
    if (at - reached > (to - from) * LONG) gaps.push({ from: reached, to: at });
  };
  for (const segment of busy) {
    until(segment.from);
    reached = Math.max(reached, segment.to);
  }
  until(to);
  return gaps;
}

/** Moments to write on the axis, apart from each other by a round length of time. */
export function ticksOf(scale: Scale, most: number): number[] {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 18e5, 36e5, 108e5, 432e5, 864e5];
  const length = scale.to - scale.from;
  const step = steps.find((size) => length / size <= most) ?? Math.ceil(length / most);
  const ticks: number[] = [];
  let last = -1;
  for (let at = 0; at <= length && ticks.length < 200; at += step) {
    const place = scale.place(scale.from + at);
    // In a gap they would stand on each other.
    if (place - last < 0.6 / most) continue;
    ticks.push(scale.from + at);
    last = place;
  }
  return ticks;
}
