import { useNavigate } from "@tanstack/react-router";
import { SearchCode } from "lucide-react";
import { useState } from "react";

import { $api } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { State } from "@/screens/inspector/parts";
import { Rows } from "@/screens/inspector/Rows";
import { texts } from "@/screens/inspector/texts";
import { EmptyState } from "@/ui/EmptyState";
import { ErrorLine, ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

const AGAIN_MS = 3_000;

/** Runs that changed last, to choose one; a click or Enter goes into it. */
export function Start() {
  const t = useTexts(texts);
  const navigate = useNavigate();
  const [at, setAt] = useState<string | undefined>(undefined);
  const asked = $api.useQuery("get", "/v1/runs", { params: { query: { limit: 100 } } }, { refetchInterval: AGAIN_MS });
  const runs = asked.data?.runs;
  if (runs === undefined) {
    if (asked.error === null) return <Skeleton rows={12} />;
    return <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />;
  }
  if (runs.length === 0) {
    return <EmptyState icon={<SearchCode />} title={t("no_runs")} hint={t("no_runs_hint")} command="agentos import-trajectory FILE" />;
  }
  const go = (run_id: string): void => void navigate({ to: "/inspector", search: { run_id } });
  return (
    <>
      {asked.error !== null && <ErrorLine error={asked.error} onRetry={() => void asked.refetch()} />}
      <h2 className="border-b px-4 py-2 text-xs font-medium text-muted">{t("recent")}</h2>
      <Rows
        items={runs}
        keyOf={({ run_id }) => run_id}
        selected={at}
        onSelect={({ run_id }) => go(run_id)}
        onStep={({ run_id }) => setAt(run_id)}
        onEnter={() => at !== undefined && go(at)}
        label={t("recent")}
        testId="runs"
        row={(run) => ({
          name: `${run.title ?? run.goal ?? run.run_id}, ${run.status}`,
          cells: (
            <>
              <span className="w-24 shrink-0">
                <State status={run.status} />
              </span>
              <span className="min-w-0 flex-1 truncate">{run.title ?? run.goal ?? run.run_id}</span>
              <span className="hidden shrink-0 font-mono text-2xs text-faint md:inline">{run.run_id}</span>
              <Time at={run.updated_at} className="w-24 shrink-0 truncate text-right text-2xs text-faint" />
            </>
          ),
        })}
      />
    </>
  );
}
