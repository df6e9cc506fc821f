import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChevronsUpDown } from "lucide-react";
import { type FormEvent, useState } from "react";

import { $api, api, idempotencyKey } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { texts } from "@/screens/timeline/texts";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/fields";
import { Menu, MenuChoices, MenuItem, MenuSeparator } from "@/ui/Menu";
import { ErrorLine } from "@/ui/Pane";

/** The room that is shown, and the way to others. */
export function RoomPicker({ roomId, title }: { roomId: string; title: string }) {
  const t = useTexts(texts);
  const navigate = useNavigate();
  const rooms = $api.useQuery("get", "/v1/rooms", { params: { query: { limit: 100 } } });
  const [creating, setCreating] = useState(false);
  return (
    <>
      <Menu
        trigger={
          <Button aria-label={`${t("room")}: ${title}`} className="max-w-64" data-testid="room-picker">
            <span className="truncate">{title}</span>
            <ChevronsUpDown aria-hidden className="size-3.5 shrink-0 text-faint" />
          </Button>
        }
      >
        <MenuChoices
          value={roomId}
          onChange={(chosen) => void navigate({ to: "/rooms/$roomId", params: { roomId: chosen } })}
          choices={(rooms.data?.rooms ?? []).map((room) => ({ value: room.room_id, label: room.title }))}
        />
        <MenuSeparator />
        <MenuItem onSelect={() => setCreating(true)}>{t("new_room")}</MenuItem>
      </Menu>
      {creating && <NewRoom onClose={() => setCreating(false)} />}
    </>
  );
}

/** Creates a room and goes there. */
export function NewRoom({ onClose }: { onClose: () => void }) {
  const t = useTexts(texts);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const [title, setTitle] = useState("");
  const [key] = useState(idempotencyKey);
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const create = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    api
      .POST("/v1/rooms", { body: { title: title.trim() }, headers: { "idempotency-key": key } })
      .then(async ({ data }) => {
        await queries.invalidateQueries({ queryKey: ["get", "/v1/rooms"] });
        onClose();
        const roomId = (data as { room_id?: string } | undefined)?.room_id;
        if (roomId !== undefined) await navigate({ to: "/rooms/$roomId", params: { roomId } });
      })
      .catch(setFailed)
      .finally(() => setBusy(false));
  };
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={t("new_room_title")}
      footer={
        <>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button look="primary" type="submit" form="new-room" busy={busy} disabled={title.trim() === ""}>
            {t("create")}
          </Button>
        </>
      }
    >
      <form id="new-room" onSubmit={create} className="space-y-2">
        {failed !== null && <ErrorLine error={failed} />}
        <Field label={t("room_name")}>
          <Input value={title} onChange={(event) => setTitle(event.target.value)} maxLength={200} />
        </Field>
      </form>
    </Dialog>
  );
}
