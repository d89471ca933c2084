"""What all figures share: the look, the results they are drawn from, pieces of axes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from icl_stl.config import LinearRegression
from icl_stl.intervals import t_half_width, t_test
from icl_stl.lab.results import Floats, LoopResult

STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
    "svg.hashsalt": "icl_stl",
}


class _Endless(tuple[str, ...]):
    """As many as are asked for: after the last comes the first again."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index % len(self) if isinstance(index, int) else index)


PALETTE = _Endless(
    ("#1845fb", "#ff5e02", "#c91f16", "#c849a9", "#adad7d", "#86c8dd", "#578dff", "#656364")
)
"""Petroff's eight colours, told apart with every kind of colour vision."""

MARKERS = _Endless(("o", "s", "^", "D", "v", "P", "X", "*", "h"))
"""A marker beside every colour, so that curves are told apart without it: one more than colours, so
that of the first 72 no two look the same."""

BARS = (
    "Bars are the claim's intervals of the mean over whole loops: Student's, each side at the "
    "level at which its cell was decided, 5 % where the whole claim holds."
)

Cell = Mapping[str, Any]
"""A judged cell, as `claims.json` has it."""


@dataclass(frozen=True)
class Stored:
    """What figures are drawn from: the loops of a run folder and its judged claims."""

    task: LinearRegression
    loops: Mapping[str, LoopResult]
    """Of the replicates that did not fail; a loop in which all failed is left out."""
    claims: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, int] = field(init=False)
    """How many replicates of a loop failed, where any did."""
    _numbers: dict[str, Any] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        bad = {name: {f.replicate for f in loop.failures} for name, loop in self.loops.items()}
        kept = {
            name: [r for r in range(len(loop.observations["diverged_at"])) if r not in bad[name]]
            for name, loop in self.loops.items()
        }
        left = {n: loop.replicates(kept[n]) for n, loop in self.loops.items() if kept[n]}
        object.__setattr__(self, "loops", left)
        object.__setattr__(self, "failed", {name: len(own) for name, own in bad.items() if own})


@dataclass(frozen=True)
class Drawing:
    """A figure and what to see in it."""

    draw: Callable[[Stored], Figure]
    caption: Callable[[Stored], str]
    needs_loops: bool = True
    needs_claim: str | None = None


class Look(NamedTuple):
    """How a curve is told from others."""

    colour: Any
    marker: str = "o"


def looks_of(loops: Mapping[str, LoopResult]) -> dict[str, Look]:
    """One look a regime: the same in every figure of these loops."""
    return {name: Look(PALETTE[k], MARKERS[k]) for k, name in enumerate(loops)}


def pale(colour: Any) -> tuple[float, ...]:
    """A light shade that is opaque: vector files show no hatch on a translucent one."""
    return tuple(1 - 0.45 * (1 - part) for part in mpl.colors.to_rgb(colour))


def literal(text: str) -> str:
    """Words as they are: a figure would read what is between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def name_of(result: LoopResult) -> str:
    """A regime in the words of a legend."""
    words = {"real-only": "real only", "replace": "replace (no real prompts)"}
    if result.label in words:
        return words[result.label]
    if result.regime.name == "augment":
        return f"real share α = {result.label.removeprefix('augment-')}"
    return literal(result.label.replace("-", " "))


def band(ax: Axes, x: Any, values: Floats, look: Look, label: str) -> None:
    """Mean over replicates `[R, X]` with its 95 % Student band; none where one is not finite."""
    mean = values.mean(0)
    line = {"color": look.colour, "marker": look.marker, "markersize": 3.5}
    ax.plot(x, mean, label=label, **line)
    if len(values) < 2:
        return
    half = np.array([t_half_width(t_test(v).stderr, v.size, 0.025) for v in values.T])
    ax.fill_between(x, mean - half, mean + half, color=look.colour, alpha=0.18, linewidth=0)


def generations(ax: Axes, result: LoopResult) -> np.ndarray:
    x = np.arange(result.generations + 1)
    ax.set_xlabel("generation")
    ax.set_xticks(x if len(x) < 12 else x[::2])
    return x


def replicates(stored: Stored) -> int:
    return int(next(iter(stored.loops.values())).observations["diverged_at"].shape[0])


def bands(stored: Stored) -> str:
    failed = ", ".join(f"{count} of {name}" for name, count in stored.failed.items())
    return (
        f"Points are means over {replicates(stored)} whole loops, bands 95 % Student intervals "
        f"(each point by itself).{f' Loops that failed are left out: {failed}.' if failed else ''}"
    )


def _numeric(value: Any) -> Any:
    """Numbers as NumPy has them, nan for none: what has no value has no ratio, no maximum either,
    and no arithmetic stops at it.
    """
    if isinstance(value, Mapping):
        return {key: _numeric(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_numeric(own) for own in value]
    return np.float64(np.nan if value is None else value) if _is_real(value) else value


def _is_real(value: Any) -> bool:
    return value is None or isinstance(value, float)


def _part(stored: Stored, claim: str, part: str) -> list[Cell]:
    key = f"{part} of {claim}"
    if key not in stored._numbers:
        stored._numbers[key] = _numeric(stored.claims.get(claim, {}).get(part, ()))
    return list(stored._numbers[key])


def cells_of(stored: Stored, claim: str) -> list[Cell]:
    """The judged cells of a claim; none if it was not judged."""
    return _part(stored, claim, "cells")


def constants_of(stored: Stored, claim: str) -> list[Cell]:
    """The constants of a claim."""
    return _part(stored, claim, "constants")


def column(cells: Sequence[Cell], key: str) -> Any:
    """One value of every cell, as numbers."""
    return np.array([cell[key] for cell in cells], float)


def grouped(cells: Sequence[Cell], *keys: str) -> dict[tuple[Any, ...], list[Cell]]:
    """Cells by their values of these keys, in the order in which they first appear."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[key] for key in keys), []).append(cell)
    return groups


def interval(cell: Cell, form: str = ".2f") -> str:
    """A measured mean and its interval in words."""
    if np.isnan(cell["measured"]):
        return "undecided"
    return f"{cell['measured']:{form}} [{cell['low']:{form}}, {cell['high']:{form}}]"


def numbers(values: Iterable[float]) -> Floats:
    """Those of the values that are numbers; a single nan if there are none."""
    found = np.array([value for value in values if np.isfinite(value)], float)
    return found if found.size else np.array([np.nan])


def points(
    ax: Axes, cells: Sequence[Cell], x: Any, colour: Any, label: str, marker: str = "o"
) -> None:
    """Measured means of cells with the intervals that the claim gives them."""
    measured, low, high = (
        np.array([c[key] for c in cells], float) for key in ("measured", "low", "high")
    )
    ax.errorbar(
        x,
        measured,
        yerr=np.maximum([measured - low, high - measured], 0),
        fmt=marker or "none",
        color=colour,
        ecolor=colour,
        capsize=2.5,
        markersize=5,
        label=label or None,
    )


def plain_log(axis: Any, subs: Sequence[float] = (1, 2, 5)) -> None:
    """A logarithmic axis whose ticks are written out."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())
