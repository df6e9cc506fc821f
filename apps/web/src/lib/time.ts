/** Times as people read them: local, UTC or relative, by one choice of the browser; the exact one is the tooltip. */

import { preference } from "@/lib/preference";
import type { Language } from "@/i18n/texts";

export const TIME_STYLES = ["local", "utc", "relative"] as const;
export type TimeStyle = (typeof TIME_STYLES)[number];

export const timeStyle = preference<TimeStyle>(
  "times",
  (stored) => TIME_STYLES.find((known) => known === stored) ?? "local",
);

const formats = new Map<string, Intl.DateTimeFormat>();

function format(language: Language, zone: string | undefined, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify([language, zone, options]);
  let made = formats.get(key);
  if (made === undefined) {
    made = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, {
      ...options,
      hourCycle: "h23",
      ...(zone === undefined ? {} : { timeZone: zone }),
    });
    formats.set(key, made);
  }
  return made;
}

const CLOCK: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DAY: Intl.DateTimeFormatOptions = { day: "numeric", month: "short" };

/** Time of day, with the day when it is another one than `now`. */
export function clockTime(iso: string, language: Language, style: TimeStyle, now: number): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  if (style === "relative") return relative(at.getTime(), language, now);
  const zone = style === "utc" ? "UTC" : undefined;
  const day = format(language, zone, DAY);
  const sameDay = day.format(at) === day.format(now) && Math.abs(now - at.getTime()) < 86_400_000;
  const clock = format(language, zone, CLOCK).format(at);
  return sameDay ? clock : `${day.format(at)} ${clock}`;
}

/** In full, to the millisecond, with its zone. */
export function exactTime(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().replace("T", " ").slice(0, 23);
  return `${local} (${at.toISOString()})`;
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
];
const relatives = new Map<Language, Intl.RelativeTimeFormat>();

/** "3 minutes ago", "in 2 hours". */
export function relative(at: number, language: Language, now: number): string {
  const made = relatives.get(language) ?? new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  relatives.set(language, made);
  const difference = at - now;
  const [unit, size] = STEPS.find(([, size]) => Math.abs(difference) >= size) ?? ["second", 1_000];
  return made.format(Math.trunc(difference / size), unit);
}

/** A length of time in ms: 340 ms, 2.4 s, 3 m 20 s, 5 h 3 m. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}
