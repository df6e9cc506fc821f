"""The vault's doings: keep, list, give out, remove, put into requests, find in what passes, change the master key."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from agentos_gateway.address import Target
from agentos_gateway.bus import problem
from agentos_gateway.vault.inject import Filled, NotAllowed, Secret, fill, names
from agentos_gateway.vault.keys import KeyPlace, KeyProblem, KeyRing
from agentos_gateway.vault.seal import Sealed, about, rewrap, seal, unseal
from agentos_shared.dlp import Exact
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.secrets import secret_id_of
from agentos_shared.store import statements

log = structlog.get_logger("agentos.vault")

SQL: Final = statements.load("agentos_gateway.vault", "store.sql")
ALGORITHM: Final = "aes-256-gcm"
#: Workspaces whose secrets are open in memory.
MAX_OPEN: Final = 64
#: One process at a time changes the master key, or seals with it while it changes.
_LOCK: Final = 0x61676F7376617574


class Refused(Exception):
    """An answer that is no success.

    Attributes:
        told: the problem.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.told = problem(status, code, detail)


@dataclass(frozen=True, slots=True)
class Opened:
    """A workspace's secrets, open.

    Args:
        exact: finds their values, and those that were replaced last.
    """

    stamp: str
    secrets: dict[str, Secret] = field(repr=False)
    exact: Exact


class Vault:
    """One workspace's secrets at a time.

    Args:
        place: where the master key is; None: nowhere, so that there is no vault.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", place: KeyPlace | None) -> None:
        self._pool = pool
        self._place = place
        self._opened: OrderedDict[str, Opened] = OrderedDict()

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the API asks: ``{status, ...}``."""
        doing = {
            "set": self._set,
            "list": self._list,
            "access": self._access,
            "remove": self._remove,
            "rotate_key": self._rotate_key,
        }[question["do"]]
        try:
            return await doing(question)
        except Refused as refused:
            return refused.told
        except KeyProblem as error:
            log.error("vault_closed", reason=str(error))
            return problem(503, "secrets_vault_closed", str(error))

    def _ring(self) -> KeyRing:
        if self._place is None:
            raise Refused(501, "secrets_vault_not_configured", "The gateway has no master key for secrets.")
        return self._place.read()

    async def _set(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self._ring()
        workspace_id, name = asked["workspace_id"], asked["secret_name"]
        secret_id = secret_id_of(workspace_id, name)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock_shared($1)", _LOCK)
            ring = self._ring()  # under the lock: no key that is being replaced
            if asked.get("only_if_there") and await connection.fetchrow(SQL["get"], workspace_id, name) is None:
                raise _unknown()
            row = await connection.fetchrow(
                SQL["upsert"],
                secret_id,
                workspace_id,
                name,
                asked["description"],
                asked["hosts"],
                asked["methods"],
                asked["places"],
                asked["actor_type"],
                asked["actor_id"],
                asked["actor_principal_id"],
            )
            assert row is not None
            version = row["version"]
            sealed = seal(ring, asked["secret_value"].encode(), about(workspace_id, secret_id, version))
            await connection.execute(SQL["add_version"], secret_id, version, *sealed)
            await connection.execute(SQL["forget_versions"], secret_id, version)
        self._opened.pop(workspace_id, None)
        return {"status": 201 if version == 1 else 200, "secret": _told(row), "created": version == 1}

    async def _list(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self._ring()
        rows = await self._pool.fetch(SQL["list"], asked["workspace_id"], asked["limit"])
        return {"status": 200, "secrets": [_told(row) for row in rows]}

    async def _access(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self._ring()
        row = await self._pool.fetchrow(SQL["get"], asked["workspace_id"], asked["secret_id"])
        if row is None:
            raise _unknown()
        if asked["allowed_names"] is not None and row["secret_name"] not in asked["allowed_names"]:
            raise Refused(403, "secret_scope_required", f"The token does not cover secret:{row['secret_name']}.")
        opened = await self.open(asked["workspace_id"])
        secret = opened.secrets[row["secret_name"]]
        await self._pool.execute(SQL["accessed"], [secret.secret_id])
        return {"status": 200, "secret_id": secret.secret_id, "secret_name": secret.name, "secret_value": secret.value}

    async def _remove(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self._ring()
        row = await self._pool.fetchrow(SQL["remove"], asked["workspace_id"], asked["secret_id"])
        if row is None:
            raise _unknown()
        self._opened.pop(asked["workspace_id"], None)
        return {"status": 200, "secret": _told(row)}

    async def _rotate_key(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """A new master key: kept first, then used for every data key, then the old ones are forgotten.

        Whatever it is cut short at, the ring has all keys that rows need.
        """
        self._ring()
        assert self._place is not None
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            ring = self._place.read()
            if self._place.name != "SECRETS_MASTER_KEY":  # there the operator has put the new one in front
                ring = ring.renewed()
                self._place.write(ring)
            rows = await connection.fetch(SQL["lock_versions"], ring.current)
            for row in rows:
                stored = Sealed(row["key_id"], row["wrapped_key"], row["sealed"])
                what = about(row["workspace_id"], row["secret_id"], row["version"])
                fresh = rewrap(ring, stored, what)
                await connection.execute(
                    SQL["rewrap"], row["secret_id"], row["version"], fresh.key_id, fresh.wrapped_key
                )
        if self._place.name != "SECRETS_MASTER_KEY":
            self._place.write(ring.alone())
        return {"status": 200, "key_id": ring.current, "rewrapped": len(rows)}

    async def open(self, workspace_id: str) -> Opened:
        """A workspace's secrets as they are now.

        Raises:
            KeyProblem: they cannot be opened.
        """
        if self._place is None:
            return Opened("", {}, Exact({}))
        stamp: str = await self._pool.fetchval(SQL["stamp"], workspace_id)
        opened = self._opened.get(workspace_id)
        if opened is None or opened.stamp != stamp:
            opened = self._opened[workspace_id] = await self._read(workspace_id, stamp)
            if len(self._opened) > MAX_OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(workspace_id)
        return opened

    async def _read(self, workspace_id: str, stamp: str) -> Opened:
        rows = await self._pool.fetch(SQL["open"], workspace_id)
        if not rows:
            return Opened(stamp, {}, Exact({}))
        assert self._place is not None
        ring = self._place.read()
        secrets: dict[str, Secret] = {}
        values: dict[str, bytes] = {}
        for row in rows:
            stored = Sealed(row["key_id"], row["wrapped_key"], row["sealed"])
            value = unseal(ring, stored, about(workspace_id, row["secret_id"], row["version"]))
            values[f"{row['secret_name']}#{row['version']}"] = value
            if row["version"] == row["current_version"]:
                secrets[row["secret_name"]] = Secret(
                    row["secret_id"],
                    row["secret_name"],
                    row["version"],
                    tuple(row["hosts"]),
                    tuple(row["methods"]),
                    tuple(row["places"]),
                    value.decode(),
                )
        return Opened(stamp, secrets, Exact(values))

    async def filled(
        self,
        workspace_id: str,
        target: Target,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> tuple[Filled, Opened]:
        """A request with its secrets in place, and what finds them again in the answer.

        Raises:
            NotAllowed: a secret may not go there, or there is none of that name.
        """
        try:
            opened = await self.open(workspace_id)
        except KeyProblem as error:
            log.error("vault_closed", reason=str(error))
            raise NotAllowed("secret.vault_closed", "The vault cannot be opened; the gateway's log says why.") from None
        if not names(url, headers, body):
            return Filled(url, tuple(headers), body, ()), opened
        request = fill(target, method, url, headers, body, opened.secrets)
        if request.used:
            await self._pool.execute(SQL["accessed"], [secret.secret_id for secret in request.used])
        return request, opened


def _told(row: asyncpg.Record) -> dict[str, Any]:
    def moment(value: datetime | None) -> str | None:
        return None if value is None else timestamp(value)

    return {
        "secret_id": row["secret_id"],
        "workspace_id": row["workspace_id"],
        "secret_name": row["secret_name"],
        "description": row["description"],
        "algorithm": ALGORITHM,
        "version": row["version"],
        "hosts": list(row["hosts"]),
        "methods": list(row["methods"]),
        "inject_in": list(row["places"]),
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
        "last_accessed_at": moment(row["last_accessed_at"]),
        "created_by_type": row["created_by_type"],
        "created_by_id": row["created_by_id"],
        "created_by_principal_id": row["created_by_principal_id"],
    }


def _unknown() -> Refused:
    return Refused(404, "secret_not_found", "There is no such secret in this workspace.")
