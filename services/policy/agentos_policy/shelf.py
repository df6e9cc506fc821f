"""The policies in force: those of a directory, taken anew when its files change, kept when the new ones are broken."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog

from agentos_shared.domain.policy.evaluate import Judgement, Policies
from agentos_shared.domain.policy.facts import Facts, Request
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import Clock

log = structlog.get_logger("agentos.policy")

BROKEN: Final = metrics.gauge("policy_bundle_broken", "1 while the policies of the directory cannot be taken.")
LOADED: Final = metrics.counter("policy_bundles_loaded", "Bundles of policies that were taken.")

LOOK_S: Final = 1.0
SUFFIX: Final = ".cedar"
MAX_BYTES: Final = 4 * 1024 * 1024
DEFAULT: Final = files("agentos_policy").joinpath("bundle", "default.cedar").read_text(encoding="utf-8")

#: Names, times and sizes of the files: a cheap way to see that nothing has changed.
_Look = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A bundle that says the same of everything."""

    hash: str
    judgement: Judgement

    def judge(self, request: Request, facts: Facts) -> Judgement:
        return self.judgement


class Shelf:
    """Where the gate takes its policies from.

    Args:
        directory: with the user's ``*.cedar``; while it holds none, or is None, everything is permitted that the
            built-in rules allow.

    Attributes:
        policies: those in force.
        fault: why the files of the directory are not, or an empty text.
    """

    def __init__(self, directory: Path | None, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._seen: _Look | None = None
        self._taken = False
        self.fault = ""
        self.policies: Policies = _nothing("not loaded yet")

    async def watch(self) -> None:
        """Look every second, for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take the policies as they are now, if they have changed. Never raises."""
        try:
            seen = self._look()
            if seen == self._seen:
                return
            texts = {} if self._directory is None else {name: read(self._directory / name) for name, _, _ in seen}
            policies = made(texts)
        except Exception as error:
            self._refuse(f"{type(error).__name__}: {error}")
            return
        self._seen, self._taken, self.fault = seen, True, ""
        self.policies = policies
        BROKEN.set(0)
        LOADED.inc()
        log.info("policies_taken", hash=policies.hash, files=sorted(texts))

    def _refuse(self, why: str) -> None:
        """Nothing is taken: what was in force stays so; at the first look that is nothing, and all is denied."""
        if why != self.fault:
            log.error("policies_refused", why=why, in_force=self.policies.hash)
        self.fault = why
        if not self._taken:
            self.policies = _nothing(why)
        BROKEN.set(1)

    def _look(self) -> _Look:
        if self._directory is None or not self._directory.is_dir():
            return ()
        found = []
        for path in sorted(self._directory.iterdir()):
            if path.suffix == SUFFIX and not path.name.startswith("."):
                about = path.stat()
                found.append((path.name, about.st_mtime_ns, about.st_size))
        return tuple(found)


def _nothing(why: str) -> Policies:
    """What is in force while there never were policies that could be taken."""
    return _Fixed("none", Judgement(False, errors=(f"policies: {why}"[:300],)))


def read(path: Path) -> str:
    """A file of policies. Raises OSError, ValueError: it cannot be read, is no UTF-8, or is too large."""
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_BYTES} bytes")
    return content.decode("utf-8")


def made(texts: Mapping[str, str]) -> Policies:
    """The policies of some files, by name; of none those that are in force without any.

    Raises:
        BrokenBundle: they cannot be taken.
    """
    digest = "sha256:" + hashlib.sha256(_joined(texts or {"default.cedar": DEFAULT})).hexdigest()
    if not texts:
        return _Fixed(digest, Judgement())
    # Imported here: who has no policies of their own needs none of it.
    from agentos_policy.cedar import Bundle

    return Bundle(texts, digest)


def _joined(texts: Mapping[str, str]) -> bytes:
    """All files as one text in which each name and content has its length before it."""
    parts = [part.encode() for name in sorted(texts) for part in (name, texts[name])]
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)
