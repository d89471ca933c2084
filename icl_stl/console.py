"""What a person sees while a script runs: progress, errors."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the input and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def stopped_by(error: OSError) -> NoReturn:
    """Say which file or folder stood in the way and exit with status 2."""
    refuse(f"{error.filename} {error.strerror}" if error.filename else str(error))


def given(words: Sequence[str]) -> Iterator[tuple[str, str]]:
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
    """
    import tyro  # noqa: PLC0415  (figures need this module, not the command line)

    words = sys.argv[1:] if words is None else words
    said, hints = list(given(words)), get_type_hints(kind)
    known = [f"--{name.replace('_', '-')}" for name in hints]
    for option in [word.partition("=")[0] for word in words if word[:2] == "--" and word[2:]]:
        name = field_of(option)
        if not {name, name.removeprefix("no_")} & {*hints, "help"} and name[:5] != "tyro_":
            refuse(f"{option} is no option of this command{meant(option, known)}: see --help")
    for option, value in said:
        if not value:
            refuse(f"{option or 'an argument'} must have a value, but it is {value!r}")
    for option in {word for word in words if word[:2] == "--"} - {option for option, _ in said}:
        if get_origin(hints.get(field_of(option))) is tuple:
            refuse(f"{option} must have a value, or be left out")
    for place, (option, value) in enumerate(said):
        hint = hints.get(field_of(option))
        if get_origin(hint) is tuple or not place or said[place - 1][0] != option:
            _refuse_words(option, value, hint)  # what follows one value may be none of the option
    try:
        return tyro.cli(kind, prog=prog, args=words)
    except SystemExit as end:
        if end.code == 2:
            _suggest(hints, said)
        raise


def field_of(option: str) -> str:
    """The field of an option."""
    return option.lstrip("-").replace("-", "_")


def _refuse_words(option: str, value: str, hint: Any) -> None:
    """Refuse what is no number where one is asked for."""
    kinds = {hint, *(part for one in (hint, *get_args(hint)) for part in (one, *get_args(one)))}
    if kinds & {int, float} and str not in kinds and value != "None":
        kind, right = (float, "a number") if float in kinds else (int, "a whole number")
        try:
            kind(value)
        except ValueError:
            refuse(f"{option} must be {right}, but it is {value!r}")


def _suggest(hints: Mapping[str, Any], given: Sequence[tuple[str, str]]) -> None:
    """Name the nearest word wherever one of a few was asked for and another is given."""
    for option, value in given:
        hint = hints.get(field_of(option))
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
