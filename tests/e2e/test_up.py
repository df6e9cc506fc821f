"""``agentos up``, ``down`` and ``status`` as a user meets them: real processes, real kills, nothing left behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.fixtures.stack import CLI, Stack, agentos, running_stack, wait_until

COMPONENTS = {"postgres", "nats", "api", "projector", "engine", "policy", "gateway"}


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Everything that works on the data directory: names it, or has its working directory or its settings there."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(data_dir) in text for text in told):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid not in ancestors()]


def ancestors() -> set[int]:
    own = psutil.Process()
    return {own.pid, *(parent.pid for parent in own.parents())}


def wait_gone(data_dir: Path) -> None:
    wait_until(lambda: not processes_of(data_dir), 20, lambda: str([p.cmdline() for p in processes_of(data_dir)]))


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A path that would break careless quoting."""
    path = tmp_path / "a user's data dir"
    yield path
    agentos("down", "--data-dir", str(path))
    wait_gone(path)


def test_up_status_and_down_in_a_path_with_spaces(data_dir: Path) -> None:
    for _ in range(2):  # twice in a row
        with running_stack(data_dir) as stack:
            with urlopen(f"{stack.url}/readyz", timeout=5) as answer:
                assert answer.status == 200
            told = json.loads(agentos("status", "--json", "--data-dir", str(data_dir)).stdout)
            assert told["phase"] == "healthy"
            assert set(told["components"]) == COMPONENTS
            for component in told["components"].values():
                assert component["state"] == "healthy"
                assert component["restarts"] == 0
                assert psutil.pid_exists(component["pid"])
            assert told["url"] == stack.url
            assert told["data_dir"] == str(data_dir)
            assert told["postgres_url"].startswith("postgresql://agentos:")
            assert told["nats_url"].startswith("nats://integration:")
            assert told["gateway_url"].startswith("http://127.0.0.1:")
            plain = agentos("status", "--data-dir", str(data_dir))
            assert plain.returncode == 0
            assert "healthy" in plain.stdout
        wait_gone(data_dir)
    stopped = agentos("status", "--json", "--data-dir", str(data_dir))
    assert stopped.returncode == 1
    assert json.loads(stopped.stdout)["phase"] == "stopped"
    assert agentos("down", "--data-dir", str(data_dir)).returncode == 0


def test_passwords_and_logs_are_private(data_dir: Path) -> None:
    (data_dir / "logs").mkdir(parents=True)
    for left in ("supervisor.log", "api.log"):  # from a version that was less careful
        (data_dir / "logs" / left).touch(0o644)
    data_dir.chmod(0o700)
    with running_stack(data_dir) as stack:
        passwords = set(json.loads((data_dir / "secrets.json").read_text()).values())
        visible = [" ".join(process.cmdline()) for process in processes_of(data_dir)]
        visible += [log.read_text() for log in (data_dir / "logs").glob("*.log*")]
        visible.append(agentos("status", "--data-dir", str(data_dir)).stdout)
        assert not [secret for secret in passwords for text in visible if secret in text]
        logs = {path.name: path.stat().st_mode & 0o777 for path in (data_dir / "logs").iterdir()}
        assert logs == dict.fromkeys([*(f"{name}.log" for name in COMPONENTS), "supervisor.log"], 0o600)
        for private in ("secrets.json", "run.json", "nats/nats.conf"):
            assert (data_dir / private).stat().st_mode & 0o077 == 0, private
        assert data_dir.stat().st_mode & 0o077 == 0
        assert stack.postgres_url.split(":")[2].split("@")[0] in passwords


def test_ctrl_c_stops_everything(data_dir: Path) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # noqa: TID251 - hands it on
    command = [*CLI, "up", "--data-dir", str(data_dir), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "ready" in line:
                break
        assert re.search(r"Agent OS is ready: http://127\.0\.0\.1:\d+", lines[-1]), lines
        assert {line.split()[0] for line in lines[:-1]} == COMPONENTS
        os.killpg(process.pid, signal.SIGINT)  # the terminal signals the whole foreground group
        rest = process.stdout.read()
        assert process.wait(30) == 0, rest
    wait_gone(data_dir)
    assert "Traceback" not in rest


def test_a_second_copy_beside(data_dir: Path, tmp_path: Path) -> None:
    with running_stack(data_dir) as one, running_stack(tmp_path / "other") as two:
        assert one.url != two.url
        assert agentos("down", "--data-dir", str(two.data_dir)).returncode == 0
        assert one.status()["phase"] == "healthy"


def test_up_on_a_running_stack_says_so(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        for detach in ([], ["--detach"]):
            again = agentos("up", *detach, "--data-dir", str(data_dir), "--port", "0")
            assert again.returncode == 4
            assert "already runs" in again.stderr
            assert "agentos down" in again.stderr
        assert stack.status()["phase"] == "healthy"


def test_a_taken_port_is_named(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for detach in ([], ["--detach"]):
            done = agentos("up", *detach, "--data-dir", str(data_dir), "--port", str(port))
            assert done.returncode == 4
            assert f"Port {port}" in done.stderr
            assert "--port" in done.stderr
    assert not (data_dir / "postgres").exists()


def test_killed_components_come_back(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    for component in sorted(COMPONENTS):
        gone = stack.kill(component)
        status = stack.wait_healthy({component: gone})
        assert status["components"][component]["restarts"] == 1
        assert status["components"][component]["last_exit"] == "killed by SIGKILL"


def test_children_die_with_a_killed_supervisor_and_the_next_start_works(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        os.kill(stack.status()["pid"], signal.SIGKILL)
        wait_gone(data_dir)
        assert stack.status()["phase"] == "stopped"
    with running_stack(data_dir) as stack:
        assert stack.status()["phase"] == "healthy"


def test_the_next_start_ends_orphans_and_waits_for_no_lock(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        status = stack.status()
        pids = {name: component["pid"] for name, component in status["components"].items()}
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)  # deaf, so that the supervisor's death does not end them
        os.kill(status["pid"], signal.SIGKILL)
    assert processes_of(data_dir)
    with running_stack(data_dir) as stack:
        now = {name: component["pid"] for name, component in stack.status()["components"].items()}
        assert not set(now.values()) & set(pids.values())
        left = {process.pid for process in processes_of(data_dir)}
        assert not left & set(pids.values())


def test_a_kill_of_everything_at_once_is_survived(data_dir: Path) -> None:
    with running_stack(data_dir) as stack:
        stopped = processes_of(data_dir)
        for process in stopped:
            process.suspend()
        for process in stopped:
            process.kill()
        wait_gone(data_dir)
    assert (data_dir / "postgres" / "postmaster.pid").exists()
    with running_stack(data_dir) as stack:
        assert stack.status()["phase"] == "healthy"


def test_a_recycled_pid_is_not_taken_for_postgres(data_dir: Path) -> None:
    with running_stack(data_dir):
        pass
    stale = data_dir / "postgres" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{data_dir / 'postgres'}\n1\n1\n\n127.0.0.1\n\nready\n")
    run = json.loads((data_dir / "run.json").read_text())
    for component in run["components"].values():
        component |= {"pid": os.getpid(), "created": 1.0}
    (data_dir / "run.json").write_text(json.dumps(run))
    with running_stack(data_dir) as stack:
        assert stack.status()["phase"] == "healthy"


def test_settings_that_a_service_refuses_are_exit_2_and_leave_nothing(data_dir: Path) -> None:
    wrong = {"AGENTOS_AUTH": "nonsense", "AGENTOS_ALLOWED_HOSTS": "", "AGENTOS_OPEN_BEHIND_LOOPBACK": "maybe"}
    for detach in ([], ["--detach"]):
        done = agentos("up", *detach, "--data-dir", str(data_dir), "--port", "0", env=wrong)
        assert done.returncode == 2, done.stderr
        assert "api did not start" in done.stderr
        assert "api.log" in done.stderr
        assert "AGENTOS_AUTH: " in done.stderr
        assert "AGENTOS_OPEN_BEHIND_LOOPBACK: " in done.stderr
        wait_gone(data_dir)


def test_a_stack_that_cannot_start_for_another_reason_is_exit_1(data_dir: Path) -> None:
    with running_stack(data_dir):
        pass
    (data_dir / "nats" / "store").rename(data_dir / "nats" / "kept")
    (data_dir / "nats" / "store").write_text("no directory")
    fast = {"AGENTOS_RESTART_ATTEMPTS": "1"}
    done = agentos("up", "--detach", "--data-dir", str(data_dir), "--port", "0", env=fast)
    assert done.returncode == 1, done.stderr
    assert "nats did not start" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; the other tests run as one already")
def test_as_an_ordinary_user() -> None:
    home = Path(tempfile.mkdtemp(prefix="agentos-home-"))  # pytest's own directories are closed to other users
    os.chown(home, 65534, 65534)
    # An ordinary user who may read the checkout, wherever that is: reading is the only right beyond the user's own.
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    become += ["--securebits=+no_setuid_fixup"]  # so that access(2) knows of it too
    become += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    command = [*become, *CLI]
    environment = {"HOME": str(home), "PATH": os.defpath}
    where = ["--data-dir", str(home / "data")]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *arguments, *where], capture_output=True, text=True, timeout=60, env=environment
        )

    try:
        done = run("up", "--detach", "--port", "0")
        assert done.returncode == 0, done.stderr
        status = json.loads(run("status", "--json").stdout)
        assert status["phase"] == "healthy"
        for component in status["components"].values():
            assert psutil.Process(component["pid"]).uids().real == 65534
        assert (home / "data" / "postgres").stat().st_uid == 65534
    finally:
        run("down")
        wait_gone(home / "data")
        shutil.rmtree(home)
