"""How often verdicts are false, and how often they are given, where the truth is planted.

A claim is simulated as `judging.judge` judges it: margins of all cells in every trial, their
p-values by `intervals.mean_tests`, in families, and the rule of `judging.verdicts`. Kinds of cells
that need more than p-values of means go through `judging.verdicts` itself. A false `holds` is that
of a claim that is wrong in one cell, where the mean margin is exactly 0 and everywhere else 5
standard deviations, or wrong in all; a false `violated` that of a claim that is true, with all
means at 0. Laws, of mean 0 and standard deviation 1, are skewed to either side.

    python paper_checks/levels.py    # writes levels.json and LEVELS.md beside itself; 5 minutes
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from icl_stl.intervals import LEVEL, mean_tests
from icl_stl.studies import judging

Floats = NDArray[np.float64]
Row = dict[str, Any]

HERE = Path(__file__).parent
TRIALS = 3_000
"""Of the long table: a share of 0.05 then has a standard error of 0.004."""

ALLOWED = 4
"""Standard errors by which a simulated level may exceed the nominal one: thousands are compared."""

AT_ONCE = 1_500_000
"""Margins drawn at once."""


class Law(NamedTuple):
    """A law of margins, of mean 0 and standard deviation 1."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int, int], float], Floats]
    """[R, trials, K] with this correlation between the cells of a trial."""


def _normal(rng: np.random.Generator, shape: tuple[int, int, int], correlation: float) -> Floats:
    shared = rng.standard_normal((*shape[:2], 1))
    own = rng.standard_normal(shape)
    return np.asarray(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def normal() -> Law:
    """Normal margins."""
    return Law("normal", _normal)


def gamma(skew: float) -> Law:
    """Gamma margins of this skew: sums of a part that cells share and one of their own."""
    size = 4 / skew**2

    def draw(rng: np.random.Generator, shape: tuple[int, int, int], correlation: float) -> Floats:
        values = rng.gamma(size * (1 - correlation), size=shape)
        if correlation:
            values += rng.gamma(size * correlation, size=(*shape[:2], 1))
        return np.asarray(np.sign(skew) * (values - size) / np.sqrt(size))

    kind = "exponential" if abs(skew) == 2 else "gamma"
    return Law(f"{kind}, skew {skew:+g}", draw)


def rare(chance: float) -> Law:
    """Margins of two values: an event that is bad, or good for a negative chance, and none."""
    p = abs(chance)

    def draw(rng: np.random.Generator, shape: tuple[int, int, int], correlation: float) -> Floats:
        events = _normal(rng, shape, correlation) < stats.norm.ppf(p)
        return np.asarray(np.sign(chance) * (p - events) / np.sqrt(p * (1 - p)))

    return Law(f"{'bad' if chance > 0 else 'good'} event of chance {p:g}", draw)


def hidden(chance: float, size: float) -> Law:
    """Normal noise, and a bad event of this size that is rare: mean 0."""

    def draw(rng: np.random.Generator, shape: tuple[int, int, int], correlation: float) -> Floats:
        noise = _normal(rng, shape, correlation)
        return np.asarray(noise + size * (chance - (rng.random(shape) < chance)))

    return Law(f"noise of sd 1, and -{size:g} with chance {chance:g}", draw)


SMOOTH = (normal(), *(gamma(sign * skew) for skew in (0.4, 0.8, 2.0) for sign in (1, -1)))
RARE = tuple(rare(sign * chance) for chance in (0.02, 0.05, 0.1, 0.2, 0.3) for sign in (1, -1))


class Shape(NamedTuple):
    """Cells of a claim."""

    cells: int
    families: int = 1
    """Of equally many cells each; those of different families are independent."""
    correlation: float = 0.0
    """Between cells of one family."""


SHAPES = (
    *(Shape(cells) for cells in (1, 10, 30)),
    *(Shape(30, 1, 0.9), Shape(30, 6, 0.9), Shape(30, 30)),
)
MORE = (Shape(100), Shape(30, 1, 0.5))
"""Simulated for 6 and 12 loops."""
POWER = ("holds", "violated, one wrong", "violated, all wrong")
POWERS = (
    *(Shape(30, 1, correlation) for correlation in (0.0, 0.5, 0.9)),
    *(Shape(30, 6, 0.9), Shape(1), Shape(100)),
)


def drawn(
    rng: np.random.Generator, law: Law, loops: int, shape: Shape, trials: int
) -> Iterable[Floats]:
    """Margins `[R, trials, K]`, in pieces."""
    piece = max(1, min(trials, AT_ONCE // (loops * shape.cells)))
    for start in range(0, trials, piece):
        size = (loops, min(piece, trials - start), shape.cells // shape.families)
        own = [law.draw(rng, size, shape.correlation) for _ in range(shape.families)]
        yield np.concatenate(own, axis=2)


class Judged(NamedTuple):
    """Of every trial, whether its claim holds or is violated, and what decides each cell."""

    holds: NDArray[np.bool_]
    violated: NDArray[np.bool_]
    by: NDArray[np.str_]


def judged(margins: Floats, families: int = 1, *, against: bool = True) -> Judged:
    """Judge one claim for each trial, of cells that are positive: `[R, trials, K]`.

    Where only `holds` is asked for what speaks against it need not be: no claim has both.
    """
    loops, trials, cells = margins.shape
    families_of = np.arange(trials)[:, None] * families + np.arange(cells) // (cells // families)
    size, zero = np.abs(margins).max(0).ravel(), np.zeros(trials * cells)
    tests = mean_tests(margins.reshape(loops, -1), size, families_of.ravel())
    p_for, by = tests.against(zero)
    p_against = tests.against(zero, sign=-1)[0] if against else np.ones(trials * cells)
    violated = p_against.reshape(trials, cells).min(1) <= LEVEL / cells
    holds = p_for.reshape(trials, cells).max(1) <= LEVEL
    return Judged(holds & ~violated, violated, by.reshape(trials, cells))


def by_judging(margins: Floats, families: int = 1, **known: Any) -> str:
    """The verdict of one claim by the package itself: margins `[R, K]`."""
    size = margins.shape[1] // families
    cells = [
        judging.Cell(own, own, 0.0, {"family": k // size}, **known)
        for k, own in enumerate(margins.T)
    ]
    return judging.overall(judging.verdicts(cells).verdicts)


def shares(names: Iterable[str], found: list[tuple[NDArray[np.bool_], ...]]) -> Row:
    """Of all pieces of trials, how often each that is named was found."""
    parts = (np.concatenate(own).mean() for own in zip(*found, strict=True))
    return dict(zip(names, map(float, parts), strict=True))


def levels(law: Law, loops: int, shape: Shape, trials: int, seed: int) -> Row:
    """Shares of false verdicts, and of trials in which the cell that is wrong has a test."""
    rng = np.random.default_rng(seed)
    found = []
    for margins in drawn(rng, law, loops, shape, trials):
        everywhere = judged(margins, shape.families)
        margins[:, :, 1:] += 5
        one = judged(margins, shape.families, against=False)
        found.append((one.holds, everywhere.holds, everywhere.violated, one.by[:, 0] != "none"))
    named = shares(("holds, one wrong", "holds, all wrong", "violated", "tested"), found)
    return {"law": law.name, "loops": loops, **shape._asdict(), **named}


def power(loops: int, shape: Shape, sds: float, trials: int, seed: int) -> Row:
    """How often a true claim holds, and a wrong one is violated, with normal margins."""
    rng = np.random.default_rng(seed)
    found = []
    for margins in drawn(rng, normal(), loops, shape, trials):
        right = judged(margins + sds, shape.families, against=False)
        one = margins + 5
        one[:, :, 0] -= 5 + sds
        wrong = judged(one, shape.families)
        found.append((right.holds, wrong.violated, judged(margins - sds, shape.families).violated))
    return {"margin": sds, "loops": loops, **shape._asdict(), **shares(POWER, found)}


# --- cells of other kinds ------------------------------------------------------------------------


def kinds(trials: int) -> Iterable[Row]:
    """False verdicts by the package itself: of equality, and of controls."""
    laws = (normal(), gamma(2.0), gamma(-2.0))
    shape = Shape(3)
    for loops in (6, 12):
        for law in laws:
            yield _kind("equal", law, loops, shape, trials, equality)
            yield _kind("control", law, loops, shape, trials, controls)


Kind = Callable[[Floats], tuple[bool, bool]]
"""Whether a claim with these margins `[R, K]`, of mean 0, falsely holds, and is violated."""


def equality(margins: Floats) -> tuple[bool, bool]:
    """Of differences whose mean is exactly the tolerance."""
    one = margins + 5 * (np.arange(margins.shape[1]) == 0)
    equal: Row = {"test": "equal", "tolerance": 5.0}
    return by_judging(one, **equal) == "holds", by_judging(margins + 5, **equal) == "violated"


def controls(margins: Floats) -> tuple[bool, bool]:
    """Of a control that is right in one of two families, and wrong in the other."""
    cells = [
        judging.Cell(own - 5 * second, own, 0.0, {"family": second})
        for second in (False, True)
        for own in margins.T
    ]
    return False, all(one.rejected for one in judging.rejected("simulated", cells))


def _kind(name: str, law: Law, loops: int, shape: Shape, trials: int, false: Kind) -> Row:
    rng = np.random.default_rng([loops, *map(ord, name + law.name)])
    margins = law.draw(rng, (loops, trials, shape.cells), 0.0)
    shares = np.mean([false(margins[:, k]) for k in range(trials)], axis=0)
    row = {"kind": name, "law": law.name, "loops": loops, "cells": shape.cells}
    return {**row, "holds": float(shares[0]), "violated": float(shares[1])}


# --- what no test sees ---------------------------------------------------------------------------


def unseen(trials: int) -> Iterable[Row]:
    """False `holds` where what is assumed of margins does not hold."""
    rng = np.random.default_rng(17)

    def row(what: str, loops: int, margins: Floats) -> Row:
        holds = float(judged(margins, against=False).holds.mean())
        return {"what": what, "loops": loops, "holds": holds}

    for loops in (6, 12, 20, 40):
        for law in (hidden(0.02, 50.0), hidden(0.05, 20.0)):
            yield row(law.name, loops, law.draw(rng, (loops, trials, 1), 0.0))
    for loops in (6, 12, 20, 40):
        for skew in (-0.8, -2.0):
            margins = 5 + _normal(rng, (loops, trials, 30), 0.0)
            margins[:, :, :1] = gamma(skew).draw(rng, (loops, trials, 1), 0.0)
            what = f"one cell of skew {skew:+g} in a family of 30, the others normal"
            yield row(what, loops, margins)


# --- the table -----------------------------------------------------------------------------------


def settings() -> Iterable[tuple[Law, int, Shape]]:
    """Laws, loops and shapes of the long table; below 6 loops nothing is tested."""
    for law in (*SMOOTH, *RARE):
        own = SHAPES if law in SMOOTH else (Shape(1), Shape(30), Shape(30, 1, 0.9))
        for loops in (3, 4):
            yield law, loops, Shape(1)
        for loops in (6, 9, 12, 20, *((40, 100) if law in RARE else ())):
            more = MORE if loops in (6, 12) and law in SMOOTH else ()
            yield from (
                (law, loops, shape) for shape in (*(own if loops < 100 else own[:1]), *more)
            )


def table(trials: int = TRIALS) -> dict[str, Any]:
    """All that `LEVELS.md` shows."""
    return {
        "trials": trials,
        "levels": [levels(*setting, trials, seed) for seed, setting in enumerate(settings())],
        "power": [
            power(loops, shape, sds, trials, 10_000 + loops)
            for sds, loops in ((1.0, 12), (1.0, 20), (2.0, 6), (2.0, 9), (2.0, 12), (2.0, 20))
            for shape in POWERS
        ],
        "kinds": list(kinds(trials // 4)),
        "kinds_trials": trials // 4,
        "unseen": list(unseen(trials)),
    }


def most(trials: int, errors: float = ALLOWED) -> float:
    """The nominal level and so many standard errors of a share in so many trials."""
    return float(LEVEL + errors * np.sqrt(LEVEL * (1 - LEVEL) / trials))


FALSE = ("holds, one wrong", "holds, all wrong", "violated")
FALSE_KINDS = ("holds", "violated")


def above(found: dict[str, Any], errors: float) -> list[Row]:
    """Simulated levels that exceed the nominal one by more than so many standard errors."""
    several = [(row, name, found["trials"]) for row in found["levels"] for name in FALSE]
    several += [
        (row, name, found["kinds_trials"]) for row in found["kinds"] for name in FALSE_KINDS
    ]
    return [
        {**row, "false": name} for row, name, trials in several if row[name] > most(trials, errors)
    ]


def _grid(title: str, rows: dict[str, dict[int, list[Row]]], columns: Iterable[int]) -> str:
    """Largest shares, `holds / violated`, a row for each name and a column for each number."""
    lines = [[title, *(f"{loops} loops" for loops in columns)]]
    for name, own in rows.items():
        line = [name]
        for loops in columns:
            cells = own.get(loops, [])
            tested = any(row["tested"] > 0 for row in cells)
            pair = (
                max((max(row[name] for name in names) for row in cells), default=0.0)
                for names in (FALSE[:2], FALSE[2:])
            )
            line.append(" / ".join(f"{share:.3f}" for share in pair) if tested else "-")
        lines.append(line)
    return _table(lines)


def _table(lines: list[list[str]]) -> str:
    """The first line is the header."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def _named(row: Row) -> str:
    """The shape of a row in words."""
    kinds = f", {row['families']} families" if row["families"] > 1 else ""
    tied = f", correlation {row['correlation']:g}" if row["correlation"] else ""
    return f"{row['cells']} cell{'s' if row['cells'] > 1 else ''}{kinds}{tied}"


def _by(rows: Iterable[Row], name: Callable[[Row], str]) -> dict[str, dict[int, list[Row]]]:
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        found.setdefault(name(row), {}).setdefault(row["loops"], []).append(row)
    return found


def page(found: dict[str, Any]) -> str:
    """`LEVELS.md`."""
    rows = found["levels"]
    loops = sorted({row["loops"] for row in rows})
    largest = max(row[name] for row in rows for name in FALSE)
    count = len(FALSE) * len(rows) + 2 * len(found["kinds"])
    powers = [["margin, sd", "loops", "cells", "holds", "violated, one wrong", "all wrong"]]
    for row in found["power"]:
        figures = [f"{row[name]:.2f}" for name in POWER]
        powers.append([f"{row['margin']:g}", str(row["loops"]), _named(row), *figures])
    kinds_of = [["cells", "laws", "false holds", "false violated"]]
    for kind, words in KINDS.items():
        own = [row for row in found["kinds"] if row["kind"] == kind]
        worst = [f"{max(row[name] for row in own):.3f}" for name in FALSE_KINDS]
        worst[0] = "-" if kind == "control" else worst[0]
        kinds_of.append([words, str(len({row["law"] for row in own})), *worst])
    whats = list(dict.fromkeys(row["what"] for row in found["unseen"]))
    own_loops = sorted({row["loops"] for row in found["unseen"]})
    share = {(row["what"], row["loops"]): row["holds"] for row in found["unseen"]}
    unseen_rows = [["margins", *(f"{n} loops" for n in own_loops)]]
    unseen_rows += [[what, *(f"{share[what, n]:.3f}" for n in own_loops)] for what in whats]
    return PAGE.format(
        trials=found["trials"],
        error=float(np.sqrt(LEVEL * (1 - LEVEL) / found["trials"])),
        count=count,
        allowed=ALLOWED,
        above=len(above(found, ALLOWED)),
        above_3=len(above(found, 3)),
        most=most(found["trials"]),
        largest=largest,
        by_law=_grid("law of the margins", _by(rows, lambda row: str(row["law"])), loops),
        by_shape=_grid("cells", _by(rows, _named), loops),
        powers=_table(powers),
        kinds=_table(kinds_of),
        kinds_trials=found["kinds_trials"],
        unseen=_table(unseen_rows),
    )


KINDS = {
    "equal": "equal within a tolerance, the mean at the tolerance",
    "control": "a control that is right in one family of two: rejected",
}

PAGE = """# Levels and power of verdicts

How often the judge is wrong where the truth is planted, and how often it decides: made by
`python paper_checks/levels.py`, checked in short by `paper_checks/check_judging.py`.

A claim holds if all its cells hold, and is violated if one is; each may happen falsely with a
chance of at most 0.05. A false `holds` is that of a claim that is wrong in one cell, whose mean
margin is exactly 0 while all others are 5 standard deviations, or wrong in all; a false `violated`
that of a claim that is true with all mean margins at 0. Skew -0.8 is adverse to `holds`, +0.8 to
`violated`. {trials} trials of every setting: a share of 0.05 has a standard error of {error:.4f}.
Said beforehand: a level may exceed 0.05 by {allowed} of them, {most:.3f}. Of {count} shares
in settings that meet the assumptions {above} do; {above_3} exceed it by 3. The largest is
{largest:.3f}. Where they are not met, as with rare events behind noise, verdicts are false far more
often, and nothing can be done: see the last table. The events of the first table have no noise
about them: where none was seen, margins have no spread and decide nothing.

## False verdicts

`holds / violated`, the largest share over all numbers of cells, families and correlations. -: not
tested: with so few loops no mean is decided.

{by_law}

The same, the largest share over all laws. Cells are of one family unless it is said, those of
different families independent.

{by_shape}

Cells of other kinds, judged by `judging.verdicts` and `judging.rejected`; {kinds_trials} trials
each, the largest share over laws, 6 and 12 loops.

{kinds}

## Power

Normal margins. `holds`: all means are the margin above 0. `violated`: one is as far below 0 and the
others 5 standard deviations above, or all are below.

{powers}

Correlated cells of 6 loops are decided less often: their skews have the errors of one cell, and
where the mean of these is large, Student may not decide.

## What no test sees

Without an assumption on the law of margins no test of a mean has any power beyond its level
(Bahadur and Savage 1956). These are the assumptions made, and shares of false `holds` where they
do not hold: nothing in the loops that were run tells of an event that has not happened, and the
skew of one cell is lost in the mean over its family.

{unseen}

- Margins have a law near the normal one, corrected for its skew, or a log-concave density. A
  rare event hidden behind noise has neither.
- Cells of one family (regime, share, quantity) have margins of one shape.
- Replicates are independent.
- Where a claim does not hold, a single cell keeps `holds` if Holm decides for it, or if all cells
  are decided for at 5 %: the last step of Simes' test. Of several cells that are wrong, the chance
  that any is said to hold is at most 0.05 if their p-values are independent or positively dependent
  (Simes 1986, Sarkar 1998), in any case at most 0.1; of one, at most 0.05.
"""


def main() -> None:
    """Simulate all and write both files."""
    found = table()
    text = json.dumps(found, indent=None).replace("}, {", "},\n{")
    (HERE / "levels.json").write_text(text + "\n", encoding="utf-8")
    (HERE / "LEVELS.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
