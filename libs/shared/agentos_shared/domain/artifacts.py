"""Artifacts: what a step made, inline, as a blob beside the store, or by reference.

Size and SHA-256 are those of the content: the UTF-8 bytes of a text, the canonical bytes (RFC 8785) of a JSON value.
What the caller says of them is checked; of a ``uri``, whose content is elsewhere, it is only recorded.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agentos_shared.domain import messages, runs, steps
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.decider import Command, LeasedBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.runs import ShortText

#: Bytes of a content that an event carries; what is larger is a blob.
MAX_INLINE_BYTES: Final = 256 * 1024
TYPES: Final = ("none", "text", "json", "uri")

#: A scheme and more, without blanks or control characters.
_ABSOLUTE_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[^\s\x00-\x20\x7f]+")
#: What a page that shows the address as a link would run.
_RUNS: Final = re.compile(
    r"(javascript|vbscript):|data:(text/html|application/xhtml\+xml|image/svg\+xml)", re.IGNORECASE
)

Sha256 = Annotated[
    str,
    Field(pattern=r"^(sha256:)?[0-9A-Fa-f]{64}$"),
    AfterValidator(lambda text: text.removeprefix("sha256:").lower()),
]


class Content(BaseModel):
    """What an artifact holds: ``text``, ``json`` or ``uri``, as ``type`` says, or nothing (``none``)."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    type: str = Field(max_length=64, json_schema_extra={"enum": list(TYPES)})
    text: str | None = None
    value: Any = Field(None, alias="json")
    uri: str | None = Field(None, min_length=1, max_length=8_192)


class CreateArtifact(LeasedBody):
    """Records what a step made; the run may have ended."""

    kind: str = Field(min_length=1, max_length=200)
    title: ShortText | None = None
    mime_type: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+(;[\x20-\x7e]*)?$")
    size_bytes: int | None = Field(None, ge=0, lt=2**53)
    sha256: Sha256 | None = None
    content: Content | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    schema_version: str | None = Field(None, json_schema_extra={"enum": [*messages.SCHEMA_VERSIONS, None]})


class Kept(NamedTuple):
    """A content that was checked and put where it is kept.

    Args:
        content: as the event tells of it.
        scan: secrets that were replaced in it, as the scanner reports them, or None.
    """

    content: Mapping[str, Any]
    sha256: str | None
    size_bytes: int | None
    scan: Any = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """What decisions read of an artifact: that it is there."""

    step_id: str


def checked(body: CreateArtifact) -> bytes | None:
    """The content's bytes, or None where it has none here.

    Raises:
        Invalid: ``invalid_content_type`` (unknown, or a member that does not go with it), ``missing_content``
            (the type's member is not there), ``invalid_content`` (no absolute URI, or one that a browser would run),
            ``size_bytes_mismatch``, ``sha256_mismatch``.
    """
    content = body.content
    if content is None:
        return None
    if content.type not in TYPES:
        raise Invalid("invalid_content_type", f"content.type must be one of {', '.join(TYPES)}.")
    members = {name for name, value in (("text", content.text), ("uri", content.uri)) if value is not None}
    if content.value is not None or (content.type == "json" and "value" in content.model_fields_set):
        members.add("json")
    if members - {content.type}:
        raise Invalid("invalid_content_type", f"content.{min(members - {content.type})} does not go with its type.")
    if content.type != "none" and not members:
        raise Invalid("missing_content", f"content.{content.type} is required with this type.")
    if content.uri is not None:
        _require_harmless(content.uri)
    if content.type in ("none", "uri"):
        return None
    raw = (content.text or "").encode() if content.type == "text" else canonical(content.value)
    if body.size_bytes is not None and body.size_bytes != len(raw):
        raise Invalid("size_bytes_mismatch", f"The content has {len(raw)} bytes, not {body.size_bytes}.")
    if body.sha256 is not None and body.sha256 != hashlib.sha256(raw).hexdigest():
        raise Invalid("sha256_mismatch", "sha256 is not the hash of the content's bytes.")
    return raw


def _require_harmless(uri: str) -> None:
    if _ABSOLUTE_URI.fullmatch(uri) is None:
        raise Invalid("invalid_content", "content.uri must be an absolute URI, such as https://example.org/report.pdf.")
    if _RUNS.match(uri):
        raise Invalid("invalid_content", "content.uri must not be one that runs where it is opened.")


def create(command: Command[CreateArtifact], view: View) -> list[NewEvent]:
    """``artifact.created``. ``command.loaded`` is the content, :class:`Kept`.

    Raises:
        Invalid: ``invalid_schema_version``.
        NotFound: ``step_not_found``, ``run_not_found``. Conflict: ``lease_token_mismatch``.
    """
    body, step_id = command.body, command.parent_id or ""
    messages.require_schema_version(body.schema_version)
    step, run = steps.known(view, step_id)
    runs.require_lease_or_end(command, run)
    expect_version(command, view)
    kept: Kept = command.loaded
    data = {
        "artifact_id": command.entity_id,
        "kind": body.kind,
        "title": body.title,
        "mime_type": body.mime_type,
        "size_bytes": kept.size_bytes,
        "sha256": kept.sha256,
        "content": kept.content,
        "metadata": body.metadata,
    }
    return [runs.inside(command, step.run_id, run, "artifact.created", "artifact", data, step_id=step_id)]


def evolve(state: Artifact | None, event: Event) -> Artifact | None:
    """Fold one event of an artifact."""
    if event.event_type == "artifact.created" and event.step_id is not None:
        return Artifact(event.step_id)
    return state
