import { CircleDot, History, LoaderCircle, RotateCw, WifiOff } from "lucide-react";

import { useTexts } from "@/i18n/texts";
import type { Link } from "@/live/connection";
import { texts } from "@/screens/timeline/texts";
import { Badge, type Tone } from "@/ui/Badge";
import { IconButton } from "@/ui/Button";
import { useNow } from "@/ui/Time";

const LOOKS: Record<Link["kind"], { tone: Tone; icon: typeof CircleDot }> = {
  connecting: { tone: "neutral", icon: LoaderCircle },
  replaying: { tone: "info", icon: History },
  live: { tone: "ok", icon: CircleDot },
  reconnecting: { tone: "warn", icon: LoaderCircle },
  offline: { tone: "danger", icon: WifiOff },
};

/** How the live feed is. */
export function LinkBadge({ link, onRetry }: { link: Link; onRetry: () => void }) {
  const t = useTexts(texts);
  const { tone, icon: Icon } = LOOKS[link.kind];
  return (
    <span className="flex items-center gap-0.5" data-testid="link-state" data-state={link.kind}>
      <Badge tone={tone} icon={<Icon aria-hidden className="size-3" />}>
        {link.kind === "reconnecting" ? (
          <Countdown at={link.at} />
        ) : link.kind === "replaying" ? (
          t("link_replaying", { n: link.from })
        ) : (
          t(`link_${link.kind}`)
        )}
      </Badge>
      {link.kind === "reconnecting" && (
        <IconButton label={t("retry_now")} icon={<RotateCw aria-hidden className="size-3.5" />} onClick={onRetry} />
      )}
    </span>
  );
}

function Countdown({ at }: { at: number }) {
  const t = useTexts(texts);
  const now = useNow();
  return <>{t("link_reconnecting", { n: Math.max(0, Math.ceil((at - now) / 1_000)) })}</>;
}
