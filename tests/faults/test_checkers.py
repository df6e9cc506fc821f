"""The checkers bite: a sound run passes, and each way of losing, doubling, reordering or forging an event is found."""

import copy
from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.store.chain import ChainCheck
from agentos_shared.store.reader import Head
from tests.checkers import checks
from tests.checkers.history import Acknowledged, Frame, Operation, Outcome, Transcript, Window
from tests.checkers.history import History as Clients
from tests.checkers.observed import Message, Observed
from tests.fixtures.projecting import WORKSPACE, expected_rows
from tests.fixtures.projecting import History as Events

ROOM = "room_1"
Run = tuple[Clients, Observed]


def sound() -> Run:
    """One room, written to by one client and watched by another, with nothing amiss."""
    source = Events()
    source.room(ROOM)
    source.thread(ROOM, "th_1")
    for number in range(40):
        source.message(ROOM, "th_1", f"text {number}")
    events = [event._replace(idempotency_key=f"key-{event.stream_seq}") for event in source.events]
    return clients_of(events), observed_of(events)


def clients_of(events: list[Event]) -> Clients:
    clients = Clients(WORKSPACE)
    for number, event in enumerate(events):
        told = (Acknowledged(event.entity_id, event.event_id, event.stream_id, event.stream_seq),)
        text = event.data.get("content_md") or event.data["title"]
        operation = Operation(f"key-{event.stream_seq}", (text,), number, number + 0.5, Outcome.OK, ["201"], [told])
        clients.operations.append(operation)
    frames = [Frame(1 + event.stream_seq // 20, event.stream_seq, event.envelope_json().decode()) for event in events]
    clients.transcripts.append(Transcript(ROOM, "viewer", frames, connections=3))
    return clients


def observed_of(events: list[Event]) -> Observed:
    return Observed(
        events=events,
        heads={ROOM: (len(events), events[-1].event_hash)},
        outbox=0,
        rows=expected_rows(events),
        checkpoints={ROOM: len(events)},
        parked=[],
        messages=[Message(e.stream_id, e.stream_seq, e.event_id, e.envelope_json()) for e in events],
        bad_chains=[],
        weak_guards=[],
    )


def become(observed: Observed, other: Observed) -> None:
    """Take over all members of another."""
    for member in fields(Observed):
        setattr(observed, member.name, getattr(other, member.name))


def test_a_sound_run_passes() -> None:
    assert checks.violations(*sound()) == []


def lose_an_acknowledged_write(run: Run) -> None:
    """As a store without fsync does: the tail is gone everywhere, and consistently so."""
    clients, _ = run
    kept = [event for event in run[1].events if event.stream_seq <= 30]
    become(run[1], observed_of(kept))
    clients.transcripts[0].frames = clients.transcripts[0].frames[:30]


def write_twice(run: Run) -> None:
    """As a retry without idempotency does."""
    again = run[1].events[-1]
    run[1].events.append(again._replace(event_id="01900000-0000-7000-8000-00000000abcd", stream_seq=43))


def let_a_refused_write_in(run: Run) -> None:
    run[0].operations[5].outcome = Outcome.FAILED
    run[0].operations[5].answers.clear()


def write_half_of_it(run: Run) -> None:
    """Of an atomic write whose client heard nothing."""
    operation = run[0].operations[5]
    operation.outcome, operation.texts = Outcome.UNKNOWN, (*operation.texts, "the other half")
    operation.answers.clear()


def answer_a_retry_with_something_else(run: Run) -> None:
    told = run[0].operations[5].answers[0][0]
    run[0].operations[5].answers.append((replace(told, entity_id="msg_other"),))


def change_a_text(run: Run) -> None:
    event = run[1].events[7]
    run[1].events[7] = event._replace(content=event.content.replace("text 5", "text 6"))


def leave_a_gap(run: Run) -> None:
    """As a rolled-back transaction does with a sequence of the database."""
    del run[1].events[20]


def move_the_head_back(run: Run) -> None:
    run[1].heads[ROOM] = (41, None)


def swap_two_acknowledged_writes(run: Run) -> None:
    """Both are there, and the later one stands first."""
    one, two = run[0].operations[10], run[0].operations[11]
    one.began_s, one.ended_s, two.began_s, two.ended_s = two.began_s, two.ended_s, one.began_s, one.ended_s


def publish_in_the_wrong_order(run: Run) -> None:
    """As a relay that polls ``position > last`` does."""
    messages = run[1].messages
    messages[10], messages[11] = messages[11], messages[10]


def never_publish_one(run: Run) -> None:
    del run[1].messages[10]


def publish_something_else(run: Run) -> None:
    message = run[1].messages[10]
    run[1].messages[10] = replace(message, body=message.body.replace(b"text 8", b"text 9"))


def publish_what_was_never_committed(run: Run) -> None:
    run[1].messages.append(replace(run[1].messages[-1], stream_seq=43))


def skip_one_for_a_viewer(run: Run) -> None:
    del run[0].transcripts[0].frames[25]


def show_one_twice(run: Run) -> None:
    """As a resume that takes the cursor as inclusive does."""
    frames = run[0].transcripts[0].frames
    frames.insert(20, replace(frames[19], connection=2))


def show_two_in_the_wrong_order(run: Run) -> None:
    frames = run[0].transcripts[0].frames
    frames[30], frames[31] = frames[31], frames[30]


def forget_the_last_one(run: Run) -> None:
    run[0].transcripts[0].frames.pop()


def show_something_else(run: Run) -> None:
    frames = run[0].transcripts[0].frames
    frames[30] = replace(frames[30], data=frames[29].data)


def reset_a_cursor(run: Run) -> None:
    run[0].transcripts[0].resets = 1


def apply_an_event_twice(run: Run) -> None:
    run[1].rows["proj_messages"].append(run[1].rows["proj_messages"][-1])


def apply_an_event_never(run: Run) -> None:
    del run[1].rows["proj_messages"][3]


def edit_a_row(run: Run) -> None:
    run[1].rows["proj_rooms"][0]["title"] = "Another"


def stop_before_the_head(run: Run) -> None:
    run[1].checkpoints[ROOM] = 41


def park_the_stream(run: Run) -> None:
    run[1].parked.append(ROOM)


def edit_an_event(run: Run) -> None:
    """Behind the back of the writer; the verdict is the product's own."""
    check = ChainCheck(Stream("room", ROOM), workspace_id=WORKSPACE)
    events = [event._replace(idempotency_key=None) for event in run[1].events]
    events[20] = events[20]._replace(actor_id="somebody else")
    for event in events:
        if not check.feed(event):
            break
    check.close(Head(42, events[-1].event_hash))
    verdict = check.verdict(Head(42, events[-1].event_hash))
    assert verdict.first_mismatch is not None
    run[1].bad_chains.append(verdict)


def leave_rows_in_the_outbox(run: Run) -> None:
    run[1].outbox = 3


def never_succeed(run: Run) -> None:
    """Everything else holds for a stack that answers 503 to all."""
    become(run[1], observed_of(run[1].events[:1]))
    run[0].transcripts[0].frames = run[0].transcripts[0].frames[:1]
    for operation in run[0].operations[1:]:
        operation.outcome, operation.tries = Outcome.UNKNOWN, ["503"]
        operation.answers.clear()


def stumble_without_a_fault(run: Run) -> None:
    for operation in run[0].operations[:5]:
        operation.tries = ["503", "201"]


def refuse_a_good_write(run: Run) -> None:
    operation = Operation("key-99", ("text",), 50, 51, Outcome.FAILED, ["404"])
    run[0].operations.append(operation)


@pytest.mark.parametrize(
    ("mutate", "caught_by"),
    [
        (lose_an_acknowledged_write, checks.acknowledged_writes_are_there_once),
        (write_twice, checks.acknowledged_writes_are_there_once),
        (let_a_refused_write_in, checks.acknowledged_writes_are_there_once),
        (write_half_of_it, checks.acknowledged_writes_are_there_once),
        (answer_a_retry_with_something_else, checks.acknowledged_writes_are_there_once),
        (change_a_text, checks.acknowledged_writes_are_there_once),
        (leave_a_gap, checks.sequences_have_no_gap),
        (move_the_head_back, checks.sequences_have_no_gap),
        (swap_two_acknowledged_writes, checks.order_is_that_of_time),
        (publish_in_the_wrong_order, checks.jetstream_holds_all_in_order),
        (never_publish_one, checks.jetstream_holds_all_in_order),
        (publish_something_else, checks.jetstream_holds_all_in_order),
        (publish_what_was_never_committed, checks.jetstream_holds_all_in_order),
        (skip_one_for_a_viewer, checks.viewers_saw_all_once_in_order),
        (show_one_twice, checks.viewers_saw_all_once_in_order),
        (show_two_in_the_wrong_order, checks.viewers_saw_all_once_in_order),
        (forget_the_last_one, checks.viewers_saw_all_once_in_order),
        (show_something_else, checks.viewers_saw_all_once_in_order),
        (reset_a_cursor, checks.viewers_saw_all_once_in_order),
        (apply_an_event_twice, checks.projections_are_the_fold),
        (apply_an_event_never, checks.projections_are_the_fold),
        (edit_a_row, checks.projections_are_the_fold),
        (stop_before_the_head, checks.projections_are_the_fold),
        (park_the_stream, checks.projections_are_the_fold),
        (edit_an_event, checks.the_chain_holds),
        (leave_rows_in_the_outbox, checks.nothing_waits),
        (never_succeed, checks.most_went_well),
        (stumble_without_a_fault, checks.most_went_well),
        (refuse_a_good_write, checks.most_went_well),
    ],
)
def test_a_mutant_is_caught(mutate: Callable[[Run], None], caught_by: checks.Check) -> None:
    run = copy.deepcopy(sound())
    mutate(run)
    assert list(caught_by(*run)), f"{mutate.__name__} goes unnoticed"


def test_what_failed_during_a_fault_is_excused() -> None:
    run = sound()
    for operation in run[0].operations[10:15]:
        operation.tries = ["ConnectError", "201"]
    assert list(checks.most_went_well(*run))
    run[0].windows.append(Window(10.0, 14.6))
    assert not list(checks.most_went_well(*run))


def test_a_message_that_is_delivered_again_is_no_fault() -> None:
    run = sound()
    run[1].messages += run[1].messages[5:9]
    assert checks.violations(*run) == []


def test_an_unknown_write_may_be_there_or_not() -> None:
    run = sound()
    run[0].operations[5].outcome = Outcome.UNKNOWN
    run[0].operations[5].answers.clear()
    run[0].operations.append(Operation("key-99", ("text",), 50, 51, Outcome.UNKNOWN, ["ReadError"]))
    run[0].windows.append(Window(49, 52))
    assert checks.violations(*run) == []
