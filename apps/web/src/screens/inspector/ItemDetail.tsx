import type { ReactNode } from "react";

import { useTexts } from "@/i18n/texts";
import { duration } from "@/lib/time";
import { Fact, Facts, IdFact, Section, State } from "@/screens/inspector/parts";
import type { Attempt, Run, Step, ToolCall } from "@/screens/inspector/reading";
import { texts } from "@/screens/inspector/texts";
import { Json } from "@/ui/Json";
import { Time } from "@/ui/Time";

interface Values {
  readonly input: object;
  readonly output: object | null;
  readonly error: object | null;
}

/** What went in, what came out, and what went wrong. */
function InAndOut({ of, name }: { of: Values; name: string }) {
  const t = useTexts(texts);
  const parts = [
    ["error", of.error],
    ["input", of.input],
    ["output", of.output],
  ] as const;
  return parts.map(([part, value]) =>
    value === null || Object.keys(value).length === 0 ? null : (
      <Section key={part} title={t(part)}>
        <Json value={value} name={`${name}-${part}`} />
      </Section>
    ),
  );
}

function Body({ title, children }: { title: string | null; children: ReactNode }) {
  return (
    <div className="space-y-4 p-4">
      {title !== null && <p className="text-sm font-medium break-words">{title}</p>}
      {children}
    </div>
  );
}

function Span({ from, to }: { from: string; to: string | null }) {
  const t = useTexts(texts);
  return (
    <>
      <Fact name={t("started")}>
        <Time at={from} />
      </Fact>
      {to !== null && (
        <Fact name={t("ended")}>
          <Time at={to} /> <span className="text-faint">{t("took", { time: duration(Date.parse(to) - Date.parse(from)) })}</span>
        </Fact>
      )}
    </>
  );
}

export function RunDetail({ run }: { run: Run }) {
  const t = useTexts(texts);
  return (
    <Body title={run.goal}>
      <Facts>
        <Fact name={t("status")}>
          <State status={run.status} />
        </Fact>
        <Fact name={t("created")}>
          <Time at={run.created_at} />
        </Fact>
        {run.started_at !== null && <Span from={run.started_at} to={run.ended_at} />}
        <Fact name={t("zone")}>{run.zone}</Fact>
        {run.tags.length > 0 && <Fact name={t("tags")}>{run.tags.join(", ")}</Fact>}
        <IdFact name={t("id")} value={run.run_id} />
        <IdFact name={t("correlation")} value={run.correlation_id} />
      </Facts>
      <InAndOut of={run} name={run.run_id} />
    </Body>
  );
}

export function StepDetail({ step, calls, onSelect }: {
  step: Step;
  calls: readonly ToolCall[];
  onSelect: (id: string) => void;
}) {
  const t = useTexts(texts);
  return (
    <Body title={step.title}>
      <Facts>
        <Fact name={t("status")}>
          <State status={step.status} />
        </Fact>
        <Fact name={t("kind")}>{step.kind}</Fact>
        <Span from={step.created_at} to={step.status === "running" ? null : step.updated_at} />
        <IdFact name={t("id")} value={step.step_id} />
      </Facts>
      <InAndOut of={step} name={step.step_id} />
      {calls.length > 0 && (
        <Section title={t("tool_calls")}>
          <ul className="divide-y overflow-hidden rounded-md border">
            {calls.map((call) => (
              <li key={call.tool_call_id}>
                <button
                  type="button"
                  onClick={() => onSelect(call.tool_call_id)}
                  className="flex h-8 w-full items-center gap-2 px-2 text-left text-xs hover:bg-hover"
                >
                  <span className="min-w-0 flex-1 truncate">{call.title ?? call.tool_name}</span>
                  <State status={call.status} />
                </button>
              </li>
            ))}
          </ul>
        </Section>
      )}
    </Body>
  );
}

export function ToolCallDetail({ call }: { call: ToolCall }) {
  const t = useTexts(texts);
  return (
    <Body title={call.title}>
      <Facts>
        <Fact name={t("status")}>
          <State status={call.status} />
        </Fact>
        <Fact name={t("tool_call")}>
          <span className="font-mono text-2xs">{call.tool_name}</span>
        </Fact>
        <Span from={call.started_at} to={call.ended_at} />
        <IdFact name={t("id")} value={call.tool_call_id} />
        <IdFact name={t("step")} value={call.step_id} />
      </Facts>
      <InAndOut of={call} name={call.tool_call_id} />
    </Body>
  );
}

export function AttemptDetail({ attempt }: { attempt: Attempt }) {
  const t = useTexts(texts);
  return (
    <Body title={`${t("attempt_name")} ${attempt.attempt_no}`}>
      <Facts>
        <Fact name={t("held_by")}>{attempt.claimed_by_actor_id}</Fact>
        <Span from={attempt.claimed_at} to={attempt.released_at} />
        {attempt.release_reason !== null && <Fact name={t("reason")}>{attempt.release_reason}</Fact>}
        <IdFact name={t("id")} value={attempt.run_attempt_id} />
      </Facts>
    </Body>
  );
}
