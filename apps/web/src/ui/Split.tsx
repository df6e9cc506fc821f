import { type KeyboardEvent, type PointerEvent, type ReactNode, useRef, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { recall, remember } from "@/lib/preference";
import { texts } from "@/ui/texts";

const STEP = 4;

function stored(name: string, fallback: number): number {
  const kept = Number(recall(`split.${name}`));
  return kept > 0 ? kept : fallback;
}

/** Two panes side by side with a divider to drag, or to move by arrow keys; `first` in percent. One of them on a phone. */
export function Split({ name, first, second, initial = 60, min = 25, max = 80, narrow = "first" }: {
  name: string;
  first: ReactNode;
  /** null: only the first is there, and stays what it is when a second comes. */
  second: ReactNode | null;
  initial?: number;
  min?: number;
  max?: number;
  /** Which one is shown where there is room for one only. */
  narrow?: "first" | "second";
}) {
  const t = useTexts(texts);
  const box = useRef<HTMLDivElement>(null);
  const [share, setShare] = useState(() => stored(name, initial));
  const move = (next: number): void => {
    const kept = Math.round(Math.min(max, Math.max(min, next)) * 10) / 10;
    setShare(kept);
    remember(`split.${name}`, String(kept));
  };
  const onPointerMove = (event: PointerEvent<HTMLDivElement>): void => {
    if (!event.currentTarget.hasPointerCapture(event.pointerId) || box.current === null) return;
    const area = box.current.getBoundingClientRect();
    move(((event.clientX - area.left) / area.width) * 100);
  };
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>): void => {
    const steps: Record<string, number> = { ArrowLeft: share - STEP, ArrowRight: share + STEP, Home: min, End: max };
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    move(next);
  };
  return (
    <div ref={box} className="flex min-h-0 min-w-0 flex-1" style={{ "--share": `${share}%` } as Record<string, string>}>
      <div
        className={`min-h-0 min-w-0 flex-col md:flex ${second === null ? "flex flex-1" : narrow === "first" ? "flex w-full md:w-(--share)" : "hidden md:w-(--share)"}`}
      >
        {first}
      </div>
      {second !== null && (
        <>
          <div
            role="separator"
            aria-orientation="vertical"
            aria-label={t("resize")}
            aria-valuenow={Math.round(share)}
            aria-valuemin={min}
            aria-valuemax={max}
            tabIndex={0}
            className="relative hidden w-px shrink-0 cursor-col-resize touch-none bg-line before:absolute before:inset-y-0 before:-left-1 before:w-2 hover:bg-line-strong focus-visible:bg-focus md:block"
            onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
            onPointerMove={onPointerMove}
            onKeyDown={onKeyDown}
          />
          <div className={`min-h-0 min-w-0 flex-1 flex-col md:flex ${narrow === "second" ? "flex" : "hidden"}`}>{second}</div>
        </>
      )}
    </div>
  );
}
