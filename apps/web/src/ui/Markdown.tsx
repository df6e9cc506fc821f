import { type ComponentProps, memo } from "react";
import ReactMarkdown from "react-markdown";
import remarkGfm from "remark-gfm";

const OUTSIDE = { target: "_blank", rel: "noopener noreferrer nofollow" };

/** Pictures would tell another server who reads: they become links. Headings stay below those of the page. */
const COMPONENTS: ComponentProps<typeof ReactMarkdown>["components"] = {
  a: ({ children, href }) => (
    <a href={href} {...OUTSIDE} className="text-accent underline decoration-accent/40 underline-offset-2 hover:decoration-accent">
      {children}
    </a>
  ),
  img: ({ alt, src }) => (
    <a href={typeof src === "string" ? src : undefined} {...OUTSIDE} className="text-accent underline">
      {alt || "image"}
    </a>
  ),
  h1: ({ children }) => <p className="text-md font-semibold">{children}</p>,
  h2: ({ children }) => <p className="text-md font-semibold">{children}</p>,
  h3: ({ children }) => <p className="font-semibold">{children}</p>,
  h4: ({ children }) => <p className="font-semibold">{children}</p>,
  h5: ({ children }) => <p className="font-semibold">{children}</p>,
  h6: ({ children }) => <p className="font-semibold">{children}</p>,
  ul: ({ children }) => <ul className="list-disc space-y-0.5 pl-5">{children}</ul>,
  ol: ({ children }) => <ol className="list-decimal space-y-0.5 pl-5">{children}</ol>,
  blockquote: ({ children }) => <blockquote className="border-l-2 pl-3 text-muted">{children}</blockquote>,
  code: ({ children }) => <code className="rounded-sm bg-hover px-1 py-px font-mono text-xs">{children}</code>,
  pre: ({ children }) => (
    // A long line is scrolled to by keyboard too.
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <pre tabIndex={0} className="max-w-full overflow-x-auto rounded-md border bg-sunken p-2.5 [&_code]:bg-transparent [&_code]:p-0">
      {children}
    </pre>
  ),
  table: ({ children }) => (
    <div className="overflow-x-auto">
      <table className="border-collapse text-xs [&_td]:border [&_td]:px-2 [&_td]:py-1 [&_th]:border [&_th]:px-2 [&_th]:py-1 [&_th]:text-left">
        {children}
      </table>
    </div>
  ),
  hr: () => <hr className="border-t" />,
  input: ({ checked }) => <span aria-hidden>{checked === true ? "☑ " : "☐ "}</span>,
};

const PLUGINS = [remarkGfm];
/** Without any of these a text says the same as Markdown, and need not be parsed: most lines of most agents. */
const MARKS = /[*_`#[\]<>|~\\!&:@\n]|^\s*(?:[-+=]|\d+[.)])|^\s{4}|www\./;

/** A user's Markdown: HTML in it is shown as text, links are http, https or mailto, and nothing is loaded. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  if (!MARKS.test(text)) return <p className="min-w-0 break-words">{text}</p>;
  return (
    <div className="min-w-0 space-y-2 break-words">
      <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS}>
        {text}
      </ReactMarkdown>
    </div>
  );
});
