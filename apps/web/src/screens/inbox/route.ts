import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "@/app/root";
import { validateSearch } from "@/screens/inbox/search";

/** The list stays what it is while one or another of it is open: only the address below it changes. */
export const inboxRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/approvals",
  validateSearch,
  component: lazyRouteComponent(() => import("@/screens/inbox/Inbox")),
});

const none = createRoute({ getParentRoute: () => inboxRoute, path: "/" });
const one = createRoute({ getParentRoute: () => inboxRoute, path: "$approvalId" });

export const inboxRoutes = [inboxRoute.addChildren([none, one])] as const;
