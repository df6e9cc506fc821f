import { Link } from "@tanstack/react-router";
import { SearchX } from "lucide-react";

import { $api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import { Detail } from "@/screens/inspector/Detail";
import { EventDetail } from "@/screens/inspector/EventDetail";
import { CauseRows, EventRows } from "@/screens/inspector/EventRows";
import type { Change } from "@/screens/inspector/InspectorScreen";
import { Loaded } from "@/screens/inspector/Loaded";
import { useEvents } from "@/screens/inspector/reading";
import type { InspectorSearch } from "@/screens/inspector/search";
import { texts } from "@/screens/inspector/texts";
import { Views } from "@/screens/inspector/Views";
import { Button } from "@/ui/Button";
import { Copy } from "@/ui/Copy";
import { EmptyState } from "@/ui/EmptyState";
import { ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Split } from "@/ui/Split";

/** All that happened under one correlation id, wherever it did. */
export function CorrelationView({ correlationId, search, onChange }: {
  correlationId: string;
  search: InspectorSearch;
  onChange: Change;
}) {
  const t = useTexts(texts);
  const events = useEvents({ correlation_id: correlationId }, false);
  const items = events.data?.items ?? [];
  const runs = [...new Set(items.flatMap(({ run_id }) => (run_id === null ? [] : [run_id])))];
  const selected = search.event_id ?? items.at(-1)?.event_id;
  const select = (event_id: string): void => onChange({ event_id });
  if (events.data !== undefined && items.length === 0) {
    return <EmptyState icon={<SearchX />} title={t("no_correlation")} hint={correlationId} />;
  }
  const first = (
    <Views
      view={search.view === "causes" ? "causes" : "events"}
      onChange={(view) => onChange({ view: view === "events" ? undefined : view })}
      tabs={[
        {
          view: "events",
          label: t("events"),
          count: events.data?.items.length,
          content: (
            <Loaded all={[events]}>
              <EventRows events={items} selected={selected} onSelect={select} />
            </Loaded>
          ),
        },
        {
          view: "causes",
          label: t("causes"),
          content: (
            <Loaded all={[events]}>
              <CauseRows events={items} selected={selected} onSelect={select} />
            </Loaded>
          ),
        },
      ]}
    />
  );
  return (
    <>
      <div data-testid="correlation-header" className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b bg-raised px-4 py-2 text-xs text-muted">
        <span className="flex min-w-0 items-center gap-1">
          {t("correlation")} <span className="truncate font-mono text-2xs text-text">{correlationId}</span>
          <Copy text={() => correlationId} />
        </span>
        {runs.map((run_id) => (
          <Link key={run_id} to="/inspector" search={{ run_id }} className="font-mono text-2xs text-accent hover:underline">
            {run_id}
          </Link>
        ))}
      </div>
      <Split
        name="inspector"
        narrow={search.event_id === undefined ? "first" : "second"}
        first={first}
        second={
          selected === undefined ? null : (
            <Detail
              key={selected}
              title={items.find(({ event_id }) => event_id === selected)?.event_type ?? t("event")}
              onClose={search.event_id === undefined ? null : () => onChange({ event_id: undefined, correlation_id: correlationId })}
            >
              <EventDetail eventId={selected} around={items} onSelect={select} />
            </Detail>
          )
        }
      />
    </>
  );
}

/** An event by itself: with all of its correlation. */
export function EventView({ eventId, search, onChange }: { eventId: string; search: InspectorSearch; onChange: Change }) {
  const t = useTexts(texts);
  const asked = $api.useQuery("get", "/v1/events/{event_id}", { params: { path: { event_id: eventId } } });
  if (asked.data !== undefined) {
    const { correlation_id } = asked.data.event;
    // What is chosen next is chosen among the events of the correlation, which then stay as they are on screen.
    const change: Change = (changed) => onChange({ correlation_id, ...changed });
    return <CorrelationView correlationId={correlation_id} search={search} onChange={change} />;
  }
  if (asked.error === null) return <Skeleton rows={12} />;
  if (asProblem(asked.error).status === 404) {
    const look = (
      <Button onClick={() => onChange({ event_id: undefined, correlation_id: eventId })}>{t("as_correlation")}</Button>
    );
    return <EmptyState icon={<SearchX />} title={t("no_event")} hint={eventId} action={look} />;
  }
  return <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />;
}
