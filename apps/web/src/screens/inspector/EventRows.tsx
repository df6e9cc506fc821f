import clsx from "clsx";
import { CornerDownRight } from "lucide-react";
import { useMemo } from "react";

import { useTexts } from "@/i18n/texts";
import type { Event } from "@/live/connection";
import { gist, lookOf, TONES } from "@/live/looks";
import { type Caused, causesOf } from "@/screens/inspector/causes";
import { Rows } from "@/screens/inspector/Rows";
import { texts } from "@/screens/inspector/texts";
import { Time } from "@/ui/Time";

interface Props {
  events: readonly Event[];
  selected: string | undefined;
  onSelect: (eventId: string) => void;
}

function What({ event }: { event: Event }) {
  const look = lookOf(event.event_type);
  return (
    <>
      <look.icon aria-hidden className={`size-3.5 shrink-0 ${TONES[look.tone]}`} />
      <span className="shrink-0 font-mono text-2xs">{event.event_type}</span>
      <span className="min-w-0 flex-1 truncate text-muted">{gist(event)}</span>
    </>
  );
}

function nameOf(event: Event): string {
  return [event.event_type, gist(event), event.actor_id, event.stream_seq].filter((word) => word !== "").join(", ");
}

/** Events in the order in which they were recorded. */
export function EventRows({ events, selected, onSelect }: Props) {
  const t = useTexts(texts);
  return (
    <Rows
      items={events}
      keyOf={(event) => event.event_id}
      selected={selected}
      onSelect={(event) => onSelect(event.event_id)}
      label={t("events")}
      testId="events"
      row={(event) => ({
        name: nameOf(event),
        cells: (
          <>
            <span data-numeric className="w-10 shrink-0 text-right text-2xs text-faint">
              {event.stream_seq}
            </span>
            <Time at={event.recorded_at} className="w-20 shrink-0 truncate text-2xs text-faint" />
            <What event={event} />
            <span className="hidden max-w-32 shrink-0 truncate text-2xs text-faint lg:inline">{event.actor_id}</span>
          </>
        ),
      })}
    />
  );
}

/** Events behind the ones that caused them, with the ways there and back. */
export function CauseRows({ events, selected, onSelect }: Props) {
  const t = useTexts(texts);
  const rows = useMemo(() => causesOf(events), [events]);
  return (
    <>
      <div aria-hidden className="flex h-7 shrink-0 items-center border-b px-3 text-2xs font-medium text-muted">
        <span className="flex-1">{t("event")}</span>
        <span className="w-28 pl-1">{t("caused_by")}</span>
        <span className="w-28 pl-1">{t("led_to")}</span>
      </div>
      <Rows
        items={rows}
        keyOf={({ event }) => event.event_id}
        selected={selected}
        onSelect={({ event }) => onSelect(event.event_id)}
        label={t("causes")}
        testId="causes"
        row={(each) => ({
          name: nameOf(each.event),
          cells: (
            <>
              <span aria-hidden className="shrink-0" style={{ width: Math.min(each.depth, 12) * 14 }} />
              {each.depth > 0 && <CornerDownRight aria-hidden className="size-3 shrink-0 text-faint" />}
              <span data-numeric className="shrink-0 text-2xs text-faint">
                {each.event.stream_seq}
              </span>
              <What event={each.event} />
            </>
          ),
          beside: (
            <>
              <Parent each={each} onSelect={onSelect} />
              <Children each={each} onSelect={onSelect} />
            </>
          ),
        })}
      />
    </>
  );
}

const LINK = "min-h-6 truncate rounded-sm px-1 text-left text-2xs text-accent hover:underline";

function Parent({ each, onSelect }: { each: Caused; onSelect: (eventId: string) => void }) {
  const t = useTexts(texts);
  const cause = each.event.causation_id;
  const label = each.parent === null ? t("outside") : `${each.parent.stream_seq} ${each.parent.event_type}`;
  return (
    <span className="flex w-28">
      {cause === null ? (
        <span className="px-1 text-2xs text-faint">{t("root")}</span>
      ) : (
        <button type="button" title={label} aria-label={`${t("caused_by")}: ${label}`} className={LINK} onClick={() => onSelect(cause)}>
          {label}
        </button>
      )}
    </span>
  );
}

/** As many effects as have room in the column, each a way of its own; the others stand in the rows below. */
const SHOWN = 3;

function Children({ each, onSelect }: { each: Caused; onSelect: (eventId: string) => void }) {
  const t = useTexts(texts);
  const alone = each.children.length === 1;
  return (
    <span className="flex w-28">
      {each.children.slice(0, SHOWN).map((child) => {
        const label = `${child.stream_seq} ${child.event_type}`;
        return (
          <button
            key={child.event_id}
            type="button"
            title={label}
            aria-label={`${t("led_to")}: ${label}`}
            className={clsx(LINK, "min-w-6")}
            onClick={() => onSelect(child.event_id)}
          >
            {alone ? label : child.stream_seq}
          </button>
        );
      })}
      {each.children.length > SHOWN && <span className="self-center px-1 text-2xs text-faint">+{each.children.length - SHOWN}</span>}
    </span>
  );
}
