import clsx from "clsx";
import { CircleAlert, CircleCheck, CircleDashed, CircleX } from "lucide-react";
import { Popover } from "radix-ui";

import { useTexts } from "@/i18n/texts";
import { type Phase, POLL_S, useSystemHealth } from "@/shell/health";
import { texts } from "@/shell/texts";
import { Time } from "@/ui/Time";

const LOOKS: Record<Phase, { className: string; icon: typeof CircleCheck }> = {
  unknown: { className: "text-faint", icon: CircleDashed },
  starting: { className: "text-info", icon: CircleDashed },
  healthy: { className: "text-ok", icon: CircleCheck },
  degraded: { className: "text-warn", icon: CircleAlert },
  fatal: { className: "text-danger", icon: CircleX },
  stopped: { className: "text-muted", icon: CircleX },
  unreachable: { className: "text-danger", icon: CircleX },
};

/** The system's state in one word; what it is made of on demand. */
export function StatusBadge() {
  const t = useTexts(texts);
  const health = useSystemHealth();
  const { className, icon: Icon } = LOOKS[health.phase];
  return (
    <Popover.Root>
      <Popover.Trigger
        data-testid="system-status"
        data-phase={health.phase}
        className="flex h-8 w-full items-center gap-2 rounded-md px-2 text-xs text-muted hover:bg-hover pointer-coarse:h-10"
      >
        <Icon aria-hidden className={clsx("size-4 shrink-0", className, health.phase === "starting" && "animate-breathe")} />
        <span role="status" className="truncate">
          {t(`health_${health.phase}`)}
        </span>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          side="top"
          align="start"
          sideOffset={6}
          collisionPadding={8}
          aria-label={t("health_title")}
          data-nonmodal
          className="z-50 w-80 animate-in rounded-lg border bg-raised p-1 shadow-pop"
        >
          <p className="px-2.5 pt-2 pb-1.5 text-xs font-semibold">{t("health_title")}</p>
          <ul className="pb-1">
            {health.components.map((component) => (
              <li key={component.name} className="flex items-start gap-2 px-2.5 py-1 text-xs">
                {component.ok ? (
                  <CircleCheck aria-hidden className="mt-0.5 size-3.5 shrink-0 text-ok" />
                ) : (
                  <CircleAlert aria-hidden className="mt-0.5 size-3.5 shrink-0 text-warn" />
                )}
                <span className="w-20 shrink-0 font-medium">{component.name}</span>
                <span className="min-w-0 break-words text-muted">
                  {component.ok ? t("health_ok") : (component.detail ?? "")}
                  {(component.restarts ?? 0) > 0 && ` · ${t("health_restarts", { n: component.restarts ?? 0 })}`}
                  {component.nextRestartAt != null && (
                    <>
                      {" · "}
                      <Time at={component.nextRestartAt} />
                    </>
                  )}
                </span>
              </li>
            ))}
          </ul>
          <p className="border-t px-2.5 py-2 text-2xs text-faint">{t("health_retrying", { n: POLL_S })}</p>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
