import { createRoute, lazyRouteComponent } from "@tanstack/react-router";

import { rootRoute } from "@/app/root";

const component = lazyRouteComponent(() => import("@/screens/timeline/TimelineScreen"));

const timeline = createRoute({ getParentRoute: () => rootRoute, path: "/timeline", component });
const room = createRoute({ getParentRoute: () => rootRoute, path: "/rooms/$roomId", component });

export const timelineRoutes = [timeline, room] as const;
