"""The life of one component: states, back-off, giving up. The processes are real and small."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from agentos_runtime import component as module
from agentos_runtime.component import Backoff, Component, Spec, State, describe_exit
from agentos_runtime.errors import RuntimeFailure, Unreachable
from agentos_runtime.probe import READY, Answer, Probe, Readiness

FAST = Backoff(base_s=0.01, cap_s=0.05, attempts=3)
FOREVER = [sys.executable, "-I", "-S", "-c", "import signal; print('up', flush=True); signal.pause()"]
SILENT = Readiness(Answer.SILENT, "nobody answers")


async def ready() -> Readiness:
    return READY


async def silent() -> Readiness:
    return SILENT


def exits(code: int) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", f"print('bye'); raise SystemExit({code})"]


@dataclass
class Watched:
    """A component under test, and every state it went through."""

    component: Component
    states: list[State] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.component.run())

    async def until(self, true: Callable[[], bool], timeout_s: float = 10) -> None:
        async with asyncio.timeout(timeout_s):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def until_state(self, state: State) -> None:
        await self.until(lambda: self.component.state is state)


@pytest_asyncio.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def build(
        command: list[str] | None, probe: Probe, blocked: bool = False, backoff: Backoff = FAST, **spec: object
    ) -> Watched:
        def changed(component: Component) -> None:
            watched.states.append(component.state)
            watched.changed.set()

        full = Spec("it", probe, (lambda: command) if command else None, **{"watch_every_s": 0.02, **spec})  # type: ignore[arg-type]
        watched = Watched(Component(full, backoff, tmp_path / "it.log", changed, lambda _: blocked))
        made.append(watched)
        watched.start()
        return watched

    yield build
    for watched in made:
        if watched.running is not None:
            watched.running.cancel()
            await asyncio.gather(watched.running, return_exceptions=True)
        await watched.component.stop()


async def test_it_becomes_healthy_and_stops(watch: Callable[..., Watched], tmp_path: Path) -> None:
    it = watch(FOREVER, ready)
    await it.until_state(State.HEALTHY)
    pid = it.component.pid
    assert pid is not None
    assert it.running is not None
    it.running.cancel()
    await it.component.stop()
    assert it.component.state is State.STOPPED
    assert not psutil.pid_exists(pid)
    assert "up" in (tmp_path / "it.log").read_text()


async def test_a_killed_one_is_restarted(watch: Callable[..., Watched]) -> None:
    it = watch(FOREVER, ready)
    await it.until_state(State.HEALTHY)
    first = it.component.pid
    assert first is not None
    psutil.Process(first).kill()
    await it.until(lambda: it.component.restarts == 1 and it.component.state is State.HEALTHY)
    assert it.component.pid != first
    assert it.component.last_exit == "killed by SIGKILL"
    assert State.RESTARTING in it.states


async def test_one_that_never_gets_ready_is_given_up(watch: Callable[..., Watched]) -> None:
    it = watch(exits(1), silent)
    await it.until_state(State.FATAL)
    assert it.component.restarts == FAST.attempts - 1
    assert "exited with code 1" in it.component.detail
    assert it.component.pid is None
    assert "bye" in it.component.last_lines


async def test_one_that_was_ready_is_never_given_up(watch: Callable[..., Watched]) -> None:
    it = watch(FOREVER, ready)
    for restart in range(FAST.attempts + 2):
        await it.until(lambda n=restart: it.component.restarts == n and it.component.state is State.HEALTHY)  # type: ignore[misc]
        assert it.component.pid is not None
        psutil.Process(it.component.pid).kill()
    assert State.FATAL not in it.states


async def test_wrong_settings_are_final_at_once(watch: Callable[..., Watched]) -> None:
    it = watch(exits(2), silent)
    await it.until_state(State.FATAL)
    assert it.component.restarts == 0


@pytest.mark.parametrize("blocked", [True, False])
async def test_a_missing_dependency_excuses(watch: Callable[..., Watched], blocked: bool) -> None:
    it = watch(exits(3), silent, blocked=blocked)
    await it.until(lambda: it.component.restarts > FAST.attempts or it.component.state is State.FATAL)
    assert (it.component.state is State.FATAL) is not blocked


async def test_a_refusal_when_ready_is_final(watch: Callable[..., Watched]) -> None:
    async def refuse() -> None:
        raise RuntimeFailure("fsync is off")

    it = watch(FOREVER, ready, on_ready=refuse)
    await it.until_state(State.FATAL)
    assert it.component.detail == "fsync is off"
    assert it.component.pid is None


async def test_it_degrades_and_recovers(watch: Callable[..., Watched]) -> None:
    answers = [READY, Readiness(Answer.NOT_READY, "the bus is away"), READY]

    async def probe() -> Readiness:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    it = watch(FOREVER, probe)
    await it.until(lambda: it.states[-3:] == [State.HEALTHY, State.DEGRADED, State.HEALTHY])
    assert it.component.restarts == 0


async def test_one_that_hangs_is_killed(watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.05)
    answers = [READY, SILENT]

    async def probe() -> Readiness:
        return answers.pop(0) if answers else SILENT

    it = watch(FOREVER, probe)
    await it.until(lambda: it.component.restarts == 1)
    assert it.component.last_exit is not None
    assert "silent" in it.component.last_exit


async def test_a_start_that_takes_too_long_is_a_failure(watch: Callable[..., Watched]) -> None:
    it = watch(FOREVER, silent, start_timeout_s=0.05)
    await it.until_state(State.FATAL)
    assert "not ready" in it.component.detail
    assert it.component.pid is None


@pytest.mark.parametrize("error", [Unreachable("the connection was lost"), KeyError("what nobody thought of")])
async def test_one_that_fails_while_it_is_made_ready_is_started_again(
    watch: Callable[..., Watched], error: Exception
) -> None:
    tries: list[int] = []

    async def vanish_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise error

    it = watch(FOREVER, ready, on_ready=vanish_once)
    await it.until_state(State.HEALTHY)
    assert it.component.restarts == 1
    assert str(error) in str(it.component.last_exit)


async def test_a_deaf_one_is_killed_when_stopped(watch: Callable[..., Watched]) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    it = watch([*FOREVER[:-1], code], ready, stop_signals=((signal.SIGTERM, 0.1),))
    await it.until_state(State.HEALTHY)
    pid = it.component.pid
    assert pid is not None
    assert it.running is not None
    it.running.cancel()
    await it.component.stop()
    assert not psutil.pid_exists(pid)


async def test_a_server_elsewhere_is_only_watched(watch: Callable[..., Watched]) -> None:
    it = watch(None, ready)
    await it.until_state(State.HEALTHY)
    assert it.component.status()["external"] is True
    assert it.component.pid is None


async def test_a_server_elsewhere_that_is_not_there_is_fatal(watch: Callable[..., Watched]) -> None:
    it = watch(None, silent, start_timeout_s=0.05)
    await it.until_state(State.FATAL)
    assert "nobody answers" in it.component.detail


async def test_a_server_elsewhere_that_goes_is_waited_for(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.05)
    there = [True]

    async def probe() -> Readiness:
        return READY if there else SILENT

    it = watch(None, probe, start_timeout_s=0.05)
    await it.until_state(State.HEALTHY)
    there.clear()
    await it.until(lambda: it.component.restarts > FAST.attempts)
    there.append(True)
    await it.until_state(State.HEALTHY)


def test_backoff_is_short_once_then_doubles_to_its_cap() -> None:
    backoff = Backoff(base_s=1, cap_s=30, attempts=5)
    middle = [backoff.delay_s(failures, lambda: 0.5) for failures in range(1, 9)]
    assert middle == [0.2, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay_s(1000, lambda: 1.0) == 30
    assert backoff.delay_s(3, lambda: 0.0) == pytest.approx(1.6)


def test_exits_in_words() -> None:
    assert [describe_exit(code) for code in (0, 3, -9, -99)] == [
        "exited with code 0",
        "exited with code 3",
        "killed by SIGKILL",
        "killed by signal 99",
    ]
