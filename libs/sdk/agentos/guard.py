"""Functions that do nothing before they may: ``@agentos.guarded("external.write")``."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def guarded(action: str, *, title: str | None = None, timeout_s: float = 86_400.0) -> Callable[[F], F]:
    """Guards a function of a handler: each call passes the gate first, and waits for a person where that is asked for.

    The function takes the run first and everything else by name; these arguments are what is decided on, so they must
    be JSON. See :meth:`agentos.RunContext.guard` for what it raises.
    """

    def guard(function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waiting(run: Any, /, **arguments: Any) -> Any:
                await run.guard(action, arguments, title=title, timeout_s=timeout_s)
                return await function(run, **arguments)

            return waiting  # type: ignore[return-value]

        @functools.wraps(function)
        def blocking(run: Any, /, **arguments: Any) -> Any:
            run.guard(action, arguments, title=title, timeout_s=timeout_s)
            return function(run, **arguments)

        return blocking  # type: ignore[return-value]

    return guard
