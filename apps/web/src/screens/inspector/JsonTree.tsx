import { useState } from "react";

import { useTexts } from "@/i18n/texts";
import { texts } from "@/screens/inspector/texts";

const FIRST = 100;
const LONG = 2_000;

/** A JSON value to unfold; what is folded is not drawn, however deep it goes. */
export function JsonTree({ value }: { value: unknown }) {
  return (
    <div className="overflow-x-auto rounded-md border bg-sunken p-2.5 font-mono text-2xs leading-4.5">
      <Node name={null} value={value} open />
    </div>
  );
}

function Node({ name, value, open = false }: { name: string | null; value: unknown; open?: boolean }) {
  const t = useTexts(texts);
  const [isOpen, setOpen] = useState(open);
  const [shown, setShown] = useState(FIRST);
  const label = name === null ? null : <span className="text-info">{name}: </span>;
  if (typeof value !== "object" || value === null) {
    return (
      <div className="pl-3.5 break-words whitespace-pre-wrap">
        {label}
        <Leaf value={value} />
      </div>
    );
  }
  const members = Object.entries(value);
  return (
    <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="cursor-pointer rounded-sm hover:bg-hover">
        {label}
        <span className="text-faint">{Array.isArray(value) ? `[${members.length}]` : `{${members.length}}`}</span>
      </summary>
      {isOpen && (
        <div className="ml-1.5 border-l pl-2">
          {members.slice(0, shown).map(([member, each]) => (
            <Node key={member} name={member} value={each} />
          ))}
          {members.length > shown && (
            <button type="button" className="pl-3.5 text-accent hover:underline" onClick={() => setShown(shown + 10 * FIRST)}>
              {t("more_members", { n: members.length - shown })}
            </button>
          )}
        </div>
      )}
    </details>
  );
}

function Leaf({ value }: { value: unknown }) {
  const [all, setAll] = useState(false);
  const t = useTexts(texts);
  if (typeof value !== "string") return <span className={value === null ? "text-held" : "text-warn"}>{String(value)}</span>;
  const long = value.length > LONG && !all;
  return (
    <span className="text-ok">
      {JSON.stringify(long ? value.slice(0, LONG) : value)}
      {long && (
        <button type="button" className="pl-1 text-accent hover:underline" onClick={() => setAll(true)}>
          {t("show_all", { size: `${Math.ceil(value.length / 1_024)} KB` })}
        </button>
      )}
    </span>
  );
}
