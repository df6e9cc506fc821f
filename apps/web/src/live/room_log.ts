/**
 * The events of a room as a timeline holds them: the newest ones live, older ones by page.
 *
 * `cursor` is the last stream_seq up to which this tab has seen the whole stream. What comes is taken only as the next
 * after it; a jump is filled from the API, and stays visible as a gap for as long as it cannot be. While following, the
 * oldest are let go beyond RING; while paused, nothing that is shown moves: what comes waits and is counted.
 */

import type { Event, Link } from "@/live/connection";
import { SharedConnection } from "@/live/sharing";

export const RING = 5_000;
export const PAGE = 200;
/** Pages that are searched at a time for the next event that a filter lets through. */
const SEARCH_PAGES = 10;
/** Pages that a jump is filled with; beyond, the timeline begins anew at the newest. */
const FILL_PAGES = 50;

export interface Filter {
  readonly types: readonly string[];
  readonly actor: string;
  readonly run: string;
  readonly correlation: string;
  readonly zone: string;
  readonly text: string;
}

export const NO_FILTER: Filter = { types: [], actor: "", run: "", correlation: "", zone: "", text: "" };

export interface Pages {
  /** Events of the room in ascending order. */
  page(query: { before?: number; after?: number; limit: number; newest: boolean }, filter: Filter): Promise<Event[]>;
}

export interface Snapshot {
  readonly events: readonly Event[];
  readonly waiting: number;
  readonly link: Link;
  readonly loaded: boolean;
  readonly failed: unknown;
  readonly older: "more" | "loading" | "none" | "failed";
  readonly following: boolean;
  /** What is missing: events with a stream_seq between two numbers, both exclusive. */
  readonly gap: { readonly after: number; readonly before: number } | null;
}

/** Whether a filter lets an event through. */
export function passes(filter: Filter, event: Event): boolean {
  if (filter.types.length > 0 && !filter.types.includes(event.event_type)) return false;
  if (filter.actor !== "" && event.actor_id !== filter.actor) return false;
  if (filter.run !== "" && event.run_id !== filter.run) return false;
  if (filter.correlation !== "" && event.correlation_id !== filter.correlation) return false;
  if (filter.zone !== "" && event.zone !== filter.zone) return false;
  if (filter.text === "") return true;
  const wanted = filter.text.toLowerCase();
  return (
    event.event_type.includes(wanted) ||
    event.actor_id.toLowerCase().includes(wanted) ||
    JSON.stringify(event.data).toLowerCase().includes(wanted)
  );
}

/** ms between two drawings of what comes: fewer while much comes, since nobody reads along then. */
const CALM_MS = 80;
const BUSY_MS = 250;
/** Events since the last drawing that count as much. */
const MUCH = 8;

export class RoomLog {
  #events: Event[] = [];
  #waiting: Event[] = [];
  #came = 0;
  #run = 0;
  #cursor = 0;
  #link: Link = { kind: "connecting" };
  #loaded = false;
  #failed: unknown = null;
  #older: Snapshot["older"] = "loading";
  #following = true;
  #gap: Snapshot["gap"] = null;
  #searched = Number.MAX_SAFE_INTEGER;
  #shared: SharedConnection | null = null;
  #filling: Promise<void> | null = null;
  #head = 0;
  #drawn = 0;
  #wasBusy = false;
  #closed = false;
  #snapshot: Snapshot;
  #frame: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(
    private readonly roomId: string,
    private readonly filter: Filter,
    private readonly source: Pages,
  ) {
    this.#snapshot = this.#made();
  }

  /** Load the newest page, then follow. */
  start(): void {
    this.#closed = false;
    void this.#begin();
  }

  close(): void {
    this.#closed = true;
    this.#loaded = false;
    clearTimeout(this.#frame);
    this.#shared?.close();
    this.#shared = null;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly get = (): Snapshot => this.#snapshot;

  /** The last stream_seq that this tab has seen everything up to. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Whether this tab holds the stream for all tabs of the room. */
  get leads(): boolean {
    return this.#shared?.leads ?? false;
  }

  retry(): void {
    if (this.#loaded) this.#shared?.retry();
    else void this.#begin();
  }

  pause(): void {
    if (!this.#following) return;
    this.#following = false;
    this.#changed();
  }

  /** Show what waits, and follow again. */
  resume(): void {
    this.#following = true;
    const waited = this.#waiting;
    this.#waiting = [];
    // More came meanwhile than is kept: what is shown begins anew with it, and older pages go on before that.
    if (this.#came > waited.length) {
      this.#events = waited;
      this.#searched = waited[0]?.stream_seq ?? 0;
      this.#older = "more";
    } else this.#events = [...this.#events, ...waited];
    this.#came = 0;
    this.#trim();
    this.#changed();
  }

  /** Add the page before the oldest event that is shown. */
  async loadOlder(): Promise<void> {
    if (this.#older === "loading" || this.#older === "none") return;
    this.#older = "loading";
    this.#changed();
    try {
      await this.#page();
    } catch {
      this.#older = "failed";
    }
    this.#changed();
  }

  async #begin(): Promise<void> {
    const run = ++this.#run;
    this.#failed = null;
    this.#changed();
    try {
      // Where the stream is now is asked before what it holds: an event in between comes twice rather than never.
      const [last] = await this.source.page({ limit: 1, newest: true }, NO_FILTER);
      if (run !== this.#run || this.#closed) return;
      this.#cursor = last?.stream_seq ?? 0;
      this.#searched = this.#cursor + 1;
      this.#events = [];
      await this.#page(() => run === this.#run && !this.#closed);
      if (run !== this.#run || this.#closed) return;
      this.#loaded = true;
      this.#shared ??= new SharedConnection(this.roomId, () => this.#cursor, {
        onEvents: (events) => this.#come(events),
        onLink: (link) => {
          this.#link = link;
          this.#changed();
        },
        onReset: (head) => this.#reset(head),
        onHead: (head) => this.#behind(head),
      });
    } catch (error) {
      if (run !== this.#run || this.#closed) return;
      this.#failed = error;
    }
    this.#changed();
  }

  /** Older events that pass; the API filters what it can, the rest is looked at here. */
  async #page(wanted: () => boolean = () => true): Promise<void> {
    for (let pages = 0; pages < SEARCH_PAGES; pages++) {
      const found = await this.source.page({ before: this.#searched, limit: PAGE, newest: true }, this.filter);
      if (!wanted()) return;
      this.#searched = found[0]?.stream_seq ?? 0;
      const passed = found.filter((event) => passes(this.filter, event));
      this.#events = [...passed, ...this.#events];
      this.#older = found.length < PAGE || this.#searched <= 1 ? "none" : "more";
      if (passed.length > 0 || this.#older === "none") return;
    }
  }

  #come(events: readonly Event[]): void {
    for (const event of events) {
      if (event.stream_seq <= this.#cursor) continue;
      if (event.stream_seq > this.#cursor + 1) {
        this.#behind(event.stream_seq);
        return; // what is filled in reaches to the head, so these come with it
      }
      this.#take(event);
    }
    this.#trim();
    this.#soon();
  }

  #take(event: Event): void {
    this.#cursor = event.stream_seq;
    if (!passes(this.filter, event)) return;
    if (this.#following) this.#events.push(event);
    else {
      this.#waiting.push(event);
      this.#came += 1;
    }
  }

  /** The stream reaches to `head`, and this tab has not seen all of it: read what is missing, as long as it takes. */
  #behind(head: number): void {
    this.#head = Math.max(this.#head, head);
    if (this.#head <= this.#cursor || this.#filling !== null) return;
    this.#filling = this.#fill().finally(() => {
      this.#filling = null;
      this.#trim();
      this.#changed();
      if (!this.#closed && this.#gap === null && this.#head > this.#cursor) this.#behind(this.#head);
    });
  }

  async #fill(): Promise<void> {
    try {
      for (let pages = 0; pages < FILL_PAGES && !this.#closed; pages++) {
        const found = await this.source.page({ after: this.#cursor, limit: PAGE, newest: false }, NO_FILTER);
        for (const event of found) if (event.stream_seq === this.#cursor + 1) this.#take(event);
        this.#gap = null;
        if (found.length < PAGE) return;
      }
      await this.#begin(); // too far behind: the newest matter, and the way back goes by pages
    } catch {
      this.#gap = { after: this.#cursor, before: this.#head + 1 };
      this.#events = [...this.#events];
      setTimeout(() => {
        if (this.#closed) return;
        this.#gap = null;
        this.#behind(this.#head);
      }, 2_000);
    }
  }

  #reset(head: number): void {
    this.#waiting = [];
    this.#came = 0;
    this.#cursor = head;
    void this.#begin();
  }

  #trim(): void {
    if (this.#following && this.#events.length > RING) {
      this.#events = this.#events.slice(-RING);
      this.#searched = this.#events[0]?.stream_seq ?? 0;
      this.#older = "more";
    }
    if (this.#waiting.length > RING) {
      this.#waiting = this.#waiting.slice(-RING);
    }
  }

  /** Many small changes make one. */
  #soon(): void {
    const wait = this.#cursor - this.#drawn > MUCH || this.#wasBusy ? BUSY_MS : CALM_MS;
    this.#frame ??= setTimeout(() => requestAnimationFrame(() => this.#changed()), wait);
  }

  #made(): Snapshot {
    return {
      events: this.#events,
      waiting: this.#came,
      link: this.#link,
      loaded: this.#loaded,
      failed: this.#failed,
      older: this.#older,
      following: this.#following,
      gap: this.#gap,
    };
  }

  #changed(): void {
    clearTimeout(this.#frame);
    this.#frame = undefined;
    this.#wasBusy = this.#cursor - this.#drawn > MUCH;
    this.#drawn = this.#cursor;
    this.#events = [...this.#events]; // what was handed out before stays as it is
    this.#snapshot = this.#made();
    for (const listener of this.#listeners) listener();
  }
}
