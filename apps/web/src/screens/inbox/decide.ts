/** Deciding: each approval by itself, what is under way, what was refused, and what became of it. */

import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";

import { api, idempotencyKey, type Schema } from "@/api/client";
import { ApiProblem, asProblem } from "@/api/problem";
import { type Approval, type Decision, refresh, type Scope } from "@/screens/inbox/approvals";

export interface Terms {
  readonly reason?: string;
  readonly scope?: Scope;
  /** Of a hold: when it is pending again. */
  readonly wakeAt?: string;
}

/** Why a decision was not taken, and how the approval stands. */
export interface Refusal {
  readonly decision: Decision;
  readonly problem: ApiProblem;
  readonly now: Approval | null;
}

export interface Deciding {
  readonly busy: ReadonlySet<string>;
  readonly refused: ReadonlyMap<string, Refusal>;
  /** What was decided on this page, the last first. */
  readonly done: readonly string[];
  /** Whether it was taken. */
  decide(approval: Approval, decision: Decision, terms?: Terms): Promise<boolean>;
  /** Ids of those that were taken. */
  decideMany(approvals: readonly Approval[], decision: Decision, reason: string): Promise<string[]>;
  dismiss(approvalId: string): void;
}

const KEPT = 4;

function bodyOf(approval: Approval, decision: Decision, { reason, scope, wakeAt }: Terms) {
  return {
    decision,
    client_token: idempotencyKey(),
    expected_digest: approval.action_digest,
    ...(reason?.trim() ? { reason: reason.trim() } : {}),
    ...(scope === undefined ? {} : { scope }),
    ...(wakeAt === undefined ? {} : { wake_at: wakeAt }),
  };
}

/** The place of an event that was written, as its answer tells it. */
function positionOf(answer: object): string | null {
  const { stream_type: type, stream_id: stream, stream_seq: seq } = answer as Partial<Schema["Event"]>;
  return type === undefined || stream === undefined || seq === undefined ? null : `${type}/${stream}@${seq}`;
}

async function asItStands(approvalId: string): Promise<Approval | null> {
  try {
    const path = { approval_id: approvalId };
    return (await api.GET("/v1/approvals/{approval_id}", { params: { path } })).data?.approval ?? null;
  } catch {
    return null; // the refusal is told without
  }
}

export function useDeciding(): Deciding {
  const queries = useQueryClient();
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [refused, setRefused] = useState<ReadonlyMap<string, Refusal>>(new Map());
  const [done, setDone] = useState<readonly string[]>([]);
  // A key that repeats is faster than a render: what is under way is known at once.
  const underWay = useRef(new Set<string>());

  const begin = (ids: readonly string[]): void => {
    for (const id of ids) underWay.current.add(id);
    setBusy(new Set(underWay.current));
    setRefused((before) => new Map([...before].filter(([id]) => !ids.includes(id))));
  };
  const end = (ids: readonly string[]): void => {
    for (const id of ids) underWay.current.delete(id);
    setBusy(new Set(underWay.current));
  };
  const refuse = async (approval: Approval, decision: Decision, problem: ApiProblem): Promise<void> => {
    const now = problem.status === 409 ? await asItStands(approval.approval_id) : null;
    setRefused((before) => new Map(before).set(approval.approval_id, { decision, problem, now }));
  };
  const taken = (ids: readonly string[]): void =>
    setDone((before) => [...ids, ...before.filter((id) => !ids.includes(id))].slice(0, KEPT));

  return {
    busy,
    refused,
    done,
    async decide(approval, decision, terms = {}) {
      const id = approval.approval_id;
      if (underWay.current.has(id)) return false;
      begin([id]);
      try {
        const body = bodyOf(approval, decision, terms);
        const params = { path: { approval_id: id } };
        const headers = { "idempotency-key": body.client_token };
        const { data } = await api.POST("/v1/approvals/{approval_id}/decide", { params, headers, body });
        taken([id]);
        void refresh(queries, [id], positionOf(data ?? {}));
        return true;
      } catch (error) {
        await refuse(approval, decision, asProblem(error));
        void refresh(queries, [id], null);
        return false;
      } finally {
        end([id]);
      }
    },
    async decideMany(approvals, decision, reason) {
      const free = approvals.filter(({ approval_id }) => !underWay.current.has(approval_id));
      const ids = free.map(({ approval_id }) => approval_id);
      begin(ids);
      try {
        const decisions = free.map((each) => ({ approval_id: each.approval_id, ...bodyOf(each, decision, { reason }) }));
        const { data } = await api.POST("/v1/approvals/decide-batch", { body: { decisions } });
        const results = data?.results ?? [];
        const good = ids.filter((_, index) => (results[index]?.status ?? 500) < 300);
        taken(good);
        await Promise.all(
          free.map(async (each, index) => {
            const result = results[index];
            if (result === undefined || result.status < 300) return;
            const detail = typeof result["detail"] === "string" ? result["detail"] : "";
            await refuse(each, decision, new ApiProblem(result.status, result.error ?? "refused", detail, null, result));
          }),
        );
        void refresh(queries, ids, positionOf(results.findLast(({ status }) => status < 300) ?? {}));
        return good;
      } catch (error) {
        for (const each of free) await refuse(each, decision, asProblem(error));
        return [];
      } finally {
        end(ids);
      }
    },
    dismiss: (id) => setRefused((before) => new Map([...before].filter(([other]) => other !== id))),
  };
}
