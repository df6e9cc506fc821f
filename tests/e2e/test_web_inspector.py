"""The inspector in a real browser, against the real stack: a run is seen as it was, and what it made."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.browser import Watched, violations
from tests.fixtures.stack import Stack, wait_until

XSS = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>"
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" onload="window.hit=1">
<rect width="40" height="20"/></svg>"""
TOKEN = "ghp_" + "aB3dE5gH7iJ9kL1mN3oP5qR7sT9uV1wX3yZ5"


class Worked:
    """A room with a run that has two steps, a tool call that fails, artifacts, and texts that want to run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.room_id = self.post("/v1/rooms", title="Workshop")["room_id"]
        self.run_id = self.post("/v1/runs", room_id=self.room_id, title="Mend the pump", input={"pump": 3})["run_id"]
        self.post(f"/v1/runs/{self.run_id}/start")
        look = self.post(f"/v1/runs/{self.run_id}/steps", kind="look", title="Look at it")["step_id"]
        good = self.post(f"/v1/steps/{look}/toolcalls", tool_name="gauge", title="Read the gauge")["tool_call_id"]
        self.post(f"/v1/toolcalls/{good}/succeed", output={"bar": 2.5})
        self.artifact(look, "report", "Findings", "text/plain", {"type": "text", "text": "The seal leaks."})
        self.artifact(look, "data", "Numbers", None, {"type": "json", "json": {"bar": [1, 2.5], "deep": {"x": None}}})
        self.artifact(look, "drawing", "Sketch", "image/svg+xml", {"type": "text", "text": SVG})
        self.artifact(look, "page", "Page", "text/html", {"type": "text", "text": XSS})
        self.step_id = self.post(f"/v1/runs/{self.run_id}/steps", kind="mend", title=XSS)["step_id"]
        bad = self.post(f"/v1/steps/{self.step_id}/toolcalls", tool_name="wrench", title="Turn it")["tool_call_id"]
        self.post(f"/v1/toolcalls/{bad}/fail", message="the bolt is stuck")
        self.page = f"{url}/inspector?run_id={self.run_id}"

    def end(self) -> None:
        """Ends the run and waits for its evidence, which follows."""
        self.post(f"/v1/runs/{self.run_id}/complete", summary="done")
        wait_until(lambda: httpx.get(f"{self.url}/v1/runs/{self.run_id}/evidence").status_code == 200, 20)

    def artifact(self, step_id: str, kind: str, title: str, mime: str | None, content: dict[str, Any]) -> None:
        self.post(f"/v1/steps/{step_id}/artifacts", kind=kind, title=title, mime_type=mime, content=content)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        headers = {"x-actor-type": "user", "x-actor-id": "ada"}
        answer = httpx.post(self.url + path, json=body, headers=headers, timeout=30).raise_for_status().json()
        assert isinstance(answer, dict)
        return answer

    def events(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/v1/events", params=query).json()["events"]
        return found


@pytest.fixture(scope="module")
def worked(stack: Stack) -> Worked:
    made = Worked(stack.url)
    made.end()
    return made


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=re.compile(name)).click()


def test_a_run_is_seen_with_its_steps_and_the_call_that_failed(worked: Worked, profile: Callable[..., Watched]) -> None:
    page = profile().open(worked.page)
    header = page.get_by_test_id("run-header")
    expect(header).to_contain_text("Mend the pump")
    expect(header).to_contain_text("succeeded")
    rows = page.get_by_test_id("waterfall").get_by_test_id("row")
    expect(rows).to_have_count(5)
    expect(page.get_by_role("button", name=re.compile("Tool call, Turn it, wrench, failed"))).to_be_visible()
    expect(page.locator("[data-phase=failed]")).to_have_count(2)
    page.keyboard.press("j")
    expect(page.get_by_test_id("detail")).to_contain_text("Look at it")
    for _ in range(3):
        page.keyboard.press("j")
    expect(page.get_by_test_id("detail")).to_contain_text("the bolt is stuck")
    expect(page).to_have_url(re.compile("item=tc_"))
    page.keyboard.press("Enter")
    expect(page.locator("#inspected")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("detail")).to_contain_text('"pump": 3')


def test_artifacts_are_shown_as_what_they_are_and_run_nothing(worked: Worked, profile: Callable[..., Watched]) -> None:
    person = profile()
    person.context.add_init_script(
        "document.addEventListener('securitypolicyviolation', (e) => { console.error('CSP ' + e.violatedDirective); });"
    )
    page = person.open(worked.page)
    tab(page, "Artifacts")
    shown = page.get_by_test_id("artifact")
    for name, content in (("Findings", "The seal leaks."), ("Numbers", "deep"), ("Page", "onerror")):
        page.get_by_role("button", name=re.compile(f"^{name},")).click()
        expect(shown).to_contain_text(content)
    page.get_by_role("button", name=re.compile("^Sketch,")).click()
    expect(shown.get_by_role("img", name="Sketch")).to_be_visible()
    tab(page, "Waterfall")
    page.get_by_role("button", name=re.compile("Step, <img")).click()
    expect(page.get_by_test_id("detail")).to_contain_text("onerror")
    for view in ("Events", "Causes", "Evidence"):
        tab(page, view)
    assert page.evaluate("window.hit") is None
    assert page.locator("main script, main img[onerror]").count() == 0


def test_the_chain_holds_and_the_evidence_names_the_events(worked: Worked, profile: Callable[..., Watched]) -> None:
    page = profile().open(worked.page)
    tab(page, "Evidence")
    expect(page.get_by_test_id("evidence")).to_contain_text("sha256:")
    tab(page, "Events")
    page.get_by_role("button", name=re.compile("tool.failed")).click()
    page.get_by_test_id("detail").get_by_test_id("verify").click()
    count = len(worked.events(stream_type="room", stream_id=worked.room_id, limit=200))
    expect(page.get_by_test_id("verdict")).to_contain_text(f"The chain holds: all {count} events")
    expect(page.get_by_test_id("detail")).to_contain_text("Nothing was taken out of this event.")


def test_by_correlation_by_event_and_by_short_address(worked: Worked, profile: Callable[..., Watched]) -> None:
    failed = next(
        event for event in worked.events(run_id=worked.run_id, limit=200) if event["event_type"] == "tool.failed"
    )
    person = profile()
    page = person.open(f"{worked.url}/inspector?event_id={failed['event_id']}")
    expect(page.get_by_test_id("correlation-header")).to_contain_text(failed["correlation_id"])
    expect(page.get_by_test_id("detail")).to_contain_text("the bolt is stuck")
    tab(page, "Causes")
    expect(page.get_by_test_id("causes").get_by_test_id("row").first).to_be_visible()
    page.get_by_test_id("correlation-header").get_by_role("link", name=worked.run_id).click()
    expect(page.get_by_test_id("run-header")).to_contain_text("Mend the pump")
    step = person.open(f"{worked.url}/runs/{worked.run_id}?step={worked.step_id}")
    expect(step).to_have_url(re.compile(f"inspector.*item={worked.step_id}"))
    expect(step.get_by_test_id("detail")).to_contain_text("Turn it")
    for asked, answer in (
        ("run_id=run_00000000000000000000000000", "There is no such run"),
        ("event_id=019ab3c4-5d6e-7f80-9123-456789abcdef", "There is no such event"),
        ("correlation_id=nothing-of-the-kind", "No event has this correlation id"),
    ):
        expect(person.open(f"{worked.url}/inspector?{asked}").get_by_text(answer)).to_be_visible()


def test_causes_of_events_lead_there_and_back(worked: Worked, profile: Callable[..., Watched]) -> None:
    message = "my key is " + TOKEN
    thread = worked.post(f"/v1/rooms/{worked.room_id}/threads", title="Talk")["thread_id"]
    body = {"content_md": message, "sender_type": "user", "sender_id": "ada"}
    worked.post(f"/v1/threads/{thread}/messages", **body)
    leaked = worked.events(room_id=worked.room_id, event_type="secret.leaked.detected", limit=200)[-1]
    page = profile().open(f"{worked.url}/inspector?event_id={leaked['causation_id']}")
    expect(page.get_by_test_id("redactions")).to_contain_text("ghp_")
    expect(page.get_by_text(TOKEN)).to_have_count(0)
    tab(page, "Causes")
    rows = page.get_by_test_id("causes").get_by_test_id("row")
    rows.get_by_role("button", name=re.compile("^Led to: .*secret.leaked.detected")).first.click()
    expect(page.get_by_role("heading", level=2, name="secret.leaked.detected")).to_be_visible()
    expect(page.get_by_role("region", name="secret.leaked.detected")).to_contain_text("Caused by")


def test_a_run_that_goes_on_is_followed_to_its_end(stack: Stack, profile: Callable[..., Watched]) -> None:
    going = Worked(stack.url)
    page = profile().open(going.page)
    expect(page.get_by_test_id("run-header")).to_contain_text("running")
    expect(page.get_by_test_id("waterfall").get_by_test_id("row")).to_have_count(5)
    going.post(f"/v1/runs/{going.run_id}/steps", kind="rest", title="Have a rest")
    expect(page.get_by_role("button", name=re.compile("Step, Have a rest"))).to_be_visible()
    tab(page, "Evidence")
    expect(page.get_by_text("No evidence yet")).to_be_visible()
    going.end()
    expect(page.get_by_test_id("run-header")).to_contain_text("succeeded")
    expect(page.get_by_test_id("evidence")).to_be_visible()


def test_the_way_in_from_a_list_and_from_the_timeline(worked: Worked, profile: Callable[..., Watched]) -> None:
    person = profile(locale="ko-KR")
    page = person.open(f"{worked.url}/inspector")
    expect(page.get_by_role("heading", name="최근 실행")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("run-header")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type(worked.run_id)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("run-header")).to_contain_text("Mend the pump")
    event = worked.events(run_id=worked.run_id, limit=200)[0]
    timeline = person.open(f"{worked.url}/rooms/{worked.room_id}?event={event['event_id']}")
    timeline.get_by_test_id("drawer").get_by_role("link", name="인스펙터").click()
    expect(timeline.get_by_test_id("run-header")).to_contain_text("Mend the pump")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(worked: Worked, profile: Callable[..., Watched], scheme: str) -> None:
    page = profile(color_scheme=scheme, reduced_motion="reduce").open(worked.page)
    expect(page.get_by_test_id("waterfall").get_by_test_id("row")).to_have_count(5)
    assert violations(page) == []
    for view, content in (
        ("Events", "events"),
        ("Causes", "causes"),
        ("Artifacts", "artifacts"),
        ("Evidence", "evidence"),
    ):
        tab(page, view)
        expect(page.get_by_test_id(content)).to_be_visible()
        if view == "Events":
            page.get_by_test_id("events").get_by_test_id("row").last.get_by_role("button").click()
            page.get_by_test_id("verify").click()
            expect(page.get_by_test_id("verdict")).to_contain_text("holds")
        assert violations(page) == []
