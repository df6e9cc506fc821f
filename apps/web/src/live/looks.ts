/** How events look: a picture and a tone for their family, and one line that says what they are about. */

import {
  Bot,
  CircleAlert,
  CircleCheck,
  CircleDot,
  CircleX,
  FileText,
  Footprints,
  Globe,
  KeyRound,
  MessageSquare,
  OctagonX,
  Play,
  Scale,
  ShieldCheck,
  Siren,
  Wrench,
} from "lucide-react";

import type { Event } from "@/live/connection";
import type { Tone } from "@/ui/Badge";

export interface Look {
  readonly icon: typeof CircleDot;
  readonly tone: Tone;
}

const FAMILIES: Record<string, Look["icon"]> = {
  agent: Bot,
  approval: ShieldCheck,
  artifact: FileText,
  egress: Globe,
  engine: Bot,
  grant: ShieldCheck,
  incident: Siren,
  kill_switch: OctagonX,
  message: MessageSquare,
  policy: Scale,
  principal: KeyRound,
  run: Play,
  secret: KeyRound,
  step: Footprints,
  tool: Wrench,
};

const ENDINGS: [RegExp, Tone, Look["icon"]?][] = [
  [/\.(failed|denied|engaged|lease_expired|leaked\.detected|unjustified|repeated|blocked|quarantined)$/, "danger", CircleX],
  [/\.(requested|requires_approval|opened|escalated|mismatch|proposed|outcome_unknown)$/, "warn", CircleAlert],
  [/\.(succeeded|completed|closed|released|justified|delivered|consumed)$/, "ok", CircleCheck],
  [/\.(started|claimed|invoked|resumed)$/, "info"],
];

const known = new Map<string, Look>();

export function lookOf(eventType: string): Look {
  const found = known.get(eventType);
  if (found !== undefined) return found;
  const ending = ENDINGS.find(([pattern]) => pattern.test(eventType));
  const family = FAMILIES[eventType.split(".")[0] ?? ""];
  const look: Look = { icon: family ?? ending?.[2] ?? CircleDot, tone: ending?.[1] ?? "neutral" };
  known.set(eventType, look);
  return look;
}

export const TONES: Record<Tone, string> = {
  neutral: "text-faint",
  ok: "text-ok",
  warn: "text-warn",
  danger: "text-danger",
  info: "text-info",
  held: "text-held",
  accent: "text-accent",
};

const TELLING = ["title", "summary", "reason", "tool_name", "message", "action", "display_name", "kind", "note", "name", "host", "status"];

/** One line that says what an event is about, from whatever its data says. */
export function gist(event: Event): string {
  if (event.redaction_level !== "none") return "";
  const { data } = event;
  const words: string[] = [];
  for (const member of TELLING) {
    const value = data[member];
    if (typeof value === "string" && value !== "" && !words.includes(value)) words.push(value);
    if (words.length === 2) break;
  }
  return words.join(" · ").slice(0, 300);
}
