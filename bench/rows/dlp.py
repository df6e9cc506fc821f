"""Finding secrets: in texts without any, and what an event costs."""

import random
import time
from collections.abc import Callable
from typing import Final

import orjson

from agentos_shared.dlp import DETECTOR, Exact, Stream
from bench.bench import Bench
from bench.report import Line, at_least, below

SIZE: Final = 8_000_000
CHUNK: Final = 64 << 10
EVENTS: Final = 20_000
VALUES: Final = 50
WHOLE: Final = "the detector"
FLOWING: Final = "dlp.Stream"
EXACT: Final = f"dlp.Stream, {VALUES} known values too"

TEXT: Final = "CPU time of one core over prose, JSON, ids and URLs without a secret, in chunks of 64 KiB."
EVENT: Final = "CPU time over the canonical JSON of a message, as each event's content before it is appended."


def _text(size: int) -> bytes:
    rng = random.Random(1)
    words = ("agent", "reads", "file", "from", "store", "room", "policy", "approval", "user", "summary", "and", "its")
    parts, length = [], 0
    while length < size:
        line = " ".join(rng.choice(words) for _ in range(12)) + ". "
        if rng.random() < 0.2:
            line += f'{{"id":"{rng.getrandbits(128):032x}","at":"2026-11-24T13:00:00Z"}}\n'
        if rng.random() < 0.02:
            line += f"https://example.com/items/{rng.randrange(10**6)}?page=2\n"
        parts.append(line)
        length += len(line)
    return "".join(parts).encode()[:size]


def text(bench: Bench) -> list[Line]:
    """Megabytes a second."""
    raw = _text(SIZE)
    chunks = [raw[at : at + CHUNK] for at in range(0, SIZE, CHUNK)]
    exact = Exact({f"s{number}": random.Random(number).randbytes(24).hex().encode() for number in range(VALUES)})

    def flow(stream: Stream) -> None:
        for chunk in chunks:
            stream.feed(chunk)
        stream.finish()

    measures: dict[str, Callable[[], float]] = {
        WHOLE: lambda: _per_s(lambda: [DETECTOR.find(chunk) for chunk in chunks]),
        FLOWING: lambda: _per_s(lambda: flow(Stream())),
        EXACT: lambda: _per_s(lambda: flow(Stream(exact))),
    }
    found = bench.interleave("finding secrets", "MB/s", measures)
    goals = [at_least("must", found[FLOWING], 50)]
    beside = [found[WHOLE], found[EXACT]]
    return [Line("finding secrets", "text without any", found[FLOWING], beside, goals, [TEXT])]


def event(bench: Bench) -> list[Line]:
    """Microseconds for each event."""
    said = {
        "content_md": "please summarise the incident and tell the room",
        "message_id": "msg_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
        "thread_id": "th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
    }
    raw = orjson.dumps({"data": said, "display": {}, "model_context": {}, "policy_context": {}})

    def each() -> float:
        started = time.process_time()
        for _ in range(EVENTS):
            DETECTOR.suspicious(raw)
        return (time.process_time() - started) / EVENTS * 1e6

    found = bench.interleave("secrets in an event", "us", {"one event": each})["one event"]
    return [Line("secrets in an event", "a message", found, [], [below("must", found, 4)], [EVENT])]


def _per_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return SIZE / (time.process_time() - started) / 1e6


ROWS = {
    "finding secrets in text": text,
    "finding secrets in an event": event,
}
