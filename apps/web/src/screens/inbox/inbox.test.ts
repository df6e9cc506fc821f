import { describe, expect, it } from "vitest";

import { type Approval, inOrder, matches } from "@/screens/inbox/approvals";
import { difference } from "@/screens/inbox/difference";
import { validateSearch } from "@/screens/inbox/search";

const approval = (id: string, more: Partial<Approval> = {}): Approval =>
  ({ approval_id: id, title: "Pay", action: "payment.execute", requested_by_id: "bot", zone: "supervised", request: {}, decide_by: null, updated_at: "", ...more }) as Approval;

describe("what differs between two requests", () => {
  it("tells members that changed, came and went before those that stayed", () => {
    const before = { to: ["ada", "bo"], amount: 5, note: "x" };
    const now = { to: ["ada", "eve"], amount: 5, url: "https://a" };
    expect(difference(before, now)).toEqual([
      { path: "to[1]", kind: "changed", before: "bo", now: "eve" },
      { path: "url", kind: "added", before: null, now: "https://a" },
      { path: "note", kind: "removed", before: "x", now: null },
      { path: "to[0]", kind: "same", before: "ada", now: "ada" },
      { path: "amount", kind: "same", before: "5", now: "5" },
    ]);
  });

  it("takes the empty and the missing for two things", () => {
    expect(difference({}, { a: {} })).toEqual([{ path: "a", kind: "added", before: null, now: "{}" }]);
    expect(difference({ a: null }, { a: [] })).toEqual([{ path: "a", kind: "changed", before: "null", now: "[]" }]);
  });
});

describe("the list", () => {
  it("has on top what ends first, and what never ends last", () => {
    const list = [approval("never"), approval("late", { decide_by: "2026-01-02" }), approval("soon", { decide_by: "2026-01-01" })];
    expect(inOrder(list, "pending").map((each) => each.approval_id)).toEqual(["soon", "late", "never"]);
  });

  it("finds by words anywhere in the request", () => {
    const one = approval("a", { request: { to: { account: "DE-77" } } });
    expect(matches(one, "pay de-77")).toBe(true);
    expect(matches(one, "pay de-78")).toBe(false);
  });
});

describe("the address", () => {
  it("keeps what the inbox knows and leaves out the rest", () => {
    expect(validateSearch({ tab: "held", q: 7, x: 1 })).toEqual({ tab: "held", q: "7" });
    expect(validateSearch({ tab: "nonsense", q: "" })).toEqual({});
    expect(validateSearch({ tab: "pending" })).toEqual({});
  });
});
