import { Tabs } from "radix-ui";
import type { ReactNode } from "react";

import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import type { View } from "@/screens/inspector/search";
import { texts } from "@/screens/inspector/texts";
import { Pane } from "@/ui/Pane";

export interface ViewTab {
  readonly view: View;
  readonly label: string;
  readonly count?: number | undefined;
  readonly content: ReactNode;
}

/** Ways to look at one thing, one of them at a time. */
export function Views({ tabs, view, onChange }: { tabs: readonly ViewTab[]; view: View; onChange: (view: View) => void }) {
  const t = useTexts(texts);
  const go = (by: 1 | -1): void => {
    const at = tabs.findIndex((tab) => tab.view === view);
    const next = tabs[(at + by + tabs.length) % tabs.length];
    if (next !== undefined) onChange(next.view);
  };
  useKeys([
    { keys: "]", label: t("next_view"), run: () => go(1) },
    { keys: "[", label: t("previous_view"), run: () => go(-1) },
  ]);
  return (
    <Tabs.Root value={view} onValueChange={(chosen) => onChange(chosen as View)} className="flex min-h-0 flex-1 flex-col">
      <Tabs.List aria-label={t("view")} className="flex h-9 shrink-0 items-stretch gap-1 overflow-x-auto border-b px-2">
        {tabs.map((tab) => (
          <Tabs.Trigger
            key={tab.view}
            value={tab.view}
            className="inline-flex items-center gap-1.5 border-b-2 border-transparent px-2 text-xs font-medium whitespace-nowrap text-muted outline-offset-[-3px] hover:text-text data-[state=active]:border-accent data-[state=active]:text-text"
          >
            {tab.label}
            {tab.count !== undefined && (
              <span data-numeric className="text-2xs text-faint">
                {tab.count}
              </span>
            )}
          </Tabs.Trigger>
        ))}
      </Tabs.List>
      {tabs.map((tab) => (
        <Tabs.Content key={tab.view} value={tab.view} tabIndex={-1} className="flex min-h-0 flex-1 flex-col outline-none data-[state=inactive]:hidden">
          <Pane>{tab.view === view && tab.content}</Pane>
        </Tabs.Content>
      ))}
    </Tabs.Root>
  );
}
