"""The client's side of approvals against a real stack: asking, waiting, deciding, using, and asking again."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

import agentos
from tests.fixtures.stack import Stack

TIMEOUT_S = 40
DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def workspace() -> str:
    return "ws_sdk_" + os.urandom(6).hex()


@pytest.fixture
async def api(stack: Stack, workspace: str) -> AsyncIterator[agentos.AsyncClient]:
    async with agentos.AsyncClient(stack.url, workspace_id=workspace) as client:
        yield client


@pytest.fixture
def worker(stack: Stack, workspace: str) -> agentos.Worker:
    return agentos.Worker("mailer", url=stack.url, workspace_id=workspace, wait_s=1, grace_s=0.2)


async def pending(api: agentos.AsyncClient) -> str:
    """The approval that somebody asks for, once it is there."""
    pause = asyncio.Event()
    async with asyncio.timeout(TIMEOUT_S):
        while not (found := await api.approvals.list(status="pending").all()):
            try:
                await asyncio.wait_for(pause.wait(), 0.05)
            except TimeoutError:
                continue
    return found[0].approval_id


async def test_a_grant_from_the_question_to_its_end(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Ops")).room_id
    made = await api.approvals.create("email.send", title="Report", request={"to": "ada"}, room_id=room_id)
    with pytest.raises(TimeoutError):
        await api.approvals.wait(made.approval_id, timeout_s=0.2)
    waiting = asyncio.create_task(api.approvals.wait(made.approval_id))
    await api.approvals.decide(made.approval_id, "approve", scope={"type": "room"}, reason="fine")
    approval = await waiting
    assert (approval.status, approval.decision_reason, approval.action_digest) == (
        "approved",
        "fine",
        made.action_digest,
    )
    with pytest.raises(agentos.Conflict, match="approval_action_mismatch"):
        await api.approvals.consume(made.approval_id, DIGEST, action="email.send", room_id=room_id)
    act = {"action": "email.send", "room_id": room_id}
    digest = (await api.request("POST", "/v1/policy/evaluate", body=act)).members()["action_digest"]
    used = await api.approvals.consume(made.approval_id, digest, **act)
    (grant,) = await api.approvals.grants(min_position=used).all()
    assert (grant.approval_id, grant.status, grant.uses) == (made.approval_id, "active", 1)
    await api.approvals.revoke(made.approval_id, reason="enough")
    with pytest.raises(agentos.Conflict, match="approval_not_approved"):
        await api.approvals.consume(made.approval_id, digest, **act)


async def test_two_people_decide_on_what_they_saw(stack: Stack, workspace: str) -> None:
    async with (
        agentos.AsyncClient(stack.url, workspace_id=workspace, actor=("user", "ada")) as ada,
        agentos.AsyncClient(stack.url, workspace_id=workspace, actor=("user", "bo")) as bo,
    ):
        made = await ada.approvals.create(
            "email.send", required_approvals=2, escalation=[{"after_s": 600, "notify": "desk"}]
        )
        await bo.approvals.seen(made.approval_id)
        first = await ada.approvals.decide(made.approval_id, "approve", client_token="click-1")
        again = await ada.approvals.decide(made.approval_id, "approve", client_token="click-1")
        assert (await bo.approvals.get(made.approval_id)).status == "pending"
        assert again.event_id == first.event_id
        with pytest.raises(agentos.Conflict, match="approval_action_mismatch"):
            await bo.approvals.decide(made.approval_id, "approve", expected_digest=DIGEST)
        await bo.approvals.decide(made.approval_id, "approve", expected_digest=made.action_digest)
        approval = await ada.approvals.get(made.approval_id)
        assert (approval.status, [vote["actor_id"] for vote in approval.votes]) == ("approved", ["ada", "bo"])
        assert approval.seen_at is not None


async def test_agents_are_refused(stack: Stack, workspace: str) -> None:
    async with agentos.AsyncClient(stack.url, workspace_id=workspace, actor=("agent", "bot")) as bot:
        made = await bot.approvals.create("email.send")
        with pytest.raises(agentos.AccessDenied, match="approver_must_be_user"):
            await bot.approvals.decide(made.approval_id, "approve")
        await bot.approvals.cancel(made.approval_id)


async def test_a_handler_waits_for_a_person(api: agentos.AsyncClient, worker: agentos.Worker) -> None:
    room_id = (await api.rooms.create("Ops")).room_id

    @worker.run("mail")
    async def mail(run: agentos.AsyncRunContext) -> dict[str, str]:
        approval = await run.require_approval("email.send", run.input["mail"], title="Send it?")
        await run.client.approvals.consume(approval.approval_id, str(approval.action_digest))
        return {"approval_id": approval.approval_id}

    serving = asyncio.create_task(worker.serve_async())
    try:
        yes = await api.runs.create(room_id, handler="mail", input={"mail": {"to": "ada"}})
        asked = await pending(api)
        assert (await api.approvals.get(asked)).run_id == yes.run_id
        await api.approvals.decide(asked, "approve")
        done = await api.runs.wait(yes.run_id, timeout_s=TIMEOUT_S)
        assert (done.status, done.output) == ("succeeded", {"approval_id": asked})
        assert (await api.approvals.get(asked)).status == "consumed"

        no = await api.runs.create(room_id, handler="mail", input={"mail": {"to": "bob"}}, max_attempts=1)
        await api.approvals.decide(await pending(api), "deny", reason="not him")
        failed = await api.runs.wait(no.run_id, timeout_s=TIMEOUT_S)
        assert failed.status == "failed"
        assert failed.error is not None
        assert "not him" in failed.error["message"]
    finally:
        worker.stop()
        async with asyncio.timeout(TIMEOUT_S):
            await serving


async def test_a_later_attempt_finds_the_decision(api: agentos.AsyncClient, worker: agentos.Worker) -> None:
    room_id = (await api.rooms.create("Ops")).room_id
    attempts: list[int] = []

    @worker.run("mail")
    async def mail(run: agentos.AsyncRunContext) -> dict[str, int]:
        attempts.append(run.attempt_no)
        if run.attempt_no == 1:
            try:
                await run.require_approval("email.send", {"to": "ada"}, timeout_s=0.5)
            except TimeoutError:
                raise agentos.TryAgain from None
        approval = await run.require_approval("email.send", {"to": "ada"})
        assert approval.status == "approved"
        return {"attempt": run.attempt_no}

    serving = asyncio.create_task(worker.serve_async())
    try:
        run = await api.runs.create(room_id, handler="mail")
        asked = await pending(api)
        pause = asyncio.Event()
        async with asyncio.timeout(TIMEOUT_S):
            while len(attempts) < 2:
                try:
                    await asyncio.wait_for(pause.wait(), 0.05)
                except TimeoutError:
                    continue
        await api.approvals.decide(asked, "approve")
        done = await api.runs.wait(run.run_id, timeout_s=TIMEOUT_S)
        assert (done.status, done.output) == ("succeeded", {"attempt": 2})
        assert [one.approval_id for one in await api.approvals.list().all()] == [asked], "it was asked for once"
    finally:
        worker.stop()
        async with asyncio.timeout(TIMEOUT_S):
            await serving


async def test_guarded_functions_pass_the_gate(api: agentos.AsyncClient, worker: agentos.Worker) -> None:
    room_id = (await api.rooms.create("Ops")).room_id
    sent: list[str] = []

    @agentos.guarded("external.write", title="Send it?")
    async def send(run: agentos.AsyncRunContext, *, to: str) -> None:
        sent.append(to)

    @agentos.guarded("note.write")
    def note(run: agentos.RunContext, *, text: str) -> None:
        sent.append(text)

    @worker.run("mail")
    async def mail(run: agentos.AsyncRunContext) -> None:
        await send(run, to=run.input["to"])

    @worker.run("note")
    def jot(run: agentos.RunContext) -> None:
        note(run, text="noted")

    serving = asyncio.create_task(worker.serve_async())
    try:
        jotted = await api.runs.create(room_id, handler="note")
        assert (await api.runs.wait(jotted.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
        mailed = await api.runs.create(room_id, handler="mail", input={"to": "ada"})
        asked = await pending(api)
        assert sent == ["noted"], "nothing is done before the answer"
        await api.approvals.decide(asked, "approve")
        assert (await api.runs.wait(mailed.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
        assert sent == ["noted", "ada"]
        assert (await api.approvals.get(asked)).status == "consumed"

        granted = await api.approvals.create("external.write", room_id=room_id, scope={"type": "room"})
        await api.approvals.decide(granted.approval_id, "approve")
        again = await api.runs.create(room_id, handler="mail", input={"to": "bob"})
        assert (await api.runs.wait(again.run_id, timeout_s=TIMEOUT_S)).status == "succeeded"
        assert (await api.approvals.get(granted.approval_id)).uses == 1

        await api.request("POST", "/v1/policy/kill-switch", body={"action": "engage"})
        stopped = await api.runs.create(room_id, handler="mail", input={"to": "eve"}, max_attempts=1)
        failed = await api.runs.wait(stopped.run_id, timeout_s=TIMEOUT_S)
        assert failed.error is not None
        assert "kill_switch_active" in failed.error["message"]
        assert sent == ["noted", "ada", "bob"]
    finally:
        worker.stop()
        async with asyncio.timeout(TIMEOUT_S):
            await serving


async def test_a_hold_frees_the_worker_and_the_decision_brings_the_run_back(
    api: agentos.AsyncClient, worker: agentos.Worker
) -> None:
    room_id = (await api.rooms.create("Ops")).room_id
    attempts: list[int] = []

    @worker.run("mail")
    async def mail(run: agentos.AsyncRunContext) -> dict[str, str]:
        attempts.append(run.attempt_no)
        approval = await run.require_approval("email.send", run.input["mail"])
        return {"approval_id": approval.approval_id}

    serving = asyncio.create_task(worker.serve_async())
    try:
        run = await api.runs.create(room_id, handler="mail", input={"mail": {"to": "ada"}})
        asked = await pending(api)
        await api.approvals.decide(asked, "hold", reason="after lunch")
        assert (await api.runs.get(run.run_id)).status == "queued"
        await api.approvals.decide(asked, "approve")
        done = await api.runs.wait(run.run_id, timeout_s=TIMEOUT_S)
        assert (done.status, done.output, attempts) == ("succeeded", {"approval_id": asked}, [1, 2])
    finally:
        worker.stop()
        async with asyncio.timeout(TIMEOUT_S):
            await serving
