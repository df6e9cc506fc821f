/** A choice of this browser: kept in localStorage, the same in all its tabs, and lost without harm. */

export interface Preference<T> {
  get(): T;
  set(value: T): void;
  subscribe(listener: () => void): () => void;
}

const PREFIX = "agentos.";

/** What this browser keeps by a name; null: nothing, or it keeps nothing at all. */
export function recall(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Keeps something by a name, in a browser that keeps things; in others it lasts as long as the page. */
export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // as said
  }
}

/** `parse` turns what was stored (null: nothing) into a value, also when it is nonsense. */
export function preference<T extends string>(name: string, parse: (stored: string | null) => T): Preference<T> {
  const key = PREFIX + name;
  const listeners = new Set<() => void>();
  let value = parse(recall(name));
  const tell = (next: T): void => {
    if (next === value) return;
    value = next;
    for (const listener of listeners) listener();
  };
  window.addEventListener("storage", (event) => {
    if (event.key === key) tell(parse(event.newValue));
  });
  return {
    get: () => value,
    set(next) {
      remember(name, next);
      tell(next);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
