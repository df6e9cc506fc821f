"""What a decision was made on besides the policies of files: kept with it, so that it can be made again with others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from agentos_shared.domain.policy.egress import NO_RULINGS, Rulings, rulings_of
from agentos_shared.domain.policy.facts import Label

_LISTS: Final = ("bars", "denials", "forbidding", "requirements", "asking")
_FLAGS: Final = ("exactly", "external", "quarantined")
_IDS: Final = ("approval_id", "exact_approval_id")


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known of a wish, as far as it counts.

    Args:
        bars: codes of what stops it before anything else: kill switches, who asks, with which capability.
        denials, requirements: codes of the other built-in rules that deny, or ask for an approval.
        forbidding, asking: ids of learned constraints that do the same.
        exactly: whether the requirements are met by an approval of exactly this wish only.
        approval_id: an approval that covers it; exact_approval_id: one of exactly this.
        external, quarantined, label: what policies see besides the wish itself.
        egress: what egress rules say of it.
        valid_until: when the capability that it comes with ends.
    """

    bars: tuple[str, ...] = ()
    denials: tuple[str, ...] = ()
    forbidding: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    asking: tuple[str, ...] = ()
    exactly: bool = False
    approval_id: str | None = None
    exact_approval_id: str | None = None
    external: bool = False
    quarantined: bool = False
    label: Label = "internal"
    egress: Rulings = NO_RULINGS
    valid_until: str | None = None

    def told(self) -> dict[str, Any]:
        """As it is sent between processes, and recorded."""
        told: dict[str, Any] = {name: list(getattr(self, name)) for name in _LISTS}
        told |= {name: getattr(self, name) for name in (*_FLAGS, *_IDS, "label", "valid_until")}
        return told if self.egress == NO_RULINGS else {**told, "egress": self.egress.told()}


def basis_of(told: Mapping[str, Any]) -> Basis:
    """A basis from :meth:`Basis.told`.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    members: dict[str, Any] = {}
    for name in _LISTS:
        listed = told[name]
        if type(listed) is not list or not all(type(item) is str for item in listed):
            raise ValueError(f"{name} is no list of texts")
        members[name] = tuple(listed)
    for name in _FLAGS:
        if type(told[name]) is not bool:
            raise ValueError(f"{name} is neither true nor false")
        members[name] = told[name]
    for name in _IDS:
        if type(told[name]) not in (str, type(None)):
            raise ValueError(f"{name} is no id")
        members[name] = told[name]
    if told["label"] not in get_args(Label):
        raise ValueError("label is none")
    egress = rulings_of(told["egress"]) if "egress" in told else NO_RULINGS
    # Decisions from before there was such a member were not told when they end.
    return Basis(**members, label=told["label"], egress=egress, valid_until=told.get("valid_until"))
