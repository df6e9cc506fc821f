/** What of the inbox stands in the URL, besides the approval that is open. */

export const TABS = ["pending", "held", "approved", "denied", "expired", "all"] as const;
export type Tab = (typeof TABS)[number];

export interface InboxSearch {
  /** Left out: pending. */
  tab?: Exclude<Tab, "pending">;
  q?: string;
}

export function validateSearch(given: Record<string, unknown>): InboxSearch {
  const search: InboxSearch = {};
  const tab = TABS.find((known) => known === given["tab"]);
  if (tab !== undefined && tab !== "pending") search.tab = tab;
  const q = given["q"];
  if ((typeof q === "string" && q !== "") || typeof q === "number") search.q = String(q);
  return search;
}
