"""The ledger: what each check claims, how tight it is, and whether its negative control failed.

A check takes the fixture ``ledger`` and calls

    ledger.record(statement, tightness=..., control_rejected=...)

A control is the same claim with a wrong constant, or in a regime where it must fail; a check whose
control is not rejected has no power and fails. The ledger is printed after the run.

With ``--long`` the simulations that say so in their docstring run more loops.
"""

from contextlib import suppress
from typing import NamedTuple

import pytest


class Entry(NamedTuple):
    """One line of the ledger."""

    statement: str
    status: str
    tightness: str
    control: str


class Ledger:
    """Collects the entries of one check; they stand only if the check passes."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(
        self,
        statement: str,
        status: str = "holds",
        tightness: float | str = "",
        control_rejected: bool | None = None,
    ) -> None:
        """Note that ``statement`` was checked.

        Args:
            statement: its number in THEORY.md, or a claim's name, and a few words.
            status: ``holds``, ``attained``, ``violated``, ``inconclusive`` or ``finding``.
            tightness: measured/bound, 1 if attained.
            control_rejected: whether the negative control failed as it must; None for a
                statement that needs none (an exact value).
        """
        shown = tightness if isinstance(tightness, str) else f"{tightness:.3g}"
        control = "-" if control_rejected is None else "yes" if control_rejected else "NO"
        self.entries.append(Entry(statement, status, shown, control))
        assert control_rejected in (True, None), f"the control of {statement!r} was not rejected"


_ledgers = pytest.StashKey[Ledger]()
_printed = pytest.StashKey[list[Entry]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # the tests have it too
        parser.addoption("--long", action="store_true", help="simulate with many more loops")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_printed] = []


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """The ledger of the whole run, seen from one check."""
    book = Ledger()
    request.node.stash[_ledgers] = book
    return book


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.when == "call" and _ledgers in item.stash:
        entries = item.stash[_ledgers].entries
        if report.failed:
            entries = [entry._replace(status="FAILED") for entry in entries]
            entries = entries or [Entry(item.name, "FAILED", "", "-")]
        item.config.stash[_printed].extend(entries)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    entries = [Entry("statement", "status", "tightness", "control rejected")]
    entries += terminalreporter.config.stash[_printed]
    if len(entries) == 1:
        return
    widths = [max(len(entry[k]) for entry in entries) for k in range(4)]
    terminalreporter.section("ledger")
    for entry in entries:
        cells = (cell.ljust(width) for cell, width in zip(entry, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
