"""The body of a message, as the baselines take it."""

from typing import Literal

from pydantic import BaseModel, Field


class Message(BaseModel):
    """The same members as ours."""

    content_md: str = Field(min_length=1)
    lang: str | None = None
    sender_type: Literal["user", "agent", "service"] = "user"
    sender_id: str = "anon"
    parent_message_id: str | None = None
    labels: list[str] = []
