import { useQueryClient } from "@tanstack/react-query";
import { SendHorizontal } from "lucide-react";
import { type FormEvent, type KeyboardEvent, useRef, useState } from "react";

import { $api, actingAs, api, idempotencyKey } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { texts } from "@/screens/timeline/texts";
import { Button } from "@/ui/Button";
import { TextArea } from "@/ui/fields";
import { Markdown } from "@/ui/Markdown";
import { Menu, MenuChoices } from "@/ui/Menu";
import { ErrorLine } from "@/ui/Pane";

/** Writes into a thread of the room; the first message makes one. What was written stays until it is sent. */
export function Composer({ roomId, onSent }: { roomId: string; onSent: () => void }) {
  const t = useTexts(texts);
  const queries = useQueryClient();
  const threads = $api.useQuery("get", "/v1/rooms/{room_id}/threads", { params: { path: { room_id: roomId } } });
  const [threadId, setThreadId] = useState<string | null>(null);
  const [text, setText] = useState("");
  const [preview, setPreview] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const key = useRef(idempotencyKey());
  const known = threads.data?.threads ?? [];
  const chosen = threadId ?? known[0]?.thread_id ?? null;

  const send = async (): Promise<void> => {
    const into = chosen ?? (await firstThread());
    await api.POST("/v1/threads/{thread_id}/messages", {
      params: { path: { thread_id: into } },
      body: { content_md: text, sender_type: "user", sender_id: actingAs.get() },
      headers: { "idempotency-key": key.current },
    });
    key.current = idempotencyKey();
    setText("");
    setPreview(false);
    setFailed(null);
    onSent();
  };
  const firstThread = async (): Promise<string> => {
    const { data } = await api.POST("/v1/rooms/{room_id}/threads", {
      params: { path: { room_id: roomId } },
      body: { title: t("first_thread") },
      headers: { "idempotency-key": `${key.current}-thread` },
    });
    const made = (data as { thread_id: string }).thread_id;
    setThreadId(made);
    await queries.invalidateQueries({ queryKey: ["get", "/v1/rooms/{room_id}/threads"] });
    return made;
  };
  const submit = (event?: FormEvent): void => {
    event?.preventDefault();
    if (text.trim() === "" || busy) return;
    setBusy(true);
    send()
      .catch(setFailed)
      .finally(() => setBusy(false));
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.nativeEvent.isComposing) submit();
  };
  return (
    <form onSubmit={submit} className="shrink-0 border-t bg-raised" aria-label={t("compose")}>
      {failed !== null && <ErrorLine error={failed} onRetry={submit} />}
      <div className="flex items-end gap-2 px-4 py-2.5">
        <div className="min-w-0 flex-1">
          {preview ? (
            <div className="max-h-48 min-h-8 overflow-y-auto rounded-md border border-dashed px-2.5 py-1.5 text-sm">
              <Markdown text={text} />
            </div>
          ) : (
            <TextArea
              value={text}
              onChange={(event) => setText(event.target.value)}
              onKeyDown={onKeyDown}
              aria-label={t("compose")}
              placeholder={t("compose_hint")}
              rows={Math.min(8, Math.max(1, text.split("\n").length))}
              className="block w-full resize-none"
            />
          )}
        </div>
        {known.length > 1 && (
          <Menu
            align="end"
            trigger={
              <Button look="quiet" className="hidden max-w-36 sm:inline-flex">
                <span className="truncate">{known.find(({ thread_id }) => thread_id === chosen)?.title}</span>
              </Button>
            }
          >
            <MenuChoices
              value={chosen ?? ""}
              onChange={setThreadId}
              choices={known.map((thread) => ({ value: thread.thread_id, label: thread.title }))}
            />
          </Menu>
        )}
        <Button look="quiet" disabled={text === ""} aria-pressed={preview} onClick={() => setPreview(!preview)}>
          {preview ? t("edit") : t("preview")}
        </Button>
        <Button
          look="primary"
          type="submit"
          busy={busy}
          disabled={text.trim() === ""}
          icon={<SendHorizontal aria-hidden className="size-3.5" />}
        >
          {t("send")}
        </Button>
      </div>
    </form>
  );
}
