/**
 * The typed client: paths and bodies come from `schema.gen.ts`, which `make docs` writes from the API's own OpenAPI.
 *
 * `api` for one call (`await api.POST(...)`), `$api` for hooks (`$api.useQuery("get", "/v1/rooms")`). Both throw
 * ApiProblem for every answer that is not 2xx, and when none comes.
 */

import createClient, { type Middleware } from "openapi-fetch";
import createHooks from "openapi-react-query";

import { problemOf, unreachable } from "@/api/problem";
import type { components, paths } from "@/api/schema.gen";
import { signedOut } from "@/api/session";
import { preference } from "@/lib/preference";

export type Schema = components["schemas"];

/** Whose name acts where the API takes the caller's word for it (open mode). */
export const actingAs = preference<string>("acting_as", (stored) => stored?.trim() || "operator");

const identity: Middleware = {
  onRequest({ request }) {
    request.headers.set("x-actor-type", "user");
    // Header values are Latin-1; other names go escaped rather than not at all.
    request.headers.set("x-actor-id", encodeURIComponent(actingAs.get()).replaceAll("%20", " "));
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return undefined;
    const problem = await problemOf(response);
    if (response.status === 401) signedOut.set(true);
    throw problem;
  },
  onError({ error }) {
    return unreachable(error);
  },
};

export const api = createClient<paths>({ baseUrl: window.location.origin });
api.use(identity);

export const $api = createHooks(api);

/** A key for a write that must not happen twice: the same for all tries of one wish. */
export function idempotencyKey(): string {
  return `web-${crypto.randomUUID()}`;
}
