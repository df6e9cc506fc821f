/** What the command palette offers: each screen adds its own for as long as it is there. */

import { type ReactNode, useEffect, useSyncExternalStore } from "react";

export interface PageCommand {
  /** Unique on the page. */
  readonly id: string;
  readonly label: string;
  readonly icon?: ReactNode;
  /** Shown beside it; bound by useKeys. */
  readonly keys?: string;
  readonly run: () => void;
}

const groups = new Set<{ commands: readonly PageCommand[] }>();
const listeners = new Set<() => void>();
let all: readonly PageCommand[] = [];

function changed(): void {
  all = [...groups].flatMap((group) => group.commands);
  for (const listener of listeners) listener();
}

/** Offers commands; `commands` is kept by useMemo. */
export function useCommands(commands: readonly PageCommand[]): void {
  useEffect(() => {
    const group = { commands };
    groups.add(group);
    changed();
    return () => {
      groups.delete(group);
      changed();
    };
  }, [commands]);
}

export function usePageCommands(): readonly PageCommand[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => all,
  );
}
