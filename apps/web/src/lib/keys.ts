/**
 * Keys of the whole page: single letters, `g t` sequences, and Mod+letter.
 *
 * A letter does nothing while somebody types, while a dialog is open, or on what takes keys itself (menus, tabs,
 * options); Enter and Space belong to a focused button or link. AltGr is no modifier of ours, a composing input method
 * owns its keys, and on a keyboard of other letters (Korean) the place of the key counts.
 */

import { useEffect, useRef } from "react";

export interface Binding {
  /** `j`, `?`, `End`, `mod+k`, or a sequence: `g t`. */
  readonly keys: string;
  /** For the sheet of keys; a binding without one is not listed. */
  readonly label?: string;
  readonly run: (event: KeyboardEvent) => void;
  /** Also while typing and in dialogs; for Mod combinations. */
  readonly everywhere?: boolean;
}

const SEQUENCE_MS = 1_200;
const TAKES_KEYS = "input, textarea, select, [contenteditable=''], [contenteditable='true']";
const ROVING =
  "[role=menuitem], [role=menuitemradio], [role=menuitemcheckbox], [role=tab], [role=option], [role=radio], [role=slider], [role=separator][tabindex], [role=treeitem]";
const DIALOG = "[role=dialog][data-state=open]:not([data-nonmodal]), [role=alertdialog][data-state=open], [role=menu][data-state=open]";
const PRESSES = "button, a[href], summary, [role=button]";
const MOVES = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"]);

const groups = new Set<{ current: readonly Binding[] }>();
let pending: { prefix: string; at: number } | null = null;

/** All bindings in force, the ones that were added last first. */
export function activeBindings(): Binding[] {
  return [...groups].toReversed().flatMap((group) => group.current);
}

/** How a key event is spelled in bindings; null: it is none of ours. */
export function spelled(event: KeyboardEvent): string | null {
  if (event.isComposing || event.key === "Process" || event.key === "Dead") return null;
  if (event.getModifierState("AltGraph") || event.altKey) return null;
  let key = event.key;
  const place = /^Key([A-Z])$/.exec(event.code);
  if (place?.[1] && key.length === 1 && key.charCodeAt(0) > 127) {
    key = event.shiftKey ? place[1] : place[1].toLowerCase();
  }
  const mod = event.ctrlKey || event.metaKey;
  return mod ? `mod+${key.toLowerCase()}` : key;
}

function isFree(event: KeyboardEvent, key: string): boolean {
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest(TAKES_KEYS) !== null || document.querySelector(DIALOG) !== null) return false;
  if (target.closest(ROVING) !== null) return key.length === 1 && key !== " ";
  if ((key === "Enter" || key === " ") && target.closest(PRESSES) !== null) return false;
  return !(MOVES.has(key) && target.closest("[role=menu], [role=listbox]") !== null);
}

/** What a key does now, if anything. */
export function dispatch(event: KeyboardEvent): void {
  const key = spelled(event);
  if (key === null || event.defaultPrevented) return;
  const bindings = activeBindings();
  const free = isFree(event, key);
  const prefix = pending !== null && event.timeStamp - pending.at < SEQUENCE_MS ? pending.prefix : null;
  pending = null;
  const sequence = prefix === null ? null : `${prefix} ${key}`;
  const allowed = bindings.filter((binding) => free || binding.everywhere);
  const found =
    allowed.find((binding) => binding.keys === sequence) ?? allowed.find((binding) => binding.keys === key);
  if (found !== undefined) {
    event.preventDefault();
    found.run(event);
    return;
  }
  if (free && bindings.some((binding) => binding.keys.startsWith(`${key} `))) {
    pending = { prefix: key, at: event.timeStamp };
    event.preventDefault();
  }
}

/** Bindings for as long as the component is there; the ones of inner and later components win. */
export function useKeys(bindings: readonly Binding[]): void {
  const group = useRef<readonly Binding[]>(bindings);
  useEffect(() => {
    group.current = bindings;
  });
  useEffect(() => {
    groups.add(group);
    return () => {
      groups.delete(group);
    };
  }, []);
}

/** Listen for keys; once per page. */
export function listenForKeys(): () => void {
  window.addEventListener("keydown", dispatch);
  return () => window.removeEventListener("keydown", dispatch);
}

/** Mod is the Command key on a Mac. */
export function shown(keys: string): string[] {
  const mac = navigator.userAgent.includes("Mac");
  return keys.split(" ").map((key) => {
    if (!key.startsWith("mod+")) return key;
    return (mac ? "⌘" : "Ctrl ") + key.slice(4).toUpperCase();
  });
}
