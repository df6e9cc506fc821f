import { useEffect, useRef } from "react";

import { useTexts } from "@/i18n/texts";
import type { Approval } from "@/screens/inbox/approvals";
import { Countdown, StatusOf } from "@/screens/inbox/Status";
import { texts } from "@/screens/inbox/texts";
import { Badge } from "@/ui/Badge";
import { Time } from "@/ui/Time";

export function nameOf(approval: Approval): string {
  return approval.title ?? approval.action;
}

/** The approvals of a tab, one below the other. */
export function List({ approvals, current, selected, busy, onOpen, onToggle }: {
  approvals: readonly Approval[];
  current: string | undefined;
  selected: ReadonlySet<string>;
  busy: ReadonlySet<string>;
  onOpen: (approvalId: string) => void;
  onToggle: (approvalId: string) => void;
}) {
  const t = useTexts(texts);
  return (
    <ul aria-label={t("list")} data-testid="approvals" className="min-h-0 flex-1 divide-y overflow-y-auto">
      {approvals.map((approval) => (
        <Row
          key={approval.approval_id}
          approval={approval}
          current={approval.approval_id === current}
          selected={selected.has(approval.approval_id)}
          busy={busy.has(approval.approval_id)}
          onOpen={onOpen}
          onToggle={onToggle}
        />
      ))}
    </ul>
  );
}

function Row({ approval, current, selected, busy, onOpen, onToggle }: {
  approval: Approval;
  current: boolean;
  selected: boolean;
  busy: boolean;
  onOpen: (approvalId: string) => void;
  onToggle: (approvalId: string) => void;
}) {
  const t = useTexts(texts);
  const row = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (current) row.current?.scrollIntoView({ block: "nearest" });
  }, [current]);
  const id = approval.approval_id;
  return (
    <li
      ref={row}
      data-approval={id}
      data-status={approval.status}
      className={`relative flex items-start gap-1 pr-3 hover:bg-hover ${current ? "bg-selected" : selected ? "bg-accent-soft" : ""}`}
    >
      <label className="relative z-10 grid h-9 w-9 shrink-0 place-items-center pointer-coarse:h-11">
        <input
          type="checkbox"
          className="size-3.5 accent-(--accent-fill)"
          checked={selected}
          onChange={() => onToggle(id)}
          aria-label={t("select", { title: nameOf(approval) })}
        />
      </label>
      <button
        type="button"
        aria-current={current ? "true" : undefined}
        aria-busy={busy || undefined}
        onClick={() => onOpen(id)}
        className="min-w-0 flex-1 space-y-1 py-2 text-left after:absolute after:inset-0"
      >
        <span className="flex items-center gap-2">
          <span className="min-w-0 flex-1 truncate font-medium">{nameOf(approval)}</span>
          {busy ? <Badge className="animate-breathe">{t("busy")}</Badge> : <StatusOf status={approval.status} />}
        </span>
        <span className="flex items-center gap-2 text-xs text-muted">
          <span className="min-w-0 flex-1 truncate">
            <span className="font-mono text-2xs">{approval.action}</span> · {approval.requested_by_id}
          </span>
          {approval.zone === "high_stakes" && <Badge tone="danger">high_stakes</Badge>}
          {approval.status === "pending" || approval.status === "held" ? (
            <Countdown approval={approval} />
          ) : (
            <Time at={approval.decided_at ?? approval.updated_at} className="text-2xs text-faint" />
          )}
        </span>
      </button>
    </li>
  );
}
