"""One stack for all cases that leave it healthy, rounds with a seed each, and a table of what was measured."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.case import Case, Report
from tests.faults.cluster import Cluster, environment
from tests.fixtures.stack import running_stack


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long the suite takes: ``FAULT_ROUNDS`` of each case, ``FAULT_OPS`` acknowledged writes before and after."""

    count: int
    seed: int
    operations: int


def _rounds() -> Rounds:
    environ = os.environ  # noqa: TID251 - make passes these on
    return Rounds(
        int(environ.get("FAULT_ROUNDS") or 1), int(environ.get("FAULT_SEED") or 1), int(environ.get("FAULT_OPS") or 150)
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault_seed" in metafunc.fixturenames:
        rounds = _rounds()
        metafunc.parametrize(
            "fault_seed", [rounds.seed + number for number in range(rounds.count)], ids="seed{}".format
        )


@pytest.fixture
def fault_rounds() -> int:
    """How many rounds there are: 1 unless ``make faults`` asks for more."""
    return _rounds().count


#: Checks of the whole store take the longer the more is in it.
CASES_PER_STACK = 40


class Ward:
    """Keeps the stack; starts another when a case has left it in a state that it does not recover from."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open = ExitStack()
        self._cluster: Cluster | None = None
        self._count = 0
        self._cases = 0

    def cluster(self) -> Cluster:
        if self._cluster is not None:
            try:
                self._cluster.stack.wait_healthy(timeout_s=20)
            except AssertionError:
                self.close()
        if self._cases >= CASES_PER_STACK:
            self.close()
        self._cases += 1
        if self._cluster is None:
            self._count += 1
            arms = self._directory / "failpoints"
            stack = self._open.enter_context(
                running_stack(self._directory / f"data-{self._count}", env=environment(arms))
            )
            self._cluster = Cluster(stack, arms)
        return self._cluster

    def close(self) -> None:
        self._cluster = None
        self._cases = 0
        self._open.close()


@pytest.fixture(scope="session")
def _ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    ward = Ward(tmp_path_factory.mktemp("faults"))
    yield ward
    ward.close()


@pytest.fixture
def cluster(_ward: Ward) -> Cluster:
    """A healthy stack that may be hurt, as long as it heals."""
    return _ward.cluster()


REPORTS: list[Report] = []


@pytest.fixture
def case(cluster: Cluster, fault_seed: int, request: pytest.FixtureRequest) -> Iterator[Case]:
    """The test's case: load, history, and all checkers at the end."""
    made = Case(cluster, request.node.nodeid, fault_seed, _rounds().operations)
    yield made
    REPORTS.extend(made.reports)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORTS:
        terminalreporter.section("faults survived")
        for report in REPORTS:
            terminalreporter.write_line(str(report))
