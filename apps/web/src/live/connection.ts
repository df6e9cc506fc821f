/**
 * One server-sent event stream of a room, kept up: it resumes after the last event that came, waits longer after each
 * failure, and says how it is. EventSource would reconnect by itself, but neither tell when nor ever wait longer.
 */

import type { Schema } from "@/api/client";

export type Event = Schema["Event"];

export type Link =
  | { readonly kind: "connecting" }
  | { readonly kind: "replaying"; readonly from: number }
  | { readonly kind: "live" }
  /** `at`: when the next try is, in ms of the epoch. */
  | { readonly kind: "reconnecting"; readonly at: number }
  | { readonly kind: "offline" };

export interface ConnectionEvents {
  onEvents(events: readonly Event[]): void;
  onLink(link: Link): void;
  /** The stream ends before what was seen (a store restored from a backup): all that was shown is of another one. */
  onReset(head: number): void;
}

const FIRST_MS = 500;
const LONGEST_MS = 15_000;
/** What waits to be handed on is handed on at once when so much has come: a replay must not grow without end. */
const AT_ONCE = 2_000;

/** ms before the n-th retry in a row (from 0), with jitter by `chance` in 0..1. */
export function backOff(failures: number, chance: number): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** failures) * (0.75 + chance / 2);
}

export class Connection {
  #source: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;
  #waiting: Event[] = [];
  #flush: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly roomId: string,
    /** Of the last event that was seen; events after it come. */
    private cursor: number,
    private readonly told: ConnectionEvents,
  ) {
    window.addEventListener("online", this.#online);
    window.addEventListener("offline", this.#offline);
    if (navigator.onLine) this.#open();
    else this.#offline();
  }

  /** Try now rather than when the wait is over. */
  retry(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#open();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#hangUp();
    window.removeEventListener("online", this.#online);
    window.removeEventListener("offline", this.#offline);
  }

  readonly #online = (): void => {
    this.#failures = 0;
    this.retry();
  };

  readonly #offline = (): void => {
    clearTimeout(this.#timer);
    this.#hangUp();
    this.told.onLink({ kind: "offline" });
  };

  #open(): void {
    this.#hangUp();
    this.told.onLink({ kind: "connecting" });
    const source = new EventSource(`/v1/streams/rooms/${encodeURIComponent(this.roomId)}?from_seq=${this.cursor}`);
    this.#source = source;
    // What an old stream still says after its successor was opened is not heard.
    const ours = <E>(run: (event: E) => void) => (event: E): void => {
      if (this.#source === source) run(event);
    };
    source.addEventListener("open", ours(() => this.told.onLink({ kind: "replaying", from: this.cursor })));
    source.addEventListener("message", ours((message) => this.#take(JSON.parse(message.data) as Event)));
    source.addEventListener(
      "caught_up",
      ours(() => {
        this.#hand();
        this.#failures = 0;
        this.told.onLink({ kind: "live" });
      }),
    );
    source.addEventListener(
      "reset",
      ours((message) => {
        const head = (JSON.parse(message.data) as { head_seq: number }).head_seq;
        this.cursor = head;
        this.told.onReset(head);
      }),
    );
    source.addEventListener("gone", ours(() => this.#failed()));
    source.addEventListener("error", ours(() => this.#failed()));
  }

  #take(event: Event): void {
    if (event.stream_seq <= this.cursor) return;
    this.cursor = event.stream_seq;
    this.#waiting.push(event);
    if (this.#waiting.length >= AT_ONCE) this.#hand();
    else this.#flush ??= setTimeout(() => this.#hand(), 30);
  }

  #hand(): void {
    clearTimeout(this.#flush);
    this.#flush = undefined;
    if (this.#waiting.length === 0) return;
    const events = this.#waiting;
    this.#waiting = [];
    this.told.onEvents(events);
  }

  #failed(): void {
    this.#hangUp();
    if (this.#closed) return;
    if (!navigator.onLine) {
      this.#offline();
      return;
    }
    const wait = backOff(this.#failures, Math.random());
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#open(), wait);
    this.told.onLink({ kind: "reconnecting", at: Date.now() + wait });
  }

  #hangUp(): void {
    this.#hand();
    this.#source?.close();
    this.#source = null;
  }
}
