"""Clients that only listen. For each number on stdin, so many more connect; ``ready`` is the answer."""

import json
import sys

from bench.load.streams import Clients


def main() -> None:
    """First line: the spec. End of input: all leave."""
    spec = json.loads(sys.stdin.readline())
    clients = Clients(spec["port"], spec["stream"].encode())
    for line in sys.stdin:
        clients.add(int(line))
        clients.read_until_quiet(0.3)
        print(f"ready {len(clients)}", flush=True)


if __name__ == "__main__":
    main()
