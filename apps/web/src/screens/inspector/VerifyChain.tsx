import { useQuery } from "@tanstack/react-query";
import { ShieldAlert, ShieldCheck } from "lucide-react";
import { useEffect, useRef, useState } from "react";

import { api } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { Section } from "@/screens/inspector/parts";
import { texts } from "@/screens/inspector/texts";
import { asking, type Verdict, verifyStream } from "@/screens/inspector/verify";
import { Button } from "@/ui/Button";
import { ErrorLine } from "@/ui/Pane";

/** Whether a stream is what was recorded, said in words. */
export function VerifyChain({ streamType, streamId, onSelect }: {
  streamType: string;
  streamId: string;
  onSelect: (eventId: string) => void;
}) {
  const t = useTexts(texts);
  const [verdict, setVerdict] = useState<Verdict | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const verify = async (): Promise<void> => {
    stop.current?.abort();
    const controller = new AbortController();
    stop.current = controller;
    setBusy(true);
    setError(null);
    setVerdict(null);
    try {
      await verifyStream(asking(streamType, streamId), setVerdict, controller.signal);
    } catch (caught) {
      if (!controller.signal.aborted) setError(caught);
    } finally {
      if (!controller.signal.aborted) setBusy(false);
    }
  };
  return (
    <Section title={t("chain")}>
      <div className="overflow-hidden rounded-md border">
        <div className="flex items-center gap-3 p-2.5">
          <p className="min-w-0 flex-1 text-xs break-words text-muted">{t("chain_hint", { stream: streamId })}</p>
          <Button data-testid="verify" icon={<ShieldCheck aria-hidden className="size-3.5" />} busy={busy} onClick={() => void verify()}>
            {t("verify")}
          </Button>
        </div>
        {error !== null && <ErrorLine error={error} onRetry={() => void verify()} />}
        <div role="status" data-testid="verdict">
          {verdict !== null && <Words verdict={verdict} onSelect={onSelect} />}
        </div>
      </div>
    </Section>
  );
}

function Words({ verdict, onSelect }: { verdict: Verdict; onSelect: (eventId: string) => void }) {
  const t = useTexts(texts);
  const { mismatch } = verdict;
  if (!verdict.done) {
    return <p className="border-t p-2.5 text-xs text-muted">{t("verifying", { n: verdict.checked, most: verdict.length })}</p>;
  }
  if (mismatch === null) {
    return (
      <p className="flex items-start gap-2 border-t bg-ok-soft p-2.5 text-xs text-ok">
        <ShieldCheck aria-hidden className="mt-px size-4 shrink-0" />
        <span>
          {t("holds", { n: verdict.checked })}
          {verdict.redacted > 0 && ` ${t("holds_redacted", { n: verdict.redacted })}`}
        </span>
      </p>
    );
  }
  const { event_id } = mismatch;
  return (
    <div className="flex items-start gap-2 border-t bg-danger-soft p-2.5 text-xs text-danger">
      <ShieldAlert aria-hidden className="mt-px size-4 shrink-0" />
      <p className="min-w-0 flex-1">
        <strong className="font-semibold">{t("broken", { at: mismatch.stream_seq })}</strong> {mismatch.detail}{" "}
        <span className="font-mono text-2xs">{mismatch.kind}</span>{" "}
        {event_id !== null && (
          <button type="button" className="underline" onClick={() => onSelect(event_id)}>
            {t("show_event")}
          </button>
        )}
      </p>
    </div>
  );
}

/** What was found in an event and replaced before it was stored. */
export function Redactions({ eventId, level }: { eventId: string; level: string }) {
  const t = useTexts(texts);
  const found = useQuery({
    queryKey: ["inspector", "redactions", eventId],
    queryFn: async () => {
      const { data } = await api.GET("/v1/audit/redactions", { params: { query: { event_id: eventId, limit: 200 } } });
      return data?.redactions ?? [];
    },
  });
  if (found.error !== null) return <ErrorLine error={found.error} onRetry={() => void found.refetch()} />;
  if (found.data === undefined) return null;
  return (
    <Section title={t("redacted")}>
      {found.data.length === 0 ? (
        <p className="text-xs text-faint">{level === "none" ? t("not_redacted") : level}</p>
      ) : (
        <ul data-testid="redactions" className="divide-y rounded-md border">
          {found.data.map((each) => (
            <li key={each.redaction_log_id} className="flex items-center gap-2 px-2.5 py-1.5 text-xs">
              <span className="font-medium">{each.rule_id}</span>
              <code className="min-w-0 flex-1 truncate font-mono text-2xs text-muted">{each.match_preview}</code>
              <span className="text-2xs text-faint">{each.detector_version}</span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}
