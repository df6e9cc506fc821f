import type { ReactNode } from "react";

/**
 * Nothing to show, and why: nothing yet (with the command that makes the first one), no match (with the way to clear
 * filters), or not allowed.
 */
export function EmptyState({ icon, title, hint, command, action }: {
  icon: ReactNode;
  title: string;
  hint?: ReactNode;
  command?: string;
  action?: ReactNode;
}) {
  return (
    <div className="flex h-full min-h-56 animate-fade flex-col items-center justify-center gap-3 p-8 text-center">
      <div aria-hidden className="grid size-10 place-items-center rounded-lg border bg-raised text-faint [&_svg]:size-5">
        {icon}
      </div>
      <div className="max-w-sm space-y-1">
        <p className="font-medium">{title}</p>
        {hint !== undefined && <p className="text-xs text-balance text-muted">{hint}</p>}
      </div>
      {command !== undefined && (
        <code className="max-w-full overflow-x-auto rounded-md border bg-sunken px-2.5 py-1.5 font-mono text-xs select-all">
          {command}
        </code>
      )}
      {action}
    </div>
  );
}
