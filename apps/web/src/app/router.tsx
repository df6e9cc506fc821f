/** All routes. A screen brings its own from `screens/<name>/route.ts`; they are listed here. */

import type { QueryClient } from "@tanstack/react-query";
import { createRoute, createRouter, redirect } from "@tanstack/react-router";

import { rootRoute } from "@/app/root";
import { inboxRoutes } from "@/screens/inbox/route";
import { inspectorRoutes } from "@/screens/inspector/route";
import { timelineRoutes } from "@/screens/timeline/route";
import { Skeleton } from "@/ui/Skeleton";

const home = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/timeline", replace: true });
  },
});

const routeTree = rootRoute.addChildren([home, ...timelineRoutes, ...inspectorRoutes, ...inboxRoutes]);

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree,
    context: { queries },
    defaultPendingComponent: Skeleton,
    defaultPreload: "intent",
    scrollRestoration: false, // lists keep their own place
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
