/** A choice of this browser: kept in localStorage, the same in all its tabs, and lost without harm. */

export interface Preference<T> {
  get(): T;
  set(value: T): void;
  subscribe(listener: () => void): () => void;
}

const PREFIX = "agentos.";

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // a browser that keeps nothing: the choice lasts as long as the page
  }
}

/** `parse` turns what was stored (null: nothing) into a value, also when it is nonsense. */
export function preference<T extends string>(name: string, parse: (stored: string | null) => T): Preference<T> {
  const key = PREFIX + name;
  const listeners = new Set<() => void>();
  let value = parse(read(key));
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
      try {
        localStorage.setItem(key, next);
      } catch {
        // as above
      }
      tell(next);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
