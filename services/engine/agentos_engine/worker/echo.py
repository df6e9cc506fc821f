"""``echo``: answers its input. It shows that claims, leases, steps and tool calls work, and does nothing else."""

from typing import Any

import agentos


def add(worker: agentos.Worker) -> None:
    """Register the handler."""

    @worker.tool("echo")
    def echo_tool(**said: Any) -> dict[str, Any]:
        return said

    @worker.run("echo")
    async def echo(run: agentos.AsyncRunContext) -> dict[str, Any]:
        said = {name: value for name, value in run.input.items() if name != "handler"}
        async with run.step("echo", input=said) as step:
            answer: dict[str, Any] = await step.tool("echo", echo_tool, **said)
        return answer
