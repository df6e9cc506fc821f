"""FastAPI with a pydantic body that does nothing: what the framework alone costs, for scale."""

from fastapi import FastAPI

from bench.baselines.message import Message

app = FastAPI()


@app.post("/v1/threads/{thread_id}/messages", status_code=201)
async def create_message(thread_id: str, message: Message) -> dict[str, str]:
    """Answer."""
    return {"message_id": "msg_01JDAGZ3K8R4W5T6Y7V8X9Z0AB", "thread_id": thread_id}
