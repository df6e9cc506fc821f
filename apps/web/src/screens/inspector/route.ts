import { createRoute, lazyRouteComponent, redirect } from "@tanstack/react-router";

import { rootRoute } from "@/app/root";
import { validateSearch } from "@/screens/inspector/search";

export const inspectorRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/inspector",
  validateSearch,
  component: lazyRouteComponent(() => import("@/screens/inspector/InspectorScreen")),
});

/** Short addresses: `/runs/run_…?step=step_…` and `/events/…`. */
const run = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runs/$runId",
  validateSearch: (given: Record<string, unknown>): { step?: string } =>
    typeof given["step"] === "string" ? { step: given["step"] } : {},
  beforeLoad: ({ params, search }) => {
    const item = search.step === undefined ? {} : { item: search.step };
    throw redirect({ to: "/inspector", search: { run_id: params.runId, ...item }, replace: true });
  },
});

const event = createRoute({
  getParentRoute: () => rootRoute,
  path: "/events/$eventId",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/inspector", search: { event_id: params.eventId }, replace: true });
  },
});

export const inspectorRoutes = [inspectorRoute, run, event] as const;
