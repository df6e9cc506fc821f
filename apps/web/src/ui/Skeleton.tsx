import clsx from "clsx";

import { useTexts } from "@/i18n/texts";
import { texts } from "@/ui/texts";

const WIDTHS = ["w-7/12", "w-9/12", "w-5/12", "w-8/12", "w-6/12", "w-10/12"];

/** Lines where text will be. */
export function Skeleton({ rows = 6, className }: { rows?: number; className?: string }) {
  const t = useTexts(texts);
  return (
    <div role="status" aria-label={t("loading")} className={clsx("animate-fade space-y-3 p-4", className)}>
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} className="flex animate-breathe items-center gap-3">
          <div className="h-3 w-14 rounded-sm bg-hover" />
          <div className={clsx("h-3 rounded-sm bg-hover", WIDTHS[row % WIDTHS.length])} />
        </div>
      ))}
    </div>
  );
}
