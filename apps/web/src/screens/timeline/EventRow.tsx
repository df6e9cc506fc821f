import clsx from "clsx";
import { ChevronDown, ChevronRight, Link2, TriangleAlert } from "lucide-react";
import { memo } from "react";

import { useTexts } from "@/i18n/texts";
import type { Event } from "@/live/connection";
import { gist, lookOf, TONES } from "@/live/looks";
import { type Row, tally } from "@/screens/timeline/rows";
import { texts } from "@/screens/timeline/texts";
import { Badge } from "@/ui/Badge";
import { Copy } from "@/ui/Copy";
import { Markdown } from "@/ui/Markdown";
import { Time } from "@/ui/Time";

export interface RowActions {
  open(event: Event): void;
  toggle(row: Extract<Row, { kind: "fold" }>): void;
  linkTo(event: Event): string;
}

const COLUMNS = "grid grid-cols-[4.5rem_1rem_minmax(0,1fr)] gap-x-2.5 px-4 sm:grid-cols-[6rem_1rem_minmax(0,1fr)]";

/** One row of the timeline. */
export const TimelineRow = memo(function TimelineRow({ row, selected, actions }: RowProps) {
  switch (row.kind) {
    case "event":
      return <EventRow event={row.event} inside={row.inside} selected={selected} actions={actions} />;
    case "fold":
      return <FoldRow row={row} actions={actions} />;
    case "gap":
      return <GapRow missing={row.missing} />;
    case "new":
      return <NewRow />;
  }
}, isSame);

interface RowProps {
  row: Row;
  selected: boolean;
  actions: RowActions;
}

/** Rows are made anew with each change of the list; what they say seldom changes. */
function isSame(before: RowProps, after: RowProps): boolean {
  if (before.selected !== after.selected || before.actions !== after.actions) return false;
  const { row: a } = before;
  const { row: b } = after;
  if (a.kind === "event" && b.kind === "event") return a.event === b.event && a.inside === b.inside;
  if (a.kind === "fold" && b.kind === "fold") {
    return a.open === b.open && a.events.length === b.events.length && a.events.at(-1) === b.events.at(-1);
  }
  return a.kind === b.kind && (a.kind !== "gap" || b.kind !== "gap" || a.missing === b.missing);
}

function EventRow({ event, inside, selected, actions }: {
  event: Event;
  inside: boolean;
  selected: boolean;
  actions: RowActions;
}) {
  const t = useTexts(texts);
  const look = lookOf(event.event_type);
  const text = event.data["content_md"];
  const isMessage = event.event_type === "message.created" && typeof text === "string";
  return (
    <article
      data-testid="event"
      data-seq={event.stream_seq}
      className={clsx(
        COLUMNS,
        "group relative border-b border-transparent py-1 hover:bg-hover",
        selected && "bg-selected! shadow-[inset_2px_0_0_var(--accent)]",
        inside && "bg-sunken",
      )}
    >
      <Time at={event.recorded_at} className="truncate pt-px text-right text-2xs leading-5 text-faint" />
      <look.icon aria-hidden className={clsx("mt-0.5 size-4", TONES[look.tone], inside && "opacity-70")} />
      <div className="min-w-0">
        <div className="flex min-w-0 items-center gap-2">
          <button
            type="button"
            onClick={() => actions.open(event)}
            aria-expanded={selected}
            className="flex min-w-0 flex-1 items-baseline gap-2 text-left outline-offset-2 before:absolute before:inset-0"
          >
            {isMessage ? (
              <span className="truncate text-xs font-semibold">{event.actor_id}</span>
            ) : (
              <>
                <span className="shrink-0 font-mono text-xs">{event.event_type}</span>
                <span className="min-w-0 flex-1 truncate text-xs text-muted">{gist(event)}</span>
                <span className="hidden max-w-40 shrink-0 truncate text-2xs text-faint md:inline">{event.actor_id}</span>
              </>
            )}
          </button>
          {event.redaction_level !== "none" && <Badge tone="held">{event.redaction_level}</Badge>}
          {event.zone === "high_stakes" && <Badge tone="danger">high_stakes</Badge>}
          <span className="relative hidden h-5 items-center opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 sm:flex">
            <Copy
              label={t("copy_link")}
              icon={<Link2 aria-hidden className="size-3.5" />}
              text={() => actions.linkTo(event)}
            />
            <Copy label={t("copy_json")} text={() => JSON.stringify(event, null, 2)} />
          </span>
          <span data-numeric className="w-12 shrink-0 text-right text-2xs text-faint">
            {event.stream_seq}
          </span>
        </div>
        {isMessage && (
          // Links and code stay reachable above the button that covers the row.
          <div className="pr-14 pb-1 text-sm [&_a]:relative [&_pre]:relative">
            <Markdown text={text} />
          </div>
        )}
      </div>
    </article>
  );
}

function FoldRow({ row, actions }: { row: Extract<Row, { kind: "fold" }>; actions: RowActions }) {
  const t = useTexts(texts);
  const last = row.events.at(-1) as Event;
  const Chevron = row.open ? ChevronDown : ChevronRight;
  return (
    <div data-testid="fold" className={clsx(COLUMNS, "py-1 hover:bg-hover")}>
      <Time at={last.recorded_at} className="truncate pt-px text-right text-2xs leading-5 text-faint" />
      <Chevron aria-hidden className="mt-0.5 size-4 text-faint" />
      <button
        type="button"
        aria-expanded={row.open}
        onClick={() => actions.toggle(row)}
        className="flex min-w-0 items-center gap-2 text-left"
      >
        <span className="shrink-0 text-xs font-medium">{t("folded", { n: row.events.length })}</span>
        <span className="flex min-w-0 flex-1 gap-1.5 overflow-hidden">
          {tally(row.events).map(([type, count]) => (
            <span key={type} className="shrink-0 font-mono text-2xs text-muted">
              {type} ×{count}
            </span>
          ))}
        </span>
        <span className="hidden shrink-0 font-mono text-2xs text-faint md:inline">…{row.run.slice(-6)}</span>
        <span className="shrink-0 text-2xs text-accent">{row.open ? t("fold_again") : t("unfold")}</span>
      </button>
    </div>
  );
}

function GapRow({ missing }: { missing: number }) {
  const t = useTexts(texts);
  return (
    <p role="alert" className="flex items-center gap-2 bg-warn-soft px-4 py-1.5 text-xs text-warn">
      <TriangleAlert aria-hidden className="size-4" />
      {t("gap", { n: missing })}
    </p>
  );
}

function NewRow() {
  const t = useTexts(texts);
  return (
    <div className="flex items-center gap-3 px-4 py-1 text-2xs font-medium text-accent">
      <span className="h-px flex-1 bg-accent/40" />
      {t("new_since")}
      <span className="h-px flex-1 bg-accent/40" />
    </div>
  );
}
