/** Small parts that the panes of the inspector share. */

import { Ban, CircleCheck, CircleX, Clock, Loader } from "lucide-react";
import type { ReactNode } from "react";

import { useTexts } from "@/i18n/texts";
import type { Event } from "@/live/connection";
import { gist, lookOf, TONES } from "@/live/looks";
import { texts } from "@/screens/inspector/texts";
import { Badge, type Tone } from "@/ui/Badge";
import { Copy } from "@/ui/Copy";
import { Time } from "@/ui/Time";

const STATES: Record<string, [Tone, typeof Clock]> = {
  queued: ["neutral", Clock],
  running: ["info", Loader],
  succeeded: ["ok", CircleCheck],
  failed: ["danger", CircleX],
  cancelled: ["warn", Ban],
};

export function State({ status }: { status: string }) {
  const t = useTexts(texts);
  const [tone, Icon] = STATES[status] ?? ["neutral", Clock];
  return (
    <Badge tone={tone} icon={<Icon aria-hidden className="size-3" />}>
      {status in STATES ? t(status as "running") : status}
    </Badge>
  );
}

export function Facts({ children }: { children: ReactNode }) {
  return <dl className="grid grid-cols-[7rem_minmax(0,1fr)] gap-x-3 gap-y-1 text-xs [&_dt]:text-muted">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt className="leading-6">{name}</dt>
      <dd className="min-w-0 truncate leading-6">{children}</dd>
    </>
  );
}

export function IdFact({ name, value, children }: { name: string; value: string; children?: ReactNode }) {
  return (
    <Fact name={name}>
      <span className="flex items-center gap-1">
        <span className="truncate font-mono text-2xs" title={value}>
          {value}
        </span>
        <Copy text={() => value} />
        {children}
      </span>
    </Fact>
  );
}

export function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="space-y-1.5">
      <h3 className="text-xs font-medium text-muted">{title}</h3>
      {children}
    </section>
  );
}

/** An event in one line, to go to. */
export function EventLink({ event, onSelect }: { event: Event; onSelect: (eventId: string) => void }) {
  const look = lookOf(event.event_type);
  return (
    <button
      type="button"
      onClick={() => onSelect(event.event_id)}
      className="flex h-7 w-full items-center gap-2 px-2 text-left text-xs hover:bg-hover"
    >
      <look.icon aria-hidden className={`size-3.5 shrink-0 ${TONES[look.tone]}`} />
      <span className="shrink-0 font-mono text-2xs">{event.event_type}</span>
      <span className="min-w-0 flex-1 truncate text-muted">{gist(event)}</span>
      <Time at={event.recorded_at} className="shrink-0 text-2xs text-faint" />
    </button>
  );
}
