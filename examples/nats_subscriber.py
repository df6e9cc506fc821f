"""Events over NATS: everything that happens in a workspace, one line each.

    AGENTOS_NATS_URL=... python examples/nats_subscriber.py ws_dev

Without AGENTOS_NATS_URL it asks the stack that runs here. Delivery is at least once, in order per stream: the last
`stream_seq` of each stream tells what is new.
"""

import asyncio
import json
import os
import subprocess
import sys

import nats
from nats.js.api import DeliverPolicy


def address() -> str:
    """With the user `integration`."""
    if url := os.environ.get("AGENTOS_NATS_URL"):
        return url
    status = json.loads(subprocess.check_output(["agentos", "status", "--json"]))
    return str(status["nats_url"])


async def main(workspace_id: str) -> None:
    """Until it is stopped."""
    client = await nats.connect(address(), inbox_prefix="_INBOX_integration")
    subscription = await client.jetstream().subscribe(
        f"agentos.evt.{workspace_id}.>", ordered_consumer=True, deliver_policy=DeliverPolicy.NEW
    )
    print("listening", flush=True)
    last: dict[str, int] = {}
    async for message in subscription.messages:
        event = json.loads(message.data)
        if event["stream_seq"] <= last.get(event["stream_id"], 0):
            continue  # delivered again
        last[event["stream_id"]] = event["stream_seq"]
        print(event["stream_seq"], event["event_type"], json.dumps(event["data"]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws_dev"))
