"""The Python client against a real stack: runs by hand, artifacts, incidents, engines, and a worker through faults."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable

import pytest

import agentos
from tests.fixtures.stack import Stack

TIMEOUT_S = 60


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[agentos.AsyncClient]:
    workspace = "ws_sdk_work_" + os.urandom(6).hex()
    async with agentos.AsyncClient(stack.url, workspace_id=workspace, actor=("service", "tester")) as client:
        yield client


async def test_a_run_by_hand(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("By hand")).room_id
    created = await api.runs.create(
        room_id, title="T", goal="G", input={"n": 1}, tags=["a"], max_attempts=2, priority=5, timeout_s=60
    )
    queued = await api.runs.get(created.run_id)
    assert (queued.status, queued.ended, queued.priority, queued.max_attempts) == ("queued", False, 5, 2)
    await api.runs.start(created.run_id)
    step = await api.steps.create(created.run_id, "work", title="W", input={"a": 1})
    call = await api.tool_calls.invoke(step.step_id, "search", input={"q": "x"}, title="Look")
    await api.tool_calls.succeed(call.tool_call_id, output={"hits": 3})
    second = await api.steps.create(created.run_id, "work")
    failed = await api.tool_calls.invoke(second.step_id, "search")
    await api.tool_calls.fail(failed.tool_call_id, message="boom")
    third = await api.steps.create(created.run_id, "work")
    await api.steps.fail(third.step_id, message="no")
    ended = await api.runs.complete(created.run_id, summary="S", output={"v": 2})
    run = await api.runs.wait(created.run_id)
    assert (run.status, run.output, run.ended) == ("succeeded", {"v": 2}, True)
    assert [one.status for one in await api.steps.list(run.run_id, min_position=ended).all()] == [
        *("succeeded", "failed", "failed")
    ]
    assert (await api.tool_calls.get(call.tool_call_id)).output == {"hits": 3}
    assert (await api.tool_calls.get(failed.tool_call_id)).error == {"message": "boom"}
    assert [one.run_id async for one in api.runs.list(room_id=room_id, min_position=ended)] == [run.run_id]
    with pytest.raises(agentos.Conflict) as refused:
        await api.runs.fail(created.run_id)
    assert refused.value.code == "run_already_ended"
    async with asyncio.timeout(TIMEOUT_S):
        async for event in api.stream_room(room_id):
            if event.event_type == "evidence.manifest.created":
                break
    assert (await api.runs.evidence(run.run_id)).run_status == "succeeded"


async def test_artifacts_come_back_the_same(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Artifacts")).room_id
    run_id = (await api.runs.create(room_id)).run_id
    await api.runs.start(run_id)
    step_id = (await api.steps.create(run_id, "make")).step_id
    large = "large " * 100_000
    text = await api.artifacts.create(step_id, "text", text="hello", mime_type="text/plain", metadata={"k": "v"})
    blob = await api.artifacts.create(
        step_id, "blob", text=large, sha256=hashlib.sha256(large.encode()).hexdigest(), size_bytes=len(large)
    )
    value = await api.artifacts.create(step_id, "json", json={"a": [1, None]})
    link = await api.artifacts.create(step_id, "link", uri="file:///tmp/x")
    assert (await api.artifacts.get(text.artifact_id)).content_text == "hello"
    assert await api.artifacts.content(text.artifact_id) == b"hello"
    assert await api.artifacts.content(blob.artifact_id) == large.encode()
    assert (await api.artifacts.get(value.artifact_id)).content_json == {"a": [1, None]}
    assert (await api.artifacts.get(link.artifact_id)).content_uri == "file:///tmp/x"
    kinds = [one.kind async for one in api.artifacts.list(run_id=run_id, min_position=link)]
    assert kinds == ["text", "blob", "json", "link"]
    with pytest.raises(agentos.BadRequest, match="sha256_mismatch"):
        await api.artifacts.create(step_id, "text", text="hello", sha256="0" * 64)
    with pytest.raises(ValueError, match="one content"):
        await api.artifacts.create(step_id, "text", text="hello", uri="file:///tmp/x")


async def test_incidents_from_open_to_closed(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Incidents")).room_id
    opened = await api.incidents.open("Disk full", severity="high", room_id=room_id, incident_key="disk")
    again = await api.incidents.open("Disk full", severity="high", room_id=room_id, incident_key="disk")
    assert (again.incident_id, opened.deduped, again.deduped) == (opened.incident_id, False, True)
    await api.incidents.acknowledge(opened.incident_id)
    with pytest.raises(agentos.Conflict, match="incident_close_blocked_missing_rca"):
        await api.incidents.close(opened.incident_id)
    await api.incidents.explain(opened.incident_id, summary="logs")
    await api.incidents.learn(opened.incident_id, "rotate", tags=["ops"])
    closed = await api.incidents.close(opened.incident_id, reason="rotated")
    incident = await api.incidents.get(opened.incident_id)
    assert (incident.status, incident.severity, incident.closed_reason) == ("closed", "high", "rotated")
    assert [one.note for one in await api.incidents.learning(opened.incident_id)] == ["rotate"]
    listed = await api.incidents.list(room_id=room_id, min_position=closed).all()
    assert [one.incident_id for one in listed] == [opened.incident_id]


async def test_engines_and_their_tokens(stack: Stack, api: agentos.AsyncClient) -> None:
    registered = await api.engines.register("builder", engine_name="Builder", metadata={"os": "linux"})
    engine, token = registered.engine, registered.token
    assert (engine.actor_id, engine.engine_name, engine.status) == ("builder", "Builder", "active")
    assert token.engine_token is not None
    assert token.engine_token not in repr(registered)
    further = await api.engines.issue_token(engine.engine_id, token_label="two")
    tokens = await api.engines.tokens(engine.engine_id, min_position=further).all()
    assert {one.token_id for one in tokens} == {token.token_id, further.token.token_id}
    assert await api.engines.revoke_token(engine.engine_id, token.token_id)
    assert not await api.engines.revoke_token(engine.engine_id, token.token_id)
    async with agentos.AsyncClient(
        stack.url, workspace_id=api.workspace_id, engine_id=engine.engine_id, engine_token=token.engine_token
    ) as revoked:
        with pytest.raises(agentos.AccessDenied) as refused:
            await revoked.runs.claim()
    assert refused.value.code == "engine_token_expired"
    deactivated = await api.engines.deactivate(engine.engine_id)
    assert deactivated.engine.status == "inactive"
    assert [one.status async for one in api.engines.list(min_position=deactivated)] == ["inactive"]


async def test_approvals_are_asked_for_awaited_and_decided(stack: Stack, api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Approvals")).room_id
    asked = await api.approvals.create("external.write", title="Send", request={"to": "ada"}, room_id=room_id)
    waiting = asyncio.create_task(api.approvals.wait(asked.approval_id, timeout_s=TIMEOUT_S))
    with pytest.raises(agentos.AccessDenied):  # the tester is a service
        await api.approvals.decide(asked.approval_id, "approve")
    async with agentos.AsyncClient(stack.url, workspace_id=api.workspace_id, actor=("user", "ceo")) as person:
        assert (await person.approvals.get(asked.approval_id)).open
        await person.approvals.decide(asked.approval_id, "approve", reason="fine")
    decided = await waiting
    assert (decided.status, decided.decision_reason, decided.open) == ("approved", "fine", False)
    assert asked.action_digest is not None
    await api.approvals.consume(asked.approval_id, asked.action_digest)
    with pytest.raises(agentos.Conflict, match="approval_already_consumed"):
        await api.approvals.consume(asked.approval_id, asked.action_digest)
    other = await api.approvals.create("external.write", room_id=room_id)
    taken_back = await api.approvals.cancel(other.approval_id, reason="not needed")
    listed = await api.approvals.list(room_id=room_id, min_position=taken_back).all()
    assert {one.approval_id for one in listed} == {asked.approval_id, other.approval_id}
    third = await api.approvals.create("external.write", room_id=room_id)
    with pytest.raises(TimeoutError, match="still pending"):
        await api.approvals.wait(third.approval_id, timeout_s=0)


async def test_a_claim_that_is_asked_twice_with_one_key_gives_one_run(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Claims")).room_id
    for _ in range(2):
        await api.runs.create(room_id)
    first = await api.runs.claim(idempotency_key="lost-reply")
    again = await api.runs.claim(idempotency_key="lost-reply")
    assert first is not None
    assert again == first.model_copy(update={"replayed": True})
    lease = await api.runs.heartbeat(first.run_id, first.claim_token)
    assert lease.lease_expires_at > first.lease_expires_at
    assert await api.runs.release(first.run_id, first.claim_token)
    assert not await api.runs.release(first.run_id, first.claim_token)


async def test_runs_end_once_though_the_api_and_the_engine_die(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    worker = agentos.Worker("steady", url=stack.url, concurrency=8, wait_s=1)
    going = asyncio.Event()

    @worker.run("steps")
    async def steps(run: agentos.AsyncRunContext) -> int:
        for number in range(10):
            async with run.step("step", input={"number": number}) as step:
                await step.tool("add", lambda value: value + 1, value=number)
            if number == 3:
                going.set()
        return run.attempt_no

    working = asyncio.create_task(worker.serve_async())
    retry = agentos.Retry(patience_s=60)
    async with agentos.AsyncClient(stack.url, retry=retry) as api:
        room_id = (await api.rooms.create("Faults")).room_id
        made = [await api.runs.create(room_id, handler="steps") for _ in range(12)]
        async with asyncio.timeout(TIMEOUT_S):
            await going.wait()
        for component in ("api", "engine", "api"):
            gone = {component: await asyncio.to_thread(stack.kill, component)}
            await asyncio.to_thread(stack.wait_healthy, gone)
        ended = [await api.runs.wait(one.run_id, timeout_s=TIMEOUT_S) for one in made]
        worker.stop()
        await working
        assert [run.status for run in ended] == ["succeeded"] * len(made)
        for run in ended:
            events = await api.events.list(run_id=run.run_id).all()
            types = [event.event_type for event in events]
            assert types.count("run.completed") == 1
            completed = next(event for event in events if event.event_type == "run.completed")
            # The attempt that ended it did all of its steps, each once, whatever answers were lost.
            claims = [event.stream_seq for event in events if event.event_type == "run.claimed"]
            numbers = [
                event.data["input"]["number"]
                for event in events
                if event.event_type == "step.created" and claims[-1] < event.stream_seq < completed.stream_seq
            ]
            assert numbers == list(range(10))
