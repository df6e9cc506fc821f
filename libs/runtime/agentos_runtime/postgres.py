"""The embedded Postgres: made once by initdb, configured anew at each start, its leftovers removed safely."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from agentos_runtime import binaries, processes
from agentos_runtime.errors import RuntimeFailure

OWNER: Final = "agentos"
DATABASE: Final = "agentos"
HOST: Final = "127.0.0.1"

#: Nothing from outside: a PGDATA or LC_ALL of the caller's shell must not reach the server.
ENVIRONMENT: Final[Mapping[str, str]] = {"LANG": "C", "LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}

CONFIGURATION: Final = """\
# Written by agentos at every start; changes are lost. What must differ goes into postgresql.conf, below the include.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 60
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'

# What was acknowledged survives. The services refuse to start with any of these off.
fsync = on
full_page_writes = on
synchronous_commit = on

# Small at rest, quick in bursts of small transactions.
shared_buffers = '96MB'
huge_pages = off
work_mem = '8MB'
maintenance_work_mem = '64MB'
effective_cache_size = '1GB'
jit = off
io_method = sync
max_worker_processes = 4
max_parallel_workers = 2
max_parallel_workers_per_gather = 1
autovacuum_max_workers = 2
random_page_cost = 1.1
wal_buffers = '16MB'
wal_compression = on
min_wal_size = '256MB'
max_wal_size = '2GB'
checkpoint_timeout = '15min'
max_wal_senders = 2
max_replication_slots = 2

# A query of a client that is gone ends, instead of holding its locks.
client_connection_check_interval = '5s'
tcp_keepalives_idle = 60

log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = on
# Statements of ours carry everything in parameters: never log those.
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""


def url(password: str, port: int, role: str = OWNER, database: str = DATABASE) -> str:
    """Connection URL of a role (passwords of ours are hexadecimal, so that nothing needs quoting)."""
    return f"postgresql://{role}:{password}@{HOST}:{port}/{database}"


async def initialise(data: Path, password: str, sync: bool = True) -> None:
    """Makes the cluster unless it exists. A start that was killed halfway leaves nothing that counts.

    Args:
        sync: off for tests whose data need not survive anything.

    Raises:
        RuntimeFailure: initdb failed; its last lines are in the message.
    """
    if (data / "PG_VERSION").is_file():
        check_version(data)
        return
    if data.exists() and any(data.iterdir()):
        raise RuntimeFailure(f"{data} is neither empty nor a Postgres cluster: move it away, then start again.")
    making = data.with_name(data.name + ".new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    password_file = data.with_name(data.name + ".password")
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n", encoding="ascii")
    try:
        arguments = f"--username {OWNER} --auth scram-sha-256 --encoding UTF8 --locale C --locale-provider builtin"
        arguments += " --builtin-locale C.UTF-8 --data-checksums --no-instructions" + ("" if sync else " --no-sync")
        files = ["--pgdata", str(making), "--pwfile", str(password_file)]
        command = processes.launched(
            [str(binaries.postgres_bin() / "initdb"), *arguments.split(), *files],
            death_signal=signal.SIGTERM,
            not_root=True,
            owned=[making, password_file],
        )
        process = await asyncio.create_subprocess_exec(
            *command,
            env=ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        output, _ = await process.communicate()
    finally:
        password_file.unlink(missing_ok=True)
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        raise RuntimeFailure("initdb failed: " + " / ".join(lines[-3:]))
    with (making / "postgresql.conf").open("a", encoding="utf-8") as stream:
        stream.write("\ninclude = 'agentos.conf'\n")
    if data.exists():
        data.rmdir()
    making.rename(data)


def check_version(data: Path) -> None:
    """Raises RuntimeFailure when the cluster is of another major version than the server."""
    found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != "18":
        raise RuntimeFailure(
            f"{data} is a cluster of Postgres {found}, the server is 18: dump it with {found} and restore it "
            "into a new data directory."
        )


def configure(data: Path, port: int) -> None:
    """Writes the settings that ``postgresql.conf`` includes."""
    (data / "agentos.conf").write_text(CONFIGURATION.format(port=port), encoding="utf-8")


def server_command(data: Path) -> list[str]:
    """The server in the foreground; SIGINT is its fast, clean shutdown."""
    return processes.launched(
        [str(binaries.postgres_bin() / "postgres"), "-D", str(data)],
        death_signal=signal.SIGINT,
        not_root=True,
        owned=[data],
    )


async def clear_leftovers(data: Path) -> None:
    """Ends what an earlier start left running on this cluster.

    Each process is known by its working directory, which is the cluster for every process of Postgres, so that no
    stranger with a recycled pid is touched. Postgres itself takes such a stranger for a running server and refuses to
    start: then its pid file goes. Otherwise the file stays, since Postgres also learns from it whether a backend of
    the dead server still holds the shared memory.
    """
    pid = lock_file_pid(data)
    left = processes.working_in(data)
    if left:
        await processes.end([process for process in left if process.pid == pid], signal.SIGINT, patience_s=10)
        await processes.end(processes.working_in(data), signal.SIGQUIT, patience_s=5)
    if pid is not None and (pid <= 0 or psutil.pid_exists(pid)):
        (data / "postmaster.pid").unlink(missing_ok=True)


def lock_file_pid(data: Path) -> int | None:
    """The pid in ``postmaster.pid``; 0 for a file that is no pid file, None for none."""
    try:
        return int((data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except FileNotFoundError:
        return None
    except ValueError:
        return 0
