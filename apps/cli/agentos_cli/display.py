"""What ``agentos up`` shows: on a terminal one line per component that changes in place, else one line per change."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import typer

from agentos_runtime.component import Component, State
from agentos_runtime.datadir import DataDir
from agentos_runtime.settings import Settings
from agentos_runtime.supervisor import Supervisor

COLOURS: Final = {
    State.STARTING: typer.colors.CYAN,
    State.HEALTHY: typer.colors.GREEN,
    State.DEGRADED: typer.colors.YELLOW,
    State.RESTARTING: typer.colors.YELLOW,
    State.FATAL: typer.colors.RED,
    State.STOPPED: typer.colors.WHITE,
}
Listener: TypeAlias = Callable[[Supervisor, Component | None], None]


def line(name: str, state: State, detail: str) -> str:
    """One component in one line, coloured (which ``typer.echo`` drops where there is no terminal)."""
    return f"{name:<10} " + typer.style(f"{state:<10}", fg=COLOURS[state]) + (f" {detail}" if detail else "")


@contextmanager
def showing() -> Iterator[Listener]:
    """A listener for the supervisor, for as long as it runs."""
    if sys.stdout.isatty():
        with _in_place() as listener:
            yield listener
    else:
        yield _by_lines()


def _ready(supervisor: Supervisor) -> str:
    assert supervisor.addresses is not None
    return f"Agent OS is ready: {supervisor.addresses.url}   (Ctrl-C stops it)"


def sign_in(settings: Settings, url: str) -> str | None:
    """The line with a one-time link, where access is enforced."""
    from agentos_cli import open_browser

    token = DataDir(settings.data_dir).local_token
    if settings.inherited.get("AGENTOS_AUTH") != "enforced" or not token.exists():
        return None
    link = open_browser.link(url, token.read_text(encoding="ascii").strip())
    return f"Sign in, once, within 5 minutes: {link}   (`agentos open` makes another)"


def _sign_in(supervisor: Supervisor) -> str | None:
    return None if supervisor.addresses is None else sign_in(supervisor.settings, supervisor.addresses.url)


def _by_lines() -> Listener:
    shown: dict[str, tuple[State, str]] = {}
    announced: list[str] = []

    def show(supervisor: Supervisor, component: Component | None) -> None:
        if component is not None and shown.get(component.name) != (component.state, component.detail):
            shown[component.name] = (component.state, component.detail)
            typer.echo(line(component.name, component.state, component.detail))
        if supervisor.ready and not announced:
            announced.append(_ready(supervisor))
            typer.echo("\n".join(filter(None, (announced[0], _sign_in(supervisor)))))

    return show


@contextmanager
def _in_place() -> Iterator[Listener]:
    from rich.live import Live  # here: only a terminal pays for its import
    from rich.text import Text

    link: list[str | None] = []  # made once, since each is another
    with Live(auto_refresh=False, vertical_overflow="visible") as live:

        def show(supervisor: Supervisor, _: Component | None) -> None:
            lines = [line(component.name, component.state, component.detail) for component in supervisor.components]
            if supervisor.ready and supervisor.phase is not State.STOPPED:
                low = "   disk nearly full" if supervisor.disk.low else ""
                lines.append(_ready(supervisor) + low)
                if not link:
                    link.append(_sign_in(supervisor))
                lines += filter(None, link)
            live.update(Text.from_ansi("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)

        yield show
