import { cleanup, render } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Binding, listenForKeys, spelled, useKeys } from "@/lib/keys";

function Keys({ bindings }: { bindings: Binding[] }) {
  useKeys(bindings);
  return (
    <>
      <input aria-label="text" />
      <button type="button">press</button>
    </>
  );
}

let stop: () => void;

beforeEach(() => {
  stop = listenForKeys();
});

afterEach(() => {
  stop();
  cleanup();
});

function press(key: string, options: KeyboardEventInit = {}, target: EventTarget = document.body): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options });
  target.dispatchEvent(event);
  return event;
}

test("a letter runs its binding, and not while somebody types", () => {
  const run = vi.fn<() => void>();
  const { getByLabelText } = render(<Keys bindings={[{ keys: "j", run }]} />);
  press("j");
  press("j", {}, getByLabelText("text"));
  expect(run).toHaveBeenCalledTimes(1);
});

test("Enter belongs to a focused button", () => {
  const run = vi.fn<() => void>();
  const { getByText } = render(<Keys bindings={[{ keys: "Enter", run }]} />);
  press("Enter", {}, getByText("press"));
  expect(run).not.toHaveBeenCalled();
  press("Enter");
  expect(run).toHaveBeenCalledTimes(1);
});

test("a sequence runs, and its first key alone does nothing", () => {
  const run = vi.fn<() => void>();
  const other = vi.fn<() => void>();
  render(<Keys bindings={[{ keys: "g t", run }, { keys: "t", run: other }]} />);
  press("g");
  press("t");
  expect(run).toHaveBeenCalledTimes(1);
  expect(other).not.toHaveBeenCalled();
});

test("nothing runs while a dialog is open, except what is for everywhere", () => {
  const run = vi.fn<() => void>();
  const palette = vi.fn<() => void>();
  render(
    <>
      <Keys bindings={[{ keys: "j", run }, { keys: "mod+k", run: palette, everywhere: true }]} />
      <div role="dialog" aria-label="d" data-state="open" />
    </>,
  );
  press("j");
  press("k", { ctrlKey: true });
  expect(run).not.toHaveBeenCalled();
  expect(palette).toHaveBeenCalledTimes(1);
});

test("a Korean keyboard's key counts by its place, and a composing one not at all", () => {
  expect(spelled(new KeyboardEvent("keydown", { key: "ㅓ", code: "KeyJ" }))).toBe("j");
  expect(spelled(new KeyboardEvent("keydown", { key: "ㅓ", code: "KeyJ", isComposing: true }))).toBeNull();
  expect(spelled(new KeyboardEvent("keydown", { key: "@", altKey: true, ctrlKey: true }))).toBeNull();
});
