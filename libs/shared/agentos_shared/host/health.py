"""Health of a service: named checks with time-outs, as JSON for ``/healthz``, ``/readyz`` and NATS.

::

    health = Health("projector")
    health.add("postgres", lambda: pool.fetchval("select 1"))

    report = await health.ready()
    Response(report.json(), status_code=report.status, media_type="application/json")     # Starlette, FastAPI
    await message.respond((await health.ready()).brief())                                 # NATS
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from agentos_shared.host.logging import mask_url

#: A check: returns when it is well, raises when it is not. Its result is ignored.
Probe = Callable[[], Awaitable[object]]

DEFAULT_TIMEOUT_S: Final = 1.0


class Unwell(Exception):
    """Raised by a probe to say in plain words why the service cannot serve."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check. ``detail`` is None when well; ``ms`` is how long it took."""

    ok: bool
    detail: str | None
    ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of all checks. A failed check that is not required shows, and leaves ``ok`` true."""

    service: str
    ok: bool
    uptime_s: float
    checks: dict[str, CheckResult]

    @property
    def status(self) -> int:
        """HTTP status: 200 or 503."""
        return 200 if self.ok else 503

    @property
    def detail(self) -> str | None:
        """What is wrong, in one line, or None."""
        bad = [f"{name}: {check.detail}" for name, check in self.checks.items() if not check.ok]
        return "; ".join(bad) or None

    def body(self) -> dict[str, Any]:
        """``{ok, service, uptime_s, checks: {name: {ok, detail, ms}}}``."""
        return {
            "ok": self.ok,
            "service": self.service,
            "uptime_s": self.uptime_s,
            "checks": {
                name: {"ok": check.ok, "detail": check.detail, "ms": check.ms} for name, check in self.checks.items()
            },
        }

    def json(self) -> bytes:
        return orjson.dumps(self.body())

    def brief(self) -> bytes:
        """``{"ok": ..., "detail": ...}``: the answer to a health request over NATS."""
        return orjson.dumps({"ok": self.ok, "detail": self.detail})


@dataclass(frozen=True, slots=True)
class _Check:
    probe: Probe
    timeout_s: float
    required: bool


class Health:
    """The checks of one service. Questions that arrive while an answer is being found share it."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._started = time.monotonic()
        self._checks: dict[str, _Check] = {}
        self._draining: str | None = None
        self._running: asyncio.Task[Report] | None = None

    def add(self, name: str, probe: Probe, *, timeout_s: float = DEFAULT_TIMEOUT_S, required: bool = True) -> None:
        """Add a check; the same name replaces it. One that is not required is reported only."""
        self._checks[name] = _Check(probe, timeout_s, required)

    def drain(self, why: str = "shutting down") -> None:
        """From now on not ready, so that callers go elsewhere while the service ends."""
        self._draining = why

    def live(self) -> Report:
        """The process is up: no check is run."""
        return Report(self._service, True, self._uptime(), {})

    async def ready(self) -> Report:
        """Run all checks side by side. Never raises, and takes no longer than the slowest time-out."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="health")
        # Shielded: a caller that goes away must not cancel the answer of the others.
        return await asyncio.shield(self._running)

    async def _run(self) -> Report:
        names = list(self._checks)
        required = {name: self._checks[name].required for name in names}
        results = await asyncio.gather(*(_run_check(self._checks[name]) for name in names))
        checks = dict(zip(names, results, strict=True))
        ok = all(result.ok for name, result in checks.items() if required[name])
        if self._draining is not None:
            ok = False
            checks["draining"] = CheckResult(False, self._draining, 0.0)
        return Report(self._service, ok, self._uptime(), checks)

    def _uptime(self) -> float:
        return round(time.monotonic() - self._started, 3)


async def _run_check(check: _Check) -> CheckResult:
    started = time.monotonic()
    detail: str | None = None
    try:
        async with asyncio.timeout(check.timeout_s):
            await check.probe()
    except TimeoutError:
        detail = f"no answer within {check.timeout_s:g} s"
    except Unwell as error:
        detail = str(error)
    except Exception as error:  # whatever a driver raises means "not well"
        detail = mask_url(f"{type(error).__name__}: {error}")
    return CheckResult(detail is None, detail, round((time.monotonic() - started) * 1000, 1))
