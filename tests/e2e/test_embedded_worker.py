"""The embedded worker as it comes with ``agentos up``: a real engine, in a process that never stays behind."""

import asyncio
import os
import time
from collections.abc import Callable

import psutil
import pytest

import agentos
from agentos.models import Run
from agentos_engine.worker.shell import isolation
from tests.fixtures.outside import outside
from tests.fixtures.stack import Stack, wait_until
from tests.fixtures.stack import agentos as command

TIMEOUT_S = 40
MODULE = "agentos_engine.worker"


def worker_of(stack: Stack) -> psutil.Process | None:
    """The worker's process beside the engine's, or None."""
    engine = psutil.Process(stack.pid("engine"))
    return next((child for child in engine.children() if MODULE in child.cmdline()), None)


def the_worker_of(stack: Stack) -> psutil.Process:
    wait_until(lambda: worker_of(stack) is not None, TIMEOUT_S)
    found = worker_of(stack)
    assert found is not None
    return found


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_echo_answers_what_it_is_told(stack: Stack) -> None:
    with agentos.Client(stack.url) as api:
        room_id = api.rooms.create("Echo").room_id
        made = api.runs.create(room_id, handler="echo", input={"said": [1, "two"]})
        run = api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)
        assert (run.status, run.output) == ("succeeded", {"said": [1, "two"]})
        (call,) = api.tool_calls.list(run_id=run.run_id).all()
        assert (call.tool_name, call.output) == ("echo", {"said": [1, "two"]})
        (attempt,) = api.runs.attempts(run.run_id)
        assert attempt.claimed_by_actor_id == "embedded-worker"


def test_handlers_that_are_off_leave_runs_queued_for_others(stack: Stack) -> None:
    with agentos.Client(stack.url) as api:
        room_id = api.rooms.create("Off").room_id
        off = api.runs.create(room_id, handler="shell", input={"argv": ["id"]})
        api.runs.wait(api.runs.create(room_id, handler="echo").run_id, timeout_s=TIMEOUT_S)
        assert api.runs.get(off.run_id).status == "queued"
        api.runs.cancel(off.run_id)


def test_http_goes_through_the_gateway(stack: Stack) -> None:
    with outside() as world, agentos.Client(stack.url) as api:
        listed = {"host": "127.0.0.1", "port": world.port, "private": True}
        rule_id = api.request("POST", "/v1/egress/rules", body=listed).read(str, "rule_id")
        room_id = api.rooms.create("Http").room_id
        made = api.runs.create(room_id, handler="http", input={"url": world.url("/by-run")})
        run = api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)
        assert run.output is not None
        assert (run.status, run.output["status"], run.output["body"]) == ("succeeded", 200, "seen ")
        seen = api.egress.get(run.output["egress_request_id"])
        assert (seen.status, seen.policy_reason_code) == ("succeeded", "egress.rule_allows")
        assert world.of("/by-run") == 1

        asked = api.runs.create(room_id, handler="http", input={"url": world.url("/posted"), "method": "POST"})
        pending = api.approvals.list(status="pending", room_id=room_id)
        wait_until(lambda: bool(pending.all()), TIMEOUT_S)
        (approval,) = pending.all()
        assert world.of("/posted") == 0
        api.approvals.decide(approval.approval_id, "deny")
        denied = api.runs.wait(asked.run_id, timeout_s=TIMEOUT_S)
        assert (denied.status, world.of("/posted")) == ("failed", 0)
        api.request("POST", "/v1/egress/rules/remove", body={"rule_id": rule_id, "reason": "done"})


def test_the_worker_knows_no_password(stack: Stack) -> None:
    environment = the_worker_of(stack).environ()
    assert environment["AGENTOS_URL"] == stack.url
    assert not [name for name, value in environment.items() if "postgresql://" in value or "nats://" in value]


def test_shell_does_what_is_allowed_and_dies_with_its_lease(start_stack: Callable[..., Stack]) -> None:
    if asyncio.run(isolation(network=False)) is None:
        pytest.skip(
            "about what the worker's shell does, and this kernel or container lets nobody make the namespaces that "
            "keep it in; the handler is then left out, which tests/unit/test_shell_handler.py shows everywhere"
        )
    stack = start_stack(env={"AGENTOS_WORKER_SHELL_COMMANDS": "cat,sleep,false"})
    with agentos.Client(stack.url) as api:
        room_id = api.rooms.create("Shell").room_id

        def ended(argv: list[str], **more: object) -> Run:
            made = api.runs.create(room_id, handler="shell", input={"argv": argv, **more})
            return api.runs.wait(made.run_id, timeout_s=TIMEOUT_S)

        said = ended(["cat"], stdin="hello")
        assert said.output is not None
        assert (said.output["exit_code"], said.output["stdout"]) == (0, "hello")
        failed, refused, odd = ended(["false"]), ended(["id"]), ended([])
        assert [run.status for run in (failed, refused, odd)] == ["failed"] * 3
        assert [(run.error or {})["type"].rsplit(".", 1)[-1] for run in (failed, refused, odd)] == [
            "CommandFailed", "PermissionError", "ValidationError",
        ]  # fmt: skip

        def sleeping(seconds: str) -> list[psutil.Process]:
            found = []
            for process in psutil.process_iter(["cmdline"]):
                line = process.info["cmdline"] or []
                if line[-1:] == [seconds] and not gone(process):
                    found.append(process)
            return found

        def begun(seconds: int) -> str:
            mark = f"{seconds + os.getpid()}.5"
            api.runs.create(room_id, handler="shell", input={"argv": ["sleep", mark]}, max_attempts=1)
            wait_until(lambda: bool(sleeping(mark)), TIMEOUT_S)
            return mark

        mark, worker = begun(100_000), the_worker_of(stack)
        killed = stack.kill("engine")  # its worker ends, and the command with it
        wait_until(lambda: gone(worker) and not sleeping(mark), TIMEOUT_S)
        stack.wait_healthy({"engine": killed})
        mark = begun(200_000)
        the_worker_of(stack).kill()
        wait_until(lambda: not sleeping(mark), TIMEOUT_S)


def test_an_external_engine_mode_has_no_worker(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack(env={"AGENTOS_ENGINE_MODE": "external"})
    assert worker_of(stack) is None
    with agentos.Client(stack.url) as api:
        room_id = api.rooms.create("External").room_id
        run_id = api.runs.create(room_id, handler="echo").run_id
        claimed = api.runs.claim(actor_id="mine", handlers=["echo"])
        assert claimed is not None
        assert claimed.run_id == run_id


def test_where_access_is_enforced_the_worker_registers_itself(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack(env={"AGENTOS_AUTH": "enforced"})
    token = (stack.data_dir / "local-token").read_text().strip()
    with agentos.Client(stack.url, token=token) as api:
        room_id = api.rooms.create("Enforced").room_id
        run_id = api.runs.create(room_id, handler="echo", input={"a": 1}).run_id
        run = api.runs.wait(run_id, timeout_s=TIMEOUT_S)
        assert (run.status, run.output) == ("succeeded", {"a": 1})
        (engine,) = api.engines.list().all()
        (attempt,) = api.runs.attempts(run_id)
        assert (engine.actor_id, attempt.engine_id) == ("embedded-worker", engine.engine_id)


def test_stopping_an_idle_stack_does_not_wait_for_the_worker(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    worker = the_worker_of(stack)
    began = time.monotonic()
    command("down", "--data-dir", str(stack.data_dir))
    assert gone(worker)
    assert time.monotonic() - began < 10
