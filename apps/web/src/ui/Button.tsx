import clsx from "clsx";
import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";

import { Keys } from "@/ui/Keys";

const LOOKS = {
  plain: "border border-line bg-raised hover:bg-hover hover:border-line-strong",
  primary: "border border-transparent bg-accent-fill text-on-accent hover:bg-accent-fill-hover",
  danger: "border border-transparent bg-danger-fill text-on-accent hover:brightness-110",
  quiet: "border border-transparent text-muted hover:bg-hover hover:text-text",
} as const;

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: keyof typeof LOOKS;
  icon?: ReactNode;
  /** The key that does the same. */
  keys?: string;
  /** What it does is under way: it cannot be pressed again. */
  busy?: boolean;
  ref?: Ref<HTMLButtonElement>;
}

export function Button({ look = "plain", icon, keys, busy = false, className, children, disabled, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled === true || busy}
      aria-busy={busy || undefined}
      className={clsx(
        "inline-flex h-7 shrink-0 items-center justify-center gap-1.5 rounded-md px-2.5 text-xs font-medium whitespace-nowrap",
        "transition-colors duration-(--fast) disabled:opacity-55 pointer-coarse:h-10 pointer-coarse:px-4",
        LOOKS[look],
        busy && "animate-breathe",
        className,
      )}
    >
      {icon}
      {children}
      {keys !== undefined && <Keys keys={keys} />}
    </button>
  );
}

/** A square button with a picture only; `label` is its name and tooltip. */
export function IconButton({ label, className, ...rest }: ButtonProps & { label: string }) {
  return (
    <Button
      look="quiet"
      {...rest}
      aria-label={label}
      title={label}
      className={clsx("w-7 px-0! pointer-coarse:w-10", className)}
    />
  );
}
