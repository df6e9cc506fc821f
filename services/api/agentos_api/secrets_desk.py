"""``/v1/secrets``: the vault, which is the gateway's. A value goes through here once, to the gateway over NATS (which
keeps nothing of it), and into no event, log, problem or kept answer.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import nats.errors
import orjson
from nats.aio.client import Client
from pydantic import BaseModel, ConfigDict, Field

from agentos_api.append.submission import Answer, Outcome
from agentos_api.command_types.secrets import RECORD
from agentos_api.commands import Caller, Commands
from agentos_api.http import problem
from agentos_api.http.calls import Asked, Call
from agentos_shared.contracts import subjects
from agentos_shared.domain import ids
from agentos_shared.domain.envelope import ActorType
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid, TryLater
from agentos_shared.domain.secrets import Place, checked_hosts, checked_name, checked_value

ANSWER_S: Final = 10.0
_AWAY: Final = (nats.errors.Error, TimeoutError, OSError)
_SCOPE: Final = "secret:"
_ID: Final = "sec_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"
_Id = Annotated[str, Field(min_length=1, max_length=200)]
_Method = Annotated[str, Field(pattern=r"^[A-Z][A-Z-]{0,31}$", examples=["GET"])]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    actor_type: ActorType | None = None
    actor_id: _Id | None = None
    actor_principal_id: _Id | None = None


class SetSecret(_Body):
    """Keeps a secret, or a new version of the one of that name. Requests name it as `{{secret:<name>}}`; the gateway
    puts the value in on the way to `hosts` (`api.github.com`, `*.example.org`) and nowhere else: in a header's value,
    or in the query or the body where `inject_in` says so. Members that are left out stay as they were; a new secret
    without `hosts` goes nowhere.
    """

    secret_name: str | None = None
    secret_value: str | None = Field(None, repr=False)
    description: str | None = Field(None, max_length=2000)
    hosts: list[str] | None = Field(None, max_length=50)
    methods: list[_Method] | None = Field(None, max_length=20)
    inject_in: list[Place] | None = Field(None, min_length=1, max_length=3)
    must_exist: bool = False


class SecretAnswer(BaseModel):
    """A secret, without its value."""

    secret_id: str = Field(examples=[_ID])
    workspace_id: str = Field(examples=["ws_dev"])
    secret_name: str = Field(examples=["github"])
    description: str | None = Field(examples=["reads issues"])
    algorithm: str = Field(examples=["aes-256-gcm"])
    version: int = Field(examples=[1])
    hosts: list[str] = Field(examples=[["api.github.com"]])
    methods: list[str] = Field(description="Empty: all.", examples=[["GET"]])
    inject_in: list[str] = Field(examples=[["header"]])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_accessed_at: str | None = Field(examples=[None])
    created_by_type: str = Field(examples=["user"])
    created_by_id: str = Field(examples=["ada"])
    created_by_principal_id: str | None = Field(examples=[None])


class SetAnswer(SecretAnswer):
    """A secret that was kept, without its value."""

    created: bool = Field(description="False: a new version of one that was there.", examples=[True])


class AccessSecret(_Body):
    """Gives out a value, to a service alone: with a capability token of a service principal whose action types have
    `secret:<name>`, where the API checks credentials.
    """


class AccessAnswer(BaseModel):
    """A value."""

    secret_id: str = Field(examples=[_ID])
    secret_name: str = Field(examples=["github"])
    secret_value: str = Field(examples=["..."])


class RemoveSecret(_Body):
    """Removes a secret with all its versions."""


class RotateKey(_Body):
    """Makes a new master key and wraps the data key of every secret with it, in all workspaces."""


class RotateAnswer(BaseModel):
    """A new master key."""

    key_id: str = Field(examples=["9f86d081884c7d65"])
    rewrapped: int = Field(examples=[12])


class SecretsDesk:
    """Serves the calls.

    Args:
        enforced: whether credentials are checked here.
    """

    def __init__(self, client: Client, commands: Commands, *, enforced: bool) -> None:
        self._client = client
        self._commands = commands
        self._enforced = enforced

    @property
    def calls(self) -> tuple[Call, ...]:
        one = "/v1/secrets/{secret_id}"
        return (
            Call(
                name="secret.set",
                path="/v1/secrets",
                body=SetSecret,
                answer=SetAnswer,
                run=self._set,
                summary="Keep a secret",
                example={"secret_name": "github", "secret_value": "...", "hosts": ["api.github.com"]},
            ),
            Call(
                name="secret.rotate_key",
                path="/v1/secrets/rotate-key",
                body=RotateKey,
                answer=RotateAnswer,
                run=self._rotate_key,
                summary="Change the vault's master key",
                example={},
            ),
            Call(
                name="secret.access",
                path=f"{one}/access",
                body=AccessSecret,
                answer=AccessAnswer,
                run=self._access,
                summary="Read a secret's value",
                example={"actor_type": "service"},
            ),
            Call(
                name="secret.remove",
                path=f"{one}/remove",
                body=RemoveSecret,
                answer=SecretAnswer,
                run=self._remove,
                summary="Remove a secret",
                example={},
            ),
        )

    async def _set(self, asked: Asked) -> Answer:
        """Raises Invalid: ``invalid_secret_name``, ``invalid_secret_value``, ``invalid_host``. Forbidden. NotFound."""
        body: SetSecret = asked.body
        actor = _trusted(asked, body)
        told = await ask(
            self._client,
            {
                "do": "set",
                "workspace_id": asked.caller.workspace_id,
                "secret_name": checked_name(body.secret_name),
                "secret_value": checked_value(body.secret_value),
                "description": body.description,
                "hosts": None if body.hosts is None else checked_hosts(body.hosts),
                "methods": body.methods,
                "places": body.inject_in,
                "only_if_there": body.must_exist,
                "actor_type": actor[0],
                "actor_id": actor[1],
                "actor_principal_id": body.actor_principal_id,
            },
        )
        secret, created = told["secret"], told["created"]
        event = {
            "secret_id": secret["secret_id"],
            "secret_name": secret["secret_name"],
            "created": created,
            "version": secret["version"],
            "hosts": secret["hosts"],
            "methods": secret["methods"],
            "places": secret["inject_in"],
        }
        return await self._recorded(asked, "upserted", event, {**secret, "created": created}, 201 if created else 200)

    async def _access(self, asked: Asked) -> Answer:
        """Raises Forbidden: ``secret_access_needs_credentials``, ``service_actor_required``,
        ``service_principal_required``, ``secret_scope_required``. Invalid: ``actor_principal_id_required``. NotFound.
        """
        body: AccessSecret = asked.body
        if not self._enforced:
            raise Forbidden(
                "secret_access_needs_credentials",
                "Values are given out only where credentials are checked (AGENTOS_AUTH=enforced). "
                "Name the secret in a request instead: the gateway puts it in.",
            )
        capability = asked.identity.capability
        if body.actor_type not in (None, "service"):
            raise Forbidden("service_actor_required", "A value is given out to services alone.")
        if capability is None or capability.actor.type != "service":
            raise Forbidden("service_principal_required", "Show a capability token of a service principal.")
        if body.actor_principal_id is None:
            raise Invalid("actor_principal_id_required", "actor_principal_id names the service principal.")
        if body.actor_principal_id != capability.actor.principal_id:
            raise Forbidden("service_principal_required", "The token is of another principal.")
        kinds = capability.bounds.action_types
        names = [kind.removeprefix(_SCOPE) for kind in kinds if kind.startswith(_SCOPE)]
        told = await ask(
            self._client,
            {
                "do": "access",
                "workspace_id": asked.caller.workspace_id,
                "secret_id": asked.ids[0],
                "allowed_names": names,
            },
        )
        event = {
            "secret_id": told["secret_id"],
            "secret_name": told["secret_name"],
            "accessed_by_principal_id": capability.actor.principal_id,
        }
        return await self._recorded(asked, "accessed", event, {name: told[name] for name in AccessAnswer.model_fields})

    async def _remove(self, asked: Asked) -> Answer:
        """Raises Forbidden: ``secret_needs_person``. NotFound: ``secret_not_found``."""
        _trusted(asked, asked.body)
        told = await ask(
            self._client,
            {"do": "remove", "workspace_id": asked.caller.workspace_id, "secret_id": asked.ids[0]},
        )
        secret = told["secret"]
        event = {"secret_id": secret["secret_id"], "secret_name": secret["secret_name"]}
        return await self._recorded(asked, "removed", event, secret)

    async def _rotate_key(self, asked: Asked) -> Answer:
        """Raises Forbidden: ``secret_needs_person``."""
        _trusted(asked, asked.body)
        told = await ask(self._client, {"do": "rotate_key", "workspace_id": asked.caller.workspace_id})
        key = ids.derived_id(ids.SECRET, asked.caller.workspace_id, "master key")
        answer = {"key_id": told["key_id"], "rewrapped": told["rewrapped"]}
        return await self._recorded(asked, "key_rotated", {"secret_id": key, "rewrapped": told["rewrapped"]}, answer)

    async def _recorded(
        self, asked: Asked, doing: str, event: Mapping[str, Any], told: Mapping[str, Any], status: int = 200
    ) -> Answer:
        """The answer, once it is on record. No key keeps it: a repeated one is done again."""
        # The key's fingerprint would be one of the value. What a token covers was looked at before.
        caller = asked.caller._replace(idempotency_key=None, capability=None)
        body = {"doing": doing, **event, **_speaker(asked.body, caller)}

        def render(outcomes: Sequence[Outcome]) -> Answer:
            placed = outcomes[0]
            if isinstance(placed, DomainError):
                return problem.answer(placed, caller.instance)
            last = placed[-1]
            position = {
                "event_id": last.event_id,
                "stream_type": last.stream_type,
                "stream_id": last.stream_id,
                "stream_seq": last.stream_seq,
            }
            return Answer(status, orjson.dumps({**told, **position}), passing=True)

        kind = self._commands.service_types[RECORD]
        return await self._commands.execute_each(kind, caller, [body], body, len(orjson.dumps(body)), render)


async def ask(client: Client, question: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the gateway's vault.

    Raises:
        DomainError: what it refuses. TryLater: ``gateway_unavailable``.
    """
    try:
        reply = await client.request(subjects.GATEWAY_SECRETS, orjson.dumps(question), timeout=ANSWER_S)
        told: dict[str, Any] = orjson.loads(reply.data)
    except _AWAY:
        raise TryLater("gateway_unavailable", "The gateway, which keeps the vault, cannot be reached now.") from None
    if told["status"] >= 400:
        if told["status"] == 503:
            raise TryLater(told["error"], told["detail"])
        error = DomainError(told["error"], told["detail"])
        error.status = told["status"]
        raise error
    return told


def _speaker(body: _Body, caller: Caller) -> dict[str, str]:
    if caller.actor is not None:
        return {}
    return {
        name: value
        for name, value in (("actor_type", body.actor_type), ("actor_id", body.actor_id))
        if value is not None
    }


def _trusted(asked: Asked, body: _Body) -> tuple[Literal["user", "service", "agent"], str]:
    """Who it is, who may have to do with the vault: no agent, and nobody with an engine's or a capability token.

    Raises:
        Forbidden: ``secret_needs_person``.
    """
    caller = asked.caller
    kind: Any = caller.actor.type if caller.actor else body.actor_type or caller.claimed_type or "user"
    name = caller.actor.id if caller.actor else body.actor_id or caller.claimed_id or "anon"
    if kind == "agent" or asked.identity.engine is not None or asked.identity.capability is not None:
        raise Forbidden("secret_needs_person", "Secrets are set and removed by people; agents name them in requests.")
    return kind, name
