"""What all figures share: the look, the results they are drawn from, pieces of axes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from icl_stl.config import LinearRegression
from icl_stl.intervals import t_half_width, t_test
from icl_stl.results import Floats, LoopResult

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

PALETTE = [
    to_rgb(colour)
    for colour in (
        "#1845fb",
        "#ff5e02",
        "#c91f16",
        "#c849a9",
        "#adad7d",
        "#86c8dd",
        "#578dff",
        "#656364",
    )
]
"""Eight colours told apart by readers of any colour vision, as Matplotlib's `petroff8`, which
Matplotlib 3.10.0 does not have yet: Petroff, arXiv:2107.02270."""


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""A marker beside every colour, so that curves are told apart without it."""

BARS = (
    "Bars are the claim's intervals of the mean over whole loops: Student's, simultaneous over its "
    "cells (each side at the level of Holm's procedure)."
)

Cell = Mapping[str, Any]
"""A judged cell, as `claims.json` has it."""


@dataclass(frozen=True)
class Stored:
    """What figures are drawn from: the loops of a run folder and its judged claims."""

    task: LinearRegression
    loops: Mapping[str, LoopResult]
    claims: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Drawing:
    """A figure and what to see in it."""

    draw: Callable[[Stored], Figure]
    caption: Callable[[Stored], str]
    needs_loops: bool = True
    needs_claim: str | None = None


def colours_of(loops: Mapping[str, LoopResult]) -> dict[str, Any]:
    """One colour a regime: the same in every figure of these loops."""
    return dict(zip(loops, PALETTE, strict=False))


def name_of(result: LoopResult) -> str:
    words = {"real-only": "real only", "replace": "replace (no real prompts)"}
    if result.regime.name in words:
        return words[result.regime.name]
    if result.regime.name == "augment":
        return f"real share α = {result.label.removeprefix('augment-')}"
    return result.label.replace("-", " ")


def band(ax: Axes, x: Any, values: Floats, colour: Any, label: str, **line: Any) -> None:
    """Mean over replicates `[R, X]` with its 95 % Student band."""
    mean = values.mean(0)
    ax.plot(x, mean, color=colour, label=label, marker="o", markersize=3.5, **line)
    if len(values) < 2:
        return
    half = np.array([t_half_width(t_test(v).stderr, v.size, 0.025) for v in values.T])
    ax.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)


def generations(ax: Axes, result: LoopResult) -> np.ndarray:
    x = np.arange(result.generations + 1)
    ax.set_xlabel("generation")
    ax.set_xticks(x if len(x) < 12 else x[::2])
    return x


def replicates(stored: Stored) -> int:
    return int(next(iter(stored.loops.values())).observations["diverged_at"].shape[0])


def bands(stored: Stored) -> str:
    return (
        f"Points are means over {replicates(stored)} whole loops, bands 95 % Student intervals "
        "(each point by itself)."
    )


def cells_of(stored: Stored, claim: str) -> list[Cell]:
    """The judged cells of a claim."""
    return list(stored.claims[claim]["cells"])


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
    if cell["measured"] is None:
        return "undecided"
    return f"{cell['measured']:{form}} [{cell['low']:{form}}, {cell['high']:{form}}]"


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
