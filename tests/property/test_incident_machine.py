"""Any sequence of commands on an incident does what a plain model of its rules says, refusals included."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.domain import incidents, principals
from agentos_shared.domain.decider import Command, Decide, Meta
from agentos_shared.domain.errors import DomainError
from tests.fixtures.given import Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")


@dataclass
class Model:
    """The rules of an incident, once more."""

    known: bool = False
    closed: bool = False
    acknowledged: bool = False
    analysed: bool = False
    learnt: bool = False

    def expect(self, verb: str) -> str | None:
        """The event that a command gives, the code of its refusal, or None when nothing happens."""
        if verb == "open":
            opened, self.known = not self.known, True
            return "incident.opened" if opened else None
        if not self.known:
            return "incident_not_found"
        return getattr(self, verb)()  # type: ignore[no-any-return]

    def acknowledge(self) -> str | None:
        if self.acknowledged:
            return None
        if self.closed:
            return "incident_closed"
        self.acknowledged = True
        return "incident.acknowledged"

    def rca(self) -> str:
        if self.closed:
            return "incident_closed"
        self.analysed = True
        return "incident.rca.updated"

    def empty_rca(self) -> str:
        return "incident_closed" if self.closed else "missing_rca_payload"

    def learning(self) -> str:
        if self.closed:
            return "incident_closed"
        self.learnt = True
        return "incident.learning.logged"

    def empty_learning(self) -> str:
        return "incident_closed" if self.closed else "missing_note"

    def close(self) -> str:
        if self.closed:
            return "incident_already_closed"
        if not self.analysed:
            return "incident_close_blocked_missing_rca"
        if not self.learnt:
            return "incident_close_blocked_missing_learning"
        self.closed = True
        return "incident.closed"


COMMANDS: dict[str, tuple[Decide, Any]] = {
    "open": (incidents.open_incident, incidents.OpenIncident(title="Disk full", idempotency_key="k")),
    "acknowledge": (incidents.acknowledge, incidents.AcknowledgeIncident()),
    "rca": (incidents.update_rca, incidents.UpdateRca(summary="logs")),
    "empty_rca": (incidents.update_rca, incidents.UpdateRca()),
    "learning": (incidents.log_learning, incidents.LogLearning(note="rotate")),
    "empty_learning": (incidents.log_learning, incidents.LogLearning()),
    "close": (incidents.close, incidents.CloseIncident()),
}


@given(st.lists(st.sampled_from([*COMMANDS, "rca", "learning", "close"]), max_size=30))
def test_an_incident_follows_its_rules(verbs: list[str]) -> None:
    model, history = Model(), Given()
    for verb in verbs:
        decide, body = COMMANDS[verb]
        command = Command(body, META, "inc_1", None, None)
        expected = model.expect(verb)
        before = len(history.events)
        refused = None
        try:
            history = history.and_then(decide, command)
        except DomainError as error:
            refused = error.code
        told = [event.event_type for event in history.events[before:]] if refused is None else [refused]
        assert told == ([] if expected is None else [expected])
