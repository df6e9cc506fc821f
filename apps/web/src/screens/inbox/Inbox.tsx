import { useNavigate, useParams } from "@tanstack/react-router";
import { Inbox as InboxIcon, ListChecks, Lock, SearchX } from "lucide-react";
import { useEffect, useRef, useState } from "react";

import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import { Answer, type Draft, NO_DRAFT } from "@/screens/inbox/Answer";
import { type Approval, type Decision, isOpen, matches, MOST, useApprovals, useWaiting } from "@/screens/inbox/approvals";
import { ConfirmDenial, ConfirmHighStakes } from "@/screens/inbox/Confirm";
import { useDeciding } from "@/screens/inbox/decide";
import { Detail, useApproval } from "@/screens/inbox/Detail";
import { List, nameOf } from "@/screens/inbox/List";
import { Recent } from "@/screens/inbox/Recent";
import { inboxRoute } from "@/screens/inbox/route";
import { type InboxSearch, type Tab, TABS } from "@/screens/inbox/search";
import { texts } from "@/screens/inbox/texts";
import { useWatchedRooms } from "@/screens/inbox/watch";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { Input } from "@/ui/fields";
import { ErrorLine, ErrorPane, Pane } from "@/ui/Pane";
import { ScreenHeader } from "@/ui/ScreenHeader";
import { Skeleton } from "@/ui/Skeleton";
import { Split } from "@/ui/Split";

const ASK = `curl -X POST ${window.location.origin}/v1/approvals -H 'content-type: application/json' -d '{"action": "email.send", "title": "Try it"}'`;
/** After which a hold that was undone waits again: the API takes moments that are to come only. */
const UNDO_MS = 1_000;
const TAB_KEYS = {
  pending: "tab_pending",
  held: "tab_held",
  approved: "tab_approved",
  denied: "tab_denied",
  expired: "tab_expired",
  all: "tab_all",
} as const;

type Asking = { readonly kind: "deny" | "high_stakes"; readonly approval: Approval } | { readonly kind: "deny_many" };

/** Everything that waits for a person, over all rooms. */
export default function Inbox() {
  const t = useTexts(texts);
  const navigate = useNavigate();
  const { tab = "pending", q = "" } = inboxRoute.useSearch();
  const { approvalId } = useParams({ strict: false });
  const { approvals, more, error, retry } = useApprovals(tab);
  const waiting = useWaiting();
  const deciding = useDeciding();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [draft, setDraft] = useState<{ of: string | undefined; draft: Draft }>({ of: undefined, draft: NO_DRAFT });
  const [asking, setAsking] = useState<Asking | null>(null);
  const here = useRef(approvalId);
  useEffect(() => {
    here.current = approvalId;
  }, [approvalId]);
  const searchBox = useRef<HTMLInputElement>(null);

  const shown = approvals?.filter((approval) => matches(approval, q));
  const listed = approvals?.find((approval) => approval.approval_id === approvalId);
  const current = useCurrent(approvalId) ?? listed;
  const selected = (approvals ?? []).filter((each) => chosen.has(each.approval_id) && isOpen(each));
  const ourDraft = draft.of === approvalId ? draft.draft : NO_DRAFT;
  useWatchedRooms([current?.room_id ?? null, shown?.[0]?.room_id ?? null]);

  const open = (id: string | undefined): void => {
    if (id === undefined) void navigate({ to: "/approvals", search: (before: InboxSearch) => before });
    else void navigate({ to: "/approvals/$approvalId", params: { approvalId: id }, search: (before: InboxSearch) => before, replace: approvalId !== undefined });
  };
  const search = (changed: InboxSearch): void => {
    const next = Object.fromEntries(Object.entries(changed).filter(([, value]) => value !== undefined && value !== "" && value !== "pending"));
    const address = approvalId === undefined ? ({ to: "/approvals" } as const) : ({ to: "/approvals/$approvalId", params: { approvalId } } as const);
    void navigate({ ...address, search: next as InboxSearch, replace: true });
  };
  const change = (changed: { tab?: Tab; q?: string }): void => search({ tab, q, ...changed } as InboxSearch);
  const step = (by: 1 | -1): void => {
    const ids = shown?.map((each) => each.approval_id) ?? [];
    const at = approvalId === undefined ? -1 : ids.indexOf(approvalId);
    const next = at === -1 ? ids[0] : ids[Math.min(ids.length - 1, Math.max(0, at + by))];
    if (next !== undefined) open(next);
  };
  const toggle = (id: string): void =>
    setChosen((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });

  /** Where a person goes on once this one is decided; undefined: it was the last. */
  const following = (id: string): string | undefined => {
    const open = (shown ?? []).filter(isOpen).map((each) => each.approval_id);
    const at = open.indexOf(id);
    return open[at + 1] ?? (at > 0 ? open[at - 1] : undefined);
  };
  const take = (approval: Approval, decision: Decision, reason: string): void => {
    setAsking(null);
    const next = following(approval.approval_id);
    const scope = decision === "approve" && ourDraft.scope !== null ? { type: ourDraft.scope } : undefined;
    void deciding.decide(approval, decision, { reason, ...(scope === undefined ? {} : { scope }) }).then((taken) => {
      if (!taken) return;
      setDraft((before) => (before.of === approval.approval_id ? { of: undefined, draft: NO_DRAFT } : before));
      // Who has moved on meanwhile is left where they are.
      if (next !== undefined && here.current === approval.approval_id) open(next);
    });
  };
  const begin = (approval: Approval | undefined, decision: Decision): void => {
    if (selected.length > 0) {
      beginMany(decision);
      return;
    }
    if (approval === undefined || !isOpen(approval)) return;
    if (decision === "deny") setAsking({ kind: "deny", approval });
    else if (decision === "approve" && approval.zone === "high_stakes") setAsking({ kind: "high_stakes", approval });
    else take(approval, decision, ourDraft.reason);
  };
  const uniform =
    new Set(selected.map(({ action }) => action)).size === 1 && selected.every(({ zone }) => zone !== "high_stakes");
  const takeMany = (decision: Decision, reason: string): void => {
    setAsking(null);
    void deciding.decideMany(selected, decision, reason).then((taken) =>
      setChosen((before) => new Set([...before].filter((id) => !taken.includes(id)))),
    );
  };
  const beginMany = (decision: Decision): void => {
    if (!uniform) return;
    if (decision === "deny") setAsking({ kind: "deny_many" });
    else takeMany(decision, "");
  };
  const undo = (approval: Approval): void => {
    const wakeAt = new Date(Date.now() + UNDO_MS).toISOString();
    void deciding.decide(approval, "hold", { wakeAt });
  };
  const undoLast = (): void => {
    if (current?.status === "held") undo(current);
    else if (lastHeld !== undefined) undo(lastHeld);
  };
  const last = useCurrent(deciding.done[0]);
  const lastHeld = last?.status === "held" ? last : undefined;

  useKeys([
    { keys: "j", label: t("next"), run: () => step(1) },
    { keys: "k", label: t("previous"), run: () => step(-1) },
    { keys: "Enter", label: t("open"), run: () => (approvalId === undefined ? step(1) : document.querySelector<HTMLElement>("#approval-detail")?.focus()) },
    { keys: "e", label: t("back"), run: () => open(undefined) },
    { keys: "a", label: t("approve"), run: ({ repeat }) => !repeat && begin(current, "approve") },
    { keys: "d", label: t("deny"), run: () => begin(current, "deny") },
    { keys: "h", label: t("hold"), run: ({ repeat }) => !repeat && begin(current, "hold") },
    { keys: "u", label: t("undo_hold"), run: undoLast },
    { keys: "x", label: t("select_key"), run: () => approvalId !== undefined && toggle(approvalId) },
    { keys: "/", label: t("search"), run: () => searchBox.current?.focus() },
    ...(chosen.size === 0 ? [] : [{ keys: "Escape", label: t("select_none"), run: () => setChosen(new Set()) }]),
  ]);

  const list = (
    <>
      <div className="flex shrink-0 flex-wrap items-center gap-1 border-b px-2 py-1.5">
        <nav aria-label={t("title")} className="flex flex-wrap gap-0.5">
          {TABS.map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={each === tab}
              onClick={() => change({ tab: each })}
              className="h-7 rounded-md px-2 text-xs text-muted hover:bg-hover aria-pressed:bg-selected aria-pressed:font-medium aria-pressed:text-text pointer-coarse:h-10"
            >
              {t(TAB_KEYS[each])}
            </button>
          ))}
        </nav>
        <Input
          ref={searchBox}
          type="search"
          aria-label={t("search")}
          placeholder={t("search")}
          className="min-w-32 flex-1"
          value={q}
          onChange={(event) => change({ q: event.target.value })}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
      </div>
      {error !== null && approvals !== undefined && <ErrorLine error={error} onRetry={retry} />}
      {approvals === undefined ? (
        error === null ? (
          <Skeleton rows={12} className="flex-1" />
        ) : asProblem(error).status === 403 ? (
          <EmptyState icon={<Lock />} title={t("not_allowed")} hint={asProblem(error).detail} />
        ) : (
          <ErrorPane error={error} onRetry={retry} />
        )
      ) : shown !== undefined && shown.length > 0 ? (
        <List approvals={shown} current={approvalId} selected={chosen} busy={deciding.busy} onOpen={open} onToggle={toggle} />
      ) : (
        <div className="min-h-0 flex-1 overflow-y-auto">
          {q !== "" ? (
            <EmptyState icon={<SearchX />} title={t("no_match")} action={<Button onClick={() => change({ q: "" })}>{t("clear")}</Button>} />
          ) : tab === "pending" ? (
            <EmptyState icon={<InboxIcon />} title={t("nothing_waits")} hint={t("nothing_waits_hint")} command={ASK} />
          ) : (
            <EmptyState icon={<InboxIcon />} title={t("nothing_here")} hint={t("nothing_here_hint")} />
          )}
        </div>
      )}
      {more && <p className="shrink-0 border-t px-3 py-1.5 text-2xs text-faint">{t("newest_only", { n: MOST })}</p>}
      {selected.length > 0 && (
        <div role="toolbar" aria-label={t("selected", { n: selected.length })} data-testid="batch" className="flex shrink-0 flex-wrap items-center gap-2 border-t bg-raised p-2 text-xs">
          <span className="font-medium">{t("selected", { n: selected.length })}</span>
          {uniform ? (
            <>
              <Button look="primary" keys="a" onClick={() => beginMany("approve")}>{t("approve")}</Button>
              <Button keys="d" onClick={() => beginMany("deny")}>{t("deny")}</Button>
              <Button keys="h" onClick={() => beginMany("hold")}>{t("hold")}</Button>
            </>
          ) : (
            <span className="min-w-0 flex-1 text-muted">{t("same_only")}</span>
          )}
          <Button look="quiet" onClick={() => setChosen(new Set())}>{t("select_none")}</Button>
        </div>
      )}
      <Pane>
        <Recent ids={deciding.done} onUndo={undo} />
      </Pane>
    </>
  );
  return (
    <>
      <ScreenHeader title={t("title")}>
        {waiting !== undefined && <span className="text-xs text-muted">{t("waiting", { n: waiting })}</span>}
      </ScreenHeader>
      <Split
        name="inbox"
        initial={42}
        narrow={approvalId === undefined ? "first" : "second"}
        first={list}
        second={
          approvalId === undefined ? (
            <EmptyState icon={<ListChecks />} title={t("choose")} hint={t("choose_hint")} />
          ) : (
            <Pane key={approvalId}>
              <Detail approvalId={approvalId} known={listed} onBack={() => open(undefined)}>
                {(approval) => (
                  <Answer
                    approval={approval}
                    draft={ourDraft}
                    busy={deciding.busy.has(approvalId)}
                    refusal={deciding.refused.get(approvalId)}
                    onDraft={(changed) => setDraft({ of: approvalId, draft: changed })}
                    onDecide={(decision) => begin(approval, decision)}
                    onDismiss={() => deciding.dismiss(approvalId)}
                    onUndo={() => undo(approval)}
                  />
                )}
              </Detail>
            </Pane>
          )
        }
      />
      {asking?.kind === "deny" && (
        <ConfirmDenial
          title={t("deny_title")}
          name={nameOf(asking.approval)}
          reason={ourDraft.reason}
          onDeny={(reason) => take(asking.approval, "deny", reason)}
          onClose={() => setAsking(null)}
        />
      )}
      {asking?.kind === "deny_many" && (
        <ConfirmDenial
          title={t("deny_many", { n: selected.length })}
          name={selected.map(nameOf).join(", ")}
          reason=""
          onDeny={(reason) => takeMany("deny", reason)}
          onClose={() => setAsking(null)}
        />
      )}
      {asking?.kind === "high_stakes" && (
        <ConfirmHighStakes
          action={asking.approval.action}
          name={nameOf(asking.approval)}
          onApprove={() => take(asking.approval, "approve", ourDraft.reason)}
          onClose={() => setAsking(null)}
        />
      )}
    </>
  );
}

/** An approval as it stands; undefined while it is not known. */
function useCurrent(approvalId: string | undefined): Approval | undefined {
  return useApproval(approvalId).data?.approval;
}
