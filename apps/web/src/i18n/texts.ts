/** Texts in the languages of the UI. Each screen keeps its own beside it, in `texts.ts`; a language left out is an error. */

import { useSyncExternalStore } from "react";

import { preference } from "@/lib/preference";

export const LANGUAGES = { en: "English", ko: "한국어" } as const;
export type Language = keyof typeof LANGUAGES;

/** Plural forms: `{ one: "{n} event", other: "{n} events" }`; which one is told by the argument `n`. */
export type Phrase = string | { readonly one?: string; readonly other: string };
export type Text = Readonly<Record<Language, Phrase>>;
export type Texts = Readonly<Record<string, Text>>;
export type Arguments = Readonly<Record<string, string | number>>;
export type Translate<T extends Texts> = (key: keyof T & string, values?: Arguments) => string;

export const language = preference<Language>("language", (stored) => {
  const asked = stored ?? navigator.language.slice(0, 2);
  return asked in LANGUAGES ? (asked as Language) : "en";
});

export function defineTexts<T extends Texts>(texts: T): T {
  return texts;
}

const rules = new Map<Language, Intl.PluralRules>();
const numbers = new Map<Language, Intl.NumberFormat>();

function made<T>(kept: Map<Language, T>, language: Language, make: () => T): T {
  const found = kept.get(language) ?? make();
  kept.set(language, found);
  return found;
}

/** A number as the language writes it: 12,345. */
export function number(language: Language, value: number): string {
  return made(numbers, language, () => new Intl.NumberFormat(language)).format(value);
}

export function translate(text: Text, language: Language, values: Arguments = {}): string {
  const phrase = text[language];
  let chosen: string;
  if (typeof phrase === "string") chosen = phrase;
  else {
    const form = made(rules, language, () => new Intl.PluralRules(language)).select(Number(values["n"] ?? 0));
    chosen = form === "one" && phrase.one !== undefined ? phrase.one : phrase.other;
  }
  return chosen.replaceAll(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(language, value) : value;
  });
}

export function useLanguage(): Language {
  return useSyncExternalStore(language.subscribe, language.get);
}

/** `const t = useTexts(texts); t("waiting", { n: 3 })` */
export function useTexts<T extends Texts>(texts: T): Translate<T> {
  const chosen = useLanguage();
  return (key, values) => {
    const text = texts[key];
    return text === undefined ? key : translate(text, chosen, values);
  };
}
