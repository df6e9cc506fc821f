import { expect, test } from "vitest";

import { type Phrase, type Texts, translate } from "@/i18n/texts";

const modules = import.meta.glob<{ texts: Texts }>(["../**/texts.ts", "!./texts.ts"], { eager: true });

function placeholders(phrase: Phrase): string[] {
  const whole = typeof phrase === "string" ? phrase : phrase.other;
  return [...whole.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? "").toSorted();
}

test("every text has the same placeholders in all languages", () => {
  expect(Object.keys(modules).length).toBeGreaterThan(1);
  for (const [file, { texts }] of Object.entries(modules)) {
    for (const [key, text] of Object.entries(texts)) {
      expect(placeholders(text.ko), `${file} ${key}`).toEqual(placeholders(text.en));
      expect(JSON.stringify(text.ko), `${file} ${key}`).not.toBe('""');
    }
  }
});

test("counts take the plural of their language", () => {
  const text = { en: { one: "{n} event", other: "{n} events" }, ko: "이벤트 {n}개" };
  expect(translate(text, "en", { n: 1 })).toBe("1 event");
  expect(translate(text, "en", { n: 12345 })).toBe("12,345 events");
  expect(translate(text, "ko", { n: 1 })).toBe("이벤트 1개");
});

test("what comes in is not taken for a placeholder", () => {
  const text = { en: "{name} said {name}", ko: "{name} {name}" };
  expect(translate(text, "en", { name: "{n} $& <b>" })).toBe("{n} $& <b> said {n} $& <b>");
});
