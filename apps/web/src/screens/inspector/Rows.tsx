import { useVirtualizer } from "@tanstack/react-virtual";
import clsx from "clsx";
import { type ReactNode, useEffect, useRef } from "react";

import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import { texts } from "@/screens/inspector/texts";

const HEIGHT = 30;

function toDetails(): void {
  document.getElementById("inspected")?.focus();
}

/** A long list of rows of one height: only those in sight are drawn; j and k move through it, Enter goes to the details. */
export function Rows<T>({ items, keyOf, selected, onSelect, onStep = onSelect, onEnter = toDetails, label, testId, row }: {
  items: readonly T[];
  keyOf: (item: T) => string;
  selected: string | undefined;
  onSelect: (item: T) => void;
  /** What j and k do, when they do not select. */
  onStep?: (item: T) => void;
  onEnter?: () => void;
  label: string;
  testId: string;
  row: (item: T) => { name: string; cells: ReactNode; beside?: ReactNode };
}) {
  const t = useTexts(texts);
  const box = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: items.length,
    getScrollElement: () => box.current,
    estimateSize: () => HEIGHT,
    getItemKey: (index) => keyOf(items[index] as T),
    overscan: 8,
    initialRect: { width: 800, height: 600 },
  });
  const at = selected === undefined ? -1 : items.findIndex((item) => keyOf(item) === selected);
  useEffect(() => {
    if (at >= 0) virtual.scrollToIndex(at, { align: "auto" });
  }, [at, virtual]);
  const step = (by: 1 | -1): void => {
    const next = items[at === -1 ? 0 : Math.min(items.length - 1, Math.max(0, at + by))];
    if (next !== undefined) onStep(next);
  };
  useKeys([
    { keys: "j", label: t("next"), run: () => step(1) },
    { keys: "k", label: t("previous"), run: () => step(-1) },
    { keys: "Enter", label: t("open"), run: onEnter },
  ]);
  return (
    // It scrolls, so that it can be focused.
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <div ref={box} tabIndex={0} role="region" aria-label={label} data-testid={testId} className="min-h-0 flex-1 overflow-y-auto outline-offset-[-2px]">
      <ul className="relative w-full" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const each = items[item.index];
          if (each === undefined) return null;
          const { name, cells, beside } = row(each);
          const isSelected = item.index === at;
          return (
            <li
              key={item.key}
              data-testid="row"
              data-key={keyOf(each)}
              className={clsx(
                "absolute inset-x-0 top-0 flex items-center border-b border-line/60 text-xs hover:bg-hover",
                isSelected && "bg-selected! shadow-[inset_2px_0_0_var(--accent)]",
              )}
              style={{ height: HEIGHT, transform: `translateY(${item.start}px)` }}
            >
              <button
                type="button"
                aria-label={name}
                aria-current={isSelected || undefined}
                onClick={() => onSelect(each)}
                className="absolute inset-0 outline-offset-[-2px]"
              />
              <div className="pointer-events-none flex h-full min-w-0 flex-1 items-center gap-2 px-3">{cells}</div>
              {beside !== undefined && <div className="relative flex shrink-0 items-center gap-1 pr-3">{beside}</div>}
            </li>
          );
        })}
      </ul>
    </div>
  );
}
