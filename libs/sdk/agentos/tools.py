"""Tools by name, and how functions are called from handlers of either kind."""

import asyncio
import hashlib
import inspect
import json
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agentos.errors import AgentOSError

#: What does not fit well into an event goes into an artifact.
MAX_OUTPUT_BYTES: Final = 256 * 1024
MAX_TRACEBACK: Final = 16_000
MAX_MESSAGE: Final = 2_000


class UnknownTool(AgentOSError):
    """``step.tool`` named a tool that the worker does not have."""


@dataclass(slots=True)
class Tools:
    """The tools of one worker.

    Args:
        loop: on which asynchronous tools run when a blocking handler calls them.
    """

    by_name: dict[str, Callable[..., Any]] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None

    def find(self, name: str) -> Callable[..., Any]:
        """The tool of that name. Raises UnknownTool."""
        try:
            return self.by_name[name]
        except KeyError:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise UnknownTool(
                f"There is no tool {name!r} (known: {known}). Register it with @worker.tool({name!r}), or pass the "
                "function itself."
            ) from None

    async def acall(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Call it from an asynchronous handler; a blocking function gets a thread of its own."""
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        found = await in_thread(lambda: function(**arguments))
        return await found if inspect.isawaitable(found) else found

    def call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Call it from a blocking handler; an asynchronous function runs on the worker's loop."""
        found = function(**arguments)
        if not inspect.isawaitable(found):
            return found
        if self.loop is None:
            raise RuntimeError("An asynchronous tool needs a worker that runs.")

        async def waited() -> Any:
            return await found

        return asyncio.run_coroutine_threadsafe(waited(), self.loop).result()


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function in a daemon thread: unlike a pool's, it never keeps the process from ending.

    Cancelling the wait leaves the thread to itself; nothing can stop a thread from outside.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = function()
        except StopIteration as stop:  # no future can carry it
            error = RuntimeError(f"the function raised {stop!r}")
        except BaseException as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=getattr(function, "__name__", "handler"), daemon=True).start()
    return await outcome


def object_of(value: Any) -> dict[str, Any]:
    """A function's result as the JSON object that the API keeps: an object as it is, None as ``{}``, else
    ``{"result": value}``.

    Raises:
        TypeError: it cannot be written as JSON.
    """
    if value is None:
        return {}
    found = dict(value) if isinstance(value, Mapping) else {"result": value}
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"A result must be JSON, but {type(value).__name__} is not: {error}") from error
    return found


def size_of(value: Mapping[str, Any]) -> int:
    """Bytes of it as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def key_of(run_id: str, action: str, asked: Mapping[str, Any]) -> str:
    """An idempotency key that the same question in the same run always gets, whoever asks it.

    Raises:
        TypeError: it cannot be written as JSON.
    """
    text = json.dumps([run_id, action, asked], sort_keys=True, allow_nan=False)
    return "approval:" + hashlib.sha256(text.encode()).hexdigest()


def error_of(error: BaseException) -> dict[str, Any]:
    """An exception as a structured error: ``{type, message, traceback}``; the end of a long traceback is kept."""
    kind = type(error)
    name = kind.__name__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    trace = "".join(traceback.format_exception(error))
    return {"type": name, "message": message_of(error), "traceback": trace[-MAX_TRACEBACK:]}


def message_of(error: BaseException) -> str:
    """An exception in one line."""
    return (str(error) or type(error).__name__)[:MAX_MESSAGE]
