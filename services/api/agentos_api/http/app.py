"""The HTTP application: FastAPI for reads and documentation, the edge around it."""

from collections.abc import Sequence
from typing import Final

import orjson
import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from agentos_api.commands import Commands
from agentos_api.http import asyncapi, openapi, problem
from agentos_api.http.access import Access
from agentos_api.http.calls import Call
from agentos_api.http.edge import Edge, MethodNotAllowed, internal_error
from agentos_api.http.pages import UI, Pages
from agentos_api.http.read_scope import ReadScope
from agentos_api.live.sse import Streams
from agentos_api.routes import (
    action_registry,
    agents,
    approval_review,
    approvals,
    artifact_content,
    artifacts,
    audit,
    capabilities,
    constraints,
    egress_requests,
    egress_rules,
    engines,
    events,
    evidence,
    experiments,
    grants,
    incidents,
    kill_switches,
    lessons,
    messages,
    pipeline,
    principals,
    resource_labels,
    rooms,
    runs,
    scorecards,
    search,
    secrets,
    system,
    threads,
    tool_calls,
)
from agentos_api.services import Services
from agentos_shared.domain.errors import DomainError, NotFound, TryLater

log = structlog.get_logger("agentos.http")

ROUTERS: Final = tuple(
    module.router
    for module in (
        rooms,
        threads,
        messages,
        search,
        runs,
        tool_calls,
        artifacts,
        artifact_content,
        incidents,
        evidence,
        experiments,
        scorecards,
        lessons,
        pipeline,
        events,
        audit,
        principals,
        engines,
        capabilities,
        agents,
        action_registry,
        kill_switches,
        constraints,
        egress_requests,
        egress_rules,
        secrets,
        resource_labels,
        approvals,
        approval_review,
        grants,
        system,
    )
)

#: Paths beside those of routers and calls.
OWN_PATHS: Final = ("/v1", "/docs", "/docs-assets", "/openapi.json", "/asyncapi.json", "/auth")


def build(
    services: Services, commands: Commands, access: Access, read_scope: ReadScope, calls: Sequence[Call] = ()
) -> ASGIApp:
    """The ASGI application of this process."""
    api = FastAPIOffline(  # its pages load nothing from elsewhere
        title="Agent OS",
        version="0.1.0",
        description="Event-sourced control plane for AI agents: see, stop and prove what they do.",
        docs_url="/docs",
        redoc_url=None,
        openapi_url="/openapi.json",
        static_url="/docs-assets",
    )
    api.state.services = services
    for router in ROUTERS:
        api.include_router(router)
    kinds = tuple(commands.types.values())
    openapi.install(api, kinds, calls)
    bus = orjson.dumps(asyncapi.document(kinds, api.version, calls))

    @api.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi_document() -> Response:
        return Response(bus, media_type="application/json")

    api.add_exception_handler(DomainError, _domain_error)
    api.add_exception_handler(RequestValidationError, _invalid_request)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(Exception, _unexpected)
    streams = Streams(services.hub, access.recheck_identity)
    read_paths = [route.path for router in ROUTERS for route in router.routes if hasattr(route, "path")]
    taken = {path.split("/")[1] for path in (*OWN_PATHS, *read_paths, *(call.path for call in calls))}
    return Edge(
        api,
        commands,
        access,
        streams={"rooms": streams.room, "workspace": streams.workspace},
        read_paths=read_paths,
        read_scope=read_scope,
        calls=calls,
        pages=Pages(UI, taken),
    )


def _problem(request: Request, error: DomainError) -> Response:
    answer = problem.answer(error, request.url.path)
    return Response(answer.body, answer.status, problem.headers(error), media_type=problem.CONTENT_TYPE)


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return _problem(request, error)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{**fault, "loc": fault["loc"][1:]} for fault in error.errors()]
    where = str(error.errors()[0]["loc"][0]) if error.errors() else "query"
    return _problem(request, problem.invalid(faults, where))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known: dict[int, DomainError] = {
        404: NotFound("not_found", "There is nothing at this path; /docs lists what there is."),
        405: MethodNotAllowed("method_not_allowed", f"{request.method} is not allowed here; /docs lists what is."),
    }
    response = _problem(request, known.get(error.status_code, TryLater("unavailable", str(error.detail))))
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> Response:
    exchange = request.scope["state"]["exchange"]
    log.error("request_failed", path=request.url.path, request_id=exchange.request_id.decode(), exc_info=error)
    return _problem(request, internal_error(exchange.request_id))
