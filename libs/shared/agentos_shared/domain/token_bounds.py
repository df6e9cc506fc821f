"""How far a capability token reaches, and what is left of that once its holder narrowed it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import Field

from agentos_shared.domain.capabilities import EVERYTHING, Instant, ScopeNames, Scopes, covers, covers_domain, moment
from agentos_shared.domain.envelope import ZONES, Zone

_HIGHEST: Final = ZONES[-1]


RoomNames = Annotated[ScopeNames, Field(min_length=1)]


class Wider(ValueError):
    """A narrowing that asks for more than there is to give.

    Attributes:
        field: which part of it.
    """

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: asks for more than the token covers")
        self.field = field


class Narrowing(Scopes):
    """What a token is cut down to. What is not given stays as it is; an empty list leaves nothing. Without any room
    a token would be none, so of these one at least must be left.
    """

    rooms: RoomNames | None = None
    valid_until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a token covers.

    Args:
        rooms: None: every room. Of the other lists an empty one covers nothing.
        zone_max: the highest zone.
        max_uses: commands; None: any number.
    """

    rooms: tuple[str, ...] | None = None
    action_types: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    egress_domains: tuple[str, ...] = ()
    data_read: tuple[str, ...] = ()
    data_write: tuple[str, ...] = ()
    zone_max: Zone = _HIGHEST
    valid_until: datetime | None = None
    max_uses: int | None = None

    @classmethod
    def of(cls, scopes: Mapping[str, Any], valid_until: datetime | None) -> Self:
        """The bounds of a capability with these scopes."""
        rooms = scopes.get("rooms") or ()
        access = scopes.get("data_access") or {}
        return cls(
            rooms=None if not rooms or EVERYTHING in rooms else tuple(rooms),
            action_types=tuple(scopes.get("action_types") or ()),
            tools=tuple(scopes.get("tools") or ()),
            egress_domains=tuple(scopes.get("egress_domains") or ()),
            data_read=tuple(access.get("read") or ()),
            data_write=tuple(access.get("write") or ()),
            zone_max=scopes.get("zone_max") or _HIGHEST,
            valid_until=valid_until,
            max_uses=scopes.get("max_uses"),
        )

    def narrowed(self, by: Narrowing) -> Self:
        """What is left. Raises Wider: a name, zone, time or number that these bounds do not cover."""
        access = by.data_access
        until = None if by.valid_until is None else moment(by.valid_until)
        if until is not None and self.valid_until is not None and until > self.valid_until:
            raise Wider("valid_until")
        if by.max_uses is not None and self.max_uses is not None and by.max_uses > self.max_uses:
            raise Wider("max_uses")
        if by.zone_max is not None and ZONES.index(by.zone_max) > ZONES.index(self.zone_max):
            raise Wider("zone_max")
        return replace(
            self,
            rooms=self._rooms(by.rooms),
            action_types=_list("action_types", self.action_types, by.action_types),
            tools=_list("tools", self.tools, by.tools),
            egress_domains=_list("egress_domains", self.egress_domains, by.egress_domains, covers_domain),
            data_read=_list("data_access.read", self.data_read, access.read if access else None),
            data_write=_list("data_access.write", self.data_write, access.write if access else None),
            zone_max=by.zone_max or self.zone_max,
            valid_until=until or self.valid_until,
            max_uses=by.max_uses or self.max_uses,
        )

    def _rooms(self, wanted: Sequence[str] | None) -> tuple[str, ...] | None:
        if wanted is None or (self.rooms is None and EVERYTHING in wanted):
            return self.rooms
        return tuple(wanted) if self.rooms is None else _list("rooms", self.rooms, wanted)

    def allows_room(self, room_id: str | None) -> bool:
        """Whether it may be used in a room; None: in the workspace itself, where only a token of all rooms may be."""
        return self.rooms is None or room_id in self.rooms

    def allows_action(self, name: str) -> bool:
        """Whether it covers an action, or a command of this name."""
        return any(covers(wide, name) for wide in self.action_types)

    def allows_zone(self, zone: Zone) -> bool:
        """Whether it may be used in a zone."""
        return ZONES.index(zone) <= ZONES.index(self.zone_max)

    def scopes(self) -> dict[str, Any]:
        """As scopes of a capability, where rooms that are missing mean all of them."""
        told: dict[str, Any] = {
            "action_types": list(self.action_types),
            "tools": list(self.tools),
            "egress_domains": list(self.egress_domains),
            "data_access": {"read": list(self.data_read), "write": list(self.data_write)},
            "zone_max": self.zone_max,
        }
        return told if self.rooms is None else {"rooms": list(self.rooms), **told}


def _list(
    field: str,
    own: tuple[str, ...],
    wanted: Sequence[str] | None,
    fits: Callable[[str, str], bool] = covers,
) -> tuple[str, ...]:
    if wanted is None:
        return own
    if any(not any(fits(wide, name) for wide in own) for name in wanted):
        raise Wider(field)
    return tuple(wanted)
