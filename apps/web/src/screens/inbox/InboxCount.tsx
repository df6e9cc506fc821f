import { useTexts } from "@/i18n/texts";
import { useWaiting } from "@/screens/inbox/approvals";
import { texts } from "@/screens/inbox/texts";
import { CountBadge } from "@/ui/CountBadge";

/** How many approvals wait for a person, beside the inbox's name. */
export function InboxCount() {
  const t = useTexts(texts);
  const count = useWaiting() ?? 0;
  return <CountBadge count={count} label={t("waiting", { n: count })} />;
}
