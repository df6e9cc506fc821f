import { Check, Copy as CopyIcon } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { copyText } from "@/lib/clipboard";
import { IconButton } from "@/ui/Button";
import { texts } from "@/ui/texts";

/** Copies what `text` gives at the time. */
export function Copy({ text, label, icon }: { text: () => string; label?: string; icon?: ReactNode }) {
  const t = useTexts(texts);
  const [done, setDone] = useState<boolean | null>(null);
  useEffect(() => {
    if (done === null) return undefined;
    const timer = setTimeout(() => setDone(null), 1_500);
    return () => clearTimeout(timer);
  }, [done]);
  const name = label ?? t("copy");
  return (
    <>
      <IconButton
        label={name}
        icon={done === true ? <Check aria-hidden className="size-3.5 text-ok" /> : (icon ?? <CopyIcon aria-hidden className="size-3.5" />)}
        onClick={(event) => {
          event.stopPropagation();
          void copyText(text()).then(setDone);
        }}
      />
      <span role="status" className="sr-only">
        {done === null ? "" : done ? t("copied") : t("not_copied")}
      </span>
    </>
  );
}
