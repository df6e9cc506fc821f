import { Link } from "@tanstack/react-router";

import { $api } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import type { Approval, Similar } from "@/screens/inbox/approvals";
import { Section } from "@/screens/inbox/Detail";
import { difference } from "@/screens/inbox/difference";
import { StatusOf } from "@/screens/inbox/Status";
import { texts } from "@/screens/inbox/texts";
import { Badge, type Tone } from "@/ui/Badge";
import { ErrorLine } from "@/ui/Pane";
import { Time } from "@/ui/Time";

const SHOWN = 6;

/** What differs from the last one like it that was approved, and what was decided on such before. */
export function Compared({ approval }: { approval: Approval }) {
  const t = useTexts(texts);
  const { data, error, refetch } = $api.useQuery(
    "get",
    "/v1/approvals/{approval_id}/similar",
    { params: { path: { approval_id: approval.approval_id }, query: { limit: 20 } } },
    { staleTime: 30_000 },
  );
  if (error !== null && data === undefined) return <ErrorLine error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return null;
  const last = data.similar
    .filter(({ decision }) => decision === "approve")
    .toSorted((a, b) => b.decided_at.localeCompare(a.decided_at))[0];
  return (
    <>
      <Section title={t("compared")}>
        {last === undefined ? (
          <p className="text-xs text-faint">{t("compared_none")}</p>
        ) : (
          <Differences before={last} now={approval} />
        )}
      </Section>
      <Section
        title={t("similar")}
        aside={<span className="text-2xs text-faint">{t("similar_count", { approved: data.approved, denied: data.denied })}</span>}
      >
        {data.similar.length === 0 ? (
          <p className="text-xs text-faint">{t("similar_none")}</p>
        ) : (
          <ul data-testid="similar" className="divide-y rounded-md border">
            {data.similar.slice(0, SHOWN).map((each) => (
              <li key={each.approval_id} className="space-y-0.5 px-2.5 py-1.5 text-xs">
                <div className="flex items-center gap-2">
                  <Link
                    to="/approvals/$approvalId"
                    params={{ approvalId: each.approval_id }}
                    search={(before) => before}
                    className="min-w-0 flex-1 truncate text-accent underline"
                  >
                    {each.title ?? each.approval_id}
                  </Link>
                  {each.same_action && <Badge tone="accent">{t("same_action")}</Badge>}
                  <StatusOf status={each.status} />
                </div>
                <p className="text-2xs text-faint">
                  {each.decided_by_id} · <Time at={each.decided_at} />
                  {each.different.length > 0 && ` · ${t("differs_in", { members: each.different.join(", ") })}`}
                  {each.decision_reason !== null && <q className="ml-1">{each.decision_reason}</q>}
                </p>
              </li>
            ))}
          </ul>
        )}
      </Section>
    </>
  );
}

const TONES: Record<string, Tone> = { changed: "warn", added: "ok", removed: "danger", same: "neutral" };
const KINDS = { changed: "kind_changed", added: "kind_added", removed: "kind_removed", same: "kind_same" } as const;

function Differences({ before, now }: { before: Similar; now: Approval }) {
  const t = useTexts(texts);
  const changes = difference(before.request, now.request).filter(({ kind }) => kind !== "same");
  if (changes.length === 0) return <p className="text-xs text-ok">{t("compared_same")}</p>;
  return (
    <dl data-testid="difference" className="divide-y rounded-md border text-xs">
      {changes.map((change) => (
        <div key={change.path} className="grid grid-cols-[minmax(6rem,30%)_minmax(0,1fr)] gap-3 px-2.5 py-1.5">
          <dt className="space-y-1">
            <span className="block font-mono text-2xs leading-4.5 break-words text-muted">{change.path}</span>
            <Badge tone={TONES[change.kind] ?? "neutral"}>{t(KINDS[change.kind])}</Badge>
          </dt>
          <dd className="min-w-0 space-y-0.5 break-words whitespace-pre-wrap">
            {change.now !== null && <ins className="block no-underline">{change.now}</ins>}
            {change.before !== null && (
              <span className="block text-faint">
                {t("was")} <del>{change.before}</del>
              </span>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}
