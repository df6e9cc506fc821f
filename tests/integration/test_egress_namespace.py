"""With real addresses of every kind: no connection reaches the canary, whatever URL or redirect asks for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _namespaces() -> bool:
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(
    not _namespaces(),
    reason=(
        "only in a network of its own, which takes root and a kernel that lets one be made, can the addresses of "
        "clouds and of the world be real ones; test_egress_addresses.py and test_egress_send.py judge the same "
        "forms everywhere"
    ),
)
def test_no_connection_reaches_the_canary() -> None:
    ran = subprocess.run(
        [
            "unshare",
            "-n",
            "sh",
            "-c",
            'ip link set lo up && exec "$0" -m tests.fixtures.egress_namespace',
            sys.executable,
        ],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["control"] == 1  # the canary can be reached, by whoever does not ask
    assert told["canary"] == 0
    assert told["good"] >= 2
    assert told["cases"] >= 500
