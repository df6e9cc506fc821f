import { OctagonX } from "lucide-react";

import { $api, type Schema } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { texts } from "@/shell/texts";
import { Time } from "@/ui/Time";

const POLL_MS = 4_000;

/** On every page for as long as anything is stopped. */
export function KillSwitchBanner() {
  const { data } = $api.useQuery("get", "/v1/policy/kill-switch", {}, { refetchInterval: POLL_MS });
  if (data === undefined || !data.engaged) return null;
  return (
    <div role="alert" data-testid="kill-switch-banner" className="shrink-0 bg-danger-fill text-on-accent">
      {data.switches.map((engaged) => (
        <Engaged key={`${engaged.scope}:${engaged.target}`} engaged={engaged} />
      ))}
    </div>
  );
}

function Engaged({ engaged }: { engaged: Schema["KillSwitch"] }) {
  const t = useTexts(texts);
  const what =
    engaged.scope === "workspace" || engaged.scope === "external_write"
      ? t(`kill_${engaged.scope}`)
      : t("kill_target", { scope: engaged.scope, target: engaged.target ?? "" });
  return (
    <p className="flex flex-wrap items-center gap-x-2 px-4 py-1.5 text-xs">
      <OctagonX aria-hidden className="size-4 shrink-0" />
      <strong className="font-semibold">{t("kill_on")}:</strong>
      <span>{what}</span>
      {engaged.reason !== null && <span className="truncate">“{engaged.reason}”</span>}
      <span>
        {engaged.forced ? t("kill_forced") : t("kill_by", { name: engaged.engaged_by_id ?? "?" })}{" "}
        {engaged.engaged_at !== null && <Time at={engaged.engaged_at} />}
      </span>
    </p>
  );
}
