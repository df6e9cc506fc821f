import { Link2, X } from "lucide-react";
import type { ReactNode } from "react";

import { useTexts } from "@/i18n/texts";
import { texts } from "@/screens/inspector/texts";
import { IconButton } from "@/ui/Button";
import { Copy } from "@/ui/Copy";
import { Pane } from "@/ui/Pane";

/** The pane beside the list, which tells all of what is selected. */
export function Detail({ title, onClose, children }: { title: string; onClose: (() => void) | null; children: ReactNode }) {
  const t = useTexts(texts);
  return (
    <aside aria-label={title} data-testid="detail" className="flex h-full min-h-0 flex-col bg-raised">
      <header className="flex h-10 shrink-0 items-center gap-0.5 border-b pr-2 pl-4">
        <h2 className="min-w-0 flex-1 truncate text-xs font-medium">{title}</h2>
        <Copy label={t("copy_link")} icon={<Link2 aria-hidden className="size-3.5" />} text={() => window.location.href} />
        {onClose !== null && <IconButton label={t("close")} icon={<X aria-hidden className="size-4" />} onClick={onClose} />}
      </header>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div id="inspected" role="region" aria-label={title} tabIndex={0} className="min-h-0 flex-1 overflow-y-auto outline-offset-[-2px]">
        <Pane>{children}</Pane>
      </div>
    </aside>
  );
}
