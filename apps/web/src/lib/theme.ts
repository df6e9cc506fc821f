/** Theme of this browser: the system's unless chosen. */

import { preference } from "@/lib/preference";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

export const theme = preference<Theme>("theme", (stored) => THEMES.find((known) => known === stored) ?? "system");

function apply(): void {
  const chosen = theme.get();
  if (chosen === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = chosen;
}

/** Set the theme of the document now, and whenever it is changed. */
export function followTheme(): void {
  apply();
  theme.subscribe(apply);
}
