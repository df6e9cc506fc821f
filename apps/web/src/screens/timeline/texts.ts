import { defineTexts } from "@/i18n/texts";

export const texts = defineTexts({
  title: { en: "Timeline", ko: "타임라인" },
});
