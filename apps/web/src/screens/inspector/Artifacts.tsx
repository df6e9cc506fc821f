import { useQuery } from "@tanstack/react-query";
import { Download, FileText, ImageOff } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";

import { api } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { type Shape, imageOf, mimeOf, shapeOf } from "@/screens/inspector/artifact";
import { JsonTree } from "@/screens/inspector/JsonTree";
import { Fact, Facts, IdFact, Section } from "@/screens/inspector/parts";
import type { Artifact } from "@/screens/inspector/reading";
import { Rows } from "@/screens/inspector/Rows";
import { texts } from "@/screens/inspector/texts";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { Json } from "@/ui/Json";
import { Markdown } from "@/ui/Markdown";
import { ErrorPane } from "@/ui/Pane";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

const PREVIEW = 10 * 1_024;

function bytes(size: number): string {
  if (size < 1_024) return `${size} B`;
  return size < 1_048_576 ? `${(size / 1_024).toFixed(1)} KB` : `${(size / 1_048_576).toFixed(1)} MB`;
}

export function ArtifactRows({ artifacts, selected, onSelect }: {
  artifacts: readonly Artifact[];
  selected: string | undefined;
  onSelect: (artifact: Artifact) => void;
}) {
  const t = useTexts(texts);
  if (artifacts.length === 0) {
    return <EmptyState icon={<FileText />} title={t("no_artifacts")} hint={t("no_artifacts_hint")} />;
  }
  return (
    <Rows
      items={artifacts}
      keyOf={(artifact) => artifact.artifact_id}
      selected={selected}
      onSelect={onSelect}
      label={t("artifacts")}
      testId="artifacts"
      row={(artifact) => ({
        name: `${artifact.title ?? artifact.kind}, ${artifact.kind}`,
        cells: (
          <>
            <FileText aria-hidden className="size-3.5 shrink-0 text-faint" />
            <span className="min-w-0 flex-1 truncate">{artifact.title ?? artifact.kind}</span>
            <span className="shrink-0 font-mono text-2xs text-muted">{artifact.mime_type ?? artifact.kind}</span>
            <span data-numeric className="w-16 shrink-0 text-right text-2xs text-faint">
              {artifact.size_bytes === null ? "" : bytes(artifact.size_bytes)}
            </span>
            <Time at={artifact.created_at} className="w-16 shrink-0 truncate text-2xs text-faint" />
          </>
        ),
      })}
    />
  );
}

export function ArtifactDetail({ artifact }: { artifact: Artifact }) {
  const t = useTexts(texts);
  const kept = artifact.content_type === "text" || artifact.content_type === "json";
  return (
    <div className="space-y-4 p-4">
      <Facts>
        <Fact name={t("kind")}>
          {artifact.kind} <span className="text-faint">{artifact.mime_type}</span>
        </Fact>
        {artifact.size_bytes !== null && <Fact name={t("size")}>{bytes(artifact.size_bytes)}</Fact>}
        <Fact name={t("created")}>
          <Time at={artifact.created_at} />
        </Fact>
        <IdFact name={t("id")} value={artifact.artifact_id} />
        <IdFact name={t("step")} value={artifact.step_id} />
        {artifact.sha256 !== null && <IdFact name="SHA-256" value={artifact.sha256} />}
      </Facts>
      <Section title={t("content")}>
        <div data-testid="artifact">
          <Content artifact={artifact} />
        </div>
        {kept && (
          <a
            className="inline-flex items-center gap-1.5 text-xs text-accent hover:underline"
            href={`/v1/artifacts/${encodeURIComponent(artifact.artifact_id)}/content`}
            download={artifact.title ?? artifact.artifact_id}
          >
            <Download aria-hidden className="size-3.5" />
            {t("download")}
          </a>
        )}
      </Section>
      {Object.keys(artifact.metadata).length > 0 && (
        <Section title={t("metadata")}>
          <Json value={artifact.metadata} name={`${artifact.artifact_id}-metadata`} />
        </Section>
      )}
    </div>
  );
}

/** What is large is not in the list, and is read when it is looked at. */
function Content({ artifact }: { artifact: Artifact }) {
  const inline = artifact.content_text ?? (artifact.content_json === null ? null : JSON.stringify(artifact.content_json));
  const missing = inline === null && (artifact.content_type === "text" || artifact.content_type === "json");
  const read = useQuery({
    queryKey: ["inspector", "content", artifact.artifact_id],
    enabled: missing,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () => {
      const { data } = await api.GET("/v1/artifacts/{artifact_id}/content", {
        params: { path: { artifact_id: artifact.artifact_id } },
        parseAs: "text",
      });
      return data ?? "";
    },
  });
  if (missing && read.error !== null) return <ErrorPane error={read.error} onRetry={() => void read.refetch()} busy={read.isFetching} />;
  if (missing && read.data === undefined) return <Skeleton rows={6} />;
  const text = inline ?? read.data ?? null;
  return <Shown key={artifact.artifact_id} artifact={artifact} text={text} shape={shapeOf(artifact, text)} />;
}

function Shown({ artifact, text, shape }: { artifact: Artifact; text: string | null; shape: Shape }) {
  const t = useTexts(texts);
  switch (shape) {
    case "image":
      return <Picture artifact={artifact} text={text} />;
    case "json":
      return <ParsedJson text={text ?? "null"} />;
    case "markdown":
      return (
        <div className="rounded-md border p-3">
          <Markdown text={text ?? ""} />
        </div>
      );
    case "diff":
    case "text":
      return <Text text={text ?? ""} diff={shape === "diff"} />;
    case "elsewhere":
      return (
        <div className="space-y-1 text-xs">
          <p className="text-muted">{t("elsewhere")}</p>
          <p className="font-mono text-2xs break-all select-all">{artifact.content_uri}</p>
        </div>
      );
    case "nothing":
      return <p className="text-xs text-faint">{t("no_content")}</p>;
  }
}

function ParsedJson({ text }: { text: string }) {
  const value = useMemo((): { parsed: unknown } | null => {
    try {
      return { parsed: JSON.parse(text) as unknown };
    } catch {
      return null;
    }
  }, [text]);
  return value === null ? <Text text={text} diff={false} /> : <JsonTree value={value.parsed} />;
}

function lineClass(line: string): string | undefined {
  if (/^(\+\+\+|---|diff |index )/.test(line)) return "text-muted";
  if (line.startsWith("@@")) return "text-info";
  if (line.startsWith("+")) return "bg-ok-soft text-ok";
  return line.startsWith("-") ? "bg-danger-soft text-danger" : undefined;
}

function Text({ text, diff }: { text: string; diff: boolean }) {
  const t = useTexts(texts);
  const [all, setAll] = useState(false);
  const shown = all || text.length <= PREVIEW ? text : text.slice(0, PREVIEW);
  return (
    <div className="rounded-md border bg-sunken">
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre tabIndex={0} className="max-h-[60vh] overflow-auto p-3 font-mono text-2xs leading-4.5 break-words whitespace-pre-wrap">
        {diff
          ? shown.split("\n").map((line, number) => (
              // Lines have no other name than their number.
              // oxlint-disable-next-line react/no-array-index-key
              <span key={number} className={lineClass(line)}>
                {line}
                {"\n"}
              </span>
            ))
          : shown}
        {shown !== text && "…"}
      </pre>
      {shown !== text && (
        <div className="border-t p-1.5">
          <Button look="quiet" onClick={() => setAll(true)}>
            {t("show_all", { size: bytes(text.length) })}
          </Button>
        </div>
      )}
    </div>
  );
}

/** A picture by an address of this page's own: nothing in it can run, and nothing is loaded from elsewhere. */
function Picture({ artifact, text }: { artifact: Artifact; text: string | null }) {
  const t = useTexts(texts);
  const shown = useRef<HTMLImageElement>(null);
  const [unreadable, setUnreadable] = useState(false);
  const image = useMemo(() => imageOf(artifact, text), [artifact, text]);
  useEffect(() => {
    const { current } = shown;
    if (image === null || current === null) return undefined;
    const url = URL.createObjectURL(image);
    current.src = url;
    return () => URL.revokeObjectURL(url);
  }, [image]);
  if (image === null || unreadable) {
    return (
      <div className="space-y-2">
        <p className="flex items-center gap-2 text-xs text-muted">
          <ImageOff aria-hidden className="size-4" />
          {t("image_unreadable")} {mimeOf(artifact)}
        </p>
        {text !== null && <Text text={text} diff={false} />}
      </div>
    );
  }
  return (
    <div className="grid place-items-center rounded-md border bg-sunken p-3">
      <img ref={shown} alt={artifact.title ?? artifact.kind} onError={() => setUnreadable(true)} className="max-h-[60vh] max-w-full" />
    </div>
  );
}
