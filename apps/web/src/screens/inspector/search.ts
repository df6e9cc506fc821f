/** What of the inspector stands in the URL: what is inspected, how it is looked at, and what is selected in it. */

export const VIEWS = ["waterfall", "events", "causes", "artifacts", "evidence"] as const;
export type View = (typeof VIEWS)[number];

export interface InspectorSearch {
  run_id?: string;
  correlation_id?: string;
  /** The event that is selected; by itself, what is inspected. */
  event_id?: string;
  view?: View;
  /** A step, a tool call or an artifact that is selected. */
  item?: string;
}

/** What is inspected. A run comes before a correlation, and both before the event that is selected in them. */
export type Subject =
  | { readonly by: "run"; readonly id: string }
  | { readonly by: "correlation"; readonly id: string }
  | { readonly by: "event"; readonly id: string }
  | null;

const MEMBERS = ["run_id", "correlation_id", "event_id", "item"] as const;
const EVENT_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function validateSearch(given: Record<string, unknown>): InspectorSearch {
  const search: InspectorSearch = {};
  for (const member of MEMBERS) {
    const value = given[member];
    if (typeof value === "string" && value !== "") search[member] = value;
    else if (typeof value === "number") search[member] = String(value);
  }
  const view = VIEWS.find((known) => known === given["view"]);
  if (view !== undefined) search.view = view;
  return search;
}

export function subjectOf(search: InspectorSearch): Subject {
  if (search.run_id !== undefined) return { by: "run", id: search.run_id };
  if (search.correlation_id !== undefined) return { by: "correlation", id: search.correlation_id };
  if (search.event_id !== undefined) return { by: "event", id: search.event_id };
  return null;
}

/** What an id that somebody typed or pasted asks for; null: nothing. */
export function searchFor(typed: string): InspectorSearch | null {
  const id = typed.trim();
  if (id === "") return null;
  if (id.startsWith("run_")) return { run_id: id };
  return EVENT_ID.test(id) ? { event_id: id.toLowerCase() } : { correlation_id: id };
}
