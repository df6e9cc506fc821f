"""Start, stop, patience, tasks and exit codes, on a clock that only moves when somebody sleeps."""

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from agentos_shared.host import lifecycle
from agentos_shared.host.lifecycle import Backoff, DependencyUnreachable, Parts, Shutdown, TaskCrashed, Tasks, connect


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class FakeRng:
    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def token(self, size: int) -> bytes:
        return bytes(size)


def test_the_real_clock_gives_milliseconds() -> None:
    now = lifecycle.CLOCK.now()
    assert now.microsecond % 1000 == 0
    assert now.tzinfo is UTC
    assert lifecycle.CLOCK.monotonic() <= lifecycle.CLOCK.monotonic()
    assert len(lifecycle.RNG.token(16)) == 16
    assert 0 <= lifecycle.RNG.random() < 1


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    most = Backoff(0.1, 1.0, rng=FakeRng(1.0))
    assert [round(most.next_s(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    most.reset()
    assert most.next_s() == pytest.approx(0.1)
    least = Backoff(0.1, 1.0, rng=FakeRng(0.0))
    assert all(least.next_s() > 0 for _ in range(10))


async def test_connect_tries_until_it_works() -> None:
    clock, answers = FakeClock(), [OSError("refused"), OSError("refused"), None]

    async def attempt() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "connection"

    assert await connect("Postgres", attempt, clock=clock, rng=FakeRng()) == "connection"
    assert [round(pause, 3) for pause in clock.slept] == [0.1, 0.2]


async def test_connect_gives_up_in_time_and_says_why() -> None:
    clock = FakeClock()

    async def attempt() -> str:
        raise OSError("refused nats://api:hunter2@127.0.0.1:4222")

    with pytest.raises(DependencyUnreachable) as given_up:
        await connect("NATS", attempt, budget_s=30, clock=clock, rng=FakeRng())
    assert clock.time <= 30
    assert clock.time > 25
    assert "NATS could not be reached within" in str(given_up.value)
    assert "refused nats://api:***@127.0.0.1:4222" in str(given_up.value)


async def test_connect_does_not_wait_for_what_waiting_does_not_mend() -> None:
    async def attempt() -> str:
        raise PermissionError("wrong password")

    with pytest.raises(PermissionError):
        await connect("Postgres", attempt, give_up_on=(PermissionError,), clock=FakeClock())


async def test_connect_bounds_a_single_attempt() -> None:
    async def attempt() -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(DependencyUnreachable):
        await connect("Postgres", attempt, budget_s=0.05, attempt_s=0.02)


async def test_connect_can_be_cancelled() -> None:
    async def attempt() -> str:
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(connect("Postgres", attempt))
    await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Part:
    def __init__(self, name: str, told: list[str], fail: str = "") -> None:
        self.name, self.told, self.fail = name, told, fail

    async def start(self) -> None:
        self.told.append(f"+{self.name}")
        if self.fail == "start":
            raise RuntimeError(self.name)

    async def stop(self) -> None:
        self.told.append(f"-{self.name}")
        if self.fail == "stop":
            raise RuntimeError(self.name)


async def test_parts_stop_in_reverse_whatever_happens() -> None:
    told: list[str] = []
    parts = Parts(Part("a", told), Part("b", told, "stop"), Part("c", told))
    await parts.start()
    await parts.start()
    await parts.stop()
    await parts.stop()
    assert told == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_failed_start_stops_what_had_started() -> None:
    told: list[str] = []
    parts = Parts(Part("a", told), Part("b", told, "start"), Part("c", told))
    with pytest.raises(RuntimeError):
        await parts.start()
    assert told == ["+a", "+b", "-b", "-a"]


async def test_a_crashed_task_ends_the_service() -> None:
    tasks, shutdown = Tasks(), Shutdown()

    async def crash() -> None:
        raise ValueError("broken")

    tasks.spawn("relay", crash)
    with pytest.raises(TaskCrashed, match="ValueError: broken") as crashed:
        await asyncio.wait_for(shutdown.wait_or_crash(tasks), 1)
    assert isinstance(crashed.value.__cause__, ValueError)
    await tasks.stop()


async def test_a_task_may_end_and_may_be_restarted() -> None:
    clock, runs = FakeClock(), 0
    tasks, done = Tasks(clock=clock, rng=FakeRng()), asyncio.Event()

    async def flaky() -> None:
        nonlocal runs
        runs += 1
        if runs == 4:
            clock.time += 61
        if runs < 6:
            raise ValueError
        done.set()

    task = tasks.spawn("flaky", flaky, on_crash="restart")
    await asyncio.wait_for(done.wait(), 1)
    await asyncio.wait_for(task, 1)
    assert [round(pause, 3) for pause in clock.slept] == [0.1, 0.2, 0.4, 0.1, 0.2]
    await tasks.stop()


async def test_stop_ends_every_task() -> None:
    tasks = Tasks()
    running = [tasks.spawn(str(number), asyncio.Event().wait) for number in range(3)]  # type: ignore[arg-type]
    await asyncio.wait(running, timeout=0)
    await tasks.stop()
    await tasks.stop()
    assert all(task.cancelled() for task in running)


async def test_the_wish_to_stop_ends_the_wait() -> None:
    tasks, shutdown = Tasks(), Shutdown()
    waiting = asyncio.create_task(shutdown.wait_or_crash(tasks))
    await asyncio.wait([waiting], timeout=0)
    shutdown.request("test")
    shutdown.request("again")
    await asyncio.wait_for(waiting, 1)
    assert shutdown.requested


PROGRAM = """
import asyncio, sys
from agentos_shared.host import lifecycle
from agentos_shared.host.settings import ServiceSettings, load

async def forever(shutdown):
    print("up", flush=True)
    await shutdown.wait()
    print("down", flush=True)

async def deaf(shutdown):
    print("up", flush=True)
    await shutdown.wait()
    print("asked", flush=True)
    await asyncio.Event().wait()

async def unset(shutdown):
    load(ServiceSettings)

async def unreachable(shutdown):
    async def attempt():
        raise OSError("refused")
    await lifecycle.connect("Postgres at 127.0.0.1:1", attempt, budget_s=0.05)

async def broken(shutdown):
    raise ValueError("postgresql://u:hunter2@h/db")

sys.exit(lifecycle.run_service("example", globals()[sys.argv[1]]))
"""


def program(name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_cleanly(number: signal.Signals) -> None:
    with program("forever") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=10)
    assert (output, process.returncode) == ("down\n", 0)


def test_a_second_signal_ends_it_at_once() -> None:
    with program("deaf") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("unset", 2, "AGENTOS_POSTGRES_URL is not set"),
        ("unreachable", 3, "Postgres at 127.0.0.1:1 could not be reached within 0 s: OSError: refused"),
        ("broken", 1, "ValueError"),
    ],
)
def test_a_failure_has_its_exit_code_and_one_clear_line(name: str, code: int, says: str) -> None:
    with program(name) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == code
    assert says in errors
    assert "hunter2" not in errors
    if code != 2:
        last: dict[str, Any] = json.loads(errors.splitlines()[-1])
        assert (last["service"], last["level"]) == ("example", "error")
