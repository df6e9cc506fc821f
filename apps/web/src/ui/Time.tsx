import { useSyncExternalStore } from "react";

import { useLanguage } from "@/i18n/texts";
import { clockTime, exactTime, timeStyle } from "@/lib/time";

const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) {
    now = Date.now();
    timer = setInterval(() => {
      now = Date.now();
      for (const each of listeners) each();
    }, 1_000);
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) clearInterval(timer);
  };
}

/** The time, to the second, kept up to date by one timer for the whole page. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

const still = () => () => undefined;

/** A moment, in the style that the browser's user chose; the exact one is its tooltip. */
export function Time({ at, className }: { at: string; className?: string }) {
  const language = useLanguage();
  const style = useSyncExternalStore(timeStyle.subscribe, timeStyle.get);
  // Only relative times change by themselves: thousands of rows need not be told of every second.
  const moment = useSyncExternalStore(style === "relative" ? subscribe : still, () => now);
  return (
    <time dateTime={at} title={exactTime(at)} className={className}>
      {clockTime(at, language, style, moment)}
    </time>
  );
}
