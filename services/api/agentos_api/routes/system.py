"""Health, readiness and metrics."""

from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_shared.domain.envelope import timestamp
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK

router = APIRouter(tags=["system"])


class Check(BaseModel):
    """One dependency."""

    ok: bool
    detail: str | None
    ms: float = Field(examples=[0.8])


class HealthReport(BaseModel):
    """State of this process and of what it depends on."""

    ok: bool
    service: str = Field(examples=["api"])
    uptime_s: float = Field(examples=[12.5])
    checks: dict[str, Check]


class Health(BaseModel):
    """The short form that existing clients ask for."""

    ok: bool
    ts: str | None = Field(examples=["2026-11-24T05:30:00.123Z"])


NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": HealthReport, "description": "A dependency is away."}}


@router.get("/healthz", response_model=HealthReport, summary="The process is up")
async def healthz(request: Request) -> Response:
    """200 as long as the process can answer at all."""
    report = request.app.state.services.health.live()
    return Response(report.json(), media_type="application/json")


@router.get("/readyz", response_model=HealthReport, responses=NOT_READY, summary="It can serve")
async def readyz(request: Request) -> Response:
    """200 when every dependency answers, each by name; else 503."""
    report = await request.app.state.services.health.ready()
    return Response(report.json(), report.status, media_type="application/json")


@router.get("/health", response_model=Health, summary="The database answers")
async def health(request: Request) -> Response:
    """200 in any case; ``ok`` is false when the database does not answer."""
    report = await request.app.state.services.health.ready()
    ok = report.checks["postgres"].ok
    body = {"ok": ok, "ts": timestamp(CLOCK.now()) if ok else None}
    return Response(orjson.dumps(body), media_type="application/json")


METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One line a sample, comments before each metric.",
        "content": {
            metrics.CONTENT_TYPE.partition(";")[0]: {
                "schema": {"type": "string"},
                "example": "# TYPE agentos_append_events_total counter\nagentos_append_events_total 42.0\n",
            }
        },
    }
}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=METRICS)
async def prometheus() -> Response:
    """All metrics of this process, in Prometheus' text format."""
    return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)
