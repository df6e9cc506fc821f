"""``agentos migrate``: prepares an external database, as a deployment's first step."""

import asyncio
from pathlib import Path
from urllib.parse import unquote, urlsplit

import typer

from agentos_runtime import prepare
from agentos_runtime import settings as runtime_settings
from agentos_runtime.errors import UsageError
from agentos_runtime.settings import ROLES


def run() -> int:
    """Migrates the database of ``AGENTOS_POSTGRES_URL`` and lets the services' roles in, with the passwords of
    ``AGENTOS_API_POSTGRES_URL`` and those of projector, engine and policy service.

    Raises:
        UsageError: one of them is missing or names another role.
    """
    settings = runtime_settings.load(Path())
    if settings.postgres_url is None:
        raise UsageError("AGENTOS_POSTGRES_URL is not set: the URL of the database's owner.")
    passwords: dict[str, str] = {}
    for role in ROLES:
        parts = urlsplit(settings.role_urls.get(role, ""))
        if parts.username != role or not parts.password:
            name = f"{role.upper()}_POSTGRES_URL"
            raise UsageError(f"{name} must be a URL with the user {role} and its password.")
        passwords[role] = unquote(parts.password)
    applied = asyncio.run(prepare.database(prepare.Roles(settings.postgres_url, passwords, {})))
    typer.echo("applied " + ", ".join(applied) if applied else "the schema is up to date")
    return 0
