import { Footprints, SearchX } from "lucide-react";
import type { ReactNode } from "react";

import { $api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import type { Event } from "@/live/connection";
import { ArtifactDetail, ArtifactRows } from "@/screens/inspector/Artifacts";
import { Detail } from "@/screens/inspector/Detail";
import { EventDetail } from "@/screens/inspector/EventDetail";
import { CauseRows, EventRows } from "@/screens/inspector/EventRows";
import { EvidenceView } from "@/screens/inspector/Evidence";
import type { Change } from "@/screens/inspector/InspectorScreen";
import { AttemptDetail, RunDetail, StepDetail, ToolCallDetail } from "@/screens/inspector/ItemDetail";
import {
  type Artifact,
  type Attempt,
  isLive,
  type Run,
  type Step,
  type ToolCall,
  useArtifacts,
  useAttempts,
  useEvents,
  useSteps,
  useToolCalls,
} from "@/screens/inspector/reading";
import { RunHeader } from "@/screens/inspector/RunHeader";
import type { InspectorSearch } from "@/screens/inspector/search";
import { texts } from "@/screens/inspector/texts";
import { Loaded } from "@/screens/inspector/Loaded";
import { Views } from "@/screens/inspector/Views";
import { Waterfall } from "@/screens/inspector/Waterfall";
import { EmptyState } from "@/ui/EmptyState";
import { ErrorLine, ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Split } from "@/ui/Split";

const AGAIN_MS = 1_500;

export function RunView({ runId, search, onChange }: { runId: string; search: InspectorSearch; onChange: Change }) {
  const t = useTexts(texts);
  const asked = $api.useQuery(
    "get",
    "/v1/runs/{run_id}",
    { params: { path: { run_id: runId } } },
    { refetchInterval: (query) => (isLive(query.state.data?.run) ? AGAIN_MS : false) },
  );
  const run = asked.data?.run;
  if (run === undefined) {
    if (asked.error === null) return <Skeleton rows={12} />;
    if (asProblem(asked.error).status === 404) return <EmptyState icon={<SearchX />} title={t("no_run")} hint={runId} />;
    return <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />;
  }
  return (
    <>
      {asked.error !== null && <ErrorLine error={asked.error} onRetry={() => void asked.refetch()} />}
      <RunHeader run={run} />
      <Work run={run} search={search} onChange={onChange} />
    </>
  );
}

function Work({ run, search, onChange }: { run: Run; search: InspectorSearch; onChange: Change }) {
  const t = useTexts(texts);
  const live = isLive(run);
  const attempts = useAttempts(run.run_id, live);
  const steps = useSteps(run.run_id, live);
  const calls = useToolCalls(run.run_id, live);
  const artifacts = useArtifacts(run.run_id, live);
  const events = useEvents({ run_id: run.run_id }, live);
  const view = search.view ?? "waterfall";
  const selectEvent = (event_id: string): void => onChange({ event_id, item: undefined });
  const selectItem = (id: string): void => onChange({ event_id: undefined, item: id === run.run_id ? undefined : id });
  const lists: Lists = {
    attempts: attempts.data?.items ?? [],
    steps: steps.data?.items ?? [],
    calls: calls.data?.items ?? [],
    artifacts: artifacts.data?.items ?? [],
    events: events.data?.items ?? [],
  };
  const first = (
    <Views
      view={view}
      onChange={(chosen) => onChange({ view: chosen === "waterfall" ? undefined : chosen })}
      tabs={[
        {
          view: "waterfall",
          label: t("waterfall"),
          content: (
            <Loaded all={[steps, calls, attempts, events]}>
              {lists.steps.length === 0 && lists.attempts.length === 0 && live ? (
                <EmptyState icon={<Footprints />} title={t("no_steps")} hint={t("no_steps_hint")} />
              ) : (
                <Waterfall work={{ run, ...lists }} selected={search.event_id === undefined ? search.item : ""} onSelect={(bar) => selectItem(bar.id)} />
              )}
            </Loaded>
          ),
        },
        {
          view: "events",
          label: t("events"),
          count: events.data?.items.length,
          content: (
            <Loaded all={[events]}>
              <EventRows events={lists.events} selected={search.event_id} onSelect={selectEvent} />
            </Loaded>
          ),
        },
        {
          view: "causes",
          label: t("causes"),
          content: (
            <Loaded all={[events]}>
              <CauseRows events={lists.events} selected={search.event_id} onSelect={selectEvent} />
            </Loaded>
          ),
        },
        {
          view: "artifacts",
          label: t("artifacts"),
          count: artifacts.data?.items.length,
          content: (
            <Loaded all={[artifacts]}>
              <ArtifactRows artifacts={lists.artifacts} selected={search.item} onSelect={({ artifact_id }) => selectItem(artifact_id)} />
            </Loaded>
          ),
        },
        { view: "evidence", label: t("evidence"), content: <EvidenceView runId={run.run_id} onSelect={selectEvent} /> },
      ]}
    />
  );
  return (
    <Split
      name="inspector"
      narrow={search.event_id === undefined && search.item === undefined ? "first" : "second"}
      first={first}
      second={<Selected run={run} search={search} lists={lists} onEvent={selectEvent} onItem={selectItem} />}
    />
  );
}

interface Lists {
  readonly attempts: readonly Attempt[];
  readonly steps: readonly Step[];
  readonly calls: readonly ToolCall[];
  readonly artifacts: readonly Artifact[];
  readonly events: readonly Event[];
}

function Selected({ run, search, lists, onEvent, onItem }: {
  run: Run;
  search: InspectorSearch;
  lists: Lists;
  onEvent: (eventId: string) => void;
  onItem: (id: string) => void;
}) {
  const t = useTexts(texts);
  const { event_id, item } = search;
  const close = (): void => onItem(run.run_id);
  if (event_id !== undefined) {
    const type = lists.events.find((event) => event.event_id === event_id)?.event_type;
    return (
      <Detail key={event_id} title={type ?? t("event")} onClose={close}>
        <EventDetail eventId={event_id} around={lists.events} onSelect={onEvent} />
      </Detail>
    );
  }
  const found = item === undefined ? null : itemOf(item, lists, onItem);
  if (found !== null) {
    return (
      <Detail key={item} title={t(found.kind)} onClose={close}>
        {found.content}
      </Detail>
    );
  }
  return (
    <Detail key="run" title={t("run")} onClose={null}>
      <RunDetail run={run} />
    </Detail>
  );
}

interface Found {
  readonly kind: "step" | "tool_call" | "artifact" | "attempt_name";
  readonly content: ReactNode;
}

function itemOf(id: string, lists: Lists, onItem: (id: string) => void): Found | null {
  const step = lists.steps.find(({ step_id }) => step_id === id);
  if (step !== undefined) {
    const calls = lists.calls.filter(({ step_id }) => step_id === id);
    return { kind: "step", content: <StepDetail step={step} calls={calls} onSelect={onItem} /> };
  }
  const call = lists.calls.find(({ tool_call_id }) => tool_call_id === id);
  if (call !== undefined) return { kind: "tool_call", content: <ToolCallDetail call={call} /> };
  const artifact = lists.artifacts.find(({ artifact_id }) => artifact_id === id);
  if (artifact !== undefined) return { kind: "artifact", content: <ArtifactDetail artifact={artifact} /> };
  const attempt = lists.attempts.find(({ run_attempt_id }) => run_attempt_id === id);
  return attempt === undefined ? null : { kind: "attempt_name", content: <AttemptDetail attempt={attempt} /> };
}
