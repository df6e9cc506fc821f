"""Runs, steps, tool calls, artifacts: given these events, when this command, then those events, or this refusal."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from agentos_shared.domain import artifacts, experiments, leases, principals, rooms, runs, steps, threads, tool_calls
from agentos_shared.domain.artifacts import Kept
from agentos_shared.domain.catalog import AGGREGATES, EVENT_TYPES
from agentos_shared.domain.decider import Command, CommandBody, Decide, Meta
from agentos_shared.domain.engine_checks import VerifiedEngine
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.errors import DomainError
from tests.fixtures.given import Given

ADA = principals.actor("ws_1", "user", "ada")
BOT = principals.actor("ws_1", "service", "bot")
META = Meta("ws_1", ADA, "c-1", "key-1")
ROOM = Command(rooms.CreateRoom(title="Ops", zone="supervised", mission_id="m_1"), META, "room_1")
TOKEN = "3f0a6f0e-6a3c-4e55-9a53-0d2b9f7f3c11"

Wish = tuple[Decide, Command[Any]]


def wish(decide: Decide, body: CommandBody, entity: str, parent: str | None = None, **meta: Any) -> Wish:
    loaded: Any = Kept({"type": "none"}, None, None) if isinstance(body, artifacts.CreateArtifact) else "rat_1"
    return decide, Command(body, META._replace(**meta), entity, parent, "room_1", loaded)


def a_run(**members: Any) -> Wish:
    return wish(runs.create, runs.CreateRun(room_id="room_1", **members), "run_1")


def claim(token: str = TOKEN, engine_id: str | None = None) -> Wish:
    body = leases.ClaimRun(
        claim_token=token,
        claimed_by_actor_id="bot",
        actor_principal_id=BOT.principal_id,
        engine_id=engine_id,
        lease_ttl_s=30,
        lease_expires_at="2026-11-24T05:30:30.000Z",
    )
    return wish(leases.claim, body, "run_1")


def release(token: str = TOKEN) -> Wish:
    return wish(leases.release, leases.ReleaseRun(claim_token=token), "run_1")


def expire(attempt_no: int = 1, token: str = TOKEN) -> Wish:
    return wish(leases.expire, leases.ExpireRun(attempt_no=attempt_no, claim_token=token), "run_1")


def time_out(attempt_no: int) -> Wish:
    return wish(leases.time_out, leases.TimeOutRun(attempt_no=attempt_no), "run_1")


def complete(**meta: Any) -> Wish:
    return wish(runs.complete, runs.CompleteRun(summary="done", output={"v": 2}), "run_1", **meta)


def fail(**members: Any) -> Wish:
    return wish(runs.fail, runs.FailRun(**members), "run_1")


def a_step(**meta: Any) -> Wish:
    return wish(steps.create, steps.CreateStep(kind="work"), "step_1", "run_1", **meta)


def a_call(body: tool_calls.InvokeTool | None = None, **meta: Any) -> Wish:
    return wish(tool_calls.invoke, body or tool_calls.InvokeTool(tool_name="echo"), "tc_1", "step_1", **meta)


def an_artifact(**meta: Any) -> Wish:
    return wish(artifacts.create, artifacts.CreateArtifact(kind="note"), "art_1", "step_1", **meta)


START = wish(runs.start, runs.StartRun(), "run_1")
CANCEL = wish(runs.cancel, runs.CancelRun(reason="enough"), "run_1")
END_STEP = wish(steps.complete, steps.CompleteStep(output={"n": 1}), "step_1")
FAIL_STEP = wish(steps.fail, steps.FailStep(message="no"), "step_1")
SUCCEED = wish(tool_calls.succeed, tool_calls.SucceedTool(output={"n": 1}), "tc_1")
FAIL_CALL = wish(tool_calls.fail, tool_calls.FailTool(message="no"), "tc_1")


def given(*wishes: Wish) -> Given:
    return Given((rooms.create, ROOM), *wishes)


def types(events: Sequence[NewEvent]) -> list[str]:
    return [event.event_type for event in events]


def refused(code: str, act: Callable[[], object]) -> DomainError:
    with pytest.raises(DomainError) as caught:
        act()
    assert caught.value.code == code
    return caught.value


def test_a_run_is_queued_in_its_room_and_inherits_mission_and_zone() -> None:
    (event,) = given().when(*a_run(title="T", input={"n": 1}, tags=["a"], zone="sandbox", timeout_s=9))
    assert (event.event_type, event.stream, event.run_id) == ("run.created", ("room", "room_1"), "run_1")
    assert (event.mission_id, event.zone, event.correlation_id) == ("m_1", "supervised", "c-1"), "the stricter zone"
    assert event.data == {
        "run_id": "run_1",
        "experiment_id": None,
        "title": "T",
        "goal": None,
        "input": {"n": 1},
        "tags": ["a"],
        "max_attempts": 3,
        "priority": 0,
        "timeout_s": 9,
    }


def test_a_run_needs_its_room_and_a_thread_of_it() -> None:
    refused("room_not_found", lambda: Given().when(*a_run()))
    refused("thread_not_found", lambda: given().when(*a_run(thread_id="th_1")))
    other = ROOM._replace(entity_id="room_2")
    thread = Command(threads.CreateThread(title="x"), META, "th_1", "room_2", "room_2")
    elsewhere = Given((rooms.create, ROOM), (rooms.create, other), (threads.create, thread))
    refused("thread_not_found", lambda: elsewhere.when(*a_run(thread_id="th_1")))


def test_a_run_of_an_experiment_needs_it_open_and_in_the_same_room() -> None:
    refused("experiment_not_found", lambda: given().when(*a_run(experiment_id="exp_1")))

    def experiment(room_id: str | None, *, closed: bool = False) -> Given:
        body = experiments.CreateExperiment(
            title="x", hypothesis="y", budget_cap_units=1, risk_tier="low", room_id=room_id
        )
        opened = given((experiments.create, Command(body, META, "exp_1", None, room_id)))
        if not closed:
            return opened
        ended = Command(experiments.CloseExperiment(), META, "exp_1", None, room_id, 0)
        return opened.and_then(experiments.close, ended)

    assert types(experiment("room_1").when(*a_run(experiment_id="exp_1"))) == ["run.created"]
    assert types(experiment(None).when(*a_run(experiment_id="exp_1"))) == ["run.created"]
    refused("experiment_not_open", lambda: experiment(None, closed=True).when(*a_run(experiment_id="exp_1")))
    with_other = Given(
        (rooms.create, ROOM),
        (rooms.create, ROOM._replace(entity_id="room_2")),
        (
            experiments.create,
            Command(
                experiments.CreateExperiment(
                    title="x", hypothesis="y", budget_cap_units=1, risk_tier="low", room_id="room_2"
                ),
                META,
                "exp_1",
                None,
                "room_2",
            ),
        ),
    )
    refused("experiment_room_mismatch", lambda: with_other.when(*a_run(experiment_id="exp_1")))


def test_a_claim_starts_a_run_once_and_counts_attempts() -> None:
    first = given(a_run()).when(*claim())
    assert types(first) == ["run.claimed", "run.started"]
    assert {(event.actor.type, event.actor.id) for event in first} == {("service", "bot")}
    assert first[0].data == {
        "run_id": "run_1",
        "attempt_no": 1,
        "fencing_token": 1,
        "claim_token": TOKEN,
        "run_attempt_id": "rat_1",
        "claimed_by_actor_id": "bot",
        "engine_id": None,
        "actor_principal_id": BOT.principal_id,
        "lease_ttl_s": 30,
        "lease_expires_at": "2026-11-24T05:30:30.000Z",
    }
    again = given(a_run(), claim(), release()).when(*claim("other"))
    assert types(again) == ["run.claimed"]
    assert again[0].data["fencing_token"] == 2


def test_a_claim_that_is_asked_for_again_is_no_second_one() -> None:
    held = given(a_run(), claim())
    assert held.when(*claim()) == []
    refused("run_not_queued", lambda: held.when(*claim("other")))
    refused("run_not_queued", lambda: given(a_run(), START).when(*claim()))


def test_a_claim_loses_against_a_change() -> None:
    decide, command = claim()
    stale = command._replace(body=command.body.model_copy(update={"expected_version": 1}))
    assert types(given(a_run()).when(decide, stale)) == ["run.claimed", "run.started"]
    refused("version_conflict", lambda: given(a_run(), claim("x"), release("x")).when(decide, stale))


def test_start_is_for_runs_that_nobody_had() -> None:
    assert types(given(a_run()).when(*START)) == ["run.started"]
    for history in ((START,), (claim(),), (claim(), release()), (CANCEL,)):
        refused("run_not_queued", lambda history=history: given(a_run(), *history).when(*START))  # type: ignore[misc]


def test_a_release_gives_the_run_back_and_fails_it_never() -> None:
    once = given(a_run(max_attempts=1), claim())
    assert types(once.when(*release())) == ["run.lease_released"]
    assert once.and_then(*release()).when(*release()) == [], "nothing is held"
    refused("lease_token_mismatch", lambda: once.when(*release("nope")))
    assert types(once.and_then(*release()).when(*claim("next"))) == ["run.claimed"]


def test_an_expired_lease_queues_the_run_until_its_attempts_are_used_up() -> None:
    held = given(a_run(max_attempts=2), claim())
    assert types(held.when(*expire())) == ["run.lease_expired"]
    assert held.when(*expire(token="nope")) == []
    assert held.and_then(*release()).when(*expire()) == []
    second = held.and_then(*expire()).and_then(*claim("two"))
    assert second.when(*expire()) == [], "that one has ended before"
    expired, failed = second.when(*expire(2, "two"))
    assert (expired.event_type, failed.event_type) == ("run.lease_expired", "run.failed")
    assert (failed.data["message"], failed.data["error"]) == ("attempts exhausted", {"code": "attempts_exhausted"})


def test_a_run_out_of_time_fails_unless_that_attempt_is_over() -> None:
    held = given(a_run(timeout_s=5), claim())
    (failed,) = held.when(*time_out(1))
    assert (failed.event_type, failed.data["error"]) == ("run.failed", {"code": "run_timeout"})
    assert held.when(*time_out(0)) == []
    assert held.and_then(*release()).when(*time_out(1)) == []
    assert types(given(a_run(timeout_s=5), START).when(*time_out(0))) == ["run.failed"]
    assert given(a_run(), START).when(*time_out(0)) == []


def test_a_run_ends_once_from_wherever_it_is() -> None:
    ends = {"run.completed": complete(), "run.failed": fail(message="boom"), "run.cancelled": CANCEL}
    for event_type, end in ends.items():
        for before in ((), (START,)):
            assert types(given(a_run(), *before).when(*end)) == [event_type]
        for other in ends.values():
            ended = given(a_run(), end)
            refused("run_already_ended", lambda ended=ended, other=other: ended.when(*other))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"message": "boom"}, {"message": "boom"}),
        ({"message": "boom", "error": {"code": "E1"}}, {"code": "E1"}),
        ({}, None),
    ],
)
def test_a_failure_keeps_its_error_else_its_message(members: dict[str, Any], error: dict[str, Any] | None) -> None:
    (event,) = given(a_run(), START).when(*fail(**members))
    assert event.data == {"run_id": "run_1", "message": members.get("message"), "error": error}


WRITES = [a_step, complete, a_call, an_artifact]


@pytest.mark.parametrize("write", WRITES)
def test_under_a_lease_only_its_holder_writes(write: Callable[..., Wish]) -> None:
    engine = VerifiedEngine("ws_1", "eng_1", BOT, "engtok_1", None)  # type: ignore[arg-type]
    held = given(a_run(), claim(engine_id="eng_1"), a_step(claim_token=TOKEN))
    assert len(held.when(*write(claim_token=TOKEN))) == 1
    assert len(held.when(*write(engine=engine))) == 1
    for other in ({}, {"claim_token": "nope"}, {"engine": engine._replace(engine_id="eng_2")}):
        refused("lease_token_mismatch", lambda other=other: held.when(*write(**other)))  # type: ignore[misc]


@pytest.mark.parametrize("write", WRITES)
def test_a_lost_lease_writes_nothing_whatever_became_of_the_run(write: Callable[..., Wish]) -> None:
    held = given(a_run(), claim(), a_step(claim_token=TOKEN))
    queued = held.and_then(*expire())
    taken = queued.and_then(*claim("two"))
    for lost in (queued, taken):
        refused("lease_token_mismatch", lambda lost=lost: lost.when(*write(claim_token=TOKEN)))  # type: ignore[misc]
    refused("lease_token_mismatch", lambda: given(a_run(), START, a_step()).when(*write(claim_token=TOKEN)))


def test_a_user_may_force_a_write_and_nobody_else() -> None:
    held = given(a_run(), claim())
    forced = wish(runs.complete, runs.CompleteRun(force=True), "run_1")
    assert types(held.when(*forced)) == ["run.completed"]
    by_service = wish(runs.complete, runs.CompleteRun(force=True), "run_1", actor=BOT)
    refused("lease_token_mismatch", lambda: held.when(*by_service))


def test_anybody_may_cancel_under_a_lease() -> None:
    assert types(given(a_run(), claim()).when(*CANCEL)) == ["run.cancelled"]


def test_steps_and_calls_need_a_running_run() -> None:
    refused("run_not_found", lambda: given().when(*a_step()))
    refused("run_not_running", lambda: given(a_run()).when(*a_step()))
    ended = given(a_run(), START, a_step(), complete())
    for write in (a_step(), a_call(), END_STEP, FAIL_STEP):
        refused("run_not_running", lambda write=write: ended.when(*write))  # type: ignore[misc]


def test_what_is_in_a_run_belongs_to_it() -> None:
    history = given(a_run(), START, a_step(), a_call(), SUCCEED, an_artifact(), END_STEP, complete())
    family = history.events[1:]
    assert {event.run_id for event in family} == {"run_1"}
    assert {event.mission_id for event in family} == {"m_1"}
    assert {event.correlation_id for event in family} == {"c-1"}
    assert {event.step_id for event in family[2:-1]} == {"step_1"}
    assert [event.causation_id for event in family[1:]] == [event.event_id for event in family[:-1]]
    assert history.version("run_1") == 3, "versions count the run's own events"


def test_a_step_ends_once() -> None:
    history = given(a_run(), START, a_step())
    assert types(history.when(*END_STEP)) == ["step.completed"]
    (failed,) = history.when(*FAIL_STEP)
    assert failed.data == {"step_id": "step_1", "message": "no", "error": {"message": "no"}}
    for end in (END_STEP, FAIL_STEP):
        ended = history.and_then(*end)
        for write in (END_STEP, FAIL_STEP, a_call()):
            refused("step_already_ended", lambda ended=ended, write=write: ended.when(*write))  # type: ignore[misc]
    refused("step_not_found", lambda: given(a_run(), START).when(*END_STEP))


def test_a_step_may_have_many_calls_the_last_of_which_ends_it() -> None:
    history = given(a_run(), START, a_step(), a_call(), SUCCEED)
    decide, command = a_call()
    assert types(history.when(decide, command._replace(entity_id="tc_2"))) == ["tool.invoked"]
    for decide, command in (END_STEP, FAIL_STEP):
        assert len(history.when(decide, command._replace(loaded="tool.invoked"))) == 1
        for last in ("tool.succeeded", "tool.failed"):
            wish = (decide, command._replace(loaded=last))
            refused("step_already_ended", lambda wish=wish: history.when(*wish))  # type: ignore[misc]


def test_a_call_ends_once_also_after_its_run() -> None:
    history = given(a_run(), START, a_step(), a_call())
    for end in (SUCCEED, FAIL_CALL):
        for again in (SUCCEED, FAIL_CALL):
            ended = history.and_then(*end)
            refused("tool_call_not_running", lambda ended=ended, again=again: ended.when(*again))  # type: ignore[misc]
    assert types(history.and_then(*complete()).when(*SUCCEED)) == ["tool.succeeded"]
    refused("tool_call_not_found", lambda: given(a_run(), START, a_step()).when(*SUCCEED))


def test_tool_name_is_asked_for_last() -> None:
    nameless = a_call(tool_calls.InvokeTool(title="x"))
    refused("step_not_found", lambda: given(a_run(), START).when(*nameless))
    refused("run_not_running", lambda: given(a_run(), START, a_step(), complete()).when(*nameless))
    refused("missing_tool_name", lambda: given(a_run(), START, a_step()).when(*nameless))


def test_a_call_carries_the_strictest_zone_and_what_its_caller_claims() -> None:
    body = tool_calls.InvokeTool(tool_name="x", zone="high_stakes", capability_token_id="cap", agent_id="agt_1")
    (event,) = given(a_run(), START, a_step()).when(*a_call(body))
    assert (event.zone, event.policy_context, event.data["agent_id"]) == (
        "high_stakes",
        {"capability_token_id": "cap"},
        "agt_1",
    )
    lower = a_call(tool_calls.InvokeTool(tool_name="x", zone="sandbox"))
    assert given(a_run(), START, a_step()).when(*lower)[0].zone == "supervised"


def test_the_last_holder_may_still_leave_an_artifact() -> None:
    ended = given(a_run(), claim(), a_step(claim_token=TOKEN), complete(claim_token=TOKEN))
    assert types(ended.when(*an_artifact(claim_token=TOKEN))) == ["artifact.created"]
    assert types(ended.when(*an_artifact())) == ["artifact.created"]
    refused("lease_token_mismatch", lambda: ended.when(*an_artifact(claim_token="nope")))


def content(**members: Any) -> artifacts.CreateArtifact:
    return artifacts.CreateArtifact.model_validate({"kind": "note", **members})


@pytest.mark.parametrize(
    ("members", "raw"),
    [
        ({}, None),
        ({"content": {"type": "none"}}, None),
        ({"content": {"type": "uri", "uri": "file:///x"}, "sha256": "0" * 64, "size_bytes": 9}, None),
        ({"content": {"type": "text", "text": "\u00e9"}, "size_bytes": 2}, "\u00e9".encode()),
        ({"content": {"type": "json", "json": {"b": 1, "a": None}}, "size_bytes": 16}, b'{"a":null,"b":1}'),
        ({"content": {"type": "json", "json": None}}, b"null"),
        (
            {
                "content": {"type": "text", "text": "hello"},
                "sha256": "sha256:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824",
            },
            b"hello",
        ),
    ],
)
def test_a_content_is_its_bytes(members: dict[str, Any], raw: bytes | None) -> None:
    assert artifacts.checked(content(**members)) == raw


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"content": {"type": "hologram", "text": "x"}}, "invalid_content_type"),
        ({"content": {"type": "text", "json": {}}}, "invalid_content_type"),
        ({"content": {"type": "none", "text": "x"}}, "invalid_content_type"),
        ({"content": {"type": "text", "text": "x", "uri": "y"}}, "invalid_content_type"),
        ({"content": {"type": "text"}}, "missing_content"),
        ({"content": {"type": "uri", "uri": None}}, "missing_content"),
        *(
            ({"content": {"type": "uri", "uri": uri}}, "invalid_content")
            for uri in (
                *(
                    "x",
                    "/etc/passwd",
                    "//host/x",
                    "https:",
                    "c:\\x",
                    " https://x",
                    "https://x y",
                    "java\nscript:alert(1)",
                ),
                *(
                    "javascript:alert(1)",
                    "JaVaScript:x",
                    "vbscript:x",
                    "data:text/html,x",
                    "DATA:text/HTML;base64,eA==",
                ),
                *("data:image/svg+xml,<svg/>", "data:application/xhtml+xml,x"),
            )
        ),
        ({"content": {"type": "text", "text": "hello"}, "size_bytes": 4}, "size_bytes_mismatch"),
        ({"content": {"type": "text", "text": "hello"}, "sha256": "0" * 64}, "sha256_mismatch"),
    ],
)
def test_a_content_that_is_not_what_is_said_is_refused(members: dict[str, Any], code: str) -> None:
    refused(code, lambda: artifacts.checked(content(**members)))


@pytest.mark.parametrize(
    "members", [{"sha256": "abc"}, {"size_bytes": -1}, {"mime_type": "\n"}, {"content": {"type": "text", "text": 5}}]
)
def test_ill_formed_claims_of_a_content_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        content(**members)


def test_an_artifact_tells_where_its_content_is() -> None:
    decide, command = an_artifact()
    kept = Kept({"type": "text", "sha256": "ab", "size_bytes": 300_000, "blob": True}, "ab", 300_000)
    (event,) = given(a_run(), START, a_step()).when(decide, command._replace(loaded=kept))
    assert (event.data["sha256"], event.data["size_bytes"], event.data["content"]) == ("ab", 300_000, kept.content)
    refused("step_not_found", lambda: given(a_run(), START).when(*an_artifact()))


def test_every_event_of_a_run_can_be_folded_and_unknown_ones_are_ignored() -> None:
    history = given(a_run(), claim(), a_step(claim_token=TOKEN), release(), CANCEL)
    for event in history.events:
        assert EVENT_TYPES[event.event_type] == event.entity_type
        aggregate = AGGREGATES[event.entity_type]
        state = history.get(aggregate.kind, event.entity_id)
        assert aggregate.evolve(state, event._replace(event_type="something.else")) is state
        assert aggregate.evolve(None, event._replace(event_type="something.else")) is None
