import { useTexts } from "@/i18n/texts";
import { activeBindings } from "@/lib/keys";
import { texts } from "@/shell/texts";
import { Dialog } from "@/ui/Dialog";
import { Keys } from "@/ui/Keys";

/** All keys that do something on this page now. */
export function KeySheet({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const t = useTexts(texts);
  const seen = new Set<string>();
  const listed = activeBindings().filter(({ keys, label }) => {
    if (label === undefined || seen.has(keys)) return false;
    seen.add(keys);
    return true;
  });
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={t("keys")} description={t("keys_hint")} wide>
      <dl className="grid gap-x-8 gap-y-1.5 sm:grid-cols-2">
        {listed.map((binding) => (
          <div key={binding.keys} className="flex items-center justify-between gap-3 text-xs">
            <dt className="text-muted">{binding.label}</dt>
            <dd>
              <span className="sr-only">{binding.keys}</span>
              <Keys keys={binding.keys} />
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
