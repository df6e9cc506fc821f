import clsx from "clsx";
import { CircleX, Footprints, Play, RotateCcw, Wrench } from "lucide-react";
import { useMemo, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { duration } from "@/lib/time";
import { Rows } from "@/screens/inspector/Rows";
import { type Scale, scaleOf, ticksOf } from "@/screens/inspector/scale";
import { texts } from "@/screens/inspector/texts";
import { type Bar, barsOf, type Phase, type Segment, type Work } from "@/screens/inspector/waterfall";
import { useNow } from "@/ui/Time";

/** Told apart by pattern and height too, not by colour alone. */
const LOOKS: Record<Phase, string> = {
  queued:
    "h-2 border border-line-strong bg-raised bg-[repeating-linear-gradient(135deg,var(--line-strong)_0_1px,transparent_1px_5px)]",
  leased:
    "h-2.5 border border-info bg-info-soft bg-[repeating-linear-gradient(90deg,var(--info)_0_1px,transparent_1px_4px)]",
  waiting:
    "h-3.5 border border-held bg-held-soft bg-[radial-gradient(var(--held)_1px,transparent_1.5px)] bg-[size:5px_5px]",
  executing: "h-3 border border-accent-fill bg-accent-fill",
  failed: "h-3 border border-danger bg-danger-fill bg-[repeating-linear-gradient(45deg,var(--danger-soft)_0_1px,transparent_1px_6px)]",
};
const PHASES: readonly Phase[] = ["queued", "leased", "waiting", "executing", "failed"];
const ICONS = { run: Play, attempt: RotateCcw, step: Footprints, tool_call: Wrench } as const;
const NAME = "w-40 shrink-0 sm:w-56 lg:w-72";
const TICKS = 6;

export function Waterfall({ work, selected, onSelect }: {
  work: Work;
  selected: string | undefined;
  onSelect: (bar: Bar) => void;
}) {
  const t = useTexts(texts);
  const [compress, setCompress] = useState(true);
  const now = useNow();
  // What is over does not move on with the clock.
  const moment = work.run.ended_at === null ? now : 0;
  const bars = useMemo(() => barsOf(work, moment), [work, moment]);
  const scale = useMemo(() => scaleOf(bars, compress), [bars, compress]);
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1 border-b px-3 py-1.5 text-2xs text-muted">
        <ul aria-label={t("legend")} className="flex flex-wrap items-center gap-x-3 gap-y-1">
          {PHASES.map((phase) => (
            <li key={phase} className="flex items-center gap-1.5">
              <span aria-hidden className={clsx("inline-block w-5 rounded-[2px]", LOOKS[phase])} />
              {t(phase)}
            </li>
          ))}
        </ul>
        <label className="ml-auto flex items-center gap-1.5">
          <input type="checkbox" checked={compress} onChange={(event) => setCompress(event.target.checked)} />
          {t("compress")}
        </label>
      </div>
      <Axis scale={scale} />
      <Rows
        items={bars}
        keyOf={(bar) => bar.id}
        selected={selected ?? work.run.run_id}
        onSelect={onSelect}
        label={t("waterfall")}
        testId="waterfall"
        row={(bar) => ({
          name: [t(bar.kind === "attempt" ? "attempt_name" : bar.kind), bar.name, bar.detail, bar.status, length(bar)].filter(Boolean).join(", "),
          cells: <BarRow bar={bar} scale={scale} />,
        })}
      />
    </div>
  );
}

function length({ segments }: Bar): string {
  const from = segments[0]?.from ?? 0;
  return duration(Math.max(from, ...segments.map(({ to }) => to)) - from);
}

function Axis({ scale }: { scale: Scale }) {
  const t = useTexts(texts);
  return (
    <div className="flex h-6 shrink-0 items-center gap-2 border-b px-3 text-2xs text-faint">
      <div className={NAME} />
      <div className="relative h-full min-w-0 flex-1">
        {ticksOf(scale, TICKS).map((at) => (
          <span
            key={at}
            data-numeric
            className="absolute top-1 border-l border-line-strong pl-1 leading-4 whitespace-nowrap"
            style={{ left: `${scale.place(at) * 94}%` }}
          >
            {duration(at - scale.from)}
          </span>
        ))}
        {scale.gaps.map((gap) => (
          <span
            key={gap.from}
            data-testid="idle"
            title={t("idle", { time: duration(gap.to - gap.from) })}
            className="absolute bottom-0 h-1.5 border-x border-warn bg-warn-soft"
            style={span(scale, gap.from, gap.to)}
          >
            <span className="sr-only">{t("idle", { time: duration(gap.to - gap.from) })}</span>
          </span>
        ))}
      </div>
    </div>
  );
}

/** The last part of the width is left for how long it took. */
function span(scale: Scale, from: number, to: number): { left: string; width: string } {
  const left = scale.place(from) * 94;
  return { left: `${left}%`, width: `${scale.place(to) * 94 - left}%` };
}

function BarRow({ bar, scale }: { bar: Bar; scale: Scale }) {
  const Icon = ICONS[bar.kind];
  const failed = bar.status === "failed";
  return (
    <>
      <div className={clsx("flex items-center gap-1.5", NAME)} title={`${bar.name} ${bar.detail}`}>
        <span aria-hidden style={{ width: bar.depth * 14 }} className="shrink-0" />
        {failed ? (
          <CircleX aria-hidden className="size-3.5 shrink-0 text-danger" />
        ) : (
          <Icon aria-hidden className="size-3.5 shrink-0 text-faint" />
        )}
        <span className={clsx("truncate", bar.kind === "run" && "font-medium", failed && "text-danger")}>{bar.name}</span>
        {bar.detail !== "" && <span className="hidden truncate font-mono text-2xs text-faint lg:inline">{bar.detail}</span>}
      </div>
      <div className="relative h-full min-w-0 flex-1">
        {scale.gaps.map((gap) => (
          <span key={gap.from} aria-hidden className="absolute inset-y-0 border-x border-dashed border-line-strong" style={span(scale, gap.from, gap.to)} />
        ))}
        {bar.segments.map((segment) => (
          <SegmentBar key={`${segment.phase}${segment.from}`} segment={segment} scale={scale} />
        ))}
        <Length bar={bar} scale={scale} />
      </div>
    </>
  );
}

function SegmentBar({ segment, scale }: { segment: Segment; scale: Scale }) {
  const t = useTexts(texts);
  return (
    <span
      data-testid="segment"
      data-phase={segment.phase}
      title={`${t(segment.phase)} ${duration(segment.to - segment.from)}`}
      className={clsx(
        "absolute top-1/2 min-w-[3px] -translate-y-1/2 rounded-[2px]",
        LOOKS[segment.phase],
        segment.live && "rounded-r-none border-r-2! border-r-warn! after:absolute after:inset-y-[-3px] after:-right-0.5 after:w-0.5 after:animate-breathe after:bg-warn",
      )}
      style={span(scale, segment.from, segment.to)}
    />
  );
}

function Length({ bar, scale }: { bar: Bar; scale: Scale }) {
  const to = Math.max(...bar.segments.map((segment) => segment.to));
  const end = scale.place(to);
  // At the right edge it stands before the bar's end, where there is room.
  return bar.segments.length === 0 || bar.depth === 0 || end > 0.985 ? (
    <span data-numeric className="absolute top-1/2 right-0 -translate-y-1/2 rounded-sm bg-bg px-1 text-2xs whitespace-nowrap text-muted">
      {length(bar)}
    </span>
  ) : (
    <span data-numeric className="absolute top-1/2 -translate-y-1/2 pl-1.5 text-2xs whitespace-nowrap text-faint" style={{ left: `calc(${end * 94}% + 3px)` }}>
      {length(bar)}
    </span>
  );
}
