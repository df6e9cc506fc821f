import { Link } from "@tanstack/react-router";
import { TriangleAlert } from "lucide-react";

import { useTexts } from "@/i18n/texts";
import { duration } from "@/lib/time";
import { State } from "@/screens/inspector/parts";
import { isLive, type Run } from "@/screens/inspector/reading";
import { texts } from "@/screens/inspector/texts";
import { Badge } from "@/ui/Badge";
import { Copy } from "@/ui/Copy";
import { Time, useNow } from "@/ui/Time";

/** How a run stands: its state, its attempts, who holds it and for how long. */
export function RunHeader({ run }: { run: Run }) {
  const t = useTexts(texts);
  return (
    <div data-testid="run-header" className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b bg-raised px-4 py-2 text-xs text-muted">
      <State status={run.status} />
      <span className="min-w-0 max-w-full truncate text-sm font-medium text-text">{run.title ?? run.goal ?? run.run_id}</span>
      <span className="flex items-center font-mono text-2xs text-faint">
        {run.run_id}
        <Copy text={() => run.run_id} />
      </span>
      {run.attempt_no > 0 ? <span>{t("attempt", { n: run.attempt_no, most: run.max_attempts })}</span> : isLive(run) && <span>{t("not_claimed")}</span>}
      {run.claimed_by_actor_id !== null && <span>{t("claimed_by", { who: run.claimed_by_actor_id })}</span>}
      {run.lease_expires_at !== null && isLive(run) && <Lease until={run.lease_expires_at} />}
      <Length run={run} />
      {run.room_id !== null && (
        <Link to="/rooms/$roomId" params={{ roomId: run.room_id }} search={{ run: run.run_id }} className="ml-auto text-accent hover:underline">
          {t("open_room")}
        </Link>
      )}
      <Link to="/inspector" search={{ correlation_id: run.correlation_id }} className="text-accent hover:underline">
        {t("correlation")}
      </Link>
    </div>
  );
}

function Lease({ until }: { until: string }) {
  const t = useTexts(texts);
  const now = useNow();
  const left = Date.parse(until) - now;
  if (left <= 0) {
    return (
      <Badge tone="danger" icon={<TriangleAlert aria-hidden className="size-3" />}>
        {t("lease_over")}
      </Badge>
    );
  }
  return (
    <span>
      {t("lease_until")} <Time at={until} /> ({duration(left)})
    </span>
  );
}

function Length({ run }: { run: Run }) {
  const t = useTexts(texts);
  const now = useNow();
  const from = Date.parse(run.started_at ?? run.created_at);
  if (run.ended_at !== null) return <span>{t("took", { time: duration(Date.parse(run.ended_at) - from) })}</span>;
  return <span>{t("since", { time: duration(Math.max(0, Math.floor((now - from) / 1_000) * 1_000)) })}</span>;
}
