"""A worker: it claims runs for the handler `summarise`, and does each in a step with a tool call.

    python examples/worker.py &
    curl -sS $api/v1/runs -H 'content-type: application/json' \
        -d '{"room_id": "room_...", "input": {"handler": "summarise", "url": "http://127.0.0.1:7717/healthz"}}'

Ctrl-C stops it; what it holds is given back.
"""

import logging

import httpx

import agentos

worker = agentos.Worker("summariser")


@worker.tool("http.get")
async def http_get(url: str) -> str:
    """The page at a URL."""
    async with httpx.AsyncClient(timeout=10) as http:
        return (await http.get(url)).raise_for_status().text


@worker.run("summarise")
async def summarise(run: agentos.AsyncRunContext) -> dict[str, int]:
    """Count the words of a page."""
    async with run.step("fetch", title=f"Fetch {run.input['url']}") as step:
        page = await step.tool("http.get", url=run.input["url"])
        await step.artifact("page", title=run.input["url"], text=page)
    words = len(page.split())
    run.summary = f"{words} words"
    return {"words": words}


@worker.run("count")
def count(run: agentos.RunContext) -> int:
    """A plain function may block: it has a thread of its own. A tool need not be registered."""
    with run.step("count") as step:
        characters: int = step.tool("text.length", lambda text: len(text), text=run.input["text"])
    return characters


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    worker.serve()
