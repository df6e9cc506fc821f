"""A Postgres that would lose what it acknowledged is not served from: the refusal names the setting."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.stack import Nats, Postgres, PostgresServer, agentos, execute, server_url

SERVER_WIDE = ("fsync", "full_page_writes", "synchronous_commit")


@pytest.fixture
def unsafe(request: pytest.FixtureRequest, postgres: Postgres, postgres_server: PostgresServer) -> Iterator[str]:
    """One setting turned off for the whole server; its name."""
    setting = str(request.param)
    admin = server_url(postgres.owner_url, "postgres")
    asyncio.run(execute(admin, f"alter system set {setting} = off", "select pg_reload_conf()"))
    try:
        yield setting
    finally:
        asyncio.run(execute(admin, f"alter system reset {setting}", "select pg_reload_conf()"))


@pytest.mark.parametrize("unsafe", SERVER_WIDE, indirect=True)
def test_up_refuses_and_names_the_setting(unsafe: str, postgres: Postgres, tmp_path: Path) -> None:
    environment = {
        "AGENTOS_POSTGRES_URL": postgres.owner_url,
        "AGENTOS_API_POSTGRES_URL": postgres.api_url,  # with these given, nobody's password is changed
        "AGENTOS_PROJECTOR_POSTGRES_URL": postgres.projector_url,
    }
    done = agentos("up", "--detach", "--data-dir", str(tmp_path / "data"), "--port", "0", env=environment)
    try:
        assert done.returncode == 1
        assert f"{unsafe} = off" in done.stderr
        assert "lose acknowledged writes" in done.stderr
        assert agentos("status", "--data-dir", str(tmp_path / "data")).returncode != 0
    finally:
        agentos("down", "--data-dir", str(tmp_path / "data"))


@pytest.mark.parametrize("unsafe", SERVER_WIDE, indirect=True)
def test_the_api_refuses_by_itself(unsafe: str, postgres: Postgres, nats: Nats) -> None:
    code, log = _api(postgres, nats)
    assert code not in (0, None)
    assert f"{unsafe} = off" in log


@pytest.mark.parametrize(
    "statement",
    [
        "alter database {database} set synchronous_commit = off",
        "alter role agentos_api in database {database} set synchronous_commit = off",
    ],
)
def test_a_setting_for_this_role_or_database_alone_counts_as_well(
    statement: str, postgres: Postgres, nats: Nats
) -> None:
    database = urlsplit(postgres.owner_url).path.lstrip("/")
    asyncio.run(execute(postgres.owner_url, statement.format(database=database)))
    code, log = _api(postgres, nats)
    assert code not in (0, None)
    assert "synchronous_commit = off" in log


def _api(postgres: Postgres, nats: Nats) -> tuple[int, str]:
    """Exit code and log of an API process that should not serve."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "agentos_api"],
        env={
            "PATH": os.defpath,
            "AGENTOS_POSTGRES_URL": postgres.api_url,
            "AGENTOS_NATS_URL": nats.url("api"),
            "AGENTOS_PORT": str(port),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr
