import { FileCheck } from "lucide-react";

import { $api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import { Fact, Facts, IdFact, Section, State } from "@/screens/inspector/parts";
import { texts } from "@/screens/inspector/texts";
import { VerifyChain } from "@/screens/inspector/VerifyChain";
import { EmptyState } from "@/ui/EmptyState";
import { Json } from "@/ui/Json";
import { ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

const AGAIN_MS = 1_500;

/** Which events belong to a run that has ended, and the hashes that hold them fast. */
export function EvidenceView({ runId, onSelect }: { runId: string; onSelect: (eventId: string) => void }) {
  const t = useTexts(texts);
  const asked = $api.useQuery(
    "get",
    "/v1/runs/{run_id}/evidence",
    { params: { path: { run_id: runId } } },
    // It follows the end of the run.
    { refetchInterval: (query) => (query.state.data === undefined ? AGAIN_MS : false) },
  );
  if (asked.data === undefined) {
    if (asked.error === null) return <Skeleton />;
    if (asProblem(asked.error).status === 404) {
      return <EmptyState icon={<FileCheck />} title={t("no_evidence")} hint={t("no_evidence_hint")} />;
    }
    return <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />;
  }
  const { evidence } = asked.data;
  return (
    <div data-testid="evidence" className="min-h-0 flex-1 space-y-4 overflow-y-auto p-4">
      <Facts>
        <Fact name={t("run_status")}>
          <State status={evidence.run_status} />
        </Fact>
        <Fact name={t("window")}>{t("window_of", { n: evidence.event_count, from: evidence.from_seq, to: evidence.to_seq })}</Fact>
        <Fact name={t("finalized")}>
          <Time at={evidence.finalized_at} />
        </Fact>
        <IdFact name={t("id")} value={evidence.evidence_id} />
        <IdFact name={t("manifest_hash")} value={evidence.manifest_hash} />
        <IdFact name={t("root_hash")} value={evidence.event_hash_root} />
      </Facts>
      <VerifyChain streamType={evidence.stream_type} streamId={evidence.stream_id} onSelect={onSelect} />
      <Section title={t("manifest")}>
        <Json value={evidence.manifest} name={evidence.evidence_id} />
      </Section>
    </div>
  );
}
