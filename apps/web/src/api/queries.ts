/** The cache of what was read: old data stays on screen while new data, or an error, comes. */

import { QueryClient } from "@tanstack/react-query";

import { asProblem } from "@/api/problem";

const RETRIES = 2;

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 2_000,
        gcTime: 10 * 60_000,
        networkMode: "always", // the API is on this machine, whatever the browser thinks of its network
        retry: (failures, error) => failures < RETRIES && asProblem(error).passes,
        retryDelay: (attempt) => Math.min(4_000, 400 * 2 ** attempt) * (0.75 + Math.random() / 2),
      },
      mutations: { networkMode: "always", retry: false },
    },
  });
}
