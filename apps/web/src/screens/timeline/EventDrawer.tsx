import { Link } from "@tanstack/react-router";
import { ChevronDown, ChevronUp, CircleHelp, Link2, SearchCode, X } from "lucide-react";
import type { ReactNode } from "react";

import { $api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import type { Event } from "@/live/connection";
import { gist, lookOf, TONES } from "@/live/looks";
import type { Change } from "@/screens/timeline/FilterBar";
import { texts } from "@/screens/timeline/texts";
import { Badge } from "@/ui/Badge";
import { IconButton } from "@/ui/Button";
import { Copy } from "@/ui/Copy";
import { EmptyState } from "@/ui/EmptyState";
import { Json } from "@/ui/Json";
import { ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

const RELATED = 50;

/** One event in full: what it says, where it stands, what it came from. */
export function EventDrawer({ eventId, onSelect, onStep, onChange, linkTo }: {
  eventId: string;
  onSelect: (eventId: string | undefined) => void;
  onStep: (by: 1 | -1) => void;
  onChange: Change;
  linkTo: (event: Event) => string;
}) {
  const t = useTexts(texts);
  const asked = $api.useQuery("get", "/v1/events/{event_id}", { params: { path: { event_id: eventId } } });
  const event = asked.data?.event;
  return (
    <aside aria-label={t("event")} data-testid="drawer" className="flex h-full min-h-0 animate-fade flex-col bg-raised">
      <header className="flex h-10 shrink-0 items-center gap-0.5 border-b pr-2 pl-4">
        <h2 className="min-w-0 flex-1 truncate font-mono text-xs font-medium">{event?.event_type ?? t("event")}</h2>
        <IconButton label={t("previous")} icon={<ChevronUp aria-hidden className="size-4" />} onClick={() => onStep(-1)} />
        <IconButton label={t("next")} icon={<ChevronDown aria-hidden className="size-4" />} onClick={() => onStep(1)} />
        {event !== undefined && (
          <>
            <Link
              to="/inspector"
              search={event.run_id === null ? { event_id: event.event_id } : { run_id: event.run_id, event_id: event.event_id, view: "events" }}
              aria-label={t("inspector")}
              title={t("inspector")}
              className="inline-flex size-7 shrink-0 items-center justify-center rounded-md text-muted hover:bg-hover hover:text-text pointer-coarse:size-10"
            >
              <SearchCode aria-hidden className="size-3.5" />
            </Link>
            <Copy label={t("copy_link")} icon={<Link2 aria-hidden className="size-3.5" />} text={() => linkTo(event)} />
            <Copy label={t("copy_json")} text={() => JSON.stringify(event, null, 2)} />
          </>
        )}
        <IconButton label={t("close")} icon={<X aria-hidden className="size-4" />} onClick={() => onSelect(undefined)} />
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto">
        {event !== undefined ? (
          <Details event={event} onSelect={onSelect} onChange={onChange} />
        ) : asked.error === null ? (
          <Skeleton rows={10} />
        ) : asProblem(asked.error).status === 404 ? (
          <EmptyState icon={<CircleHelp />} title={t("not_there")} hint={eventId} />
        ) : (
          <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />
        )}
      </div>
    </aside>
  );
}

type InFull = Event & { policy_context: object; model_context: object; display: object };

function Details({ event, onSelect, onChange }: {
  event: InFull;
  onSelect: (eventId: string) => void;
  onChange: Change;
}) {
  const t = useTexts(texts);
  const contexts = { policy_context: event.policy_context, model_context: event.model_context };
  const hasContexts = Object.values(contexts).some((context) => Object.keys(context).length > 0);
  return (
    <div className="space-y-4 p-4">
      <dl className="grid grid-cols-[6.5rem_minmax(0,1fr)] gap-x-3 gap-y-1 text-xs [&_dt]:text-muted">
        <Fact name={t("recorded")}>
          <Time at={event.recorded_at} />
        </Fact>
        {event.occurred_at !== event.recorded_at && (
          <Fact name={t("occurred")}>
            <Time at={event.occurred_at} />
          </Fact>
        )}
        <Fact name={t("actor")}>
          {event.actor_id} <span className="text-faint">{event.actor_type}</span>
        </Fact>
        <Fact name={t("zone")}>
          <Badge tone={event.zone === "high_stakes" ? "danger" : event.zone === "sandbox" ? "ok" : "neutral"}>
            {event.zone}
          </Badge>
        </Fact>
        <Fact name={t("position")}>
          <span data-numeric>{event.stream_seq}</span>
        </Fact>
        <Id name={t("entity")} value={event.entity_id} />
        {event.run_id !== null && (
          <Id name={t("run")} value={event.run_id} action={t("only_these")} onAction={() => onChange({ run: event.run_id ?? undefined })} />
        )}
        {event.step_id !== null && <Id name={t("step")} value={event.step_id} />}
        {event.thread_id !== null && <Id name={t("thread")} value={event.thread_id} />}
        <Id
          name={t("correlation")}
          value={event.correlation_id}
          action={t("only_these")}
          onAction={() => onChange({ correlation: event.correlation_id })}
        />
        <Id name={t("hash")} value={event.event_hash} />
      </dl>
      {event.causation_id !== null && (
        <Section title={t("caused_by")}>
          <Cause eventId={event.causation_id} onSelect={onSelect} />
        </Section>
      )}
      <Section title={t("data")}>
        <Json value={event.data} name={event.event_id} />
      </Section>
      {hasContexts && (
        <Section title={t("contexts")}>
          <Json value={contexts} name={`${event.event_id}-contexts`} />
        </Section>
      )}
      <Related event={event} onSelect={onSelect} />
      <details>
        <summary className="text-xs font-medium text-muted hover:text-text">{t("whole")}</summary>
        <div className="pt-2">
          <Json value={event} name={event.event_id} />
        </div>
      </details>
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="space-y-1.5">
      <h3 className="text-xs font-medium text-muted">{title}</h3>
      {children}
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt className="leading-6">{name}</dt>
      <dd className="min-w-0 truncate leading-6">{children}</dd>
    </>
  );
}

function Id({ name, value, action, onAction }: { name: string; value: string; action?: string; onAction?: () => void }) {
  return (
    <Fact name={name}>
      <span className="flex items-center gap-1">
        <span className="truncate font-mono text-2xs" title={value}>
          {value}
        </span>
        <Copy text={() => value} />
        {onAction !== undefined && (
          <button type="button" className="shrink-0 text-2xs text-accent hover:underline" onClick={onAction}>
            {action}
          </button>
        )}
      </span>
    </Fact>
  );
}

function Cause({ eventId, onSelect }: { eventId: string; onSelect: (eventId: string) => void }) {
  const { data } = $api.useQuery("get", "/v1/events/{event_id}", { params: { path: { event_id: eventId } } });
  if (data === undefined) return <p className="font-mono text-2xs text-faint">{eventId}</p>;
  return <EventLink event={data.event} onSelect={onSelect} />;
}

function Related({ event, onSelect }: { event: Event; onSelect: (eventId: string) => void }) {
  const t = useTexts(texts);
  const { data } = $api.useQuery("get", "/v1/events", {
    params: { query: { correlation_id: event.correlation_id, limit: RELATED } },
  });
  const events = data?.events.filter((each) => each.event_id !== event.event_id) ?? [];
  if (events.length === 0) return null;
  return (
    <Section title={`${t("related")} (${events.length}${data?.next_cursor == null ? "" : "+"})`}>
      <ul className="divide-y overflow-hidden rounded-md border">
        {events.map((each) => (
          <li key={each.event_id}>
            <EventLink event={each} onSelect={onSelect} />
          </li>
        ))}
      </ul>
    </Section>
  );
}

function EventLink({ event, onSelect }: { event: Event; onSelect: (eventId: string) => void }) {
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
