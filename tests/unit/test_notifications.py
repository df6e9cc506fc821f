"""Who is told that an approval waits, and with which words; no process is started here."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from agentos_api import notifications
from agentos_api.notifications import Channel, Message
from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approval_marks as marks
from agentos_shared.domain import approvals
from agentos_shared.domain.approval_bodies import ExpireApproval, NotifyApproval
from tests.unit.test_approvals import BOT, PLACE, SERVICE, asking, on

STEPS = [{"after_s": 60, "notify": "desk"}, {"after_s": 120, "notify": "badge"}]
ASKED = PLACE.and_then(approvals.create, asking(title="Send -- {it}\n", escalation=STEPS))
FIRST = ASKED.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=timedelta(seconds=60)))
SECOND = FIRST.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=timedelta(seconds=120)))
CHANNELS = {"desk": Channel(command=["say", "{title}"]), "phone": Channel(command=["page"], requests=True)}


def test_a_step_is_told_on_its_channel_and_a_request_where_it_is_wanted() -> None:
    requested, first, second = ASKED.events[-1], FIRST.events[-1], SECOND.events[-1]
    assert notifications.wanted(first, CHANNELS) == [Message(first, "desk")]
    assert notifications.wanted(second, CHANNELS) == [], "told by the event alone"
    assert notifications.wanted(requested, CHANNELS) == [Message(requested, "phone")]
    assert notifications.wanted(requested, {}) == []


def test_what_a_command_is_told() -> None:
    members = notifications.members_of(FIRST.events[-1], ASKED.events[-1], "http://127.0.0.1:7717")
    assert (members["step"], members["action"], members["requested_by"]) == (1, "email.send", BOT.actor.id)
    assert members["url"] == "http://127.0.0.1:7717/approvals/appr_1"
    words = notifications.filled(["{title}", "{title}", "{step}: {url}", "{run_id}{nothing}"], members)
    assert words == ["{title}", "Send -- (it) ", "1: http://127.0.0.1:7717/approvals/appr_1", "{nothing}"]
    option = notifications.filled(["say", "{title}"], {**members, "title": "--help" + "x" * 500})
    assert option == ["say", "help" + "x" * 196]


def test_the_file_of_channels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "notifications.toml"
    assert notifications.read(file) == {}
    file.write_text('[channels.desk]\ncommand = ["say", "{title}"]\n')
    file.chmod(0o600)
    assert notifications.read(file) == {"desk": CHANNELS["desk"]}
    for broken in ("[channels", "[channels.desk]\ncommand = 'say'\n", "[other]\n", "[channels.desk]\ncommand = []\n"):
        file.write_text(broken)
        assert notifications.read(file) == {}
    file.write_text('[channels.desk]\ncommand = ["say"]\n')
    file.chmod(0o620)
    assert notifications.read(file) == {}
    assert os.access(file, os.R_OK)


def test_what_came_of_it_is_on_record() -> None:
    (told,) = ASKED.when(marks.notify, on(NotifyApproval(channel="desk", step=1), SERVICE))
    assert (told.event_type, told.data["channel"], told.data["step"]) == ("approval.notified", "desk", 1)
    (failed,) = ASKED.when(marks.notify, on(NotifyApproval(channel="desk", failure="exit code 1"), SERVICE))
    assert (failed.event_type, failed.data["reason"]) == ("approval.notification_failed", "exit code 1")


async def test_a_command_that_does_not_listen_is_told_all_the_same(tmp_path: Path) -> None:
    pool, commands = cast("Any", None), cast("Any", None)
    told = notifications.Notifications(pool, commands, tmp_path, "", {"PATH": "/usr/bin:/bin"})
    members = {"title": "x" * 300_000}
    assert await told.spoken(["/bin/sh", "-c", "exec <&-; exit 3"], members) == "exit code 3"
    assert await told.spoken(["/bin/sh", "-c", "exec <&-; exit 0"], members) is None
    heard = tmp_path / "heard"
    assert await told.spoken(["/bin/sh", "-c", f'cat > "{heard}"'], members) is None
    assert heard.stat().st_size > 300_000
    missing = await told.spoken(["/no/such/program"], members)
    assert missing is not None
    assert missing.startswith("cannot be started")
