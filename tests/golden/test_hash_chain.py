"""The formula of the hash chain, fixed by vectors and computed here from its definition, not by the code under test."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from agentos_shared.domain.envelope import (
    Actor,
    NewEvent,
    Stream,
    canonical_content,
    data_digest,
    event_hash,
    hashed_bytes,
    seal,
)
from agentos_shared.store.chain import ChainCheck
from agentos_shared.store.reader import Head

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "hash_chain_v2.json").read_text())["events"]
CONTENT = ("data", "display", "model_context", "policy_context")
MEMBERS = (
    *("event_type", "event_version", "workspace_id", "mission_id", "room_id", "thread_id", "run_id", "step_id"),
    *("entity_type", "entity_id", "correlation_id", "causation_id", "idempotency_key", "zone"),
    *CONTENT,
)
DERIVED = ("redaction_level", "contains_secrets")


def sealed(vector: dict[str, Any]) -> Any:
    """The event, built by the domain from the vector's members."""
    event, salt = vector["event"], bytes.fromhex(vector["salt"])
    new = NewEvent(
        **{name: event[name] for name in MEMBERS},
        stream=Stream(event["stream_type"], event["stream_id"]),
        actor=Actor(event["actor_type"], event["actor_id"], event["actor_principal_id"]),
        occurred_at=datetime.fromisoformat(event["occurred_at"]),
    )
    return seal(
        new,
        event_id=event["event_id"],
        recorded_at=datetime.fromisoformat(event["recorded_at"]),
        stream_seq=event["stream_seq"],
        entity_version=event["entity_version"],
        causation_id=None,
        content=canonical_content(*(event[name] for name in ("data", "policy_context", "model_context", "display"))),
        salt=salt,
        prev_event_hash=vector["prev_event_hash"],
        redaction_level=event["redaction_level"],
        contains_secrets=event["contains_secrets"],
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["event"]["event_type"])
def test_the_definition_gives_the_vectors(vector: dict[str, Any]) -> None:
    event = vector["event"]
    content = rfc8785.dumps({name: event[name] for name in CONTENT})
    digest = "sha256:" + hashlib.sha256(bytes.fromhex(vector["salt"]) + content).hexdigest()
    members = {name: value for name, value in event.items() if name not in CONTENT and name not in DERIVED}
    hashed = rfc8785.dumps({**members, "data_digest": digest})
    previous = (vector["prev_event_hash"] or "").encode()
    whole = hashlib.sha256(b"agentos.event.v2" + b"\0" + previous + b"\0" + hashed).hexdigest()
    assert content == vector["content"].encode()
    assert digest == vector["data_digest"]
    assert hashed == vector["hashed"].encode()
    assert "sha256:" + whole == vector["event_hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["event"]["event_type"])
def test_the_domain_gives_the_vectors(vector: dict[str, Any]) -> None:
    event = sealed(vector)
    assert event.content == vector["content"]
    assert data_digest(event.salt, event.content) == event.data_digest == vector["data_digest"]
    assert hashed_bytes(event) == vector["hashed"].encode()
    assert event_hash(vector["prev_event_hash"], hashed_bytes(event)) == event.event_hash == vector["event_hash"]
    envelope = event.envelope(detail=True)
    expected = {**vector["event"], "prev_event_hash": vector["prev_event_hash"], "event_hash": vector["event_hash"]}
    assert envelope == expected


def test_every_member_of_the_envelope_is_hashed_or_derived_or_the_link() -> None:
    envelope = set(sealed(VECTORS[0]).envelope(detail=True))
    hashed = set(json.loads(VECTORS[0]["hashed"]))
    assert envelope == (hashed - {"data_digest"}) | set(CONTENT) | set(DERIVED) | {"prev_event_hash", "event_hash"}


def test_the_vectors_are_a_chain() -> None:
    check = ChainCheck(Stream("room", VECTORS[0]["event"]["stream_id"]), workspace_id="ws_dev")
    for vector in VECTORS[:4]:
        assert check.feed(sealed(vector)), check.mismatch
    check.close(Head(4, VECTORS[3]["event_hash"]))
    assert check.mismatch is None
    assert check.hash == VECTORS[4]["prev_event_hash"]
