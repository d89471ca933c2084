"""The page of a sweep: a column of `sweep.csv` against a setting, and the numbers. Needs no JAX.

A point is the mean over all loops of its settings, with Student's 95 % interval over them: over the
loops of one setting, over settings that differ in their seed alone, or over both. There is one line
for each value of the colour setting, one figure for each value of what else varies.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from icl_stl.config import meant, require
from icl_stl.intervals import LEVEL, t_half_width
from icl_stl.lab.results import read_rows
from icl_stl.lab.sweeps.sweeps import read_result
from icl_stl.report.pieces import (
    commands,
    definitions,
    environment,
    escaped,
    filled,
    number,
    settings,
    table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "sweep.csv"
"""What tells the folder of a sweep."""

FIRST = ("excess_risk", "held_out_loss")
"""What is drawn if nobody says what, where it is known."""

DERIVED = ("seed", "runs", "n_syn", "real_share")
"""Columns of settings that nobody asks about first: they follow from others, or only repeat."""

FIGURES, LINES, ROWS, NAMED = 12, 24, 2000, 10
"""Most figures, lines of one, rows of the table, and names in a sentence."""

LETTERS = 22
"""Of a word in a legend of two columns."""

Value = int | float | str | None
Row = Mapping[str, Value]


class Axes(NamedTuple):
    """What is drawn of a sweep; None for what it chooses itself."""

    x: str | None = None
    """A setting that varies, or `generation`."""
    y: str | None = None
    """A column of numbers."""
    generation: str | None = None
    """A generation by its number, or `last`."""
    colour: str | None = None
    """A setting that varies."""


USUAL = Axes()


class Point(NamedTuple):
    """The mean over loops at one place."""

    x: Value
    mean: float
    half: float | None
    """Half of its 95 % interval; None of a single loop."""
    loops: int
    closed: float | None
    """Closed form, where it is known."""


class Chosen(NamedTuple):
    """What is drawn, decided."""

    x: str
    y: str
    generation: str
    colour: str | None
    others: tuple[str, ...]
    """What else varies: a figure for each of their values."""


Lines = Mapping[tuple[Value, ...], Mapping[Value, Sequence[Point]]]
"""Points by the values of what else varies, then by colour."""


def _value(text: str) -> Value:
    """A number where it is one; None for an empty cell."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text or None


def _number(value: Value) -> float | None:
    return None if value is None or isinstance(value, str) else value


def _loops(row: Row) -> int:
    """Loops of a setting: one where it does not say how many."""
    return int(_number(row.get("runs")) or 1)


def _distinct(rows: Iterable[Row], *names: str) -> list[Any]:
    """The values, or tuples of them, that there are: numbers in order, then words, then nothing."""
    found = {tuple(row[name] for name in names) for row in rows}
    ordered = sorted(found, key=lambda values: [_rank(value) for value in values])
    return [values[0] for values in ordered] if len(names) == 1 else ordered


def _rank(value: Value) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, value, ""
    return (2, 0.0, "") if value is None else (1, 0.0, value)


def _count(rows: Sequence[Row], name: str) -> int:
    """How many numbers a column has; 0 where one of its values is no number."""
    values = [value for value in _distinct(rows, name) if value is not None]
    return len(values) if all(isinstance(value, int | float) for value in values) else 0


def _one_of(name: str, value: str, known: Sequence[str], what: str) -> str:
    right = f"{what}: {', '.join(known) or 'there is none'}{meant(value, known)}"
    require(value in known, name, value, right)
    return value


def choose(rows: Sequence[Row], asked: Axes) -> Chosen:
    """What is drawn against what: as asked, else the numeric setting with most values.

    Raises:
        ValueError: If there is no such setting, column or generation; the message lists what
            there is.
    """
    told, header = _told_and_all(rows)
    measured = [name for name in header[len(told) + 2 :] if _count(rows, name)]
    measured = [name for name in measured if not name.endswith(("_stderr", "_closed_form"))]
    columns = [name for name in header if name != asked.x and _count(rows, name)]
    first = sorted(measured or ["rows"], key=lambda name: name not in FIRST)
    usual = max(first, key=lambda name: sum(row[name] is not None for row in rows))
    y = usual if asked.y is None else _one_of("y", asked.y, columns, "a column of numbers")
    rows = [row for row in rows if row[y] is not None]
    several = ["generation"] * (len(_distinct(rows, "generation")) > 1)
    varying = [name for name in told if name != y and len(_distinct(rows, name)) > 1]
    known = varying + several
    first = [name for name in varying if _count(rows, name) and name not in DERIVED]
    usual = max(
        first, key=lambda name: _count(rows, name), default=[*several, *varying, "generation"][0]
    )
    x = usual if asked.x is None else _one_of("x", asked.x, known, "a setting that varies")
    others = _apart(rows, varying, x)
    colour = next((one for one in others if len(_distinct(rows, one)) <= LINES), None)
    if asked.colour is not None:
        apart = [name for name in varying if name != x]
        colour = _one_of("colour", asked.colour, apart, "a setting that varies")
        count = len(_distinct(rows, colour))
        require(count <= LINES, "colour", colour, f"a setting of at most {LINES} values")
    others = _apart(rows, varying, x, *([] if colour is None else [colour]))
    return Chosen(x, y, _generation(rows, x, asked.generation), colour, others)


def _told_and_all(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The columns that describe a setting, and all."""
    header = list(rows[0])
    return header[: header.index("generation")], header


def _generation(rows: Sequence[Row], x: str, asked: str | None) -> str:
    if x == "generation":
        right = "left out, since it is what is drawn along the axis"
        require(asked is None, "generation", asked, right)
        return "every"
    known = ["last", *map(str, _distinct(rows, "generation"))]
    return "last" if asked is None else _one_of("generation", asked, known, "one of those there")


def _apart(rows: Sequence[Row], varying: Sequence[str], *drawn: str) -> tuple[str, ...]:
    """The settings that vary beside what is drawn, without seeds and what follows from others."""
    kept, found = [*drawn], list[str]()
    for name in sorted(varying, key=DERIVED.__contains__):
        more = [*kept, name]
        if name != "seed" and len(_distinct(rows, *more)) > len(_distinct(rows, *kept)):
            kept, found = more, [*found, name]
    return tuple(found)


def _drawn_rows(rows: Sequence[Row], chosen: Chosen) -> list[Row]:
    """The rows of the generation that is drawn."""
    if chosen.generation == "every":
        return [*rows]
    if chosen.generation != "last":
        return [row for row in rows if row["generation"] == int(chosen.generation)]
    told, _ = _told_and_all(rows)
    last = {tuple(row[name] for name in told): row for row in rows}  # generations are in order
    return [*last.values()]


def _is_known(row: Row, chosen: Chosen) -> bool:
    return row[chosen.x] is not None and row[chosen.y] is not None


def lines_of(rows: Sequence[Row], chosen: Chosen) -> Lines:
    """The points that are drawn."""
    found: dict[Any, dict[Value, dict[Value, list[Row]]]] = {}
    for row in _drawn_rows(rows, chosen):
        if not _is_known(row, chosen):
            continue
        place = tuple(row[name] for name in chosen.others)
        colour = None if chosen.colour is None else row[chosen.colour]
        own = found.setdefault(place, {}).setdefault(colour, {})
        own.setdefault(row[chosen.x], []).append(row)
    return {
        place: {
            colour: [_point(chosen.y, x, own[x]) for x in sorted(own, key=_rank)]
            for colour, own in sorted(colours.items(), key=lambda pair: _rank(pair[0]))
        }
        for place, colours in sorted(found.items(), key=lambda pair: [*map(_rank, pair[0])])
    }


def _point(y: str, x: Value, rows: Sequence[Row]) -> Point:
    """Mean over all loops of some settings; spreads within and between them add in squares.

    Where the standard error over several loops is not known, a setting counts as one.
    """
    parts = []
    for row in rows:
        value, error, runs = (_number(row.get(k)) for k in (y, f"{y}_stderr", "runs"))
        own = (1, 0.0) if error is None or runs is None else (int(runs), error)
        parts.append((value or 0.0, *own))
    units = sum(count for _, count, _ in parts)
    mean = math.fsum(value * count for value, count, _ in parts) / units
    half = None
    if units > 1:
        within = math.fsum(error**2 * count * (count - 1) for _, count, error in parts)
        between = math.fsum(count * (value - mean) ** 2 for value, count, _ in parts)
        half = t_half_width(math.sqrt((within + between) / (units - 1) / units), units, LEVEL / 2)
    loops = sum(_loops(row) for row in rows)
    known = (_number(row.get(f"{y}_closed_form")) for row in rows)
    exact = [value for value in known if value is not None]
    closed = math.fsum(exact) / len(exact) if len(exact) == len(rows) else None
    return Point(x, mean, half, loops, closed)


# --- figures -------------------------------------------------------------------------------------


def _told(name: str, value: Value) -> str:
    return f"{name} {'none' if value is None else value}"


def _short(text: str) -> str:
    """A word that fits below a figure."""
    return text if len(text) <= 2 * LETTERS else f"{text[:LETTERS]}…{text[1 - LETTERS :]}"


def _figure(
    lines: Mapping[Value, Sequence[Point]], chosen: Chosen, colours: Sequence[Value]
) -> "Figure":
    """The points of one figure, a line for each of its colours, closed forms dashed.

    Args:
        lines: Points by colour.
        chosen: What they are.
        colours: Those of all figures: each is drawn the same in all.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  (a run's page draws nothing)
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    from icl_stl.report.loops import SIZE  # noqa: PLC0415
    from icl_stl.style import MARKERS, PALETTE, literal, plain_log  # noqa: PLC0415

    words = {colour: _short("none" if colour is None else str(colour)) for colour in lines}
    columns = 1 if max(map(len, words.values())) > LETTERS else 2
    drawing = Figure(figsize=(SIZE[0], SIZE[1] + 0.2 * (len(lines) // columns)))
    ax = drawing.subplots()
    every = [point for points in lines.values() for point in points]
    names = sorted({point.x for point in every}, key=_rank)
    numeric = all(isinstance(name, int | float) for name in names)
    for colour, points in lines.items():
        k = colours.index(colour)
        at: list[Any] = [point.x if numeric else names.index(point.x) for point in points]
        half = [point.half or 0.0 for point in points]
        look = {"color": PALETTE[k], "marker": MARKERS[k], "markersize": 4.5, "linewidth": 1.2}
        label = "measured" if chosen.colour is None else literal(words[colour])
        means = [point.mean for point in points]
        ax.errorbar(at, means, half if any(half) else None, capsize=2.5, label=label, **look)
        exact = [math.nan if point.closed is None else point.closed for point in points]
        ax.plot(at, exact, "--", marker="_", color=PALETTE[k], linewidth=1.2)
    if any(point.closed is not None for point in every):
        ax.plot([], [], "--", color="0.35", label="closed form")
    if not numeric:
        ax.set_xticks(
            range(len(names)), [literal(_short(str(name))) for name in names], rotation=20
        )
    elif _spreads(names, 8):
        ax.set_xscale("log")
        plain_log(ax.xaxis)
    elif all(isinstance(name, int) for name in names):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if _spreads([point.mean - (point.half or 0.0) for point in every], 30):
        ax.set_yscale("log")
        plain_log(ax.yaxis)
    ax.set_xlabel(literal(chosen.x))
    ax.set_ylabel(literal(chosen.y))
    title = None if chosen.colour is None else literal(chosen.colour)
    drawing.legend(loc="outside lower center", ncols=columns, title=title)
    return drawing


def _spreads(values: Sequence[Any], ratio: float) -> bool:
    """Whether numbers are above 0 and so far apart that a logarithmic axis shows them better."""
    return bool(values) and min(values) > 0 and max(values) > ratio * min(values)


# --- the page ------------------------------------------------------------------------------------


def _numbers(lines: Lines, chosen: Chosen) -> str:
    """Every point that is drawn."""
    colour = [] if chosen.colour is None else [chosen.colour]
    columns = [*chosen.others, *colour, chosen.x, chosen.y, "±", "loops", "closed form"]
    rows: list[list[Any]] = [
        [*place, *([value] if colour else []), *point]
        for place, colours in lines.items()
        for value, points in colours.items()
        for point in points
    ]
    if all(row[-1] is None for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    cells = [[escaped(number(value)) for value in row] for row in rows[:ROWS]]
    more = f"; the first {ROWS} of {len(rows)}" if len(rows) > ROWS else ""
    caption = f"Means over loops (±: half of the 95 % interval){more}"
    return table(columns, cells, caption, counted=columns)


def _settings(rows: Sequence[Row]) -> str:
    """What every setting was set to."""
    values = {name: _distinct(rows, name) for name in _told_and_all(rows)[0]}
    return settings(
        {
            name: ", ".join("none" if one is None else str(one) for one in own[:LINES])
            + (f", … ({len(own)} values)" if len(own) > LINES else "")
            for name, own in values.items()
            if own != [None]
        },
        "Every value that was run",
    )


def _failed(folder: Path) -> tuple[int, str]:
    """How many settings failed, and why the first of them did."""
    path = folder / "failures.csv"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if len(lines) < 2:
        return 0, ""
    rows = read_rows(path, ("generation", "reason"))
    reasons = dict.fromkeys(row["reason"] for row in rows)
    return len(rows), "; ".join(islice(reasons, NAMED))


def _made_with(folder: Path) -> dict[str, Any]:
    """Versions and source of the first result that is whole: one folder is of one code."""
    for path in sorted((folder / "results").glob("*.json")):
        try:
            code = read_result(path).configuration["code"]
        except ValueError:
            continue
        more = {"source (SHA-256)": code["source"]} if "source" in code else {}
        return {**code.get("versions", {}), **more}
    return {}


def _again(folder: Path, chosen: Chosen) -> str:
    """The commands, and the grid where the folder has it."""
    options = [f"--x {chosen.x}", f"--y {chosen.y}"]
    options += [f"--generation {chosen.generation}"] if chosen.generation != "every" else []
    options += [] if chosen.colour is None else [f"--colour {chosen.colour}"]
    grids = sorted(path for path in folder.glob("grid.*") if path.suffix in (".toml", ".json"))
    name = grids[0].name if grids else "GRID"
    lines = [
        f"icl-stl sweep {name} --out runs/again",
        f"icl-stl report --results runs/again {' '.join(options)}",
    ]
    texts = [path.read_text(encoding="utf-8") for path in grids]
    shown = (
        f"<p>{escaped(path.name)}:</p>\n{commands([text])}"
        for path, text in zip(grids, texts, strict=True)
    )
    return "\n".join([commands(lines), *shown])


def _said(
    rows: Sequence[Row], lines: Lines, chosen: Chosen, folder: Path
) -> Iterable[tuple[str, str]]:
    """What was run and what is shown, in words."""
    first = [row for row in rows if row["generation"] == 0]
    loops = sum(map(_loops, first))
    yield "Run", f"{len(first)} settings, {loops} loops"
    count, reasons = _failed(folder)
    if count:
        yield "Failed", f"{count} settings, left out here (failures.csv): {reasons}"
    when = {"every": "every generation", "last": "the last generation of each setting"}
    at_generation = when.get(chosen.generation, f"generation {chosen.generation}")
    colour = "" if chosen.colour is None else f", a line for each value of {chosen.colour}"
    others = f", a figure for each {', '.join(chosen.others)}" if chosen.others else ""
    yield "Shown", f"{chosen.y} against {chosen.x}, {at_generation}{colour}{others}"
    drawn = _drawn_rows(rows, chosen)
    if left := sum(not _is_known(row, chosen) for row in drawn):
        yield "Not shown", f"{left} of {len(drawn)} rows, whose {chosen.x} or {chosen.y} is unknown"
    if len(lines) > FIGURES:
        yield "Left out", f"{len(lines) - FIGURES} figures: their numbers are in the table"


def page(folder: Path, asked: Axes = USUAL) -> str:
    """The page of the folder of a sweep.

    Raises:
        ValueError: If the table is damaged, has no row, or nothing of what was asked for.
    """
    from icl_stl.report.loops import pictures  # noqa: PLC0415

    cells = read_rows(folder / FILE, ("generation", "rows"))
    rows = [{name: _value(text) for name, text in row.items()} for row in cells]
    chosen = choose(rows, asked)
    lines = lines_of(rows, chosen)
    name = f"{chosen.y} against {chosen.x}".replace("_", " ")
    caption = (
        f"{name[0].upper()}{name[1:]}: means over loops with 95 % intervals"
        + ("" if chosen.colour is None else f", a line for each value of {chosen.colour}")
        + "."
    )
    colours = sorted({colour for own in lines.values() for colour in own}, key=_rank)
    draw: dict[str, Callable[[], Figure]] = {}
    for place, own in islice(lines.items(), FIGURES):
        key = ", ".join([name, *map(_told, chosen.others, place)])
        draw[key] = partial(_figure, own, chosen, colours)
    sections = {
        "title": escaped(f"Sweep of self-consuming loops: {name}"),
        "heading": "A sweep of self-consuming loops",
        "headline": escaped(f"{name[0].upper()}{name[1:]}."),
        "run": definitions(_said(rows, lines, chosen, folder)),
        "figures": pictures(draw, dict.fromkeys(draw, caption)),
        "numbers": _numbers(lines, chosen),
        "configuration": _settings(rows),
        "reproduce": _again(folder, chosen),
    }
    if made := _made_with(folder):
        sections["environment"] = environment(made.items())
    return filled(sections)
