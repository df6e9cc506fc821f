"""``agentos egress``: rules from the command line."""

import json
import os
import subprocess
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import CLI, Stack


class Shell:
    """The command on a stack, in a workspace of its own."""

    def __init__(self, stack: Stack) -> None:
        self.workspace_id = f"ws_{uuid4().hex[:12]}"
        self._where = ["--data-dir", str(stack.data_dir), "--workspace", self.workspace_id]

    def run(self, *words: str, expected: int = 0) -> str:
        command = [*CLI, "egress", *words, *self._where]
        wide = {**os.environ, "COLUMNS": "200"}  # noqa: TID251 - what the command inherits
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=wide)
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout + done.stderr

    def told(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


@pytest.fixture
def shell(stack: Stack) -> Shell:
    return Shell(stack)


def test_rules_are_set_listed_and_removed(shell: Shell) -> None:
    assert "need an approval" in shell.run("rules")
    options = ("--tunnel", "--rate", "60/1m", "--max-response", "1000000", "--note", "issues")
    rule_id = shell.told("allow", "API.GitHub.com:443", *options)["rule_id"]
    (rule,) = shell.told("rules")
    assert (rule["rule_id"], rule["host"], rule["port"]) == (rule_id, "api.github.com", 443)
    assert rule["methods"] == ["CONNECT", "GET", "HEAD", "OPTIONS"]
    assert rule["rate"] == {"requests": 60, "per_s": 60, "burst": 60, "per": "principal"}
    assert (rule["set_by_type"], rule["response_bytes"], rule["note"]) == ("user", 1_000_000, "issues")

    assert "deny *.example.org" in shell.run("deny", "*.example.org", "--shadow")
    assert "require approval example.com" in shell.run("ask", "example.com", "-X", "post", "--path", "/v1/**")
    shell.run("allow", "localhost:8080", "--private")
    by_host = {rule["host"]: rule for rule in shell.told("rules")}
    assert (by_host["*.example.org"]["mode"], by_host["localhost"]["private"]) == ("shadow", True)
    assert (by_host["example.com"]["methods"], by_host["example.com"]["path"]) == (["POST"], "/v1/**")
    listed = shell.run("rules")
    assert rule_id in listed
    assert "allow api.github.com:443" in listed

    assert "is removed" in shell.run("remove", rule_id, "--reason", "not ours")
    assert rule_id not in {rule["rule_id"] for rule in shell.told("rules")}
    assert {rule["rule_id"]: rule["status"] for rule in shell.told("rules", "--all")}[rule_id] == "removed"


def test_what_left_and_what_did_not_is_listed(shell: Shell, stack: Stack) -> None:
    shell.run("deny", "example.org")
    body = {"target_url": "https://example.org/x", "method": "POST", "actor_id": "ada"}
    headers = {"x-workspace-id": shell.workspace_id}
    answer = httpx.post(f"{stack.url}/v1/egress/requests", json=body, headers=headers, timeout=20)
    assert answer.json()["reason_code"] == "egress.host_not_allowed"
    (listed,) = shell.told("log")
    assert listed["egress_request_id"] == answer.json()["egress_request_id"]
    shown = shell.run("log")
    assert "POST https://example.org/x" in shown
    assert "deny" in shown


def test_what_is_wrong_is_said(shell: Shell) -> None:
    assert "the host alone" in shell.run("allow", "https://example.org", expected=2)
    assert "invalid_host" in shell.run("allow", "127.1", expected=1)
    assert "written like 60/1m" in shell.run("allow", "example.org", "--rate", "often", expected=2)
    assert "no port" in shell.run("allow", "example.org:http", expected=2)
    assert "invalid_networks" in shell.run("allow", "git.corp:443", "--private", expected=1)
    assert "egress_rule_not_found" in shell.run("remove", "egrl_none", expected=1)
