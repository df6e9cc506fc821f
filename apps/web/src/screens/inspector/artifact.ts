/** How an artifact's content is shown. */

import type { Artifact } from "@/screens/inspector/reading";

export type Shape = "image" | "json" | "diff" | "markdown" | "text" | "elsewhere" | "nothing";

const RASTER = /^image\/(png|jpeg|gif|webp|avif|bmp)$/;
const SVG = "image/svg+xml";
const DATA_IMAGE = /^data:(image\/(?:png|jpeg|gif|webp|avif|bmp));base64,([A-Za-z0-9+/=\s]+)$/;
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;
const DIFF = /^(diff --git |--- \S.*\n\+\+\+ )/m;

export function mimeOf(artifact: Artifact): string {
  return artifact.mime_type?.split(";")[0]?.trim().toLowerCase() ?? "";
}

export function shapeOf(artifact: Artifact, text: string | null): Shape {
  const mime = mimeOf(artifact);
  if (artifact.content_type === "none") return "nothing";
  if (artifact.content_type === "uri") return DATA_IMAGE.test(artifact.content_uri ?? "") ? "image" : "elsewhere";
  if (artifact.content_type === "json" || mime === "application/json") return "json";
  if (mime === SVG || RASTER.test(mime)) return "image";
  if (mime === "text/markdown") return "markdown";
  if (/^text\/x-(diff|patch)$/.test(mime) || DIFF.test(text?.slice(0, 4_096) ?? "")) return "diff";
  return "text";
}

/** The image that an artifact holds, as bytes: a drawing as text, or a picture in base64. null: it is neither. */
export function imageOf(artifact: Artifact, text: string | null): Blob | null {
  const mime = mimeOf(artifact);
  if (artifact.content_type === "uri") {
    const [, type = "", encoded = ""] = DATA_IMAGE.exec(artifact.content_uri ?? "") ?? [];
    return decoded(encoded, type);
  }
  if (text === null) return null;
  if (mime === SVG) return new Blob([text], { type: SVG });
  return RASTER.test(mime) && BASE64.test(text) ? decoded(text, mime) : null;
}

function decoded(encoded: string, type: string): Blob | null {
  if (encoded === "") return null;
  try {
    return new Blob([Uint8Array.from(atob(encoded.replaceAll(/\s/g, "")), (char) => char.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}
