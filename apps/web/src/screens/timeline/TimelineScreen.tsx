import { useNavigate } from "@tanstack/react-router";
import { MessagesSquare, Pause, Play, SearchX } from "lucide-react";
import { useCallback, useEffect, useMemo, useState } from "react";

import { $api } from "@/api/client";
import { asProblem } from "@/api/problem";
import { useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import { remember } from "@/lib/preference";
import type { Event } from "@/live/connection";
import { Composer } from "@/screens/timeline/Composer";
import { EventDrawer } from "@/screens/timeline/EventDrawer";
import { EventList } from "@/screens/timeline/EventList";
import type { RowActions } from "@/screens/timeline/EventRow";
import { type Change, FilterBar } from "@/screens/timeline/FilterBar";
import { LinkBadge } from "@/screens/timeline/LinkBadge";
import { RoomPicker } from "@/screens/timeline/RoomPicker";
import { roomRoute } from "@/screens/timeline/route";
import { rowsOf } from "@/screens/timeline/rows";
import { filterOf, isFiltered, type TimelineSearch } from "@/screens/timeline/search";
import { texts } from "@/screens/timeline/texts";
import { LAST_ROOM } from "@/screens/timeline/TimelineHome";
import { useRoomLog, useSeen } from "@/screens/timeline/useRoomLog";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { ErrorPane, Pane } from "@/ui/Pane";
import { ScreenHeader } from "@/ui/ScreenHeader";
import { Skeleton } from "@/ui/Skeleton";
import { Split } from "@/ui/Split";

export default function TimelineScreen() {
  const { roomId } = roomRoute.useParams();
  return <Room key={roomId} roomId={roomId} />;
}

function Room({ roomId }: { roomId: string }) {
  const t = useTexts(texts);
  const search = roomRoute.useSearch();
  const navigate = useNavigate();
  const room = $api.useQuery("get", "/v1/rooms/{room_id}", { params: { path: { room_id: roomId } } });
  const filter = useMemo(() => filterOf(search), [search]);
  const { log, snapshot } = useRoomLog(roomId, filter);
  const seen = useSeen(roomId, log, snapshot);
  const [unfolded, setUnfolded] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => remember(LAST_ROOM, roomId), [roomId]);

  const change = useCallback<Change>(
    (changed) => {
      void navigate({
        to: "/rooms/$roomId",
        params: { roomId },
        search: (before) => {
          const next = Object.entries({ ...before, ...changed }).filter(([, value]) => value !== undefined);
          return Object.fromEntries(next) as TimelineSearch;
        },
        replace: true,
      });
    },
    [navigate, roomId],
  );
  const { events, gap, following } = snapshot;
  const rows = useMemo(
    () => rowsOf(events, { fold: search.fold !== 0, unfolded, newAfter: seen, gap }),
    [events, search.fold, unfolded, seen, gap],
  );
  const select = useCallback((event: string | undefined) => change({ event }), [change]);
  const linkTo = useCallback(
    (event: Event) => `${window.location.origin}/rooms/${roomId}?event=${encodeURIComponent(event.event_id)}`,
    [roomId],
  );
  const actions = useMemo<RowActions>(
    () => ({
      open: (event) => select(event.event_id),
      toggle: ({ events: folded, open }) =>
        setUnfolded((before) => {
          const next = new Set(before);
          // By its last event it is found again whatever is paged in before it, by any of them it is closed.
          if (open) for (const { event_id } of folded) next.delete(event_id);
          else next.add(folded.at(-1)?.event_id ?? "");
          return next;
        }),
      linkTo,
    }),
    [select, linkTo],
  );
  const step = (by: 1 | -1): void => {
    const shown = rows.flatMap((row) => (row.kind === "event" ? [row.event.event_id] : []));
    const at = search.event === undefined ? -1 : shown.indexOf(search.event);
    const next = at === -1 ? shown.at(-1) : shown[Math.min(shown.length - 1, Math.max(0, at + by))];
    if (next !== undefined) select(next);
  };
  useKeys([
    { keys: "j", label: t("next"), run: () => step(1) },
    { keys: "k", label: t("previous"), run: () => step(-1) },
    ...(search.event === undefined ? [] : [{ keys: "Escape", label: t("close"), run: () => select(undefined) }]),
  ]);

  if (room.error !== null && room.data === undefined && asProblem(room.error).status === 404) {
    return (
      <>
        <ScreenHeader title={t("title")}>
          <RoomPicker roomId={roomId} title={t("choose_room")} />
        </ScreenHeader>
        <EmptyState icon={<SearchX />} title={t("no_room")} hint={roomId} />
      </>
    );
  }
  const list = (
    <>
      <FilterBar search={search} onChange={change} events={events} />
      <Pane>
        {!snapshot.loaded && snapshot.failed !== null ? (
          <ErrorPane error={snapshot.failed} onRetry={() => log.retry()} />
        ) : !snapshot.loaded ? (
          <Skeleton rows={14} className="flex-1" />
        ) : rows.length === 0 && snapshot.older === "none" && isFiltered(search) ? (
          <EmptyState
            icon={<SearchX />}
            title={t("no_match")}
            action={
              <Button onClick={() => change({ types: undefined, actor: undefined, run: undefined, correlation: undefined, zone: undefined, q: undefined })}>
                {t("clear_filters")}
              </Button>
            }
          />
        ) : rows.length === 0 && snapshot.older === "none" ? (
          <EmptyState icon={<MessagesSquare />} title={t("nothing")} hint={t("nothing_hint")} />
        ) : rows.length === 0 ? (
          <EmptyState
            icon={<SearchX />}
            title={t("no_match")}
            hint={t("no_match_hint")}
            action={
              <Button busy={snapshot.older === "loading"} onClick={() => void log.loadOlder()}>
                {t("older")}
              </Button>
            }
          />
        ) : (
          <EventList rows={rows} log={log} snapshot={snapshot} selected={search.event} actions={actions} />
        )}
      </Pane>
      <Pane>
        <Composer roomId={roomId} onSent={() => log.resume()} />
      </Pane>
    </>
  );
  return (
    <>
      <ScreenHeader
        title={t("title")}
        actions={
          <Button
            look="quiet"
            keys="p"
            icon={following ? <Pause aria-hidden className="size-3.5" /> : <Play aria-hidden className="size-3.5" />}
            onClick={() => (following ? log.pause() : log.resume())}
          >
            {following ? t("pause") : t("resume")}
          </Button>
        }
      >
        <RoomPicker roomId={roomId} title={room.data?.room.title ?? "…"} />
        <LinkBadge link={snapshot.link} onRetry={() => log.retry()} />
        {room.data?.room.topic != null && (
          <span className="hidden truncate text-xs text-faint lg:inline">{room.data.room.topic}</span>
        )}
      </ScreenHeader>
      <Split
        name="timeline"
        narrow="second"
        first={list}
        second={
          search.event === undefined ? null : (
            <Pane key={search.event}>
              <EventDrawer eventId={search.event} onSelect={select} onStep={step} onChange={change} linkTo={linkTo} />
            </Pane>
          )
        }
      />
    </>
  );
}
