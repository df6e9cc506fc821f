"""The approval inbox in a real browser, against the real stack: what a person says is what is on record."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.fixtures.browser import Watched, violations
from tests.fixtures.stack import Stack

XSS = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>"


class Asker:
    """Who asks for approvals in a room of its own, and uses them."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url, self.http = url, http
        self.room_id = self.post("/v1/rooms", title="Bank")["room_id"]

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body, headers={"x-actor-type": "user", "x-actor-id": "ada"})
        made: dict[str, Any] = answer.raise_for_status().json()
        return made

    def ask(self, title: str = "Pay the bill", **members: Any) -> dict[str, Any]:
        asked = {"action": "payment.execute", "request": {"amount": 5, "to": "bo"}, "room_id": self.room_id}
        return self.post("/v1/approvals", title=title, **(asked | members))

    def approval(self, approval_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/approvals/{approval_id}").raise_for_status().json()["approval"]
        return found

    def decide(self, approval_id: str, decision: str, who: str = "ada", **members: Any) -> None:
        body = {"decision": decision, "actor_type": "user", "actor_id": who, **members}
        self.post(f"/v1/approvals/{approval_id}/decide", **body)

    def use(self, asked: dict[str, Any]) -> None:
        self.post(f"/v1/approvals/{asked['approval_id']}/consume", action_digest=asked["action_digest"])

    def page(self, asked: dict[str, Any]) -> str:
        """Its address, with nothing else in the list that the inbox could go on to."""
        return f"{self.url}/approvals/{asked['approval_id']}?q={asked['approval_id']}"


@pytest.fixture
def asker(stack: Stack) -> Iterator[Asker]:
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        yield Asker(stack.url, http)


def is_shown(page: Page, asked: dict[str, Any]) -> None:
    """The approval is open, and can be answered by a key."""
    expect(page).to_have_url(re.compile(f"/approvals/{asked['approval_id']}"))
    expect(page.get_by_test_id("answer").get_by_role("button", name="Approve")).to_be_enabled()


def row(page: Page, asked: dict[str, Any]) -> Any:
    return page.locator(f"[data-approval='{asked['approval_id']}']")


def is_marked(page: Page, fact: str) -> None:
    mark = page.get_by_test_id("approval").locator(f"[data-fact={fact}]")
    expect(mark).to_have_attribute("data-done", "true")


def test_approved_by_a_key_until_it_is_consumed(asker: Asker, profile: Callable[..., Watched]) -> None:
    asked = asker.ask("Pay once")
    page = profile().open(f"{asker.url}/approvals?q=Pay+once")
    row(page, asked).get_by_role("button").click()
    is_shown(page, asked)
    expect(page.get_by_test_id("approval")).to_contain_text("payment.execute")
    page.keyboard.press("a")
    is_marked(page, "decided")
    assert asker.approval(asked["approval_id"])["decided_by_id"] == "operator"
    asker.use(asked)
    is_marked(page, "consumed")
    expect(row(page, asked)).to_have_count(0)


def test_of_two_people_the_slower_one_is_told_who_decided(asker: Asker, profile: Callable[..., Watched]) -> None:
    asked = asker.ask("Disputed")
    ours, theirs = profile(), profile()
    theirs.context.add_init_script("if (origin !== 'null') localStorage.setItem('agentos.acting_as', 'grace')")
    fast = theirs.open(asker.page(asked))
    is_shown(fast, asked)
    slow = ours.open(asker.page(asked))
    is_shown(slow, asked)
    sent: list[Route] = []
    slow.route("**/decide", lambda route: sent.append(route))
    slow.keyboard.press("a")
    expect(slow.get_by_test_id("answer").get_by_role("button", name="Approve")).to_be_disabled()
    fast.keyboard.press("d")
    fast.get_by_role("dialog").get_by_label("Reason").fill("Not like this")
    fast.keyboard.press("Control+Enter")
    is_marked(fast, "decided")
    sent[0].continue_()
    told = slow.get_by_test_id("refused")
    expect(told).to_contain_text("Somebody was faster: grace denied it.")
    expect(told).to_contain_text("Not like this")
    assert asker.approval(asked["approval_id"])["status"] == "denied"


def test_denied_with_a_reason_and_on_to_the_next(asker: Asker, profile: Callable[..., Watched]) -> None:
    first, second = asker.ask("Twins one"), asker.ask("Twins two")
    page = profile().open(f"{asker.url}/approvals?q=Twins")
    expect(row(page, second)).to_be_visible()
    page.keyboard.press("j")
    is_shown(page, first)
    page.keyboard.press("d")
    page.get_by_role("dialog").get_by_label("Reason").fill("too much")
    page.keyboard.press("Control+Enter")
    is_shown(page, second)
    expect(page.get_by_test_id("recent")).to_contain_text("Twins one")
    found = asker.approval(first["approval_id"])
    assert (found["status"], found["decision_reason"]) == ("denied", "too much")
    page.get_by_role("button", name="Denied", exact=True).click()
    expect(row(page, first)).to_be_visible()


def test_a_hold_can_be_undone(asker: Asker, profile: Callable[..., Watched]) -> None:
    asked = asker.ask("Later perhaps")
    page = profile().open(asker.page(asked))
    is_shown(page, asked)
    page.keyboard.press("h")
    expect(page.get_by_test_id("approval").get_by_role("button", name="Undo the hold")).to_be_visible()
    assert asker.approval(asked["approval_id"])["status"] == "held"
    page.keyboard.press("u")
    expect(page.get_by_test_id("approval").get_by_role("button", name="Hold", exact=True)).to_be_visible()
    assert asker.approval(asked["approval_id"])["status"] == "pending"


def test_several_at_once_each_by_itself(asker: Asker, profile: Callable[..., Watched]) -> None:
    asked = [asker.ask(f"Batch {number}", request={"amount": number}) for number in range(3)]
    page = profile().open(f"{asker.url}/approvals?q=Batch")
    for each in asked:
        row(page, each).get_by_role("checkbox").check()
    expect(page.get_by_test_id("batch")).to_contain_text("3 selected")
    asker.decide(asked[1]["approval_id"], "deny", who="grace")
    page.get_by_test_id("batch").get_by_role("button", name="Approve").click()
    expect(page.get_by_test_id("recent").locator("[data-decided]")).to_have_count(2)
    statuses = [asker.approval(each["approval_id"])["status"] for each in asked]
    assert statuses == ["approved", "denied", "approved"]


def test_high_stakes_take_the_name_of_the_action(asker: Asker, profile: Callable[..., Watched]) -> None:
    asked = asker.ask("Sell it all", room_id=asker.post("/v1/rooms", title="Vault", zone="high_stakes")["room_id"])
    page = profile().open(asker.page(asked))
    is_shown(page, asked)
    page.keyboard.press("a")
    confirm = page.get_by_role("dialog")
    expect(confirm.get_by_role("button", name="Approve")).to_be_disabled()
    assert asker.approval(asked["approval_id"])["status"] == "pending"
    confirm.get_by_role("textbox").fill("payment.execute")
    page.keyboard.press("Enter")
    is_marked(page, "decided")


def test_what_was_decided_before_and_what_differs(asker: Asker, profile: Callable[..., Watched]) -> None:
    action = "invoice.settle"
    before = asker.ask("Settled in May", action=action, request={"amount": 5, "to": "bo"})
    asker.decide(before["approval_id"], "approve", reason="as agreed")
    asked = asker.ask("Settled in June", action=action, request={"amount": 7, "to": "bo"})
    page = profile().open(asker.page(asked))
    expect(page.get_by_test_id("difference")).to_contain_text(re.compile("amount.*7.*was 5", re.DOTALL))
    expect(page.get_by_test_id("similar")).to_contain_text("as agreed")
    page.get_by_label("What this allows").select_option("room")
    expect(page.get_by_test_id("preview")).to_contain_text("In the last 30 days this would have covered")
    page.keyboard.press("Escape")
    page.get_by_test_id("answer").get_by_role("button", name="Approve").click()
    is_marked(page, "decided")
    assert asker.approval(asked["approval_id"])["scope"]["type"] == "room"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_others_run_nothing_and_nothing_stands_in_the_way(
    asker: Asker, profile: Callable[..., Watched], scheme: str
) -> None:
    asked = asker.ask(XSS, request={XSS: [XSS], "url": "javascript:window.hit=1"}, context={"note": XSS})
    page = profile(color_scheme=scheme, reduced_motion="reduce").open(asker.page(asked))
    is_shown(page, asked)
    expect(page.get_by_role("heading", name=XSS)).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("d")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("window.hit") is None
    assert page.locator("main :is(img, iframe), main script").count() == 0


def test_on_a_phone_one_column_and_back(asker: Asker, profile: Callable[..., Watched]) -> None:
    asked = asker.ask("On the road")
    phone = profile(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = phone.open(f"{asker.url}/approvals?q=road")
    row(page, asked).get_by_role("button").tap()
    is_shown(page, asked)
    expect(row(page, asked)).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Back to the list").tap()
    expect(row(page, asked)).to_be_visible()


def test_it_tells_why_it_is_empty(asker: Asker, profile: Callable[..., Watched]) -> None:
    page = profile(locale="ko-KR").open(f"{asker.url}/approvals?q=nothing-has-this-name")
    expect(page.get_by_text("일치하는 것이 없습니다")).to_be_visible()
    page = profile().open(f"{asker.url}/approvals/019ab3c4-5d6e-7f80-9123-456789abcdef")
    expect(page.get_by_text("There is no such approval")).to_be_visible()
