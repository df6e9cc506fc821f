"""How much may be spent under one grant in total: where the amount of an act is found, and what is left.

An amount is a number that is not negative, or a text that is one: exact, whatever its digits. In which unit is for
whoever grants to say, by ``arg_constraints``.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

_NUMBER: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,5}")
ZERO: Final = Decimal(0)


def limit(scope: Mapping[str, Any]) -> Decimal | None:
    """What may be spent under an effective scope in total; None: it says nothing of amounts."""
    most = scope.get("max_total_amount")
    return None if most is None else Decimal(most)


def amount_of(scope: Mapping[str, Any], parameters: Mapping[str, Any]) -> Decimal | None:
    """The amount of an act; None where its parameters do not tell one."""
    return decimal(_found(parameters, scope["amount_pointer"]))


def fits(scope: Mapping[str, Any], spent: Decimal, parameters: Mapping[str, Any]) -> bool:
    """Whether an act stays within what is left. One that does not tell its amount does not."""
    most = limit(scope)
    if most is None:
        return True
    amount = amount_of(scope, parameters)
    return amount is not None and spent + amount <= most


def decimal(value: Any) -> Decimal | None:
    """An amount as JSON has it, exactly; None: it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if 0 <= value < 10**18 else None
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) and 0 <= value < 10**18 else None
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def told(amount: Decimal) -> str:
    """An amount as events tell it: ``12.5``, never with an exponent."""
    return format(amount, "f")


def _found(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) names; None where there is nothing."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list) and _INDEX.fullmatch(name) and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document
