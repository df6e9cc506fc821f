import { Download } from "lucide-react";
import { useMemo, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { Button } from "@/ui/Button";
import { Copy } from "@/ui/Copy";
import { texts } from "@/ui/texts";

const PREVIEW = 10 * 1_024;
const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;
const BASE64 = /^[A-Za-z0-9+/_-]{200,}={0,2}$/;

/** JSON as text, with what is only bulk left out: long base64 is told by its length. */
export function jsonText(value: unknown): string {
  return JSON.stringify(
    value,
    (_, each: unknown) =>
      typeof each === "string" && BASE64.test(each) ? `${each.slice(0, 24)}… (${each.length} base64)` : each,
    2,
  );
}

function coloured(text: string): React.ReactNode[] {
  const parts: React.ReactNode[] = [];
  let last = 0;
  for (const match of text.matchAll(TOKENS)) {
    const [whole, quoted, colon, word] = match;
    if (match.index > last) parts.push(text.slice(last, match.index));
    const className =
      quoted === undefined ? (word === undefined ? "text-warn" : "text-held") : colon === undefined ? "text-ok" : "text-info";
    parts.push(
      <span key={match.index} className={className}>
        {quoted ?? whole}
      </span>,
      colon ?? "",
    );
    last = match.index + whole.length;
  }
  parts.push(text.slice(last));
  return parts;
}

/** A value as JSON: the beginning of what is large, all of it on demand, and as a file. */
export function Json({ value, name }: { value: unknown; name: string }) {
  const t = useTexts(texts);
  const [all, setAll] = useState(false);
  const text = useMemo(() => jsonText(value) ?? "null", [value]);
  const long = text.length > PREVIEW;
  const shown = useMemo(() => coloured(all || !long ? text : text.slice(0, PREVIEW)), [text, all, long]);
  const download = (): void => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
    link.download = `${name}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <div className="group relative rounded-md border bg-sunken">
      <div className="absolute top-1 right-1 flex bg-sunken">
        <Copy text={() => JSON.stringify(value, null, 2)} />
        <Button
          look="quiet"
          className="w-7 px-0!"
          aria-label={t("download")}
          title={t("download")}
          icon={<Download aria-hidden className="size-3.5" />}
          onClick={download}
        />
      </div>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre tabIndex={0} className="max-h-[60vh] overflow-auto p-3 font-mono text-2xs leading-4.5 break-words whitespace-pre-wrap">
        {shown}
        {long && !all && "…"}
      </pre>
      {long && !all && (
        <div className="border-t p-1.5">
          <Button look="quiet" onClick={() => setAll(true)}>
            {t("show_all", { size: `${Math.round(text.length / 1_024)} KB` })}
          </Button>
        </div>
      )}
    </div>
  );
}
