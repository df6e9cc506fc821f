import clsx from "clsx";
import type { InputHTMLAttributes, ReactNode, Ref, TextareaHTMLAttributes } from "react";

const FIELD =
  "rounded-md border bg-raised px-2.5 text-xs placeholder:text-faint hover:border-line-strong focus:border-focus focus:outline-none focus-visible:ring-2 focus-visible:ring-focus/40 pointer-coarse:text-lg";

export function Input({ className, ...rest }: InputHTMLAttributes<HTMLInputElement> & { ref?: Ref<HTMLInputElement> }) {
  return <input {...rest} className={clsx(FIELD, "h-7 min-w-0 pointer-coarse:h-10", className)} />;
}

export function TextArea({ className, ...rest }: TextareaHTMLAttributes<HTMLTextAreaElement> & { ref?: Ref<HTMLTextAreaElement> }) {
  return <textarea {...rest} className={clsx(FIELD, "py-1.5 leading-5", className)} />;
}

/** A label above its field. */
export function Field({ label, hint, children }: { label: string; hint?: ReactNode; children: ReactNode }) {
  return (
    // The field is what is nested in it.
    <label className="flex flex-col gap-1">
      <span className="text-xs font-medium">{label}</span>
      {children}
      {hint !== undefined && <span className="text-2xs text-faint">{hint}</span>}
    </label>
  );
}
