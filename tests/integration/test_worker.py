"""A real worker against a real stack: what comes of a run, and what becomes of a lease."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import agentos
from agentos.worker import execution
from tests.fixtures.stack import Stack, wait_until

TIMEOUT_S = 40


@pytest.fixture
def workspace() -> str:
    """Each test has its own, so that no worker takes another one's runs."""
    return "ws_worker_" + os.urandom(6).hex()


@pytest.fixture
async def api(stack: Stack, workspace: str) -> AsyncIterator[agentos.AsyncClient]:
    async with agentos.AsyncClient(stack.url, workspace_id=workspace) as client:
        yield client


@pytest.fixture
async def room_id(api: agentos.AsyncClient) -> str:
    return (await api.rooms.create("Work")).room_id


@pytest.fixture
def worker(stack: Stack, workspace: str) -> agentos.Worker:
    return agentos.Worker("tester", url=stack.url, workspace_id=workspace, wait_s=1, grace_s=0.2)


@contextlib.asynccontextmanager
async def serving(worker: agentos.Worker) -> AsyncIterator[None]:
    """The worker, for as long as the block takes; an error of its own comes out."""
    task = asyncio.create_task(worker.serve_async())
    try:
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(TIMEOUT_S):
            await task


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Waits for the stack to get somewhere."""
    pause = asyncio.Event()
    async with asyncio.timeout(TIMEOUT_S):
        while not await true():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pause.wait(), 0.05)


async def types_of(api: agentos.AsyncClient, run_id: str) -> list[str]:
    return [event.event_type async for event in api.events.list(run_id=run_id)]


async def test_the_example_of_the_readme(api: agentos.AsyncClient, room_id: str, worker: agentos.Worker) -> None:
    @worker.tool("http.get")
    async def http_get(url: str) -> str:
        return f"two words from {url}"

    @worker.run("summarise")
    async def summarise(run: agentos.AsyncRunContext) -> dict[str, int]:
        async with run.step("fetch") as step:
            page: str = await step.tool("http.get", url=run.input["url"])
        return {"words": len(page.split())}

    async with serving(worker):
        made = await api.runs.create(room_id, handler="summarise", input={"url": "x:y"})
        run = await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)
    assert (run.status, run.output) == ("succeeded", {"words": 4})
    (step,) = await api.steps.list(run.run_id).all()
    (call,) = await api.tool_calls.list(run_id=run.run_id).all()
    assert (step.kind, step.status) == ("fetch", "succeeded")
    assert (call.tool_name, call.input, call.status) == ("http.get", {"url": "x:y"}, "succeeded")
    assert call.output == {"result": "two words from x:y"}
    assert (await types_of(api, run.run_id))[:7] == [
        "run.created", "run.claimed", "run.started", "step.created", "tool.invoked", "tool.succeeded", "run.completed",
    ]  # fmt: skip
    (attempt,) = await api.runs.attempts(run.run_id)
    assert (attempt.claimed_by_actor_id, attempt.release_reason) == ("tester", "run_completed")


async def test_a_plain_function_works_in_a_thread_of_its_own(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    threads: list[str] = []

    @worker.tool("later")
    async def later(value: int) -> int:
        return value + 1

    @worker.run("plain")
    def plain(run: agentos.RunContext) -> int:
        threads.append(threading.current_thread().name)
        with run.step("work", title="Work") as step:
            first: int = step.tool("double", lambda value: value * 2, value=run.input["value"])
            second: int = step.tool("later", value=first)
            kept = step.artifact("note", text="made")
        run.say(f"It is {second}.")
        run.summary = f"made {kept.artifact_id}"
        return second

    thread_id = (await api.threads.create(room_id, "T")).thread_id
    async with serving(worker):
        made = await api.runs.create(room_id, handler="plain", thread_id=thread_id, input={"value": 4})
        run = await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)
    assert (run.status, run.output) == ("succeeded", {"result": 9})
    assert threads != [threading.current_thread().name]
    assert [call.tool_name for call in await api.tool_calls.list(run_id=run.run_id).all()] == ["double", "later"]
    assert [message.content_md for message in await api.messages.list(thread_id).all()] == ["It is 9."]


async def test_failures_become_structured_errors(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    @worker.run("raises")
    async def raises(run: agentos.AsyncRunContext) -> None:
        async with run.step("look") as step:
            await step.tool("divide", lambda: 1 / 0)

    @worker.run("exits")
    def exits(run: agentos.RunContext) -> None:
        sys.exit(3)

    @worker.run("odd")
    async def odd(run: agentos.AsyncRunContext) -> Any:
        return {1, 2}

    @worker.run("unknown")
    async def unknown(run: agentos.AsyncRunContext) -> None:
        async with run.step("look") as step:
            await step.tool("nowhere")

    async with serving(worker):
        made = {name: await api.runs.create(room_id, handler=name) for name in ("raises", "exits", "odd", "unknown")}
        runs = {name: await api.runs.wait(one.run_id, timeout_s=TIMEOUT_S) for name, one in made.items()}
    assert {run.status for run in runs.values()} == {"failed"}
    errors = {name: run.error or {} for name, run in runs.items()}
    assert {name: error["type"] for name, error in errors.items()} == {
        "raises": "ZeroDivisionError",
        "exits": "RuntimeError",
        "odd": "TypeError",
        "unknown": "agentos.tools.UnknownTool",
    }
    assert errors["raises"]["message"] == "division by zero"
    assert "1 / 0" in errors["raises"]["traceback"]
    (call,) = await api.tool_calls.list(run_id=made["raises"].run_id).all()
    assert (call.status, (call.error or {})["type"]) == ("failed", "ZeroDivisionError")
    (step,) = await api.steps.list(made["raises"].run_id).all()
    assert step.status == "failed"


async def test_a_step_is_what_its_last_tool_call_was_and_its_run_may_recover(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    @worker.run("recovers")
    async def recovers(run: agentos.AsyncRunContext) -> None:
        async with run.step("try") as step:
            with contextlib.suppress(ZeroDivisionError):
                await step.tool("divide", lambda: 1 / 0)
        async with run.step("try again") as step:
            with contextlib.suppress(ZeroDivisionError):
                await step.tool("divide", lambda: 1 / 0)
            await step.tool("divide", lambda: 1 / 1)
        async with run.step("by hand") as step:
            step.output = {"fallback": True}

    async with serving(worker):
        made = await api.runs.create(room_id, handler="recovers")
        assert (await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
    steps = await api.steps.list(made.run_id).all()
    assert [(step.status, step.output) for step in steps] == [
        ("failed", None),
        ("succeeded", {"result": 1.0}),
        ("succeeded", {"fallback": True}),
    ]


async def test_an_output_too_large_for_an_event_becomes_an_artifact(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    text = "x" * 500_000

    @worker.run("large")
    async def large(run: agentos.AsyncRunContext) -> None:
        async with run.step("read") as step:
            assert await step.tool("read", lambda: text) == text

    async with serving(worker):
        made = await api.runs.create(room_id, handler="large")
        assert (await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
    (call,) = await api.tool_calls.list(run_id=made.run_id).all()
    assert call.output is not None
    content = await api.artifacts.content(call.output["artifact_id"])
    assert content == b'{"result":"%b"}' % text.encode()


async def test_a_worker_takes_only_what_it_has_handlers_for(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    @worker.run("mine")
    async def mine(run: agentos.AsyncRunContext) -> None:
        return None

    other = await api.runs.create(room_id, handler="another")
    none = await api.runs.create(room_id)
    async with serving(worker):
        made = await api.runs.create(room_id, handler="mine")
        assert (await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
    assert [(await api.runs.get(one.run_id)).status for one in (other, none)] == ["queued", "queued"]


async def test_several_runs_at_once_but_not_more(stack: Stack, api: agentos.AsyncClient, room_id: str) -> None:
    worker = agentos.Worker(
        "several", url=stack.url, workspace_id=api.workspace_id, wait_s=1, concurrency=3, grace_s=0.2
    )
    now, most, go = 0, 0, asyncio.Event()

    @worker.run("meet")
    async def meet(run: agentos.AsyncRunContext) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            go.set()
        await go.wait()
        now -= 1

    made = [await api.runs.create(room_id, handler="meet") for _ in range(9)]
    async with serving(worker):
        ended = [await api.runs.wait(one.run_id, timeout_s=TIMEOUT_S) for one in made]
    assert [run.status for run in ended] == ["succeeded"] * 9
    assert most == 3


async def test_try_again_gives_the_run_back_while_attempts_are_left(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    @worker.run("moody")
    async def moody(run: agentos.AsyncRunContext) -> int:
        if run.attempt_no < 2:
            raise agentos.TryAgain("not in the mood")
        return run.attempt_no

    @worker.run("never")
    async def never(run: agentos.AsyncRunContext) -> None:
        raise agentos.TryAgain("never in the mood")

    async with serving(worker):
        moody_run = await api.runs.create(room_id, handler="moody")
        never_run = await api.runs.create(room_id, handler="never", max_attempts=2)
        first = await api.runs.wait(moody_run.run_id, timeout_s=TIMEOUT_S)
        second = await api.runs.wait(never_run.run_id, timeout_s=TIMEOUT_S)
    assert (first.status, first.output) == ("succeeded", {"result": 2})
    assert second.status == "failed"
    assert [one.release_reason for one in await api.runs.attempts(never_run.run_id)] == ["manual_release", "run_failed"]


async def test_a_long_handler_keeps_its_lease(stack: Stack, api: agentos.AsyncClient, room_id: str) -> None:
    worker = agentos.Worker("slow", url=stack.url, workspace_id=api.workspace_id, wait_s=1, lease_ttl_s=5)

    @worker.run("slow")
    async def slow(run: agentos.AsyncRunContext) -> None:
        began = (await api.runs.get(run.id)).lease_heartbeat_at

        async def heard_twice() -> bool:
            found = await api.runs.get(run.id)
            assert began is not None
            assert found.lease_heartbeat_at is not None
            return (found.lease_heartbeat_at - began).total_seconds() > 5  # longer than the TTL

        await until(heard_twice)

    async with serving(worker):
        made = await api.runs.create(room_id, handler="slow")
        assert (await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
    assert len(await api.runs.attempts(made.run_id)) == 1


async def test_a_cancelled_run_ends_its_handler(stack: Stack, api: agentos.AsyncClient, room_id: str) -> None:
    worker = agentos.Worker("cut", url=stack.url, workspace_id=api.workspace_id, wait_s=1, lease_ttl_s=5)
    cancelled, refused = asyncio.Event(), asyncio.Event()

    @worker.run("cut")
    async def cut(run: agentos.AsyncRunContext) -> None:
        await api.runs.cancel(run.id, reason="not needed")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            with contextlib.suppress(agentos.LeaseLost):
                async with run.step("late"):
                    pass
                return
            refused.set()
            raise

    async with serving(worker):
        made = await api.runs.create(room_id, handler="cut")
        async with asyncio.timeout(TIMEOUT_S):
            await cancelled.wait()
    assert (await api.runs.get(made.run_id)).status == "cancelled"
    assert await api.steps.list(made.run_id).all() == []


async def test_a_run_whose_time_is_up_ends_its_handler(stack: Stack, api: agentos.AsyncClient, room_id: str) -> None:
    worker = agentos.Worker("timed", url=stack.url, workspace_id=api.workspace_id, wait_s=1, lease_ttl_s=5)
    cancelled = asyncio.Event()

    @worker.run("timed")
    async def timed(run: agentos.AsyncRunContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(worker):
        made = await api.runs.create(room_id, handler="timed", timeout_s=1)
        async with asyncio.timeout(TIMEOUT_S):
            await cancelled.wait()
    run = await api.runs.get(made.run_id)
    assert (run.status, (run.error or {}).get("code")) == ("failed", "run_timeout")


async def test_a_handler_learns_of_a_cancellation_within_two_seconds_or_so(
    stack: Stack, api: agentos.AsyncClient, room_id: str
) -> None:
    worker = agentos.Worker("long", url=stack.url, workspace_id=api.workspace_id, wait_s=1, lease_ttl_s=60)
    begun, ended = asyncio.Event(), asyncio.Event()

    @worker.run("long")
    async def long(run: agentos.AsyncRunContext) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(worker):
        made = await api.runs.create(room_id, handler="long")
        async with asyncio.timeout(TIMEOUT_S):
            await begun.wait()
        await api.runs.cancel(made.run_id)
        async with asyncio.timeout(4):
            await ended.wait()


async def test_late_writes_of_a_lost_lease_are_refused_in_a_thread_too(
    stack: Stack, api: agentos.AsyncClient, room_id: str
) -> None:
    worker = agentos.Worker("late", url=stack.url, workspace_id=api.workspace_id, wait_s=1, lease_ttl_s=5)
    outcome: list[BaseException] = []
    ended = threading.Event()

    @worker.run("late")
    def late(run: agentos.RunContext) -> None:
        run.client.runs.cancel(run.id)
        try:
            with run.step("late"):
                pass
        except BaseException as error:
            outcome.append(error)
            raise
        finally:
            ended.set()

    async with serving(worker):
        made = await api.runs.create(room_id, handler="late")
        assert await asyncio.to_thread(ended.wait, TIMEOUT_S)
    assert isinstance(outcome[0], agentos.LeaseLost)
    assert outcome[0].code == "run_not_running"
    assert (await api.runs.get(made.run_id)).status == "cancelled"


async def test_a_worker_that_stops_gives_back_what_it_holds(
    api: agentos.AsyncClient, room_id: str, worker: agentos.Worker
) -> None:
    begun = asyncio.Event()

    @worker.run("endless")
    async def endless(run: agentos.AsyncRunContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with serving(worker):
        made = await api.runs.create(room_id, handler="endless")
        async with asyncio.timeout(TIMEOUT_S):
            await begun.wait()
    run = await api.runs.get(made.run_id)
    assert (run.status, run.claim_token) == ("queued", None)
    assert [one.release_reason for one in await api.runs.attempts(made.run_id)] == ["manual_release"]


async def test_a_worker_whose_claims_are_refused_says_so(stack: Stack, workspace: str) -> None:
    worker = agentos.Worker(
        "stranger", url=stack.url, workspace_id=workspace, engine_id="eng_none", engine_token="engtok_none"
    )
    worker.run("x")(lambda run: None)
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(agentos.AccessDenied) as refused:
            await worker.serve_async()
    assert refused.value.next_step


async def test_a_registered_engine_works_by_its_credentials(
    stack: Stack, api: agentos.AsyncClient, room_id: str
) -> None:
    registered = await api.engines.register("known-engine")
    worker = agentos.Worker(
        "any name",
        url=stack.url,
        workspace_id=api.workspace_id,
        engine_id=registered.engine.engine_id,
        engine_token=registered.token.engine_token,
        wait_s=1,
    )
    worker.run("known")(lambda run: "done")
    async with serving(worker):
        made = await api.runs.create(room_id, handler="known")
        assert (await api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)).output == {"result": "done"}
    (attempt,) = await api.runs.attempts(made.run_id)
    assert (attempt.engine_id, attempt.claimed_by_actor_id) == (registered.engine.engine_id, "known-engine")


PROGRAM = """
import logging, sys, threading
import agentos

logging.basicConfig(level=logging.INFO)
worker = agentos.Worker("program", wait_s=1, grace_s=0.5, lease_ttl_s=int(sys.argv[1]))

@worker.run("endless")
def endless(run):
    with run.step("wait"):
        print("begun", run.attempt_no, flush=True)
        threading.Event().wait()

worker.serve()
"""


def program(stack: Stack, workspace: str, log: Path, ttl_s: int = 30) -> "subprocess.Popen[str]":
    environment = {**os.environ, "AGENTOS_URL": stack.url, "AGENTOS_WORKSPACE_ID": workspace}  # noqa: TID251
    with log.open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(ttl_s)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )


def test_sigterm_gives_back_within_a_bound_though_a_thread_never_ends(
    stack: Stack, workspace: str, tmp_path: Path
) -> None:
    with agentos.Client(stack.url, workspace_id=workspace) as api:
        run_id = api.runs.create(api.rooms.create("T").room_id, handler="endless").run_id
        process = program(stack, workspace, tmp_path / "log")
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun 1\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.communicate()
        assert api.runs.get(run_id).status == "queued"


def test_a_killed_worker_loses_its_run_to_the_next_one(stack: Stack, workspace: str, tmp_path: Path) -> None:
    with agentos.Client(stack.url, workspace_id=workspace) as api:
        run_id = api.runs.create(api.rooms.create("T").room_id, handler="endless").run_id
        first = program(stack, workspace, tmp_path / "first", ttl_s=5)
        second = None
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "begun 1\n"
            first.kill()
            second = program(stack, workspace, tmp_path / "second", ttl_s=5)
            assert second.stdout is not None
            assert second.stdout.readline() == "begun 2\n"
        finally:
            for process in (first, second):
                if process is not None:
                    process.kill()
                    process.communicate()
        assert [one.attempt_no for one in api.runs.attempts(run_id)] == [1, 2]


def test_a_paused_worker_writes_nothing_when_it_wakes_up(stack: Stack, workspace: str, tmp_path: Path) -> None:
    with agentos.Client(stack.url, workspace_id=workspace) as api:
        run_id = api.runs.create(api.rooms.create("T").room_id, handler="endless").run_id
        process = program(stack, workspace, tmp_path / "log", ttl_s=5)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun 1\n"
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: api.runs.get(run_id).status == "queued", TIMEOUT_S)
            api.runs.cancel(run_id)
            process.send_signal(signal.SIGCONT)
            wait_until(lambda: "lease lost" in (tmp_path / "log").read_text(), TIMEOUT_S)
        finally:
            process.kill()
            process.communicate()
        run = api.runs.get(run_id)
        assert (run.status, run.output) == ("cancelled", None)


async def test_no_answer_for_a_whole_ttl_ends_the_handler(
    start_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = start_stack()
    monkeypatch.setattr(execution, "RELEASE_PATIENCE_S", 0.1)
    worker = agentos.Worker("alone", url=stack.url, wait_s=1, lease_ttl_s=5, grace_s=0)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @worker.run("alone")
    async def alone(run: agentos.AsyncRunContext) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert run.lost
            cancelled.set()
            raise

    async with agentos.AsyncClient(stack.url) as api:
        await api.runs.create((await api.rooms.create("T")).room_id, handler="alone")
        async with serving(worker):
            async with asyncio.timeout(TIMEOUT_S):
                await begun.wait()
                os.kill(stack.pid("api"), signal.SIGSTOP)  # it hangs: connected, and silent
                try:
                    await cancelled.wait()
                finally:
                    os.kill(stack.pid("api"), signal.SIGCONT)


def test_a_worker_needs_handlers_each_with_a_name_of_its_own() -> None:
    worker = agentos.Worker("nobody", url="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="has no handlers"):
        worker.serve()
    worker.run("x")(lambda run: None)
    with pytest.raises(ValueError, match="handler 'x' already"):
        worker.run("x")(lambda run: None)
