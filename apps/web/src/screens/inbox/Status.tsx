import { Ban, Check, CheckCheck, CircleDashed, Clock, Hourglass, Pause, TimerOff, Undo2 } from "lucide-react";
import type { ComponentType } from "react";

import { useTexts } from "@/i18n/texts";
import { duration } from "@/lib/time";
import type { Approval } from "@/screens/inbox/approvals";
import { statusKey, texts } from "@/screens/inbox/texts";
import { Badge, type Tone } from "@/ui/Badge";
import { Time, useNow } from "@/ui/Time";

const LOOKS: Record<string, [Tone, ComponentType<{ className?: string; "aria-hidden"?: boolean }>]> = {
  pending: ["warn", Hourglass],
  held: ["held", Pause],
  approved: ["ok", Check],
  consumed: ["ok", CheckCheck],
  denied: ["danger", Ban],
  revoked: ["danger", Undo2],
  expired: ["neutral", TimerOff],
};

export function StatusOf({ status }: { status: string }) {
  const t = useTexts(texts);
  const [tone, Icon] = LOOKS[status] ?? ["neutral", CircleDashed];
  return (
    <Badge tone={tone} icon={<Icon aria-hidden className="size-3" />}>
      {t(statusKey(status))}
    </Badge>
  );
}

const SOON_MS = 5 * 60_000;

/** How long it still waits, to the second. */
export function Countdown({ approval }: { approval: Approval }) {
  const t = useTexts(texts);
  const now = useNow();
  const held = approval.status === "held";
  const end = held ? approval.wake_at : approval.decide_by;
  if (end === null) return held ? null : <span className="text-2xs text-faint">{t("no_end")}</span>;
  const left = Date.parse(end) - now;
  const text = left <= 0 ? t("ending") : t(held ? "wakes_in" : "ends_in", { time: duration(Math.max(1_000, left)) });
  return (
    <span
      data-numeric
      title={end}
      className={`inline-flex items-center gap-1 text-2xs whitespace-nowrap ${!held && left < SOON_MS ? "font-medium text-danger" : "text-faint"}`}
    >
      <Clock aria-hidden className="size-3" />
      {text}
    </span>
  );
}

/** Decided, delivered, consumed: three facts, each by itself. */
export function Facts({ approval }: { approval: Approval }) {
  const t = useTexts(texts);
  const facts = [
    ["fact_decided", approval.decided_at],
    ["fact_delivered", approval.delivered_at],
    ["fact_consumed", approval.consumed_at],
  ] as const;
  return (
    <ol className="flex flex-wrap gap-x-4 gap-y-1 text-2xs" aria-label={t("facts")}>
      {facts.map(([name, at], place) => (
        <li
          key={name}
          data-fact={name.slice(5)}
          data-done={at !== null}
          className={`flex items-center gap-1 ${at === null ? "text-faint" : "text-ok"}`}
        >
          {at === null ? <CircleDashed aria-hidden className="size-3" /> : <Check aria-hidden className="size-3" />}
          <span className="font-medium">{t(name)}</span>
          {at === null ? (
            <span>{facts.slice(place + 1).some(([, later]) => later !== null) ? t("fact_never") : t("fact_not_yet")}</span>
          ) : (
            <Time at={at} />
          )}
        </li>
      ))}
    </ol>
  );
}
