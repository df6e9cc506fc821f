import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, Pause, RotateCw } from "lucide-react";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import type { RoomLog, Snapshot } from "@/live/room_log";
import { type RowActions, TimelineRow } from "@/screens/timeline/EventRow";
import type { Row } from "@/screens/timeline/rows";
import { texts } from "@/screens/timeline/texts";
import { Button } from "@/ui/Button";

const ROW = 29;
/** Closer to the end than this counts as being there. */
const AT_END = 24;
const ANNOUNCE_MS = 3_000;

/**
 * The events, drawn where they are looked at. At the end it follows; scrolled up it pauses, and nothing that is shown
 * moves until it is resumed.
 */
export function EventList({ rows, log, snapshot, selected, actions }: {
  rows: readonly Row[];
  log: RoomLog;
  snapshot: Snapshot;
  selected: string | undefined;
  actions: RowActions;
}) {
  const t = useTexts(texts);
  const box = useRef<HTMLDivElement>(null);
  const settled = useRef(false);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW,
    getItemKey: (index) => rows[index]?.key ?? index,
    anchorTo: "end",
    followOnAppend: snapshot.following,
    overscan: 6,
  });
  const toEnd = useCallback((): void => {
    log.resume();
    requestAnimationFrame(() => {
      const element = box.current;
      if (element !== null) element.scrollTop = element.scrollHeight;
    });
  }, [log]);
  useLayoutEffect(() => {
    if (rows.length === 0) settled.current = false;
    else if (!settled.current && box.current !== null) {
      settled.current = true;
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [rows.length]);
  const size = virtual.getTotalSize();
  const following = snapshot.following;
  useLayoutEffect(() => {
    // Rows get their true height once they are drawn; what follows stays at the end through that.
    if (following && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [size, following]);

  const onScroll = (): void => {
    const element = box.current;
    if (element === null || !settled.current) return;
    if (element.scrollTop < 400) void log.loadOlder();
  };
  // Scrolling by hand pauses; what the page does itself while heights change does not.
  const onWish = (up: boolean): void => {
    const element = box.current;
    if (element === null) return;
    if (up && element.scrollHeight > element.clientHeight) log.pause();
    else if (!up) requestAnimationFrame(() => isAtEnd(element) && snapshot.waiting === 0 && log.resume());
  };
  useKeys([
    { keys: "End", label: t("to_end"), run: toEnd },
    { keys: "Home", run: () => (log.pause(), void log.loadOlder(), box.current?.scrollTo({ top: 0 })) },
    { keys: "p", label: t("pause_or_resume"), run: () => (following ? log.pause() : toEnd()) },
    { keys: "PageUp", run: () => (log.pause(), box.current?.scrollBy({ top: -(box.current.clientHeight - 40) })) },
    { keys: "PageDown", run: () => box.current?.scrollBy({ top: box.current.clientHeight - 40 }) },
  ]);
  return (
    <div className="relative flex min-h-0 flex-1 flex-col">
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions */}
      <div
        ref={box}
        role="log"
        aria-label={t("log")}
        aria-live="off"
        // It scrolls, so that it can be focused.
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        tabIndex={0}
        data-testid="timeline"
        onScroll={onScroll}
        onWheel={(event) => event.deltaY !== 0 && onWish(event.deltaY < 0)}
        onTouchMove={() => box.current !== null && onWish(!isAtEnd(box.current))}
        onPointerDown={(event) => event.target === box.current && log.pause()}
        onKeyDown={(event) => (event.key === "ArrowUp" || event.key === "PageUp") && onWish(true)}
        className="min-h-0 flex-1 overflow-y-auto overscroll-contain outline-offset-[-2px] [overflow-anchor:none]"
      >
        <Top snapshot={snapshot} onLoad={() => void log.loadOlder()} />
        <div className="relative w-full" style={{ height: size }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            return (
              <div
                key={item.key}
                data-index={item.index}
                ref={virtual.measureElement}
                className="absolute inset-x-0 top-0"
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <TimelineRow
                  row={row}
                  actions={actions}
                  selected={row.kind === "event" && row.event.event_id === selected}
                />
              </div>
            );
          })}
        </div>
        <div className="h-3" />
      </div>
      {!following && (
        <div className="pointer-events-none absolute inset-x-0 bottom-3 flex justify-center">
          <div
            data-testid="paused"
            className="pointer-events-auto flex animate-in items-center gap-2 rounded-full border border-line-strong bg-raised py-1 pr-1 pl-3 text-xs shadow-pop"
          >
            <Pause aria-hidden className="size-3.5 text-warn" />
            <span className="font-medium">{t("paused")}</span>
            {snapshot.waiting > 0 && (
              <span data-testid="waiting" data-count={snapshot.waiting} className="text-muted">
                {t("waiting", { n: snapshot.waiting })}
              </span>
            )}
            <Button
              look="primary"
              className="rounded-full!"
              icon={<ArrowDown aria-hidden className="size-3.5" />}
              keys="End"
              onClick={toEnd}
            >
              {t("resume")}
            </Button>
          </div>
        </div>
      )}
      <Announcer last={log.cursor} />
    </div>
  );
}

function isAtEnd(element: HTMLElement): boolean {
  return element.scrollHeight - element.scrollTop - element.clientHeight < AT_END;
}

function Top({ snapshot, onLoad }: { snapshot: Snapshot; onLoad: () => void }) {
  const t = useTexts(texts);
  if (snapshot.older === "none") return <p className="py-3 text-center text-2xs text-faint">{t("beginning")}</p>;
  return (
    <div className="flex items-center justify-center gap-2 py-2 text-xs text-muted">
      {snapshot.older === "failed" && <span className="text-danger">{t("older_failed")}</span>}
      <Button
        look="quiet"
        busy={snapshot.older === "loading"}
        onClick={onLoad}
        icon={snapshot.older === "failed" ? <RotateCw aria-hidden className="size-3.5" /> : undefined}
      >
        {t("older")}
      </Button>
    </div>
  );
}

/** Tells a screen reader how many came, now and then, rather than reading each. */
function Announcer({ last }: { last: number }) {
  const t = useTexts(texts);
  const told = useRef(last);
  const [text, setText] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => {
      const n = last - told.current;
      if (n > 0 && told.current > 0) setText(t("arrived", { n }));
      told.current = last;
    }, ANNOUNCE_MS);
    return () => clearTimeout(timer);
    // Said once things are calm, whatever the language.
    // oxlint-disable-next-line react/exhaustive-deps
  }, [last]);
  return (
    <p role="status" aria-live="polite" className="sr-only">
      {text}
    </p>
  );
}
