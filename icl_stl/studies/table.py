"""Judged claims in words: verdicts, places, the table of claims for a terminal and for a page."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from icl_stl.studies.judging import WRITTEN

_COLOURS = {"holds": "green", "violated": "bold red", "inconclusive": "yellow", "finding": "cyan"}

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


KNOWN = (
    *("loop", "regime", "alpha", "generation", "prefix", "generator", "quantity"),
    *("kind", "family", "direction"),
)
"""Keys of a cell that tables know: where it is, what it is of."""


def own_keys(cell: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Keys of a cell beside those that every table knows: words and numbers by name."""
    return {
        key: value
        for key, value in cell.items()
        if key not in (*WRITTEN, *KNOWN) and isinstance(value, str | int | float)
    }


def place(cell: Mapping[str, Any], *, every: bool = False) -> str:
    """Where a cell was measured, in words; of a solvable loop also what was measured.

    Args:
        cell: The cell.
        every: Whether to name all of its keys: of a user's study nothing else is known.
    """
    regime = str(cell.get("regime", ""))
    share = cell.get("alpha") or 0  # a place between two sizes has none
    if 0 < share < 1 and not regime.startswith("accumulate"):  # there it shrinks by itself
        regime += f" {share:.3g}"
    parts = [str(cell["loop"]), regime] if "loop" in cell else [regime]
    if "generation" in cell and cell.get("regime") != "generation 0":
        parts.append(f"generation {cell['generation']:g}")
    if "prefix" in cell:
        parts.append(f"{cell['prefix']} labels")
    if "generator" in cell:
        parts.append(str(cell["generator"]))
    if every:
        parts += [
            f"{key} {value if isinstance(value, str) else format(value, '.4g')}"
            for key, value in own_keys(cell).items()
        ]
    words = ", ".join(filter(None, parts))
    quantity = str(cell.get("quantity", "")) if every or "loop" in cell else ""
    return ": ".join(filter(None, (words, quantity)))


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
    every = "study" in entry
    where = "" if cell is None else place(cell, every=every)
    numbers = ("-", "-", "-") if cell is None else _numbers(cell)
    verdict = claim_verdict(entry)
    verdict += f", {entry['replicates']} replicates" if entry["failed"] else ""
    if left := counted(filter(None, map(apart, entry["cells"]))):
        verdict += f" ({left})"
    return (entry["name"], where, *numbers, verdict, control_in_words(entry["negative_control"]))


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
