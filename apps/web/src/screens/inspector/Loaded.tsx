import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { useTexts } from "@/i18n/texts";
import type { Whole } from "@/screens/inspector/reading";
import { texts } from "@/screens/inspector/texts";
import { ErrorLine, ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";

type Read = Pick<UseQueryResult<Whole<unknown>>, "data" | "error" | "isFetching" | "refetch">;

/** What is made of lists: once all are there, with an error above it when a later reading failed. */
export function Loaded({ all, children }: { all: readonly Read[]; children: ReactNode }) {
  const t = useTexts(texts);
  const failed = all.find(({ error }) => error !== null);
  const retry = (): void => {
    for (const each of all) if (each.error !== null) void each.refetch();
  };
  if (all.some(({ data }) => data === undefined)) {
    if (failed === undefined) return <Skeleton rows={10} />;
    return <ErrorPane error={failed.error} onRetry={retry} busy={failed.isFetching} />;
  }
  const cut = all.find(({ data }) => data?.more === true)?.data?.items.length;
  return (
    <>
      {failed !== undefined && <ErrorLine error={failed.error} onRetry={retry} />}
      {cut !== undefined && <p className="border-b bg-warn-soft px-3 py-1.5 text-xs text-warn">{t("more", { n: cut })}</p>}
      {children}
    </>
  );
}
