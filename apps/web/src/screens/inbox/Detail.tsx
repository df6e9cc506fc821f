import { Link } from "@tanstack/react-router";
import { ArrowLeft, CircleHelp, Link2, ShieldAlert } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";

import { $api, api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { translate, useLanguage, useTexts } from "@/i18n/texts";
import { type Approval, isOpen, type Review } from "@/screens/inbox/approvals";
import { Compared } from "@/screens/inbox/Compared";
import { leaves } from "@/screens/inbox/difference";
import { nameOf } from "@/screens/inbox/List";
import { reasonText } from "@/screens/inbox/reasons";
import { Countdown, Facts, StatusOf } from "@/screens/inbox/Status";
import { texts } from "@/screens/inbox/texts";
import { Badge } from "@/ui/Badge";
import { IconButton } from "@/ui/Button";
import { Copy } from "@/ui/Copy";
import { EmptyState } from "@/ui/EmptyState";
import { Json } from "@/ui/Json";
import { ErrorLine, ErrorPane, Pane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

/** While it waits somebody else may decide; once approved it may be used at any moment. */
const ASK_AGAIN_MS: Readonly<Record<string, number>> = { pending: 5_000, held: 5_000, approved: 1_000 };

/** One approval, kept up to date; without an id none. */
export function useApproval(approvalId: string | undefined) {
  return $api.useQuery(
    "get",
    "/v1/approvals/{approval_id}",
    { params: { path: { approval_id: approvalId ?? "" } } },
    {
      enabled: approvalId !== undefined,
      refetchInterval: ({ state }) => ASK_AGAIN_MS[state.data?.approval.status ?? ""] ?? false,
    },
  );
}

/** One approval in full. `known`: as the list has it, until the rest is there. */
export function Detail({ approvalId, known, onBack, children }: {
  approvalId: string;
  known: Approval | undefined;
  onBack: () => void;
  /** What is done about it, below. */
  children: (approval: Approval) => ReactNode;
}) {
  const t = useTexts(texts);
  const asked = useApproval(approvalId);
  const approval = asked.data?.approval ?? known;
  useSeen(approval);
  return (
    <section aria-label={t("one")} data-testid="approval" className="flex h-full min-h-0 flex-col bg-raised">
      <header className="flex min-h-11 shrink-0 items-center gap-2 border-b py-1 pr-2 pl-2 md:pl-4">
        <IconButton
          label={t("back")}
          className="md:hidden!"
          icon={<ArrowLeft aria-hidden className="size-4" />}
          onClick={onBack}
        />
        <h2 className="line-clamp-2 min-w-0 flex-1 font-medium break-words">{approval === undefined ? "…" : nameOf(approval)}</h2>
        {approval !== undefined && (
          <>
            <StatusOf status={approval.status} />
            <Copy
              label={t("copy_link")}
              icon={<Link2 aria-hidden className="size-3.5" />}
              text={() => `${window.location.origin}/approvals/${approvalId}`}
            />
          </>
        )}
      </header>
      {approval !== undefined ? (
        <>
          {asked.error !== null && <ErrorLine error={asked.error} onRetry={() => void asked.refetch()} />}
          {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
          <div id="approval-detail" tabIndex={0} role="region" aria-label={nameOf(approval)} className="min-h-0 flex-1 space-y-5 overflow-y-auto p-4 focus-visible:outline-offset-[-2px]">
            <InFull approval={approval} review={asked.data?.review ?? null} />
          </div>
          {children(approval)}
        </>
      ) : asked.error === null ? (
        <Skeleton rows={10} />
      ) : asProblem(asked.error).status === 404 ? (
        <EmptyState icon={<CircleHelp />} title={t("not_there")} hint={approvalId} />
      ) : (
        <ErrorPane error={asked.error} onRetry={() => void asked.refetch()} busy={asked.isFetching} />
      )}
    </section>
  );
}

/** Tells, once, that a person has seen it. */
function useSeen(approval: Approval | undefined): void {
  const unseen = approval !== undefined && isOpen(approval) && approval.seen_at === null ? approval.approval_id : null;
  useEffect(() => {
    if (unseen === null || document.visibilityState !== "visible") return;
    const params = { path: { approval_id: unseen } };
    // It is a courtesy: where it cannot be told, nothing else changes.
    api.POST("/v1/approvals/{approval_id}/seen", { params, body: {} }).catch(() => undefined);
  }, [unseen]);
}

function InFull({ approval, review }: { approval: Approval; review: Review | null }) {
  const t = useTexts(texts);
  return (
    <>
      <dl className="grid grid-cols-[6.5rem_minmax(0,1fr)] gap-x-3 gap-y-1.5 text-xs [&_dd]:min-w-0 [&_dd]:break-words [&_dt]:text-muted">
        <dt>{t("action")}</dt>
        <dd className="font-mono text-2xs leading-5">{approval.action}</dd>
        {review?.destination != null && (
          <>
            <dt>{t("destination")}</dt>
            <dd className="font-mono text-2xs leading-5">{review.destination}</dd>
          </>
        )}
        {review?.resource != null && (
          <>
            <dt>{t("resource")}</dt>
            <dd className="font-mono text-2xs leading-5 break-all">{review.resource}</dd>
          </>
        )}
        <dt>{t("zone")}</dt>
        <dd>
          <Badge tone={approval.zone === "high_stakes" ? "danger" : approval.zone === "sandbox" ? "ok" : "neutral"}>{approval.zone}</Badge>
        </dd>
        {review !== null && (
          <>
            <dt>{t("undone")}</dt>
            <dd className={review.reversible === false ? "font-medium text-danger" : ""}>
              {t(review.reversible === null ? "unknown" : review.reversible ? "reversible" : "irreversible")}
            </dd>
            {review.risk !== null && (
              <>
                <dt>{t("risk")}</dt>
                <dd>
                  {t("risk_of", { n: review.risk })}
                  {Object.keys(review.risk_factors).length > 0 && (
                    <span className="text-faint">
                      {" · "}
                      {Object.entries(review.risk_factors).map(([name, points]) => `${name} ${points}`).join(", ")}
                    </span>
                  )}
                </dd>
              </>
            )}
          </>
        )}
        <dt>{t("asked_by")}</dt>
        <dd>
          {approval.requested_by_id} <span className="text-faint">{approval.requested_by_type}</span>
          {review?.on_behalf_of != null && <span className="text-muted"> {t("on_behalf", { who: review.on_behalf_of })}</span>}
        </dd>
        {review !== null && review.delegation.length > 0 && (
          <>
            <dt>{t("chain")}</dt>
            <dd>
              <ol className="font-mono text-2xs leading-5">
                {review.delegation.map((handed) => (
                  <li key={handed.token_id} className={handed.revoked_at === null ? "" : "line-through"}>
                    {handed.granted_by_principal_id} → {handed.issued_to_principal_id}
                  </li>
                ))}
              </ol>
            </dd>
          </>
        )}
        {approval.run_id !== null && approval.room_id !== null && (
          <>
            <dt>{t("run")}</dt>
            <dd>
              <Link
                to="/rooms/$roomId"
                params={{ roomId: approval.room_id }}
                search={{ run: approval.run_id }}
                className="font-mono text-2xs text-accent underline"
              >
                {approval.run_id}
              </Link>
            </dd>
          </>
        )}
        {approval.room_id !== null && (
          <>
            <dt>{t("room")}</dt>
            <dd>
              <Link
                to="/rooms/$roomId"
                params={{ roomId: approval.room_id }}
                search={{ correlation: approval.correlation_id }}
                className="text-accent underline"
              >
                {t("see_in_room")}
              </Link>
            </dd>
          </>
        )}
        <dt>{t("asked_at")}</dt>
        <dd>
          <Time at={approval.requested_at} />
        </dd>
        {isOpen(approval) && (
          <>
            <dt>{t("decide_by")}</dt>
            <dd className="flex flex-wrap items-center gap-2">
              {approval.decide_by !== null && <Time at={approval.decide_by} />}
              <Countdown approval={approval} />
            </dd>
          </>
        )}
      </dl>
      {approval.required_approvals > 1 && (
        <p className="text-xs font-medium">{t("people", { n: approval.votes.length, all: approval.required_approvals })}</p>
      )}
      {approval.decided_at !== null && (
        <Section title={t("facts")}>
          <Facts approval={approval} />
          <p className="text-xs">
            {approval.decided_by_id !== null && t("by", { who: approval.decided_by_id })}
            {approval.decision_reason !== null && <q className="ml-1 text-muted">{approval.decision_reason}</q>}
          </p>
        </Section>
      )}
      <Request approval={approval} />
      <Pane>
        <Compared approval={approval} />
      </Pane>
      <Section title={t("why")}>
        <Why review={review} waits={isOpen(approval)} />
      </Section>
      {Object.keys(approval.context).length > 0 && (
        <Section title={t("context")}>
          <Json value={approval.context} name={`${approval.approval_id}-context`} />
        </Section>
      )}
    </>
  );
}

export function Section({ title, children, aside }: { title: string; children: ReactNode; aside?: ReactNode }) {
  return (
    <section className="space-y-1.5">
      <div className="flex items-center gap-2">
        <h3 className="flex-1 text-xs font-medium text-muted">{title}</h3>
        {aside}
      </div>
      {children}
    </section>
  );
}

function Request({ approval }: { approval: Approval }) {
  const t = useTexts(texts);
  const [json, setJson] = useState(false);
  const request = approval.edited_request ?? approval.request;
  const fields = leaves(request);
  return (
    <Section
      title={t("exact")}
      aside={
        <span className="flex gap-1 text-2xs">
          {[false, true].map((each) => (
            <button
              key={String(each)}
              type="button"
              aria-pressed={json === each}
              onClick={() => setJson(each)}
              className="rounded-sm px-1.5 py-0.5 text-muted hover:bg-hover aria-pressed:bg-selected aria-pressed:text-text"
            >
              {t(each ? "as_json" : "as_fields")}
            </button>
          ))}
        </span>
      }
    >
      {json ? (
        <Json value={request} name={approval.approval_id} />
      ) : fields.length === 0 ? (
        <p className="text-xs text-faint">{t("no_request")}</p>
      ) : (
        <dl className="divide-y rounded-md border text-xs">
          {fields.map(([path, value]) => (
            <div key={path} className="grid grid-cols-[minmax(6rem,30%)_minmax(0,1fr)] gap-3 px-2.5 py-1.5">
              <dt className="font-mono text-2xs leading-4.5 break-words text-muted">{path}</dt>
              <dd className="max-h-40 overflow-y-auto break-words whitespace-pre-wrap">{value}</dd>
            </div>
          ))}
        </dl>
      )}
    </Section>
  );
}

function Why({ review, waits }: { review: Review | null; waits: boolean }) {
  const t = useTexts(texts);
  const language = useLanguage();
  // Once it is decided, what the gate says now is no reason for asking: the approval itself has a part in it.
  const rules = review?.asked ?? (waits ? review?.now : null) ?? null;
  if (rules === null) return <p className="text-xs text-faint">{t("no_gate")}</p>;
  return (
    <div className="space-y-1.5 text-xs">
      <ul className="space-y-1">
        {rules.reason_codes.map((code) => {
          const text = reasonText(code);
          return (
            <li key={code} className="flex items-start gap-1.5">
              <ShieldAlert aria-hidden className="mt-0.5 size-3.5 shrink-0 text-warn" />
              <span className="min-w-0">
                {text !== null && <span>{translate(text, language)} </span>}
                <code className="font-mono text-2xs text-faint">{code}</code>
              </span>
            </li>
          );
        })}
      </ul>
      {rules.determining_rules.map((rule) => (
        <p key={JSON.stringify(rule)} className="text-muted">
          {t("rule")}: <code className="font-mono text-2xs">{String(rule["rule_id"])}</code>{" "}
          <span className="text-faint">
            {String(rule["source"])} · {String(rule["effect"])}
          </span>
        </p>
      ))}
      {review?.now != null && review.asked !== null && <p className="text-faint">{t("says_now", { decision: review.now.decision })}</p>}
    </div>
  );
}
