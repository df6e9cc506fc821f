"""An agent that works in a room: it follows the room, and answers what people say to it.

    python examples/agent.py room_...

It starts with what happens from now on. However often the connection is lost, no message is missed or answered twice;
an answer's idempotency key is made of the message, so that this holds even when the agent is restarted.
"""

import asyncio
import sys

import agentos

NAME = "echo-agent"


async def main(room_id: str) -> None:
    """Until it is stopped."""
    async with agentos.AsyncClient(actor=("agent", NAME)) as client:
        room = await client.rooms.get(room_id)

        def listening(head_seq: int) -> None:
            print(f"{NAME} is in {room.title!r}, after event {head_seq}", flush=True)

        async for event in client.stream_room(room_id, from_seq="latest", on_caught_up=listening):
            if event.event_type != "message.created" or event.data["sender_type"] != "user":
                continue
            assert event.thread_id is not None
            answer = f"You said: {event.data['content_md']}"
            await client.messages.create(
                event.thread_id,
                answer,
                parent_message_id=event.data["message_id"],
                idempotency_key=f"{NAME}-{event.event_id}",
            )
            print(answer, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
