"""``agentos policy``: policies tried before they are in force."""

import json
from pathlib import Path
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack, agentos

PERMIT = '@id("base") permit (principal, action, resource);\n'
NO_NOTES = '@id("no-notes") forbid (principal, action == Action::"note.add", resource);\n'
CASES = """
[[case]]
name = "nobody adds notes"
expect = "deny"
rule = "no-notes"
action = "note.add"

[[case]]
name = "letters wait"
expect = "allow"
action = "email.send"
"""
WIDE = {"COLUMNS": "200"}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    made = tmp_path / "candidate"
    made.mkdir()
    (made / "rules.cedar").write_text(PERMIT + NO_NOTES)
    return made


def test_cases(policies: Path) -> None:
    (policies / "tests.toml").write_text(CASES)
    failed = agentos("policy", "test", str(policies), env=WIDE)
    assert failed.returncode == 1
    assert "1 of 2 cases are met." in failed.stdout
    assert "letters wait" in failed.stdout
    assert "nobody adds notes" not in failed.stdout
    told = json.loads(agentos("policy", "test", str(policies), "--json").stdout)
    assert told["failed"] == 1
    assert [case["met"] for case in told["cases"]] == [True, False]
    (policies / "tests.toml").write_text(CASES.replace('"allow"', '"require_approval"'))
    assert agentos("policy", "test", str(policies)).returncode == 0


def test_policies_that_cannot_be_taken(policies: Path, tmp_path: Path) -> None:
    (policies / "more.cedar").write_text("permit (principal, action, resource) when { context.colour };")
    broken = agentos("policy", "test", str(policies))
    assert broken.returncode == 1
    assert "more.cedar" in broken.stderr
    nothing = agentos("policy", "test", str(tmp_path / "nowhere"))
    assert nothing.returncode == 2
    assert "nowhere" in nothing.stderr


def test_rules_that_differ(policies: Path, tmp_path: Path) -> None:
    active = tmp_path / "data" / "policies"
    active.mkdir(parents=True)
    (active / "a.cedar").write_text(PERMIT)
    where = ("--data-dir", str(tmp_path / "data"))
    differs = agentos("policy", "diff", str(policies), *where)
    assert (differs.returncode, differs.stdout.splitlines()[0]) == (1, "added no-notes")
    changed = NO_NOTES.replace("note.add", "note.change")
    (active / "a.cedar").write_text(PERMIT + changed)
    told = json.loads(agentos("policy", "diff", str(policies), *where, "--json").stdout)
    (change,) = told["changes"]
    assert (change["id"], change["what"]) == ("no-notes", "changed")
    assert "note.change" in change["before"]
    assert "note.add" in change["after"]
    same = agentos("policy", "diff", str(policies), "--active", str(policies))
    assert (same.returncode, same.stdout) == (0, "The same rules.\n")


def test_without_policies_the_default_is_in_force(policies: Path, tmp_path: Path) -> None:
    told = json.loads(agentos("policy", "diff", str(policies), "--data-dir", str(tmp_path), "--json").stdout)
    assert {(change["id"], change["what"]) for change in told["changes"]} == {
        ("base", "added"),
        ("no-notes", "added"),
        ("default.permit", "removed"),
    }


def test_simulation(stack: Stack, policies: Path) -> None:
    workspace = f"ws_{uuid4().hex[:12]}"
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": workspace}, timeout=20) as client:
        events = [
            client.post("/v1/policy/evaluate", json={"action": action}).raise_for_status().json()["event_id"]
            for action in ("note.add", "note.read")
        ]
    where = ("--data-dir", str(stack.data_dir), "--workspace", workspace)
    shown = agentos("policy", "simulate", str(policies), *where, env=WIDE)
    assert shown.returncode == 0, shown.stderr
    assert "1 of 2 decisions would have been others." in shown.stdout
    assert "no-notes" in shown.stdout
    told = json.loads(agentos("policy", "simulate", str(policies), *where, "--json").stdout)
    assert [change["event_id"] for change in told["changes"]] == [events[0]]
    refused = agentos("policy", "simulate", str(policies), *where, "--from", "yesterday")
    assert refused.returncode == 1
    assert "invalid_from" in refused.stderr
    away = agentos("policy", "simulate", str(policies), "--url", "http://127.0.0.1:1")
    assert away.returncode == 3
