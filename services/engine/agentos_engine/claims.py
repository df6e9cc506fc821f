"""Claims: who gets which run.

Claims that wait are served together, in the order in which they came: one statement reserves the first runs of the
queue for them, one message to the API has them appended. The append, with the version that was read, is what decides;
a reservation only keeps others from trying in vain.

A claim waits for the hints that came before it, so that what its caller has seen happen counts in the order.

A claim that finds nothing is answered so only when the tables cover all that was acknowledged before it came. Until
then, and for as long as it may wait, it is parked; a run that becomes free wakes it.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, Final, TypeAlias

import asyncpg
import orjson
import structlog

from agentos_engine.bus import EngineBus, Unanswered, problem
from agentos_engine.stops import Stops
from agentos_engine.wishes import EMPTY, Filter, Wish, granted, parse
from agentos_shared.bus.consumer import Consumer
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.ids import new_uuid
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import Clock, Rng
from agentos_shared.store import statements
from agentos_shared.store.reader import Connection

log = structlog.get_logger("agentos.engine")

#: Wishes that one statement serves.
MOST: Final = 256
#: Rounds of claims whose appends may be under way at once.
ROUNDS: Final = 2
#: Seconds between looks of parked claims when nothing wakes them: another process may have made a run free.
FALLBACK_S: Final = 1.0
#: Seconds for which a claim waits for what was hinted at.
SETTLE_S: Final = 1.0
#: Seconds until a claim that ran into a switch looks again.
SOON_S: Final = 0.05
#: Seconds for which a claim waits for the tables to cover the store, at a start or while Postgres is away.
PATIENCE_S: Final = 8.0

AWAY: Final = ("engine_unavailable", "The claim could not be served now; try again.")

Pair: TypeAlias = tuple[Wish, asyncpg.Record]

CLAIMED: Final = metrics.counter("engine_claims", "Claims that got a run.")
LOST: Final = metrics.counter("engine_claims_lost", "Reservations whose append was refused: another one was first.")


def _texts() -> dict[str, str]:
    texts = statements.load("agentos_engine", "claims.sql")
    made = {}
    for name, text in texts.items():
        if name.startswith("pick_"):
            text = text.replace("{reserve}", _body(texts["reserve"])).replace("{free}", _body(texts["free"]))
            made[name] = text.replace("{tags}", "")
            made[f"{name}_tagged"] = text.replace("{tags}", _body(texts["tags"]))
        else:
            made[name] = text
    return made


def _body(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


SQL: Final = _texts()


class Claims:
    """The claims of this process."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        bus: EngineBus,
        consumer: Consumer[Connection],
        stops: Stops,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._pool = pool
        self._stops = stops
        self._bus = bus
        self._consumer = consumer
        self._clock = clock
        self._rng = rng
        #: Claims that got a run, so far.
        self.granted = 0
        self._hungry: list[Wish] = []
        self._early: list[Wish] = []
        self._uncovered: list[Wish] = []
        self._parked: dict[str, dict[Wish, None]] = defaultdict(dict)
        self._freed: dict[str, int] = defaultdict(int)
        # Workspaces in which the last look left somebody without a run: the tables are brought up to date first.
        self._dry: set[str] = set()
        self._appending = asyncio.Semaphore(ROUNDS)
        self._wake = asyncio.Event()
        self._settle = asyncio.Event()
        self._cover = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def claim(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer the API's question for a run: at once, or within its ``wait_s``.

        Who is cancelled gets none: what is granted after all is released, except under an idempotency key, with which
        it may be asked for again.
        """
        wish = parse(question, self._clock.monotonic(), asyncio.get_running_loop().create_future())
        if wish.filter.workspace_id in self._dry:
            self._to_cover(wish)
        elif self._bus.hinted:
            self._early.append(wish)
            self._settle.set()
        else:
            self._feed([wish])
        try:
            return await wish.answer
        finally:
            self._parked.get(wish.filter.workspace_id, {}).pop(wish, None)
            if wish.timer is not None:
                wish.timer.cancel()

    def drain(self) -> None:
        """This process stops: claims that wait are told to ask again."""
        for parked in list(self._parked.values()):
            _refuse(list(parked), *AWAY)

    def freed(self, workspaces: Iterable[str]) -> None:
        """Runs of these workspaces may be claimed now."""
        for workspace_id in workspaces:
            self._freed[workspace_id] += 1
            parked = self._parked.pop(workspace_id, None)
            if parked:
                self._feed(parked)

    # --- the queue ---------------------------------------------------------------------------------------------------

    def _feed(self, wishes: Iterable[Wish]) -> None:
        self._hungry += wishes
        self._wake.set()

    async def serve_forever(self) -> None:
        """Serve what waits, round by round."""
        while True:
            await self._wake.wait()
            # While claims are being appended, further ones gather, and then share a statement and a message.
            async with self._appending:
                pass
            self._wake.clear()
            wishes = [wish for wish in self._hungry if not wish.answer.done()]
            self._hungry, rest = [], wishes[MOST:]
            if rest:
                self._feed(rest)
            if wishes:
                await self._round(wishes[:MOST])

    async def _round(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            wish.seen = self._freed[wish.filter.workspace_id]
        for wish in [wish for wish in wishes if self._stops.get_none(wish.filter.workspace_id, _names(wish))]:
            self._park(wish)
        wishes = [wish for wish in wishes if not self._stops.get_none(wish.filter.workspace_id, _names(wish))]
        try:
            given = await self._pick(wishes) if wishes else []
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            log.warning("pick_failed", error=f"{type(error).__name__}: {error}")
            _refuse(wishes, *AWAY)
            return
        served = {wish for wish, _ in given}
        for _, pairs in groupby(given, key=lambda pair: pair[0].filter.workspace_id):
            self._start(list(pairs))
        self._dry.difference_update(wish.filter.workspace_id for wish in served)
        for wish in wishes:
            if wish in served or wish.answer.done():
                continue
            self._dry.add(wish.filter.workspace_id)
            if wish.covered:
                self._park(wish)
            else:
                self._to_cover(wish)

    def _to_cover(self, wish: Wish) -> None:
        self._uncovered.append(wish)
        self._cover.set()

    async def _pick(self, wishes: Sequence[Wish]) -> list[Pair]:
        """Reserve runs for these wishes, in the order of the queue. What two filters both matched goes to the first."""
        by_filter: dict[Filter, list[Wish]] = {}
        for wish in wishes:
            by_filter.setdefault(wish.filter, []).append(wish)
        given: list[Pair] = []
        for statement, filters in _by_statement(by_filter).items():
            rows = await self._pool.fetch(SQL[statement], *_arguments(statement, filters, by_filter))
            rows.sort(key=lambda row: (row["wish"], -row["priority"], row["created_event"].bytes))
            for place, found in groupby(rows, key=lambda row: row["wish"]):
                given += zip(by_filter[filters[place - 1]], found, strict=False)
        given.sort(key=lambda pair: pair[0].filter.workspace_id)
        return given

    def _park(self, wish: Wish) -> None:
        """Let a wish wait, for as long as it may."""
        workspace_id = wish.filter.workspace_id
        left = wish.until - self._clock.monotonic()
        if left <= 0:
            wish.answer.set_result(EMPTY)
            return
        if self._freed[workspace_id] != wish.seen:  # one became free while this one looked
            self._feed([wish])
            return
        self._parked[workspace_id][wish] = None
        if wish.timer is None:
            wish.timer = asyncio.get_running_loop().call_later(left, _give_up, wish)

    def _later(self, wish: Wish) -> None:
        """A switch was engaged that is not known here yet: look again in a moment."""
        asyncio.get_running_loop().call_later(SOON_S, self._feed, [wish])

    async def look_again_forever(self) -> None:
        """Wake parked claims now and then: what another process frees is not told here."""
        while True:
            await self._clock.sleep(FALLBACK_S * (0.75 + 0.5 * self._rng.random()))
            try:
                await self._stops.learn()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("stops_not_learned", error=f"{type(error).__name__}: {error}")
            self.freed([workspace_id for workspace_id, parked in self._parked.items() if parked])
            if len(self._freed) > 10_000:
                self._freed.clear()
            if len(self._dry) > 10_000:
                self._dry.clear()

    async def settle_forever(self) -> None:
        """Claims that came right after something happened to runs are served once that is known here."""
        while True:
            await self._settle.wait()
            self._settle.clear()
            wishes, self._early = self._early, []
            self._consumer.hurry()
            with contextlib.suppress(TimeoutError):  # what is not known by then comes to light with the next look
                async with asyncio.timeout(SETTLE_S):
                    await self._bus.settled()
            self._feed(wishes)

    # --- covering the store ------------------------------------------------------------------------------------------

    async def cover_forever(self) -> None:
        """For claims that found nothing: apply what the store had when they came, then let them look once more."""
        while True:
            await self._cover.wait()
            self._cover.clear()
            wishes, self._uncovered = self._uncovered, []
            if not wishes:
                continue
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._consumer.caught_up()
                    await self.cover({wish.filter.workspace_id for wish in wishes})
                    again = await self._same_again(wishes)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("cover_failed", error=f"{type(error).__name__}: {error}")
                _refuse(wishes, "engine_behind", "The queue has not caught up with the event store yet; try again.")
                continue
            for wish in wishes:
                wish.covered = True
            self._feed(wish for wish in wishes if wish not in again)

    async def cover(self, workspaces: Iterable[str]) -> None:
        """Apply all that the store holds now for these workspaces."""
        rows = await self._pool.fetch(SQL["behind"], list(workspaces))
        left = [Range(StreamKey(row["stream_type"], row["stream_id"]), row["after"], row["upto"]) for row in rows]
        while left:
            left = (await self._consumer.apply(left)).left

    async def _same_again(self, wishes: Sequence[Wish]) -> set[Wish]:
        """A claim whose reply got lost comes again with its key: it gets the lease that it has.

        Which claim had which key the API knows: it answers again what it has answered, and refuses a stranger's key.
        """
        keyed = {
            (wish.filter.workspace_id, wish.key["idempotency_key"]): wish for wish in wishes if wish.key is not None
        }
        if not keyed:
            return set()
        rows = await self._pool.fetch(SQL["by_key"], [k[0] for k in keyed], [k[1] for k in keyed])
        pairs = [(keyed[row["workspace_id"], row["claim_key"]], row) for row in rows]
        if pairs:
            self._start(pairs)
        return {wish for wish, _ in pairs}

    # --- appending ---------------------------------------------------------------------------------------------------

    def _start(self, pairs: Sequence[Pair]) -> None:
        self._spawn(self._finish(pairs))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _finish(self, pairs: Sequence[Pair]) -> None:
        """Nobody may be left without an answer."""
        try:
            async with self._appending:
                await self._append(pairs)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            log.warning("claim_broke_off", error=f"{type(error).__name__}: {error}")
            _refuse((wish for wish, _ in pairs), *AWAY)
        except Exception:
            log.exception("claim_broke_off")
            _refuse((wish for wish, _ in pairs), *AWAY)

    async def _append(self, pairs: Sequence[Pair]) -> None:
        """Have the claims of some reserved runs appended, and answer them."""
        unused = [row["run_id"] for wish, row in pairs if wish.answer.done()]  # it waited too long meanwhile
        pairs = [pair for pair in pairs if not pair[0].answer.done()]
        if pairs:
            unused += await self._append_some(pairs)
        if unused:
            await self._pool.execute(SQL["give_back"], unused)
            self.freed({row["workspace_id"] for _, row in pairs})

    async def _append_some(self, pairs: Sequence[Pair]) -> list[str]:
        """Returns what was reserved and not claimed."""
        commands = [_command(wish, row) for wish, row in pairs]
        try:
            try:
                results = await self._bus.command("run", "claim", commands)
            except Unanswered:  # the same claim tokens again: what was appended is answered as such
                results = await self._bus.command("run", "claim", commands)
        except Unanswered as error:
            log.warning("claim_unanswered", claims=len(pairs), error=str(error))
            _refuse((wish for wish, _ in pairs), *AWAY)
            return []  # some may have been appended: the sweep gives back what was not
        unused: list[str] = []
        undelivered: list[dict[str, Any]] = []
        for (wish, row), command, result in zip(pairs, commands, results, strict=True):
            if result["status"] == 200:
                same = result["data"]["claim_token"] == command["claim_token"]
                if not same:
                    unused.append(row["run_id"])
                elif wish.answer.done() and (wish.key is None or not wish.answer.cancelled()):
                    undelivered.append({name: command[name] for name in ("workspace_id", "run_id", "claim_token")})
                await self._grant(wish, row if same else None, result)
            elif result.get("error") == "kill_switch_active":
                unused.append(row["run_id"])
                self._later(wish)
            elif result["status"] in (404, 409):
                LOST.inc()
                self._feed([wish])
            else:
                _answer(wish, {name: value for name, value in result.items() if name != "data"})
                unused.append(row["run_id"])
        if undelivered:
            self._spawn(self._let_go(undelivered))
        return unused

    async def _let_go(self, leases: Sequence[Mapping[str, Any]]) -> None:
        """Release what was claimed for somebody who had gone meanwhile."""
        try:
            await self._bus.command("run", "release", leases)
        except Unanswered as error:  # they run out
            log.warning("release_unanswered", leases=len(leases), error=str(error))

    async def _grant(self, wish: Wish, row: asyncpg.Record | None, result: Mapping[str, Any]) -> None:
        if row is None:
            row = await self._pool.fetchrow(SQL["about"], result["data"]["run_id"])
            assert row is not None
        CLAIMED.inc()
        self.granted += 1
        _answer(wish, granted(row, result))


def _names(wish: Wish) -> tuple[str, ...]:
    return wish.claimer["actor_id"], wish.claimer["principal_id"]


def _command(wish: Wish, row: asyncpg.Record) -> dict[str, Any]:
    """``run.claim``, for the API."""
    return {
        "workspace_id": row["workspace_id"],
        "run_id": row["run_id"],
        "expected_version": row["version"],
        "claim_token": new_uuid(),
        "lease_ttl_s": wish.ttl_s,
        "lease_expires_at": timestamp(row["now"] + timedelta(seconds=wish.ttl_s)),
        "claimer": wish.claimer,
        **({"key": wish.key} if wish.key is not None else {}),
    }


def _by_statement(filters: Iterable[Filter]) -> dict[str, list[Filter]]:
    found: dict[str, list[Filter]] = {}
    for it in filters:
        name = "pick_handlers" if it.handlers is not None else "pick_rooms" if it.rooms is not None else "pick_any"
        found.setdefault(name + ("_tagged" if it.tags else ""), []).append(it)
    return found


def _arguments(statement: str, filters: Sequence[Filter], wishes: Mapping[Filter, Sequence[Wish]]) -> list[Any]:
    columns: list[Any] = [
        [it.workspace_id for it in filters],
        [len(wishes[it]) for it in filters],
        [_json(it.tags) for it in filters],
    ]
    if not statement.startswith("pick_any"):
        columns.append([_json(it.rooms) for it in filters])
    if statement.startswith("pick_handlers"):
        columns.append([_json(it.handlers) for it in filters])
    return columns


def _json(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else orjson.dumps(names).decode()


def _answer(wish: Wish, answer: dict[str, Any]) -> None:
    if not wish.answer.done():
        wish.answer.set_result(answer)


def _give_up(wish: Wish) -> None:
    _answer(wish, EMPTY)


def _refuse(wishes: Iterable[Wish], code: str, detail: str) -> None:
    for wish in wishes:
        _answer(wish, problem(503, code, detail))
