import { Check, Pause, ShieldX, TriangleAlert, X } from "lucide-react";

import { $api } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { type Approval, isOpen, type Scope } from "@/screens/inbox/approvals";
import type { Refusal } from "@/screens/inbox/decide";
import { statusKey, texts } from "@/screens/inbox/texts";
import { Button } from "@/ui/Button";
import { Field, TextArea } from "@/ui/fields";
import { Time } from "@/ui/Time";

/** What a person is about to say to an approval. `scope` null: as it was asked for. */
export interface Draft {
  readonly reason: string;
  readonly scope: Scope["type"] | null;
}

export const NO_DRAFT: Draft = { reason: "", scope: null };

const SCOPES = {
  once: "scope_once",
  run: "scope_run",
  thread: "scope_thread",
  room: "scope_room",
  workspace: "scope_workspace",
  pattern: "scope_pattern",
} as const;

function askedScope(approval: Approval): Scope["type"] {
  const type = approval.scope["type"];
  return typeof type === "string" && type in SCOPES ? (type as Scope["type"]) : "once";
}

/** Scopes that an approval can be given: those whose target it has. */
function scopesOf(approval: Approval): Scope["type"][] {
  const all: [Scope["type"], boolean][] = [
    ["once", true],
    ["run", approval.run_id !== null],
    ["thread", approval.thread_id !== null],
    ["room", approval.room_id !== null],
    ["workspace", true],
  ];
  return all.filter(([type, there]) => there && type !== askedScope(approval)).map(([type]) => type);
}

/** The bar in which an approval is answered, below its details. */
export function Answer({ approval, draft, busy, refusal, onDraft, onDecide, onDismiss, onUndo }: {
  approval: Approval;
  draft: Draft;
  busy: boolean;
  refusal: Refusal | undefined;
  onDraft: (draft: Draft) => void;
  onDecide: (decision: "approve" | "deny" | "hold") => void;
  onDismiss: () => void;
  onUndo: () => void;
}) {
  const t = useTexts(texts);
  const asked = askedScope(approval);
  if (refusal === undefined && !isOpen(approval)) return null;
  return (
    <footer data-testid="answer" className="shrink-0 space-y-2.5 border-t bg-sunken p-3">
      {refusal !== undefined && <Refused refusal={refusal} onDismiss={onDismiss} />}
      {isOpen(approval) && (
        <>
          <div className="grid gap-2.5 md:grid-cols-2">
            <Field label={t("reason")}>
              <TextArea
                rows={1}
                maxLength={4_000}
                value={draft.reason}
                onChange={(event) => onDraft({ ...draft, reason: event.target.value })}
              />
            </Field>
            <Field label={t("scope")}>
              <select
                className="h-8 min-w-0 rounded-md border bg-raised px-2 text-xs pointer-coarse:h-10"
                value={draft.scope ?? ""}
                onChange={(event) => onDraft({ ...draft, scope: event.target.value === "" ? null : (event.target.value as Scope["type"]) })}
              >
                <option value="">{t("scope_asked", { scope: t(SCOPES[asked]) })}</option>
                {scopesOf(approval).map((type) => (
                  <option key={type} value={type}>
                    {t(SCOPES[type])}
                  </option>
                ))}
              </select>
            </Field>
          </div>
          {(draft.scope ?? asked) !== "once" && (
            <Preview approval={approval} scope={draft.scope === null ? (approval.scope as unknown as Scope) : { type: draft.scope }} />
          )}
          <div className="flex flex-wrap items-center gap-2">
            <Button look="primary" keys="a" busy={busy} icon={<Check aria-hidden className="size-3.5" />} onClick={() => onDecide("approve")}>
              {t("approve")}
            </Button>
            <Button keys="d" busy={busy} icon={<ShieldX aria-hidden className="size-3.5" />} onClick={() => onDecide("deny")}>
              {t("deny")}
            </Button>
            {approval.status === "held" ? (
              <Button keys="u" busy={busy} onClick={onUndo}>
                {t("undo_hold")}
              </Button>
            ) : (
              <Button keys="h" busy={busy} icon={<Pause aria-hidden className="size-3.5" />} onClick={() => onDecide("hold")}>
                {t("hold")}
              </Button>
            )}
          </div>
        </>
      )}
    </footer>
  );
}

function Preview({ approval, scope }: { approval: Approval; scope: Scope }) {
  const t = useTexts(texts);
  const { data } = $api.useQuery(
    "post",
    "/v1/approvals/{approval_id}/scope-preview",
    { params: { path: { approval_id: approval.approval_id } }, body: { scope } },
    { staleTime: 60_000 },
  );
  return (
    <p role="status" data-testid="preview" className="text-xs text-muted">
      {data === undefined ? "…" : t("would_have", { n: data.count })}
      {data !== undefined && data.needs_exact > 0 && ` ${t("needs_exact", { n: data.needs_exact })}`}
      {data !== undefined && !data.complete && ` ${t("would_more", { n: data.looked_at })}`}
    </p>
  );
}

const WHAT = { approve: "what_approved", deny: "what_denied", hold: "what_held" } as const;

/** Why a decision was not taken: who was faster and when, or what else stands against it. */
function Refused({ refusal, onDismiss }: { refusal: Refusal; onDismiss: () => void }) {
  const t = useTexts(texts);
  const { now, problem } = refusal;
  const decided = now !== null && !isOpen(now);
  const what = WHAT[now?.decision as keyof typeof WHAT] as (typeof WHAT)[keyof typeof WHAT] | undefined;
  return (
    <div role="alert" data-testid="refused" className="flex items-start gap-2 rounded-md bg-warn-soft p-2.5 text-xs text-warn">
      <TriangleAlert aria-hidden className="mt-0.5 size-3.5 shrink-0" />
      <div className="min-w-0 flex-1 space-y-0.5">
        <p className="font-medium">
          {!decided
            ? `${t("not_taken")} ${problem.detail}`
            : now.status === "expired"
              ? t("expired_meanwhile")
              : now.decided_by_id !== null && what !== undefined
                ? t("too_late", { who: now.decided_by_id, what: t(what) })
                : t("gone_meanwhile", { status: t(statusKey(now.status)) })}{" "}
          {decided && now.decided_at !== null && <Time at={now.decided_at} />}
        </p>
        {decided && now.decision_reason !== null && <q>{now.decision_reason}</q>}
        <p className="font-mono text-2xs">
          {problem.code}
          {problem.requestId !== null && ` · ${problem.requestId}`}
        </p>
      </div>
      <button type="button" aria-label={t("dismiss")} title={t("dismiss")} onClick={onDismiss}>
        <X aria-hidden className="size-3.5" />
      </button>
    </div>
  );
}
