"""Start, stop, signals, patience with dependencies, and background tasks that never die unseen."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TypeVar

import structlog

from agentos_shared.host import logging as logs
from agentos_shared.host import telemetry
from agentos_shared.host.settings import SettingsError

T = TypeVar("T")
log = structlog.get_logger("agentos.lifecycle")

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEPENDENCY: Final = 3

CONNECT_BUDGET_S: Final = 30.0
STOP_BUDGET_S: Final = 5.0


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> datetime:
        """The wall clock, UTC, cut to milliseconds (what the wire and the store keep)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Rng(Protocol):
    """Chance as a parameter."""

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def token(self, size: int) -> bytes:
        """Bytes fit for salts and secrets."""
        ...


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        moment = datetime.now(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRng:
    """Real chance; :meth:`token` from the operating system."""

    def random(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, guards nothing

    def token(self, size: int) -> bytes:
        return os.urandom(size)


CLOCK: Final[Clock] = SystemClock()
RNG: Final[Rng] = SystemRng()


class StartStop(Protocol):
    """A part of a service. Both are idempotent; ``stop`` also ends what a failed ``start`` left behind."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Parts:
    """Parts that start in order and stop in reverse. A start that fails stops those before it."""

    def __init__(self, *parts: StartStop) -> None:
        self._parts = parts
        self._started: list[StartStop] = []

    async def start(self) -> None:
        for part in self._parts[len(self._started) :]:
            self._started.append(part)
            try:
                await part.start()
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Every part is asked to stop, whatever the others raise; a failure is logged."""
        while self._started:
            part = self._started.pop()
            try:
                await part.stop()
            except Exception:
                log.exception("part_did_not_stop_cleanly", part=type(part).__name__)


class Backoff:
    """Waits that double from ``first_s`` up to ``most_s``, each drawn evenly from zero up (full jitter)."""

    def __init__(self, first_s: float = 0.1, most_s: float = 2.0, *, rng: Rng = RNG) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._rng = rng
        self._ceiling_s = first_s

    def next_s(self) -> float:
        """How long to wait before the next try."""
        ceiling = self._ceiling_s
        self._ceiling_s = min(ceiling * 2, self._most_s)
        # A tenth at least: a run of small draws must not hammer a server that is just starting.
        return ceiling * (0.1 + 0.9 * self._rng.random())

    def reset(self) -> None:
        """After a success."""
        self._ceiling_s = self._first_s


class DependencyUnreachable(Exception):
    """A server that this process needs did not answer in time; the process ends with exit code 3."""

    def __init__(self, name: str, waited_s: float, cause: BaseException | None) -> None:
        reason = f": {type(cause).__name__}: {cause}" if cause is not None else ""
        super().__init__(logs.mask_url(f"{name} could not be reached within {waited_s:.0f} s{reason}"))
        self.name = name


async def connect(
    name: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    budget_s: float = CONNECT_BUDGET_S,
    attempt_s: float = 5.0,
    give_up_on: tuple[type[BaseException], ...] = (),
    clock: Clock = CLOCK,
    rng: Rng = RNG,
) -> T:
    """Call ``attempt`` until it succeeds, with exponential back-off and full jitter.

    Services start before their servers do, so the first failures are no news (debug); after three seconds they are.

    Args:
        name: the dependency, as a person calls it: ``Postgres at 127.0.0.1:5432``.
        budget_s: seconds in all.
        attempt_s: seconds one attempt may take.
        give_up_on: errors that waiting does not mend; raised at once.

    Raises:
        DependencyUnreachable: the budget is used up.
    """
    started = clock.monotonic()
    backoff = Backoff(rng=rng)
    while True:
        left = budget_s - (clock.monotonic() - started)
        try:
            async with asyncio.timeout(max(0.05, min(attempt_s, left))):
                made = await attempt()
        except give_up_on:
            raise
        except Exception as error:  # drivers raise their own kinds while a server starts
            failure = error
        else:
            log.debug("connected", dependency=name, after_s=round(clock.monotonic() - started, 3))
            return made
        waited = clock.monotonic() - started
        pause = backoff.next_s()
        if waited + pause >= budget_s:
            raise DependencyUnreachable(name, waited, failure)
        say = log.warning if waited > 3 else log.debug
        say(
            "not_reachable_yet",
            dependency=name,
            error=f"{type(failure).__name__}: {failure}",
            next_try_s=round(pause, 2),
        )
        await clock.sleep(pause)


class TaskCrashed(Exception):
    """A background task that must not end did; the process ends with exit code 1."""


class Tasks:
    """Background tasks. One that crashes is logged, then restarted or reported, as it was asked for when it was made.

    :meth:`crashed` is what a service waits on beside its stop signal.
    """

    def __init__(self, *, clock: Clock = CLOCK, rng: Rng = RNG) -> None:
        self._clock = clock
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()
        self._crash: asyncio.Future[BaseException] | None = None
        self._stopping = False

    def spawn(
        self,
        name: str,
        run: Callable[[], Coroutine[Any, Any, None]],
        *,
        on_crash: Literal["exit", "restart"] = "exit",
    ) -> asyncio.Task[None]:
        """Run ``run`` until :meth:`stop`. It may return by itself; only an exception is a crash.

        Args:
            on_crash: ``exit`` ends the process through :meth:`crashed`; ``restart`` tries again with back-off, starting
                from the shortest wait after a minute without a crash.
        """
        self._crash_future()
        task = asyncio.create_task(self._supervise(name, run, on_crash), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def crashed(self) -> None:
        """Wait until a task of kind ``exit`` crashes.

        Raises:
            TaskCrashed: always, caused by what the task raised.
        """
        error = await asyncio.shield(self._crash_future())
        raise TaskCrashed(f"background task failed: {type(error).__name__}: {error}") from error

    async def stop(self) -> None:
        """Cancel all tasks and wait for their ends, for at most five seconds."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_BUDGET_S)
            for task in late:
                log.error("task_did_not_stop", task=task.get_name())

    def _crash_future(self) -> asyncio.Future[BaseException]:
        if self._crash is None:
            self._crash = asyncio.get_running_loop().create_future()
        return self._crash

    async def _supervise(
        self, name: str, run: Callable[[], Coroutine[Any, Any, None]], on_crash: Literal["exit", "restart"]
    ) -> None:
        backoff = Backoff(0.1, 10.0, rng=self._rng)
        while not self._stopping:
            started = self._clock.monotonic()
            try:
                await run()
                return
            except Exception as error:
                log.exception("task_crashed", task=name, then=on_crash)
                if on_crash == "exit":
                    future = self._crash_future()
                    if not future.done():
                        future.set_result(error)
                    return
            if self._clock.monotonic() - started > 60:
                backoff.reset()
            await self._clock.sleep(backoff.next_s())


class Shutdown:
    """The wish to stop: set by SIGTERM, by SIGINT, or by the service itself."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def request(self, why: str) -> None:
        """Ask the service to stop. Without effect when it was asked before."""
        if not self._event.is_set():
            log.info("stopping", why=why)
            self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()

    async def wait_or_crash(self, tasks: Tasks) -> None:
        """Wait for the wish to stop; a crashed task ends the wait with its TaskCrashed."""
        wish = asyncio.create_task(self.wait(), name="shutdown")
        crash = asyncio.create_task(tasks.crashed(), name="crash")
        try:
            done, _ = await asyncio.wait((wish, crash), return_when=asyncio.FIRST_COMPLETED)
            if crash in done:
                crash.result()
        finally:
            for task in (wish, crash):
                task.cancel()
            await asyncio.gather(wish, crash, return_exceptions=True)


def run_service(service: str, main: Callable[[Shutdown], Coroutine[Any, Any, None]]) -> int:
    """Run a service's ``main`` on its own event loop until it returns, and give its exit code.

    ``main`` should return soon after the wish to stop; a second signal ends the process at once. Failures become exit
    codes with one clear line: 2 for settings, 3 for a dependency that cannot be reached, 1 for anything else.
    """
    logs.configure(service)  # until main has read the settings
    no_core_files()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_with_signals(main))
    except SettingsError as error:
        sys.stderr.write(f"{service}: {error}\n")
        return EXIT_USAGE
    except DependencyUnreachable as error:
        log.error("dependency_unreachable", dependency=error.name, detail=str(error))
        return EXIT_DEPENDENCY
    except KeyboardInterrupt:
        return EXIT_FAILED
    except Exception:
        log.exception("service_failed")
        return EXIT_FAILED
    finally:
        telemetry.stop()
    return EXIT_OK


def no_core_files() -> None:
    """A process that dies leaves no image of its memory: there are secrets in it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


async def _with_signals(main: Callable[[Shutdown], Coroutine[Any, Any, None]]) -> None:
    shutdown = Shutdown()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if shutdown.requested:
            log.warning("stopped_by_second_signal", signal=number.name)
            os._exit(EXIT_FAILED)
        shutdown.request(number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, on_signal, number)
    await main(shutdown)
