/** Verifies a whole stream, a stretch at a time. */

import { api, type Schema } from "@/api/client";

export type Mismatch = Schema["Mismatch"];

export interface Verdict {
  readonly checked: number;
  /** Length of the stream. */
  readonly length: number;
  readonly redacted: number;
  readonly mismatch: Mismatch | null;
  /** Whether its end was reached, or the event where it is broken. */
  readonly done: boolean;
}

type Part = Schema["Verification"];

const STRETCH = 2_000;

export async function verifyStream(
  ask: (fromSeq: number, limit: number) => Promise<Part>,
  tell: (soFar: Verdict) => void,
  signal: AbortSignal,
): Promise<void> {
  let checked = 0;
  let redacted = 0;
  while (!signal.aborted) {
    const part = await ask(checked, STRETCH);
    if (signal.aborted) return;
    checked += part.checked;
    redacted += part.redacted;
    const length = Math.max(part.head_seq ?? 0, checked);
    const done = !part.valid || part.checked === 0 || checked >= length;
    tell({ checked, length, redacted, mismatch: part.first_mismatch, done });
    if (done) return;
  }
}

export function asking(streamType: string, streamId: string) {
  return async (fromSeq: number, limit: number): Promise<Part> => {
    const { data } = await api.GET("/v1/audit/hash-chain/verify", {
      params: { query: { stream_type: streamType, stream_id: streamId, from_seq: fromSeq, limit } },
    });
    if (data === undefined) throw new Error("empty answer");
    return data;
  };
}
