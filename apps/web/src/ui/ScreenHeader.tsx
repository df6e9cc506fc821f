import type { ReactNode } from "react";

/** The bar on top of a screen: its name, what it is about, what can be done. */
export function ScreenHeader({ title, children, actions }: { title: ReactNode; children?: ReactNode; actions?: ReactNode }) {
  return (
    <header className="flex min-h-12 shrink-0 flex-wrap items-center gap-x-3 gap-y-1.5 border-b bg-raised px-4 py-2">
      <h1 className="text-sm font-semibold">{title}</h1>
      <div className="flex min-w-0 flex-1 flex-wrap items-center gap-2">{children}</div>
      {actions !== undefined && <div className="flex items-center gap-1.5">{actions}</div>}
    </header>
  );
}
