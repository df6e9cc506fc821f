import { ListFilter, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import type { Event } from "@/live/connection";
import { isFiltered, type TimelineSearch } from "@/screens/timeline/search";
import { texts } from "@/screens/timeline/texts";
import { Button } from "@/ui/Button";
import { Input } from "@/ui/fields";
import { Menu, MenuCheck, MenuChoices } from "@/ui/Menu";

const ZONES = ["sandbox", "supervised", "high_stakes"];
const TYPING_MS = 250;

export type Change = (change: Partial<Record<keyof TimelineSearch, string | 0 | undefined>>) => void;

function several(values: Iterable<string>): string[] {
  return [...new Set(values)].toSorted();
}

/** What is shown of the room: kept in the URL. */
export function FilterBar({ search, onChange, events }: {
  search: TimelineSearch;
  onChange: Change;
  events: readonly Event[];
}) {
  const t = useTexts(texts);
  const chosen = search.types?.split(",") ?? [];
  const toggle = (type: string, on: boolean): void => {
    const next = on ? [...chosen, type] : chosen.filter((each) => each !== type);
    onChange({ types: next.length === 0 ? undefined : next.join(",") });
  };
  const any = { value: "", label: t("any") };
  return (
    <div className="flex shrink-0 flex-wrap items-center gap-1.5 border-b bg-bg px-4 py-1.5" role="search" aria-label={t("filter")}>
      <TextFilter value={search.q ?? ""} onChange={(q) => onChange({ q: q === "" ? undefined : q })} />
      <Menu trigger={<Trigger label={t("types")} count={chosen.length} />}>
        <TypeChecks chosen={chosen} events={events} onToggle={toggle} />
      </Menu>
      <Menu trigger={<Trigger label={t("actor")} chosen={search.actor} />}>
        <ActorChoices chosen={search.actor} events={events} onChange={(actor) => onChange({ actor })} />
      </Menu>
      <Menu trigger={<Trigger label={t("zone")} chosen={search.zone} />}>
        <MenuChoices
          value={search.zone ?? ""}
          onChange={(zone) => onChange({ zone: zone === "" ? undefined : zone })}
          choices={[any, ...ZONES.map((value) => ({ value, label: value }))]}
        />
      </Menu>
      {search.run !== undefined && <Chip name={t("run")} value={search.run} onRemove={() => onChange({ run: undefined })} />}
      {search.correlation !== undefined && (
        <Chip name={t("correlation")} value={search.correlation} onRemove={() => onChange({ correlation: undefined })} />
      )}
      {isFiltered(search) && (
        <Button
          look="quiet"
          onClick={() =>
            onChange({ types: undefined, actor: undefined, run: undefined, correlation: undefined, zone: undefined, q: undefined })
          }
        >
          {t("clear_filters")}
        </Button>
      )}
      <span className="flex-1" />
      <label className="flex items-center gap-1.5 text-xs text-muted">
        <input
          type="checkbox"
          className="accent-accent-fill"
          checked={search.fold !== 0}
          onChange={(event) => onChange({ fold: event.target.checked ? undefined : 0 })}
        />
        {t("fold")}
      </label>
    </div>
  );
}

// Components of their own, since what they list is looked for in thousands of events: once they are opened.

function TypeChecks({ chosen, events, onToggle }: {
  chosen: readonly string[];
  events: readonly Event[];
  onToggle: (type: string, on: boolean) => void;
}) {
  return several([...chosen, ...events.map(({ event_type }) => event_type)]).map((type) => (
    <MenuCheck key={type} checked={chosen.includes(type)} onChange={(on) => onToggle(type, on)}>
      <span className="font-mono">{type}</span>
    </MenuCheck>
  ));
}

function ActorChoices({ chosen, events, onChange }: {
  chosen: string | undefined;
  events: readonly Event[];
  onChange: (actor: string | undefined) => void;
}) {
  const t = useTexts(texts);
  const actors = several([...(chosen === undefined ? [] : [chosen]), ...events.map(({ actor_id }) => actor_id)]);
  return (
    <MenuChoices
      value={chosen ?? ""}
      onChange={(actor) => onChange(actor === "" ? undefined : actor)}
      choices={[{ value: "", label: t("any") }, ...actors.map((value) => ({ value, label: value }))]}
    />
  );
}

function TextFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const t = useTexts(texts);
  const field = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onChange(text.trim()), TYPING_MS);
    return () => clearTimeout(timer);
    // Only typing starts the wait.
    // oxlint-disable-next-line react/exhaustive-deps
  }, [text]);
  useKeys([{ keys: "/", label: t("search"), run: () => field.current?.focus() }]);
  return (
    <Input
      ref={field}
      type="search"
      value={text}
      aria-label={t("filter")}
      placeholder={t("filter")}
      onChange={(event) => setText(event.target.value)}
      onKeyDown={(event) => event.key === "Escape" && field.current?.blur()}
      className="w-44"
    />
  );
}

function Trigger({ label, chosen, count, ...rest }: { label: string; chosen?: string | undefined; count?: number }) {
  const on = chosen !== undefined || (count ?? 0) > 0;
  return (
    <Button
      {...rest}
      look={on ? "plain" : "quiet"}
      className={on ? "border-accent! text-accent" : ""}
      icon={<ListFilter aria-hidden className="size-3.5" />}
    >
      {label}
      {chosen !== undefined && <span className="max-w-32 truncate">: {chosen}</span>}
      {(count ?? 0) > 0 && <span>: {count}</span>}
    </Button>
  );
}

function Chip({ name, value, onRemove }: { name: string; value: string; onRemove: () => void }) {
  const t = useTexts(texts);
  return (
    <span className="flex h-7 items-center gap-1 rounded-md border border-accent pl-2 text-xs text-accent">
      {name}
      <span className="max-w-36 truncate font-mono text-2xs">{value}</span>
      <button type="button" className="grid size-6 place-items-center" aria-label={t("remove_filter", { name })} onClick={onRemove}>
        <X aria-hidden className="size-3.5" />
      </button>
    </span>
  );
}
