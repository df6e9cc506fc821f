/** What the inspector reads: whole lists, page by page, and anew while a run goes on. */

import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, type Schema } from "@/api/client";
import type { Event } from "@/live/connection";

export type Run = Schema["Run"];
export type Attempt = Schema["Attempt"];
export type Step = Schema["Step"];
export type ToolCall = Schema["ToolCall"];
export type Artifact = Schema["Artifact"];
export type EventInFull = Schema["EventInFull"];

const PAGE = 200;
/** More than this many of a kind are not loaded; what is shown then says so. */
const MOST = 10_000;
const AGAIN_MS = 1_500;

export interface Whole<T> {
  readonly items: readonly T[];
  /** Whether there are more than were loaded. */
  readonly more: boolean;
  /** Where the last page began: its cursor, and how many stand before it. */
  readonly last: { readonly cursor: string | undefined; readonly before: number };
}

interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

type Pages<T> = (query: { limit: number; cursor?: string }) => Promise<Page<T>>;

/** All pages, or the ones from the last page of `known` on, where what stands before it cannot change. */
export async function whole<T>(pages: Pages<T>, known?: Whole<T>): Promise<Whole<T>> {
  const items = known === undefined ? [] : known.items.slice(0, known.last.before);
  let cursor = known?.last.cursor;
  for (;;) {
    const before = items.length;
    const page = await pages(cursor === undefined ? { limit: PAGE } : { limit: PAGE, cursor });
    items.push(...page.items);
    const last = { cursor, before };
    if (page.next === null) return { items, more: false, last };
    if (items.length >= MOST) return { items, more: true, last };
    cursor = page.next;
  }
}

function again(live: boolean): { refetchInterval: number | false } {
  return { refetchInterval: live ? AGAIN_MS : false };
}

export function isLive(run: Run | undefined): boolean {
  return run !== undefined && run.ended_at === null;
}

export function useAttempts(runId: string, live: boolean) {
  return useQuery({
    queryKey: ["inspector", "attempts", runId],
    queryFn: () =>
      whole<Attempt>(async (query) => {
        const { data } = await api.GET("/v1/runs/{run_id}/attempts", { params: { path: { run_id: runId }, query } });
        return { items: data?.attempts ?? [], next: data?.next_cursor ?? null };
      }),
    ...again(live),
  });
}

export function useSteps(runId: string, live: boolean) {
  return useQuery({
    queryKey: ["inspector", "steps", runId],
    queryFn: () =>
      whole<Step>(async (query) => {
        const { data } = await api.GET("/v1/runs/{run_id}/steps", { params: { path: { run_id: runId }, query } });
        return { items: data?.steps ?? [], next: data?.next_cursor ?? null };
      }),
    ...again(live),
  });
}

export function useToolCalls(runId: string, live: boolean) {
  return useQuery({
    queryKey: ["inspector", "tool_calls", runId],
    queryFn: () =>
      whole<ToolCall>(async (query) => {
        const { data } = await api.GET("/v1/toolcalls", { params: { query: { ...query, run_id: runId } } });
        return { items: data?.tool_calls ?? [], next: data?.next_cursor ?? null };
      }),
    ...again(live),
  });
}

export function useArtifacts(runId: string, live: boolean) {
  return useQuery({
    queryKey: ["inspector", "artifacts", runId],
    queryFn: () =>
      whole<Artifact>(async (query) => {
        const { data } = await api.GET("/v1/artifacts", { params: { query: { ...query, run_id: runId } } });
        return { items: data?.artifacts ?? [], next: data?.next_cursor ?? null };
      }),
    ...again(live),
  });
}

/** Events of a run or of a correlation, oldest first. They never change: only what follows is read again. */
export function useEvents(of: { run_id: string } | { correlation_id: string } | null, live: boolean) {
  const queries = useQueryClient();
  const queryKey = ["inspector", "events", of];
  return useQuery({
    queryKey,
    enabled: of !== null,
    queryFn: () =>
      whole<Event>(async (query) => {
        const { data } = await api.GET("/v1/events", { params: { query: { ...query, ...of, order: "asc" } } });
        return { items: data?.events ?? [], next: data?.next_cursor ?? null };
      }, kept<Event>(queries, queryKey)),
    structuralSharing: false,
    ...again(live),
  });
}

function kept<T>(queries: QueryClient, key: readonly unknown[]): Whole<T> | undefined {
  return queries.getQueryData<Whole<T>>(key);
}
