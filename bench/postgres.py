"""A Postgres of the benchmarks' own: the embedded server with the product's settings, and pgbench."""

import asyncio
import contextlib
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from agentos_runtime import binaries, postgres, probe
from agentos_runtime.datadir import DataDir
from agentos_runtime.settings import API_ROLE, ROLES
from agentos_shared.store import migrate
from bench.bench import Bench
from bench.children import run, server

CALLERS: Final = 64
#: The product's 60 are too few for pgbench with a connection per caller.
MORE_CONNECTIONS: Final = "\nmax_connections = 120\n"


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens; the owner is a superuser."""

    port: int
    password: str
    api_password: str
    log: Path

    def url(self, database: str, role: str = postgres.OWNER) -> str:
        """Connection URL."""
        return postgres.url(self.api_password if role == API_ROLE else self.password, self.port, role, database)

    def execute(self, database: str, *statements: str) -> None:
        """Runs statements as the owner, each in a transaction of its own."""
        asyncio.run(_execute(self.url(database), statements))

    def psql(self, database: str, file: Path) -> None:
        """Runs a file of SQL."""
        run(
            [str(binaries.postgres_bin() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file)],
            env=self._client(database),
            timeout_s=60,
        )

    def pgbench(self, database: str, script: Path, seconds: float) -> float:
        """Transactions per second of 64 clients, statements prepared, without the time to connect."""
        output = run(
            [
                str(binaries.postgres_bin() / "pgbench"), "-n", "-M", "prepared", "-c", str(CALLERS), "-j", "2",
                "-T", str(max(1, round(seconds))), "-f", str(script),
            ],
            env=self._client(database),
            timeout_s=seconds + 60,
        )  # fmt: skip
        found = re.search(r"tps = ([0-9.]+)", output)
        assert found is not None, output
        return float(found[1])

    def _client(self, database: str) -> dict[str, str]:
        return {
            "PGHOST": postgres.HOST,
            "PGPORT": str(self.port),
            "PGUSER": postgres.OWNER,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGOPTIONS": "-c client_min_messages=warning",
        }


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def store_server(bench: Bench) -> Iterator[Server]:
    """The server, with a database ``ours`` that is migrated as the product's is."""
    data = DataDir(bench.directory / "store")
    data.create()
    passwords = data.passwords([postgres.OWNER, *ROLES])
    port = data.ports(["postgres"])["postgres"]
    made = Server(port, passwords[postgres.OWNER], passwords[API_ROLE], data.logs / "postgres.log")
    asyncio.run(postgres.initialise(data.postgres, made.password))
    postgres.configure(data.postgres, port)
    with (data.postgres / "postgresql.conf").open("a", encoding="utf-8") as stream:
        stream.write(MORE_CONNECTIONS)

    def ready() -> bool:
        return asyncio.run(probe.postgres(postgres.HOST, port)).answer is probe.Answer.READY

    command = postgres.server_command(data.postgres)
    env = dict(postgres.ENVIRONMENT)
    with server(command, made.log, ready=ready, env=env, how=signal.SIGINT, launched=True):
        made.execute("postgres", "create database ours")
        asyncio.run(_migrate(made.url("ours"), passwords))
        yield made


async def _migrate(url: str, passwords: dict[str, str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrate.check_durability(connection)
        await migrate.migrate(connection)
        for role in ROLES:
            await migrate.let_in(connection, role, passwords[role])
    finally:
        await connection.close()
