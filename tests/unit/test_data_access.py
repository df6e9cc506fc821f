"""Labels, and access to what is labelled: given these events, when this command, then those."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agentos_shared.domain import data_access, principals, resource_labels
from agentos_shared.domain.data_access import RequestAccess
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import DataLabel, Facts, Request
from agentos_shared.domain.policy.records import Gated
from agentos_shared.domain.resource_labels import LabelResource, ResourceLabel, label_id, resource_of
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
ID = label_id("ws_1", "file/a.csv")


def label(meta: Meta = META, **members: Any) -> Command[LabelResource]:
    told = {"resource_type": "file", "resource_id": "a.csv", "label": "confidential", **members}
    return Command(LabelResource.model_validate(told), meta, ID)


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)


LABELLED = Given((resource_labels.label, label(purpose_tags=["payroll", "audit", "payroll"])))


def fact(told: Given) -> DataLabel:
    found = told.get(ResourceLabel, ID)
    return DataLabel() if found is None else found.fact


def test_a_label_replaces_the_one_before() -> None:
    assert fact(LABELLED) == DataLabel("confidential", None, ("payroll", "audit"))
    assert LABELLED.when(resource_labels.label, label(purpose_tags=["payroll", "audit"])) == []
    again = LABELLED.and_then(resource_labels.label, label(label="restricted", room_id="room_1"))
    assert fact(again) == DataLabel("restricted", "room_1", ())


@pytest.mark.parametrize("wrong", [{"resource_type": None}, {"resource_type": "a/b"}, {"resource_id": " "}])
def test_a_label_is_of_a_resource(wrong: dict[str, Any]) -> None:
    refused(Invalid, "invalid_resource", lambda: Given().when(resource_labels.label, label(**wrong)))


def test_a_type_and_an_id_are_one_name_in_one_way_only() -> None:
    assert resource_of("file", "b/c") == "file/b/c"
    refused(Invalid, "invalid_resource", lambda: resource_of("file/b", "c"))


def test_agents_do_not_label() -> None:
    itself = META._replace(actor=principals.actor("ws_1", "agent", "agt_1"))
    refused(Forbidden, "agent_action_not_allowed", lambda: LABELLED.when(resource_labels.label, label(itself)))
    refused(Invalid, "invalid_label", lambda: LABELLED.when(resource_labels.label, label(label=None)))


def access(told: Given, **members: Any) -> Sequence[NewEvent]:
    wish = {"resource": "file/a.csv", "digest": "sha256:0", "action": "data.read", "actor": META.actor, **members}
    request = Request("ws_1", "data_access", **wish)
    gated = Gated(request, evaluate(request, Facts(MOMENT, label=fact(told))))
    return told.when(data_access.request, Command(RequestAccess(), META, "dec_1", loaded=gated))


def types(events: Sequence[NewEvent]) -> list[str]:
    return [event.event_type for event in events if event.event_type.startswith(("policy.", "data."))]


MISMATCH = "data.access.purpose_hint_mismatch"


@pytest.mark.parametrize(
    ("labelled", "members", "expected"),
    [
        (None, {}, ["policy.decided"]),
        ({"label": "restricted"}, {}, ["policy.decided", "policy.denied", "data.access.denied"]),
        (
            {"label": "restricted", "room_id": "room_1"},
            {"room_id": "room_2"},
            ["policy.decided", "policy.denied", "data.access.denied"],
        ),
        ({"label": "restricted", "room_id": "room_1"}, {"room_id": "room_1"}, ["policy.decided"]),
        (
            {"purpose_tags": ["payroll"]},
            {"purpose_tags": ("marketing",)},
            ["policy.decided", "policy.requires_approval", MISMATCH, "data.access.unjustified"],
        ),
        ({"purpose_tags": ["payroll"]}, {"purpose_tags": ("payroll", "x")}, ["policy.decided"]),
        (
            {"purpose_tags": ["payroll"]},
            {"justification": "asked by the auditor"},
            ["policy.decided", MISMATCH, "data.access.justified"],
        ),
    ],
)
def test_access_is_decided_by_the_label(
    labelled: dict[str, Any] | None, members: dict[str, Any], expected: list[str]
) -> None:
    told = Given() if labelled is None else Given((resource_labels.label, label(**labelled)))
    assert types(access(told, **members)) == expected
