import { useNavigate } from "@tanstack/react-router";
import { Search } from "lucide-react";
import { type FormEvent, useCallback, useRef } from "react";

import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import { CorrelationView, EventView } from "@/screens/inspector/CorrelationView";
import { inspectorRoute } from "@/screens/inspector/route";
import { RunView } from "@/screens/inspector/RunView";
import { type InspectorSearch, searchFor, subjectOf } from "@/screens/inspector/search";
import { Start } from "@/screens/inspector/Start";
import { texts } from "@/screens/inspector/texts";
import { Button } from "@/ui/Button";
import { Input } from "@/ui/fields";
import { Pane } from "@/ui/Pane";
import { ScreenHeader } from "@/ui/ScreenHeader";

/** Changes what stands in the URL; undefined takes a member out of it. */
export type Change = (changed: { [Member in keyof InspectorSearch]: InspectorSearch[Member] | undefined }) => void;

export default function InspectorScreen() {
  const t = useTexts(texts);
  const navigate = useNavigate();
  const search = inspectorRoute.useSearch();
  const subject = subjectOf(search);
  const change = useCallback<Change>(
    (changed) => {
      void navigate({
        to: "/inspector",
        search: (before) => {
          const next = Object.entries({ ...before, ...changed }).filter(([, value]) => value !== undefined);
          return Object.fromEntries(next) as InspectorSearch;
        },
        replace: true,
      });
    },
    [navigate],
  );
  useKeys(
    search.event_id === undefined && search.item === undefined
      ? []
      : [{ keys: "Escape", label: t("close"), run: () => change(subject?.by === "event" ? {} : { event_id: undefined, item: undefined }) }],
  );
  return (
    <>
      <ScreenHeader title={t("title")} actions={subject !== null && <Button onClick={() => void navigate({ to: "/inspector", search: {} })}>{t("recent")}</Button>}>
        <Ask />
      </ScreenHeader>
      <Pane key={subject === null ? "" : subject.by + subject.id}>
        {subject === null ? (
          <Start />
        ) : subject.by === "run" ? (
          <RunView runId={subject.id} search={search} onChange={change} />
        ) : subject.by === "correlation" ? (
          <CorrelationView correlationId={subject.id} search={search} onChange={change} />
        ) : (
          <EventView eventId={subject.id} search={search} onChange={change} />
        )}
      </Pane>
    </>
  );
}

function Ask() {
  const t = useTexts(texts);
  const navigate = useNavigate();
  const field = useRef<HTMLInputElement>(null);
  useKeys([{ keys: "/", label: t("ask"), run: () => field.current?.focus() }]);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const asked = searchFor(field.current?.value ?? "");
    if (asked === null) return;
    field.current?.blur();
    void navigate({ to: "/inspector", search: asked });
  };
  return (
    <form onSubmit={submit} className="flex max-w-md min-w-0 flex-1 items-center gap-1.5">
      <Input ref={field} aria-label={t("ask")} placeholder={t("ask")} spellCheck={false} className="flex-1 font-mono" />
      <Button type="submit" icon={<Search aria-hidden className="size-3.5" />}>
        {t("inspect")}
      </Button>
    </form>
  );
}
