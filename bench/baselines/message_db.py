"""message-db, the event store in plpgsql of the Eventide project (MIT): fetched from npm, installed from its own SQL.

It is not kept in this repository. Its version is pinned, and the archive's digest is checked before it is unpacked.
"""

import base64
import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import Final

from bench.bench import CACHE, Unmeasured
from bench.children import Failed, run
from bench.postgres import Server

PACKAGE: Final = "@eventide/message-db"
VERSION: Final = "1.3.1"
SHA512: Final = "n3hdE5YAZNXTr2HK9gG0GJ6dusgdE544LTvS+21/yOEHBvNuUzNmXXw5vS05vpe6RSuhzTRy5Wg0q7c1VfJg+A=="
DATABASE: Final = "message_store"

#: In the order of its install.sh. Its extension pgcrypto is left out: since Postgres 13 the server itself has what it
#: was for (gen_random_uuid).
FILES: Final = (
    "schema/message-store.sql",
    "types/message.sql",
    "tables/messages.sql",
    "functions/message-store-version.sql",
    "functions/hash-64.sql",
    "functions/acquire-lock.sql",
    "functions/category.sql",
    "functions/is-category.sql",
    "functions/id.sql",
    "functions/cardinal-id.sql",
    "functions/stream-version.sql",
    "functions/write-message.sql",
    "indexes/messages-id.sql",
    "indexes/messages-category.sql",
    "indexes/messages-stream.sql",
)


def install(server: Server) -> None:
    """Makes the database ``message_store``.

    Raises:
        Unmeasured: npm is missing or cannot reach its registry.
    """
    source = fetch() / "database"
    server.execute("postgres", f"create database {DATABASE}")
    server.execute(DATABASE, f"alter database {DATABASE} set search_path = message_store, public")
    for file in FILES:
        server.psql(DATABASE, source / file)


def fetch() -> Path:
    """The unpacked package, from the cache or from npm."""
    archive = CACHE / f"eventide-message-db-{VERSION}.tgz"
    unpacked = CACHE / f"message-db-{VERSION}"
    if not archive.is_file():
        if shutil.which("npm") is None:
            raise Unmeasured(f"message-db was not measured: npm is not installed, and it fetches {PACKAGE}.")
        try:
            run(
                ["npm", "pack", "--loglevel=error", "--pack-destination", str(CACHE), f"{PACKAGE}@{VERSION}"],
                timeout_s=60,
                cwd=CACHE,
            )
        except Failed as error:
            raise Unmeasured(
                f"message-db was not measured: npm could not fetch {PACKAGE}@{VERSION} ({error})."
            ) from None
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512:
        archive.unlink()
        raise Unmeasured(f"message-db was not measured: the archive from npm has another digest ({digest}).")
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as opened:
        opened.extractall(unpacked, filter="data")
    return unpacked / "package"
