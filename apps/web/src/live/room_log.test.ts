import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { backOff, type Event } from "@/live/connection";
import { type Filter, NO_FILTER, type Pages, passes, RING, RoomLog } from "@/live/room_log";

class FakeSource extends EventTarget {
  static opened: FakeSource[] = [];
  closed = false;
  constructor(readonly url: string) {
    super();
    FakeSource.opened.push(this);
  }
  close(): void {
    this.closed = true;
  }
  say(type: string, data: unknown = {}): void {
    this.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data) }));
  }
}

class FakeChannel extends EventTarget {
  postMessage(): void {}
  close(): void {}
}

function event(seq: number, more: Partial<Event> = {}): Event {
  return { event_id: `e${seq}`, stream_seq: seq, event_type: "message.created", actor_id: "ada", data: {}, ...more } as Event;
}

class Store implements Pages {
  events: Event[] = [];
  down = false;
  async page(query: { before?: number; after?: number; limit: number; newest: boolean }, filter: Filter): Promise<Event[]> {
    if (this.down) throw new Error("down");
    const found = this.events.filter(
      ({ stream_seq, event_type }) =>
        stream_seq < (query.before ?? Infinity) &&
        stream_seq > (query.after ?? 0) &&
        (filter.types.length === 0 || filter.types.includes(event_type)),
    );
    return query.newest ? found.slice(-query.limit) : found.slice(0, query.limit);
  }
}

const store = new Store();
let log: RoomLog;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", FakeSource);
  vi.stubGlobal("BroadcastChannel", FakeChannel);
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => setTimeout(run, 0));
  Object.defineProperty(navigator, "locks", {
    configurable: true,
    value: { request: (_: string, __: unknown, run: () => Promise<void>) => run() },
  });
  FakeSource.opened = [];
  store.events = [];
  store.down = false;
});

afterEach(() => {
  log.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function opened(filter: Filter = NO_FILTER): Promise<FakeSource> {
  log = new RoomLog("room_1", filter, store);
  log.start();
  await vi.advanceTimersByTimeAsync(0);
  return latest();
}

function latest(): FakeSource {
  const source = FakeSource.opened.at(-1);
  if (source === undefined) throw new Error("no stream");
  return source;
}

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(300);
const shown = (): number[] => log.get().events.map(({ stream_seq }) => stream_seq);

test("the newest page, then what comes, each once and in order", async () => {
  store.events = [event(1), event(2)];
  const source = await opened();
  expect(source.url).toContain("from_seq=2");
  source.say("message", event(3));
  source.say("message", event(3));
  source.say("message", event(2));
  source.say("message", event(4));
  source.say("caught_up", { head_seq: 4 });
  await settle();
  expect(shown()).toEqual([1, 2, 3, 4]);
  expect(log.get().link.kind).toBe("live");
});

test("a lost stream is opened again after its last event, each time a little later", async () => {
  const source = await opened();
  source.say("message", event(1));
  source.say("error");
  expect(source.closed).toBe(true);
  expect(log.get().link.kind).toBe("reconnecting");
  await vi.advanceTimersByTimeAsync(700);
  expect(latest()).not.toBe(source);
  expect(latest().url).toContain("from_seq=1");
  source.say("message", event(9)); // too late
  await settle();
  expect(shown()).toEqual([1]);
  expect(backOff(3, 0.5)).toBe(4_000);
  expect(backOff(30, 1)).toBe(15_000 * 1.25);
});

test("a jump is filled from the API", async () => {
  store.events = [event(1)];
  const source = await opened();
  store.events = [1, 2, 3, 4, 5].map((seq) => event(seq));
  source.say("message", event(5));
  await settle();
  expect(shown()).toEqual([1, 2, 3, 4, 5]);
});

test("a jump that cannot be filled is told, until it can", async () => {
  store.events = [event(1)];
  const source = await opened();
  store.events = [1, 2, 3].map((seq) => event(seq));
  store.down = true;
  source.say("message", event(3));
  await settle();
  expect(log.get().gap).toEqual({ after: 1, before: 4 });
  store.down = false;
  await vi.advanceTimersByTimeAsync(2_500);
  expect(log.get().gap).toBeNull();
  expect(shown()).toEqual([1, 2, 3]);
});

test("while paused nothing that is shown moves, and what waits is counted", async () => {
  store.events = [event(1)];
  const source = await opened();
  log.pause();
  source.say("message", event(2));
  source.say("message", event(3));
  await settle();
  expect(shown()).toEqual([1]);
  expect(log.get().waiting).toBe(2);
  log.resume();
  expect(shown()).toEqual([1, 2, 3]);
  expect(log.get().waiting).toBe(0);
});

test("the oldest are let go beyond the ring, and come back by page", async () => {
  const source = await opened();
  const all = Array.from({ length: RING + 500 }, (_, index) => event(index + 1));
  store.events = all;
  for (const each of all) source.say("message", each);
  await settle();
  expect(shown().length).toBe(RING);
  expect(shown()[0]).toBe(501);
  await log.loadOlder();
  expect(shown()[0]).toBe(301);
  expect(new Set(shown()).size).toBe(RING + 200);
});

test("what passes is looked for further back than one page", async () => {
  store.events = [event(1, { actor_id: "grace" }), ...Array.from({ length: 900 }, (_, index) => event(index + 2))];
  await opened({ ...NO_FILTER, actor: "grace" });
  expect(shown()).toEqual([1]);
  expect(log.get().older).toBe("none");
});

test("a filter holds for pages and for what comes", async () => {
  store.events = [event(1, { event_type: "run.created" }), event(2)];
  const source = await opened({ ...NO_FILTER, types: ["run.created"] });
  source.say("message", event(3));
  source.say("message", event(4, { event_type: "run.created" }));
  await settle();
  expect(shown()).toEqual([1, 4]);
  expect(log.cursor).toBe(4);
  expect(passes({ ...NO_FILTER, text: "ADA" }, event(1))).toBe(true);
  expect(passes({ ...NO_FILTER, zone: "sandbox" }, event(1))).toBe(false);
});
