/** The mark and the name. */
export function Logo() {
  return (
    <span className="flex items-center gap-2 text-sm font-semibold tracking-tight">
      <svg aria-hidden viewBox="0 0 32 32" className="size-5">
        <rect width="32" height="32" rx="8" className="fill-accent-fill" />
        <g className="fill-on-accent stroke-on-accent">
          <path d="M9 22V10m7 12V10m7 12V10" strokeWidth="2.4" strokeLinecap="round" opacity=".45" />
          <circle cx="9" cy="18" r="3" stroke="none" />
          <circle cx="16" cy="13" r="3" stroke="none" />
          <circle cx="23" cy="20" r="3" stroke="none" />
        </g>
      </svg>
      Agent OS
    </span>
  );
}
