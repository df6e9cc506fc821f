import { shown } from "@/lib/keys";

/** Keys drawn as keys. */
export function Keys({ keys }: { keys: string }) {
  return (
    <span className="inline-flex gap-0.5 pointer-coarse:hidden" aria-hidden>
      {shown(keys).map((key) => (
        <kbd
          key={key}
          className="inline-flex h-4 min-w-4 items-center justify-center rounded-sm border border-current/20 bg-current/5 px-1 font-sans text-2xs leading-none font-medium"
        >
          {key}
        </kbd>
      ))}
    </span>
  );
}
