/** In what two requests differ, member by member. */

export interface Change {
  /** `body.to[1]` */
  readonly path: string;
  readonly kind: "same" | "changed" | "added" | "removed";
  /** As JSON; null: it was not there. */
  readonly before: string | null;
  readonly now: string | null;
}

const MOST = 400;

/** The leaves of a value, each with where it stands. */
export function leaves(value: unknown, path = ""): [string, string][] {
  if (Array.isArray(value) && value.length > 0) {
    return value.flatMap((each: unknown, index) => leaves(each, `${path}[${index}]`));
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 0) {
    return Object.entries(value).flatMap(([name, each]) => leaves(each, path === "" ? name : `${path}.${name}`));
  }
  return path === "" ? [] : [[path, typeof value === "string" ? value : JSON.stringify(value)]];
}

/** What changed first, then what stayed; at most 400 members. */
export function difference(before: unknown, now: unknown): Change[] {
  const old = new Map(leaves(before));
  const current = new Map(leaves(now));
  const paths = [...new Set([...current.keys(), ...old.keys()])];
  const changes = paths.map((path): Change => {
    const was = old.get(path) ?? null;
    const is = current.get(path) ?? null;
    const kind = was === null ? "added" : is === null ? "removed" : was === is ? "same" : "changed";
    return { path, kind, before: was, now: is };
  });
  const differing = changes.filter(({ kind }) => kind !== "same");
  return [...differing, ...changes.filter(({ kind }) => kind === "same")].slice(0, MOST);
}
