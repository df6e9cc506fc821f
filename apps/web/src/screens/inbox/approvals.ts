/** Approvals as the API tells them, and what can be said of one without asking again. */

import { keepPreviousData, type QueryClient, type QueryKey, useQueries, useQuery } from "@tanstack/react-query";

import { $api, api, type Schema } from "@/api/client";
import type { Tab } from "@/screens/inbox/search";

export type Approval = Schema["Approval"];
export type Review = Schema["Review"];
export type Similar = Schema["Similar"];
export type Scope = Schema["Scope"];
export type Decision = Schema["DecideApproval"]["decision"];
type Status = "pending" | "held" | "approved" | "consumed" | "denied" | "expired";

/** The most that one page of the API has; a person reads no further, and a search of the timeline does. */
export const MOST = 200;
/** Rooms tell of what is new by their streams; all the others are asked. */
const ASK_AGAIN_MS = 2_000;

/** What was approved once is approved there also after it was used. */
const STATUSES: Record<Tab, readonly (Status | "")[]> = {
  pending: ["pending"],
  held: ["held"],
  approved: ["approved", "consumed"],
  denied: ["denied"],
  expired: ["expired"],
  all: [""],
};

export function isOpen(approval: Approval): boolean {
  return approval.status === "pending" || approval.status === "held";
}

/** What ends first is on top of what waits; of all else what changed last. */
export function inOrder(approvals: readonly Approval[], tab: Tab): Approval[] {
  if (tab !== "pending") return approvals.toSorted((a, b) => b.updated_at.localeCompare(a.updated_at));
  const end = (each: Approval): string => each.decide_by ?? "9999";
  return approvals.toSorted((a, b) => end(a).localeCompare(end(b)) || a.approval_id.localeCompare(b.approval_id));
}

export function matches(approval: Approval, words: string): boolean {
  if (words === "") return true;
  const text = [approval.approval_id, approval.run_id, approval.title, approval.action, approval.requested_by_id, approval.zone, JSON.stringify(approval.request)];
  const all = text.join(" ").toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

/**
 * Reads anew what is shown of approvals, once what is read covers `position` (`room/<id>@<stream_seq>`): streams and
 * answers to writes are ahead of it, and what is read too early would be shown until somebody asks again.
 */
export async function refresh(queries: QueryClient, ids: Iterable<string>, position: string | null): Promise<void> {
  if (position !== null) {
    const query = { limit: 1, min_position: position };
    await api.GET("/v1/approvals", { params: { query } }).catch(() => undefined);
  }
  const keys: QueryKey[] = [["get", "/v1/approvals"]];
  for (const id of ids) keys.push(["get", "/v1/approvals/{approval_id}", { params: { path: { approval_id: id } } }]);
  await Promise.all(keys.map((queryKey) => queries.invalidateQueries({ queryKey })));
}

function listOptions(status: Status | "") {
  const query = { params: { query: { status, limit: MOST } } };
  return $api.queryOptions("get", "/v1/approvals", query, {
    refetchInterval: ASK_AGAIN_MS,
    placeholderData: keepPreviousData,
  });
}

export function useApprovals(tab: Tab) {
  const answers = useQueries({ queries: STATUSES[tab].map((status) => listOptions(status)) });
  const pages = answers.flatMap(({ data }) => (data === undefined ? [] : [data]));
  return {
    approvals: pages.length < answers.length ? undefined : inOrder(pages.flatMap((page) => page.approvals), tab),
    more: pages.some((page) => page.next_cursor !== null),
    error: answers.find(({ error }) => error !== null)?.error ?? null,
    retry: () => {
      for (const answer of answers) void answer.refetch();
    },
  };
}

/** How many wait for a person; undefined while nobody knows. */
export function useWaiting(): number | undefined {
  return useQuery(listOptions("pending")).data?.approvals.length;
}
