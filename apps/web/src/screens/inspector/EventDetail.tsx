import { Link } from "@tanstack/react-router";
import { CircleHelp } from "lucide-react";
import { useMemo } from "react";

import { $api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import type { Event } from "@/live/connection";
import { EventLink, Fact, Facts, IdFact, Section } from "@/screens/inspector/parts";
import type { EventInFull } from "@/screens/inspector/reading";
import { texts } from "@/screens/inspector/texts";
import { Redactions, VerifyChain } from "@/screens/inspector/VerifyChain";
import { Badge } from "@/ui/Badge";
import { EmptyState } from "@/ui/EmptyState";
import { Json } from "@/ui/Json";
import { ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

const LINK = "shrink-0 text-2xs text-accent hover:underline";

/** One event in full, with what caused it and what it led to among `around`. */
export function EventDetail({ eventId, around, onSelect }: {
  eventId: string;
  around: readonly Event[];
  onSelect: (eventId: string) => void;
}) {
  const t = useTexts(texts);
  const asked = $api.useQuery("get", "/v1/events/{event_id}", { params: { path: { event_id: eventId } } });
  if (asked.data !== undefined) return <Details event={asked.data.event} around={around} onSelect={onSelect} />;
  if (asked.error === null) return <Skeleton rows={10} />;
  if (asProblem(asked.error).status === 404) {
    return <EmptyState icon={<CircleHelp />} title={t("no_event")} hint={eventId} />;
  }
  return <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />;
}

function Details({ event, around, onSelect }: {
  event: EventInFull;
  around: readonly Event[];
  onSelect: (eventId: string) => void;
}) {
  const t = useTexts(texts);
  const children = useMemo(() => around.filter((each) => each.causation_id === event.event_id), [around, event.event_id]);
  const contexts = { policy_context: event.policy_context, model_context: event.model_context };
  return (
    <div className="space-y-4 p-4">
      <Facts>
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
          <Badge tone={event.zone === "high_stakes" ? "danger" : event.zone === "sandbox" ? "ok" : "neutral"}>{event.zone}</Badge>
        </Fact>
        <Fact name={t("position")}>
          <span data-numeric>{event.stream_seq}</span> <span className="text-faint">{event.stream_id}</span>
        </Fact>
        {event.room_id !== null && (
          <IdFact name={t("room")} value={event.room_id}>
            <Link to="/rooms/$roomId" params={{ roomId: event.room_id }} search={{ event: event.event_id }} className={LINK}>
              {t("open_room")}
            </Link>
          </IdFact>
        )}
        {event.run_id !== null && (
          <IdFact name={t("run")} value={event.run_id}>
            <Link to="/inspector" search={{ run_id: event.run_id, event_id: event.event_id }} className={LINK}>
              {t("inspect")}
            </Link>
          </IdFact>
        )}
        <IdFact name={t("correlation")} value={event.correlation_id}>
          <Link to="/inspector" search={{ correlation_id: event.correlation_id, event_id: event.event_id }} className={LINK}>
            {t("inspect")}
          </Link>
        </IdFact>
        <IdFact name={t("entity")} value={event.entity_id} />
        <IdFact name={t("id")} value={event.event_id} />
        <IdFact name={t("hash")} value={event.event_hash} />
      </Facts>
      {event.causation_id !== null && (
        <Section title={t("caused_by")}>
          <Cause eventId={event.causation_id} onSelect={onSelect} />
        </Section>
      )}
      {children.length > 0 && (
        <Section title={t("led_to")}>
          <ul className="divide-y overflow-hidden rounded-md border">
            {children.map((each) => (
              <li key={each.event_id}>
                <EventLink event={each} onSelect={onSelect} />
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title={t("data")}>
        <Json value={event.data} name={event.event_id} />
      </Section>
      {Object.values(contexts).some((context) => Object.keys(context).length > 0) && (
        <Section title={t("contexts")}>
          <Json value={contexts} name={`${event.event_id}-contexts`} />
        </Section>
      )}
      <VerifyChain key={event.stream_id} streamType={event.stream_type} streamId={event.stream_id} onSelect={onSelect} />
      <Redactions eventId={event.event_id} level={event.redaction_level} />
      <details>
        <summary className="text-xs font-medium text-muted hover:text-text">{t("whole")}</summary>
        <div className="pt-2">
          <Json value={event} name={event.event_id} />
        </div>
      </details>
    </div>
  );
}

function Cause({ eventId, onSelect }: { eventId: string; onSelect: (eventId: string) => void }) {
  const { data } = $api.useQuery("get", "/v1/events/{event_id}", { params: { path: { event_id: eventId } } });
  if (data === undefined) return <p className="font-mono text-2xs text-faint">{eventId}</p>;
  return (
    <div className="overflow-hidden rounded-md border">
      <EventLink event={data.event} onSelect={onSelect} />
    </div>
  );
}
