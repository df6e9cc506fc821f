/** What can go wrong with a request, as one type. */

export class ApiProblem extends Error {
  override readonly name = "ApiProblem";

  constructor(
    /** HTTP status; 0: no answer came. */
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly requestId: string | null,
    /** All members of the problem document. */
    readonly members: Readonly<Record<string, unknown>> = {},
  ) {
    super(`${code}: ${detail}`);
  }

  /** Whether the same request may succeed a little later. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** The problem that an answer tells, also when what came is no problem document. */
export async function problemOf(response: Response): Promise<ApiProblem> {
  let members: Record<string, unknown> = {};
  try {
    const body: unknown = await response.json();
    if (typeof body === "object" && body !== null) members = body as Record<string, unknown>;
  } catch {
    // not JSON: what a proxy says is of no use here
  }
  return new ApiProblem(
    response.status,
    text(members["error"]) ?? text(members["code"]) ?? `http_${response.status}`,
    text(members["detail"]) ?? text(members["message"]) ?? response.statusText,
    response.headers.get("x-request-id"),
    members,
  );
}

export function unreachable(cause: unknown): ApiProblem {
  return new ApiProblem(0, "unreachable", cause instanceof Error ? cause.message : String(cause), null);
}

/** Whatever was thrown, as a problem. */
export function asProblem(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  return new ApiProblem(-1, "page_error", error instanceof Error ? error.message : String(error), null);
}
