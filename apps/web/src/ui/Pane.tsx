import { QueryErrorResetBoundary } from "@tanstack/react-query";
import { RotateCw, TriangleAlert } from "lucide-react";
import { Component, type ErrorInfo, type ReactNode } from "react";

import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import { Button } from "@/ui/Button";
import { texts } from "@/ui/texts";

interface Caught {
  error: unknown;
}

class Boundary extends Component<{ children: ReactNode; onRetry: () => void }, Caught> {
  override state: Caught = { error: null };

  static getDerivedStateFromError(error: unknown): Caught {
    return { error: error ?? new Error("unknown") };
  }

  override componentDidCatch(error: unknown, info: ErrorInfo): void {
    // The one place where the console is right: this is a mistake of ours, and its stack helps to find it.
    // oxlint-disable-next-line no-console
    console.error(error, info.componentStack);
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    const retry = () => {
      this.props.onRetry();
      this.setState({ error: null });
    };
    return <ErrorPane error={this.state.error} onRetry={retry} />;
  }
}

/** A part of a screen that fails alone: what is thrown inside is told here, with a way to try again. */
export function Pane({ children }: { children: ReactNode }) {
  return (
    <QueryErrorResetBoundary>
      {({ reset }) => <Boundary onRetry={reset}>{children}</Boundary>}
    </QueryErrorResetBoundary>
  );
}

/** An error in place of what could not be shown. */
export function ErrorPane({ error, onRetry, busy = false }: { error: unknown; onRetry?: () => void; busy?: boolean }) {
  const t = useTexts(texts);
  const problem = asProblem(error);
  const title =
    problem.status === 0 ? t("unreachable") : problem.status === -1 ? t("page_error") : t("failed");
  const hint =
    problem.status === 0 ? t("unreachable_hint") : problem.status === -1 ? t("page_error_hint") : problem.detail;
  return (
    <div role="alert" className="flex h-full min-h-40 animate-fade flex-col items-center justify-center gap-3 p-6 text-center">
      <TriangleAlert aria-hidden className="size-5 text-danger" />
      <div className="max-w-md space-y-1">
        <p className="font-medium">{title}</p>
        <p className="text-xs text-balance text-muted">{hint}</p>
        <p className="pt-1 font-mono text-2xs text-faint">
          {problem.status > 0 ? `${problem.status} ${problem.code}` : problem.message}
          {problem.requestId !== null && ` · ${t("request_id")} ${problem.requestId}`}
        </p>
      </div>
      {onRetry !== undefined && (
        <Button icon={<RotateCw aria-hidden className="size-3.5" />} onClick={onRetry} busy={busy}>
          {t("retry")}
        </Button>
      )}
    </div>
  );
}

/** An error above data from before, which stays. */
export function ErrorLine({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const t = useTexts(texts);
  const problem = asProblem(error);
  return (
    <div role="alert" className="flex items-center gap-2 border-b bg-danger-soft px-3 py-1.5 text-xs text-danger">
      <TriangleAlert aria-hidden className="size-3.5 shrink-0" />
      <span className="min-w-0 flex-1">
        {problem.status === 0 ? t("unreachable") : problem.detail} {t("stale")}
        {problem.requestId !== null && <span className="ml-2 font-mono text-2xs">{problem.requestId}</span>}
      </span>
      {onRetry !== undefined && (
        <button type="button" className="font-medium underline" onClick={onRetry}>
          {t("retry")}
        </button>
      )}
    </div>
  );
}
