"""The timeline in a real browser, against the real stack: on screen is what is in the stream, whatever breaks."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.browser import Watched, violations
from tests.fixtures.stack import Stack

XSS = (
    "<script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    "[a](javascript:window.hit=1)",
    "![b](javascript:window.hit=1)",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "[c](data:text/html,<script>window.hit=1</script>)",
    "<a href='x' onmouseover='window.hit=1'>hover</a>",
    "```\n</code></pre><script>window.hit=1</script>\n```",
    "\u202egnp.exe <math><mi//xlink:href='data:x,<script>window.hit=1</script>'>",
)


class Desk:
    """A room of a test's own, and somebody who writes into it."""

    def __init__(self, url: str, title: str = "Desk") -> None:
        self.url = url
        self.room_id = self.post("/v1/rooms", title=title)["room_id"]
        self.thread_id = self.post(f"/v1/rooms/{self.room_id}/threads", title="Talk")["thread_id"]
        self.page = f"{url}/rooms/{self.room_id}"

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        headers = {"x-actor-type": "user", "x-actor-id": "ada"}
        answer = httpx.post(self.url + path, json=body, headers=headers, timeout=30).raise_for_status().json()
        assert isinstance(answer, dict)
        return answer

    def say(self, text: str) -> None:
        self.post(f"/v1/threads/{self.thread_id}/messages", content_md=text, sender_type="user", sender_id="ada")

    def say_many(self, count: int, text: str = "line") -> None:
        """By bulk, 500 at a time."""
        for first in range(0, count, 500):
            commands = [
                {
                    "type": "message.create",
                    "body": {
                        "thread_id": self.thread_id,
                        "content_md": f"{text} {number}",
                        "sender_type": "user",
                        "sender_id": "ada",
                    },
                }
                for number in range(first, min(first + 500, count))
            ]
            self.post("/v1/commands", atomic=True, commands=commands)


def is_state(page: Page, state: str) -> None:
    expect(page.get_by_test_id("link-state")).to_have_attribute("data-state", state, timeout=30_000)


def shows(page: Page, text: str) -> None:
    expect(page.get_by_test_id("timeline").get_by_text(text, exact=True)).to_be_visible(timeout=20_000)


def all_seqs(page: Page) -> list[int]:
    """stream_seq of all rows, from the top to the end, scrolled through as a person would."""
    found: list[int] = page.evaluate(
        """async () => {
          const box = document.querySelector('[data-testid=timeline]');
          const seen = [];
          const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          box.scrollTop = 0;
          for (;;) {
            await frame();
            for (const row of box.querySelectorAll('[data-seq]')) {
              const seq = Number(row.dataset.seq);
              if (!seen.includes(seq)) seen.push(seq);
            }
            if (box.scrollTop + box.clientHeight >= box.scrollHeight - 2) return seen;
            box.scrollTop += box.clientHeight / 2;
          }
        }"""
    )
    return found


def test_a_message_written_here_is_seen_here_and_by_another(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    ours, theirs = profile().open(desk.page), profile().open(desk.page)
    is_state(ours, "live")
    is_state(theirs, "live")
    ours.get_by_role("textbox", name="Write a message").fill("hello **there**")
    ours.keyboard.press("Control+Enter")
    for page in (ours, theirs):
        expect(page.locator("strong", has_text="there")).to_be_visible()
    expect(ours.get_by_role("textbox", name="Write a message")).to_have_value("")


def test_eight_tabs_share_one_stream_and_the_next_one_takes_over(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    person = profile()
    streams: list[str] = []
    person.context.on("request", lambda asked: streams.append(asked.url) if "/v1/streams/" in asked.url else None)
    tabs = [person.open(desk.page) for _ in range(8)]
    for tab in tabs:
        is_state(tab, "live")
    assert len(streams) == 1
    desk.say("to all")
    for tab in tabs:
        shows(tab, "to all")
    tabs[0].close()
    desk.say("after the first has gone")
    for tab in tabs[1:]:
        shows(tab, "after the first has gone")
    assert len(streams) == 2


def test_while_the_api_restarts_no_event_is_lost_or_doubled(
    start_stack: Callable[..., Stack], profile: Callable[..., Watched]
) -> None:
    stack = start_stack()
    desk = Desk(stack.url)
    page = profile().open(desk.page)
    is_state(page, "live")
    desk.say("before")
    shows(page, "before")
    pid = stack.kill("api")
    expect(page.get_by_test_id("link-state")).to_have_attribute("data-state", re.compile("reconnecting|connecting"))
    stack.wait_healthy(gone={"api": pid})
    desk.say_many(30, "after")
    shows(page, "after 29")
    is_state(page, "live")
    assert all_seqs(page) == list(range(1, 34))


def test_offline_and_back(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    person = profile()
    page = person.open(desk.page)
    is_state(page, "live")
    person.context.set_offline(True)
    is_state(page, "offline")
    desk.say("said meanwhile")
    person.context.set_offline(False)
    shows(page, "said meanwhile")
    is_state(page, "live")
    assert all_seqs(page) == [1, 2, 3]


def test_scrolled_up_nothing_moves_and_what_waits_is_counted(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    desk.say_many(60)
    page = profile().open(desk.page)
    is_state(page, "live")
    shows(page, "line 59")
    box = page.get_by_test_id("timeline")
    box.hover()
    page.mouse.wheel(0, -600)
    expect(page.get_by_test_id("paused")).to_be_visible()
    first = box.locator("[data-seq]").first
    before = first.get_attribute("data-seq"), box.evaluate("box => box.scrollTop")
    desk.say_many(40, "new")
    expect(page.get_by_test_id("waiting")).to_have_attribute("data-count", "40")
    assert (first.get_attribute("data-seq"), box.evaluate("box => box.scrollTop")) == before
    page.keyboard.press("End")
    shows(page, "new 39")
    expect(page.get_by_test_id("paused")).to_have_count(0)


def test_a_long_room_pages_upwards_to_its_beginning(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    desk.say_many(1_000)
    page = profile().open(desk.page)
    shows(page, "line 999")
    assert page.locator("[data-seq]").count() < 80
    page.get_by_test_id("timeline").hover()
    page.mouse.wheel(0, -200)
    expect(page.get_by_test_id("paused")).to_be_visible()
    page.wait_for_function(
        """() => {
          document.querySelector('[data-testid=timeline]').scrollTop = 0;
          return document.body.innerText.includes('The beginning of the room');
        }"""
    )
    assert all_seqs(page) == list(range(1, 1_003))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_others_run_nothing(stack: Stack, profile: Callable[..., Watched], scheme: str) -> None:
    desk = Desk(stack.url, title=XSS[1])
    for text in XSS:
        desk.say(text)
    desk.post("/v1/runs", room_id=desk.room_id, title=XSS[0], input={XSS[0]: XSS[1]}, tags=[])
    person = profile(color_scheme=scheme)
    person.context.add_init_script(
        "document.addEventListener('securitypolicyviolation', (e) => { console.error('CSP ' + e.violatedDirective); });"
    )
    page = person.open(desk.page)
    is_state(page, "live")
    shows(page, "<svg/onload=window.hit=1>")
    for row in page.get_by_test_id("event").all():
        row.get_by_role("button").first.click()
        expect(page.get_by_test_id("drawer")).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option").first).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert page.locator("[data-testid=timeline] :is(script, img, svg[onload], iframe, math)").count() == 0
    links = page.locator("[data-testid=timeline] a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert not [link for link in links if not re.match(r"https?:|mailto:|$", link)]


def test_noisy_runs_are_folded_and_stay_open_once_opened(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    run_id = desk.post("/v1/runs", room_id=desk.room_id, title="Busy", input={"handler": "none"})["run_id"]
    desk.post(f"/v1/runs/{run_id}/start")
    for number in range(5):
        desk.post(f"/v1/runs/{run_id}/steps", kind="look", title=f"part {number}")
    page = profile().open(desk.page)
    fold = page.get_by_test_id("fold")
    expect(fold).to_contain_text("6 events of a run")
    fold.get_by_role("button").click()
    expect(page.get_by_text("part 4 · look")).to_be_visible()
    desk.post(f"/v1/runs/{run_id}/steps", kind="look", title="part 5")
    expect(page.get_by_text("part 5 · look")).to_be_visible()


def test_filters_and_the_open_event_are_in_the_address(stack: Stack, profile: Callable[..., Watched]) -> None:
    desk = Desk(stack.url)
    desk.say("needle")
    desk.say("hay")
    person = profile()
    page = person.open(desk.page)
    shows(page, "hay")
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(page.get_by_test_id("timeline").get_by_text("hay", exact=True)).to_have_count(0)
    page.get_by_test_id("event").get_by_role("button").first.click()
    expect(page.get_by_test_id("drawer")).to_contain_text("message.created")
    expect(page).to_have_url(re.compile(r"q=needle.*event=|event=.*q=needle"))
    again = person.open(page.url)
    expect(again.get_by_test_id("drawer")).to_contain_text("needle")
    expect(again.get_by_test_id("timeline").get_by_text("hay", exact=True)).to_have_count(0)
    gone = person.open(f"{desk.page}?event=019ab3c4-5d6e-7f80-9123-456789abcdef")
    expect(gone.get_by_test_id("drawer")).to_contain_text("There is no such event")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(stack: Stack, profile: Callable[..., Watched], scheme: str) -> None:
    desk = Desk(stack.url)
    desk.say("# A heading\n\n- **bold** and `code`\n\n> quoted [link](https://example.org)\n\n```\nblock\n```")
    page = profile(color_scheme=scheme, reduced_motion="reduce").open(desk.page)
    shows(page, "A heading")
    assert violations(page) == []
    page.get_by_test_id("event").last.get_by_role("button").first.click()
    expect(page.get_by_test_id("drawer")).to_contain_text("content_md")
    assert violations(page) == []
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option").first).to_be_visible()
    assert violations(page) == []


def test_the_shell_by_keyboard_and_in_korean(stack: Stack, profile: Callable[..., Watched]) -> None:
    Desk(stack.url)
    page = profile(locale="ko-KR").open(stack.url)
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page.get_by_role("link", name="타임라인")).to_be_visible()
    expect(page.get_by_test_id("system-status")).to_have_attribute("data-phase", "healthy")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("어둡게")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("단축키")


def test_a_kill_switch_is_told_on_every_page(
    start_stack: Callable[..., Stack], profile: Callable[..., Watched]
) -> None:
    stack = start_stack(env={"POLICY_KILL_SWITCH_EXTERNAL_WRITE": "1"})
    page = profile().open(stack.url)
    expect(page.get_by_test_id("kill-switch-banner")).to_contain_text("whatever leaves this machine is stopped")


def test_where_sign_in_is_asked_for_a_one_time_link_opens_the_ui(
    start_stack: Callable[..., Stack], profile: Callable[..., Watched]
) -> None:
    from agentos_cli.open_browser import link

    stack = start_stack(env={"AGENTOS_AUTH": "enforced"})
    token = next(stack.data_dir.rglob("local-token")).read_text().strip()
    page = profile().open(stack.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Or paste the link").fill(link(stack.url, token) + "   (works once, for 5 minutes)")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("No rooms yet")).to_be_visible()
