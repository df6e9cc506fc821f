/** How many wait, beside a name in the navigation; nothing for none. */
export function CountBadge({ count, label }: { count: number; label: string }) {
  if (count === 0) return null;
  return (
    <span
      data-numeric
      title={label}
      className="rounded-full bg-accent-fill px-1.5 text-2xs font-semibold text-on-accent"
    >
      <span aria-hidden>{count > 99 ? "99+" : count}</span>
      <span className="sr-only">{label}</span>
    </span>
  );
}
