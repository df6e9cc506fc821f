import { useTexts } from "@/i18n/texts";
import { texts } from "@/screens/timeline/texts";
import { ScreenHeader } from "@/ui/ScreenHeader";

export default function TimelineScreen() {
  const t = useTexts(texts);
  return <ScreenHeader title={t("title")} />;
}
