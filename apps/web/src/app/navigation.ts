/** The screens, in the order in which they stand in the navigation. A screen that is not here cannot be found. */

import { Inbox, ScrollText, SearchCode } from "lucide-react";
import type { ComponentType } from "react";

import type { Text } from "@/i18n/texts";
import { InboxCount } from "@/screens/inbox/InboxCount";

export interface NavigationEntry {
  /** The route of the screen; the router checks that it exists. */
  readonly to: "/timeline" | "/approvals" | "/inspector";
  readonly label: Text;
  readonly icon: ComponentType<{ className?: string; "aria-hidden"?: boolean }>;
  /** The sequence that opens it. */
  readonly keys: string;
  /** How addresses begin that are of this screen too. */
  readonly also?: string;
  /** What waits for a person there: a `CountBadge`. */
  readonly Count?: ComponentType;
}

export const NAVIGATION: readonly NavigationEntry[] = [
  { to: "/timeline", label: { en: "Timeline", ko: "타임라인" }, icon: ScrollText, keys: "g t", also: "/rooms/" },
  { to: "/approvals", label: { en: "Approvals", ko: "승인" }, icon: Inbox, keys: "g i", Count: InboxCount },
  { to: "/inspector", label: { en: "Inspector", ko: "인스펙터" }, icon: SearchCode, keys: "g r" },
];
