"""The event that every store appends, so that all write the same bytes."""

from typing import Any, Final

#: About 300 bytes of JSON: a message of two sentences.
DATA: Final[dict[str, Any]] = {
    "message_id": "msg_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
    "sender_type": "agent",
    "sender_id": "agent-planner-7",
    "content_md": "The failing test is in the parser: an empty header makes it loop. I have a fix of three lines and "
    "would like to run the suite before I ask for a review.",
    "lang": "en",
    "parent_message_id": None,
    "labels": [],
}
