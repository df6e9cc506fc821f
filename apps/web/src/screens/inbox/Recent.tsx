import { Link } from "@tanstack/react-router";

import { useTexts } from "@/i18n/texts";
import type { Approval } from "@/screens/inbox/approvals";
import { useApproval } from "@/screens/inbox/Detail";
import { nameOf } from "@/screens/inbox/List";
import { Facts, StatusOf } from "@/screens/inbox/Status";
import { texts } from "@/screens/inbox/texts";

/** What was decided on this page a moment ago, and what becomes of it. */
export function Recent({ ids, onUndo }: { ids: readonly string[]; onUndo: (approval: Approval) => void }) {
  const t = useTexts(texts);
  if (ids.length === 0) return null;
  return (
    <section aria-label={t("decided_now")} className="max-h-48 shrink-0 overflow-y-auto border-t bg-sunken">
      <h2 className="px-3 pt-2 text-2xs font-medium text-muted">{t("decided_now")}</h2>
      <ul data-testid="recent" role="log" aria-label={t("decided_now")} className="divide-y">
        {ids.map((id) => (
          <Decided key={id} approvalId={id} onUndo={onUndo} />
        ))}
      </ul>
    </section>
  );
}

function Decided({ approvalId, onUndo }: { approvalId: string; onUndo: (approval: Approval) => void }) {
  const t = useTexts(texts);
  const approval = useApproval(approvalId).data?.approval;
  if (approval === undefined) return null;
  return (
    <li data-decided={approvalId} className="space-y-1 px-3 py-2 text-xs">
      <div className="flex items-center gap-2">
        <Link
          to="/approvals/$approvalId"
          params={{ approvalId }}
          search={(before) => before}
          className="min-w-0 flex-1 truncate hover:underline"
        >
          {nameOf(approval)}
        </Link>
        {approval.status === "held" && (
          <button type="button" className="font-medium text-accent underline" onClick={() => onUndo(approval)}>
            {t("undo")}
          </button>
        )}
        <StatusOf status={approval.status} />
      </div>
      {approval.decided_at !== null && approval.status !== "held" && <Facts approval={approval} />}
    </li>
  );
}
