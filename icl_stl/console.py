"""What a person sees while and after a script runs: progress, tables, errors."""

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from icl_stl.config import meant

Report = Callable[[str, int, int], None]
Arguments = TypeVar("Arguments")

_COLOURS = {"holds": "green", "violated": "bold red", "inconclusive": "yellow", "finding": "cyan"}


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the input and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def stopped_by(error: OSError) -> NoReturn:
    """Say which file or folder stood in the way and exit with status 2."""
    refuse(f"{error.filename} {error.strerror}" if error.filename else str(error))


def _given(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Option and value of every value on a command line."""
    option = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            option, separator, value = word.partition("=")
            if separator:
                yield option, value
        else:
            yield option, word


def arguments_of(
    kind: type[Arguments], words: Sequence[str] | None = None, prog: str | None = None
) -> Arguments:
    """The arguments of a command; status 2 where they are wrong.

    Beside what tyro finds, a value that is empty (an unset variable of a shell) is refused, and for
    a word that an option does not know the nearest one that it knows is named.

    Args:
        kind: A dataclass with a field for each option.
        words: The command line; that of this process if not given.
        prog: What help calls the command.
    """
    import tyro  # noqa: PLC0415  (figures need this module, not the command line)

    words = sys.argv[1:] if words is None else words
    given, hints = list(_given(words)), get_type_hints(kind)
    for option, value in given:
        if not value:
            refuse(f"{option or 'an argument'} must have a value, but it is {value!r}")
    for option in {word for word in words if word[:2] == "--"} - {option for option, _ in given}:
        if get_origin(hints.get(_field(option))) is tuple:
            refuse(f"{option} must have a value, or be left out")
    try:
        return tyro.cli(kind, prog=prog, args=words)
    except SystemExit as end:
        if end.code == 2:
            _suggest(hints, given)
        raise


def _field(option: str) -> str:
    """The field of an option."""
    return option.lstrip("-").replace("-", "_")


def _suggest(hints: Mapping[str, Any], given: Sequence[tuple[str, str]]) -> None:
    """Name the nearest word wherever one of a few was asked for and another is given."""
    for option, value in given:
        hint = hints.get(_field(option))
        known = get_args(hint) if get_origin(hint) is Literal else ()
        if known and value not in known and (words := meant(value, known)):
            print(f"{option} {value}{words}", file=sys.stderr)


_interrupts: list[bool] = []


def interrupt(*signalled: Any) -> NoReturn:
    """Ctrl-C; where JAX loses what is raised in a callback of its own, the next report raises."""
    _interrupts.append(True)
    raise KeyboardInterrupt


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """A console as wide as the terminal; as wide as it takes where there is none."""
    wide = _Screen()
    return wide if wide.is_terminal else _Screen(width=140)


FOLDED = 8
"""Letters of a word to which a column that may be folded can shrink."""


def fitted(table: Table, screen: Console) -> Table | Text:
    """The table; where the screen is too narrow for it, a line for each cell that is not empty."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    width = 1 + 3 * len(columns)
    for column, cells in zip(table.columns, columns, strict=True):
        column.overflow = "fold"
        longest = max(cell_len(word) for cell in cells for word in cell.split(" "))
        width += max(map(cell_len, cells)) if column.no_wrap else min(FOLDED, longest)
    if width <= screen.width:
        return table
    lines = [str(table.title)] if table.title else []
    for first, *rest in zip(*(cells[1:] for cells in columns), strict=True):
        lines.append(f"{columns[0][0]} {first}".strip())
        lines += [
            f"  {cells[0]}: {value}"
            for cells, value in zip(columns[1:], rest, strict=True)
            if value
        ]
    return Text("\n".join(lines), overflow="fold")


def show(table: Table) -> None:
    """Print a table so that all of it can be read, however narrow the terminal."""
    screen = console()
    screen.print(fitted(table, screen))


SILENCE = 120.0
"""Seconds without progress after which that is said; then after twice as long, and so on."""


@contextmanager
def _watched(report: Report, say: Callable[[str], None], silence: float) -> Iterator[Report]:
    """The report; where none comes for long, what was last reported and when is said."""
    over, last = Event(), (time.monotonic(), time.strftime("%H:%M:%S"), "the first report")

    def watch() -> None:
        seen, wait = last, silence
        while not over.wait(max(0.0, seen[0] + wait - time.monotonic())):
            if last is not seen:
                seen, wait = last, silence
            elif time.monotonic() >= seen[0] + wait:
                say(f"no progress for {wait:.0f} s, since {seen[1]}: {seen[2]}")
                wait *= 2

    def reported(text: str, done: int, total: int) -> None:
        nonlocal last
        if _interrupts:
            raise KeyboardInterrupt
        last = (time.monotonic(), time.strftime("%H:%M:%S"), f"{text} ({done}/{total})")
        report(text, done, total)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield reported
    finally:
        over.set()
        watcher.join()


@contextmanager
def progress(what: str, silence: float = SILENCE) -> Iterator[Report]:
    """A live bar on a terminal, a line for each piece of work elsewhere, with the time so far.

    How long pieces of other kinds will take is not guessed. Without a report for `silence` seconds
    a line says so; again after twice as long, and so on.
    """
    screen, start = Console(stderr=True), time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    bars = Progress(*columns, TimeElapsedColumn(), console=screen, disable=not screen.is_terminal)
    task = bars.add_task(what, total=None)

    def say(words: str) -> None:
        if screen.is_terminal:
            screen.print(words, markup=False)
        else:
            print(f"{time.monotonic() - start:6.1f} s  {words}", file=sys.stderr, flush=True)

    def advance(text: str, done: int, total: int) -> None:
        bars.update(task, description=f"{what}: {text}", completed=done, total=total)
        if not screen.is_terminal:
            say(f"{done:3d}/{total}  {what}: {text}")

    with bars, _watched(advance, lambda words: say(f"{what}: {words}"), silence) as report:
        yield report


ROUNDING = 1e-12
"""Exact numbers that differ by no more are shown as equal."""


def is_equality(cell: Mapping[str, Any]) -> bool:
    """Whether measured and bound are two sides of an equation."""
    if cell.get("test") == "exact":
        measured, bound = cell["measured"], cell["bound"]
        return None not in (measured, bound) and bool(abs(measured - bound) <= ROUNDING)
    return cell.get("test") in ("equal", "undecided")


def ratio_of(cell: Mapping[str, Any]) -> float | None:
    """Measured over bound, or bound over measured for a lower bound; none over zero."""
    measured, bound = cell["measured"], cell["bound"]
    if measured is None or bound is None:
        return None
    above = cell.get("direction") == "above"
    top, bottom = (bound, measured) if above else (measured, bound)
    return float(top / bottom) if bottom and bound else None


def _tightness(cell: Mapping[str, Any]) -> float:
    """How near a cell is to being missed: 0 far from it, 1 at its bound or tolerance."""
    if not is_equality(cell):
        return ratio_of(cell) or 0.0
    ends = cell["margin_low"], cell["margin_high"]
    if cell.get("test") in ("exact", "undecided") or None in ends:
        return 0.0
    farthest, tolerance = max(map(abs, ends)), cell.get("tolerance", 0.0)
    return float(farthest / tolerance if tolerance else math.inf if farthest else 0.0)


SAID = {"holds": "hold", "finding": "findings"}
"""What several cells or claims of a verdict are said to be or do, where that is another word."""
DECIDED_AGAINST = "decided against; no theorem"
"""What people read where a statement is missed that no theorem covers: `missed` in JSON."""


def apart(cell: Mapping[str, Any]) -> str:
    """Why a cell is shown but not judged: `vacuous`, `by definition`, or empty if it is judged."""
    reasons = {"vacuous": "vacuous", "by_definition": "by definition"}
    return next((words for key, words in reasons.items() if cell.get(key)), "")


def verdict_of(cell: Mapping[str, Any]) -> str:
    """The verdict on a cell in words: what it is instead if it is not judged."""
    return apart(cell) or (DECIDED_AGAINST if cell.get("missed") else str(cell["verdict"]))


def claim_verdict(entry: Mapping[str, Any]) -> str:
    """The verdict on a claim in words."""
    missed = any(cell.get("missed") and not apart(cell) for cell in entry["cells"])
    against = missed and entry["verdict"] == "inconclusive"
    return DECIDED_AGAINST if against else str(entry["verdict"])


def counted(verdicts: Iterable[str]) -> str:
    """How many of each verdict in words, in order of appearance."""
    counts = Counter(verdicts)
    return ", ".join(f"{count} {SAID.get(words, words)}" for words, count in counts.items())


def control_in_words(control: Mapping[str, Any]) -> str:
    """Whether a negative control is rejected, and in how many of its families where that is known.

    A family is rejected where at least one of its cells is.
    """
    if not control["what"]:
        return "-"
    families = control.get("families", ())
    rejected = sum(family["rejected"] > 0 for family in families)
    where = f", in {rejected} of {len(families)} families" if families else ""
    return f"{'yes' if control['rejected'] else 'NO'}{where}"


def worst_cell(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The judged cell of a claim with the worst verdict, of these the one nearest to its bound."""
    tested = [
        cell
        for cell in entry["cells"]
        if (cell["bound"] is not None or cell["verdict"] != "finding") and not apart(cell)
    ]
    order = ("finding", "holds", "inconclusive", "violated")

    def badness(cell: Mapping[str, Any]) -> tuple[bool, int, float]:
        return cell.get("missed", False), order.index(cell["verdict"]), _tightness(cell)

    return max(tested, key=badness, default=None)


def place(cell: Mapping[str, Any]) -> str:
    """Where a cell was measured, in words; of a solvable loop also what was measured."""
    regime = str(cell["regime"])
    share = cell.get("alpha") or 0  # a place between two sizes has none
    if 0 < share < 1 and not regime.startswith("accumulate"):  # there it shrinks by itself
        regime += f" {share:.3g}"
    parts = [str(cell["loop"]), regime] if "loop" in cell else [regime]
    if cell["regime"] != "generation 0":
        parts.append(f"generation {cell['generation']}")
    if "prefix" in cell:
        parts.append(f"{cell['prefix']} labels")
    if "generator" in cell:
        parts.append(str(cell["generator"]))
    quantity = f": {cell['quantity']}" if "loop" in cell and "quantity" in cell else ""
    return ", ".join(parts) + quantity


def _shown(value: float | None, form: str = ".3f") -> str:
    """A number as a table shows it: a dash for none, in powers of ten where it is huge."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{form if abs(value) < 1e6 else '.2e'}}"


def _numbers(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    """Measured, bound and their ratio as they are shown."""
    measured, bound = cell["measured"], cell["bound"]
    ratio = _shown(ratio_of(cell), ".2f")
    if cell.get("test") == "rate":
        return _shown(measured, ".1%"), f"≤ {_shown(bound, '.1%')}", ratio
    if is_equality(cell):
        tolerance = f" ± {_shown(cell['tolerance'])}" if "tolerance" in cell else ""
        return _shown(measured), f"= {_shown(bound)}{tolerance}", ratio
    sign = ">" if cell.get("direction") == "above" else "≤"
    return _shown(measured), f"{sign} {_shown(bound)}", ratio


def claim_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """A claim in words: name, where it is tightest, measured, bound, ratio, verdict, control.

    The verdict says on how many replicates it rests where some failed, and how many cells are
    shown apart, not judged.
    """
    cell = worst_cell(entry)
    numbers = ("", "-", "-", "-") if cell is None else (place(cell), *_numbers(cell))
    verdict = claim_verdict(entry)
    verdict += f", {entry['replicates']} replicates" if entry["failed"] else ""
    if left := counted(filter(None, map(apart, entry["cells"]))):
        verdict += f" ({left})"
    return (entry["name"], *numbers, verdict, control_in_words(entry["negative_control"]))


CLAIM_COLUMNS = (
    "claim",
    "where it is tightest",
    "measured",
    "bound",
    "ratio",
    "verdict",
    "control rejected",
    "source",
)


def _source(entry: Mapping[str, Any]) -> str:
    return str(entry["source"]).partition(":")[0].partition(";")[0]


def claims_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    """One line a claim: where it is tightest, measured against bound, verdict, source."""
    table = Table(title="claims", title_justify="left")
    for name in CLAIM_COLUMNS:
        numeric = name in ("measured", "bound", "ratio")
        table.add_column(
            name, justify="right" if numeric else "left", no_wrap=numeric or name == "claim"
        )
    for entry in entries:
        *cells, verdict, control = claim_row(entry)
        colour = _COLOURS[entry["verdict"]]
        table.add_row(*map(Text, cells), Text(verdict, colour), control, Text(_source(entry)))
    return table


def claims_markdown(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same table for a page."""
    rows = [CLAIM_COLUMNS, ("---",) * len(CLAIM_COLUMNS)]
    rows += [
        tuple(" ".join(cell.split()).replace("|", "\\|") for cell in row)
        for row in ((*claim_row(entry), _source(entry)) for entry in entries)
    ]
    return [f"| {' | '.join(row)} |" for row in rows]
