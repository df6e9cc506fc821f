import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "@/app/root";
import { validateSearch } from "@/screens/timeline/search";

const timeline = createRoute({
  getParentRoute: () => rootRoute,
  path: "/timeline",
  component: lazyRouteComponent(() => import("@/screens/timeline/TimelineHome")),
});

export const roomRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/rooms/$roomId",
  validateSearch,
  component: lazyRouteComponent(() => import("@/screens/timeline/TimelineScreen")),
});

export const timelineRoutes = [timeline, roomRoute] as const;
