"""Reading which secrets there are. No value is read here."""

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from agentos_api.reads.paging import limit_of
from agentos_api.reads.queries import Limit, answer, problems
from agentos_api.secrets_desk import SecretAnswer, ask

router = APIRouter(tags=["secrets"])

DEFAULT_LIMIT: Final = 100


class SecretPage(BaseModel):
    """Secrets by name, without their values."""

    secrets: list[SecretAnswer]


@router.get(
    "/v1/secrets",
    response_model=SecretPage,
    responses=problems(None, "invalid_limit"),
    summary="List secrets",
)
async def list_secrets(request: Request, limit: Limit = None) -> Response:
    """Secrets of the workspace by name: where they may go, and when they were used last."""
    question = {"do": "list", "workspace_id": request.state.workspace_id, "limit": limit_of(limit, DEFAULT_LIMIT)}
    told = await ask(request.app.state.services.nats, question)
    return answer({"secrets": told["secrets"]})
