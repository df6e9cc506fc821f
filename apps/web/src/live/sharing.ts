/**
 * One stream per room and browser: browsers keep six connections to a host, and each tab would take one for good.
 *
 * The tabs of a room elect a leader by a Web Lock. It holds the stream and passes events and state on by a
 * BroadcastChannel; when it goes, the next tab gets the lock and resumes after what it has seen itself. A tab that finds
 * that it has missed events (it came late, or slept) reads them from the API: see RoomLog.
 */

import { Connection, type ConnectionEvents, type Event, type Link } from "@/live/connection";

type Said =
  | { readonly kind: "events"; readonly events: readonly Event[] }
  | { readonly kind: "link"; readonly link: Link; readonly head: number }
  | { readonly kind: "reset"; readonly head: number }
  | { readonly kind: "hello" }
  | { readonly kind: "retry" };

export interface SharedEvents extends ConnectionEvents {
  /** What the leader has seen up to: this tab may have missed some. */
  onHead(head: number): void;
}

export class SharedConnection {
  readonly #channel: BroadcastChannel;
  readonly #leaving = new AbortController();
  #connection: Connection | null = null;
  #link: Link = { kind: "connecting" };

  /** `cursor` tells what this tab has seen, when it comes to lead. */
  constructor(
    private readonly roomId: string,
    private readonly cursor: () => number,
    private readonly told: SharedEvents,
  ) {
    this.#channel = new BroadcastChannel(`agentos.room.${roomId}`);
    this.#channel.addEventListener("message", ({ data }: MessageEvent<Said>) => this.#hear(data));
    this.#say({ kind: "hello" });
    void this.#lead();
  }

  get leads(): boolean {
    return this.#connection !== null;
  }

  retry(): void {
    if (this.#connection !== null) this.#connection.retry();
    else this.#say({ kind: "retry" });
  }

  close(): void {
    this.#leaving.abort();
    this.#connection?.close();
    this.#connection = null;
    this.#channel.close();
  }

  async #lead(): Promise<void> {
    const signal = this.#leaving.signal;
    const left = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    try {
      await navigator.locks.request(`agentos.room.${this.roomId}`, { signal }, () => {
        if (signal.aborted) return undefined;
        this.#connection = new Connection(this.roomId, this.cursor(), {
          onEvents: (events) => {
            this.told.onEvents(events);
            this.#say({ kind: "events", events });
          },
          onLink: (link) => {
            this.#link = link;
            this.told.onLink(link);
            this.#say({ kind: "link", link, head: this.cursor() });
          },
          onReset: (head) => {
            this.told.onReset(head);
            this.#say({ kind: "reset", head });
          },
        });
        return left;
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #hear(said: Said): void {
    if (said.kind === "hello" || said.kind === "retry") {
      if (this.#connection === null) return;
      if (said.kind === "retry") this.#connection.retry();
      else this.#say({ kind: "link", link: this.#link, head: this.cursor() });
    } else if (this.#connection === null) {
      if (said.kind === "events") this.told.onEvents(said.events);
      else if (said.kind === "reset") this.told.onReset(said.head);
      else {
        this.told.onLink(said.link);
        this.told.onHead(said.head);
      }
    }
  }

  #say(said: Said): void {
    if (!this.#leaving.signal.aborted) this.#channel.postMessage(said);
  }
}
