import { Navigate } from "@tanstack/react-router";
import { MessagesSquare } from "lucide-react";
import { useState } from "react";

import { $api } from "@/api/client";
import { useTexts } from "@/i18n/texts";
import { recall } from "@/lib/preference";
import { NewRoom } from "@/screens/timeline/RoomPicker";
import { texts } from "@/screens/timeline/texts";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { ErrorPane } from "@/ui/Pane";
import { ScreenHeader } from "@/ui/ScreenHeader";
import { Skeleton } from "@/ui/Skeleton";

export const LAST_ROOM = "last_room";

/** The room that was shown last, or the busiest, or the way to the first one. */
export default function TimelineHome() {
  const t = useTexts(texts);
  const [creating, setCreating] = useState(false);
  const rooms = $api.useQuery("get", "/v1/rooms", { params: { query: { limit: 100 } } });
  const known = rooms.data?.rooms ?? [];
  const last = recall(LAST_ROOM);
  const room = known.find(({ room_id }) => room_id === last) ?? known[0];
  if (room !== undefined) return <Navigate to="/rooms/$roomId" params={{ roomId: room.room_id }} replace />;
  return (
    <>
      <ScreenHeader title={t("title")} />
      {rooms.isPending ? (
        <Skeleton />
      ) : rooms.error !== null ? (
        <ErrorPane error={rooms.error} onRetry={() => void rooms.refetch()} busy={rooms.isFetching} />
      ) : (
        <EmptyState
          icon={<MessagesSquare />}
          title={t("no_rooms")}
          hint={t("no_rooms_hint")}
          action={
            <Button look="primary" onClick={() => setCreating(true)}>
              {t("new_room")}
            </Button>
          }
        />
      )}
      {creating && <NewRoom onClose={() => setCreating(false)} />}
    </>
  );
}
