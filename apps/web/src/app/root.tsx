import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext } from "@tanstack/react-router";

import { NotFound, Shell } from "@/shell/Shell";
import { ErrorPane } from "@/ui/Pane";

/** The parent of every screen's route. */
export const rootRoute = createRootRouteWithContext<{ queries: QueryClient }>()({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: ({ error, reset }) => <ErrorPane error={error} onRetry={reset} />,
});
