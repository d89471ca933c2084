"""What figures of studies share: the results they are drawn from, pieces of axes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getdoc
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icl_stl.intervals import t_half_width, t_test
from icl_stl.lab.results import Floats, LoopResult
from icl_stl.laws import LinearRegression
from icl_stl.studies.table import is_equality, own_keys, place
from icl_stl.style import MARKERS, PALETTE, literal

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
    """A figure; what to see in it, in at most 40 words, is what its function is documented by.

    One that needs neither loops nor a claim is a sketch of the transformer's loop, drawn beside it.
    """

    draw: Callable[[Stored], Figure]
    needs_loops: bool = True
    needs_claim: str | None = None

    @property
    def caption(self) -> str:
        """What to see in it."""
        return " ".join((getdoc(self.draw) or "").split())


def of_cells(draw: Mapping[str, Callable[[Stored], Figure]]) -> dict[str, Drawing]:
    """Figures of claims, drawn from their cells alone, by the claims' names."""
    return {name: Drawing(one, needs_loops=False, needs_claim=name) for name, one in draw.items()}


class Look(NamedTuple):
    """How a curve is told from others."""

    colour: Any
    marker: str = "o"


def looks_of(loops: Mapping[str, LoopResult]) -> dict[str, Look]:
    """One look a regime: the same in every figure of these loops."""
    return {name: Look(PALETTE[k], MARKERS[k]) for k, name in enumerate(loops)}


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
    """An axis of generations; their numbers."""
    x = np.arange(result.generations + 1)
    ax.set_xlabel("generation")
    ax.set_xticks(x if len(x) < 12 else x[:: max(2, -(-len(x) // 11))])
    return x


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


def chosen(stored: Stored, claim: str, kind: str, **keys: Any) -> list[Cell]:
    """The cells of a claim that are of a kind and have these values, in order."""
    wanted = {"kind": kind, **keys}
    found = cells_of(stored, claim)
    return [cell for cell in found if all(cell.get(key) == v for key, v in wanted.items())]


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


AXES = {"generation": "generation", "n": "real rows n", "samples": "real rows n", "lam": "λ"}
"""Keys along which cells are shown, the first that varies, and what they are; then any number."""


def by_default(claim: str) -> Drawing:
    """What was measured, with its interval, beside what the claim says of it."""

    def draw(stored: Stored) -> Figure:
        """Means measured, with the claim's intervals, beside the bound (dashed) or what they must
        equal (dotted).
        """
        return _draw_default(claim, cells_of(stored, claim))

    return Drawing(draw, needs_loops=False, needs_claim=claim)


def _axis(cells: Sequence[Cell]) -> str | None:
    """The key by whose value cells are shown; None if no number varies."""
    keys = dict.fromkeys([*AXES, *(key for cell in cells for key in own_keys(cell))])
    for key in keys:
        values = [cell.get(key) for cell in cells]
        if all(isinstance(v, int | float) for v in values) and len({*values}) > 1:
            return key
    return None


def _default_panels(cells: Sequence[Cell], axis: str | None) -> dict[str, dict[str, list[Cell]]]:
    """Cells by what was measured, then by where, apart from the axis."""
    found: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        rest = {key: value for key, value in cell.items() if key not in (axis, "quantity")}
        panel = found.setdefault(str(cell.get("quantity", "")), {})
        panel.setdefault(place(rest, every=True), []).append(cell)
    return found


def _draw_default(claim: str, cells: Sequence[Cell]) -> Figure:
    axis = _axis(cells)
    panels = _default_panels(cells, axis)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(5.5, 3.8 * columns), 3.2 * rows + 1))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    for ax, (quantity, groups) in zip(axes, panels.items(), strict=False):
        for name, own in groups.items():
            k = names.index(name)
            at = column(own, axis) if axis else np.full(len(own), k)
            shown, x = [own[j] for j in np.argsort(at, kind="stable")], np.sort(at)
            points(ax, shown, x, PALETTE[k], literal(name) or "measured", MARKERS[k])
            line = ":" if all(map(is_equality, own)) else "--"
            ax.plot(x, column(shown, "bound"), line, color=PALETTE[k], marker="_", markersize=12)
        ax.set_title(literal(quantity))
        ax.set_ylabel("measured")
        ax.set_xlabel(AXES.get(axis, axis) if axis else "")
        if axis is None:
            ax.set_xticks([])
        elif axis == "generation":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    figure.suptitle(claim.replace("_", " "))
    drawn = {line.get_linestyle() for ax in axes for line in ax.get_lines()}
    handles: dict[str, Any] = {}
    for line, words in (("--", "bound"), (":", "what it must equal")):
        if line in drawn:
            (handles[words],) = axes[0].plot([], [], line, color="0.35")
    for ax in axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=3)
    return figure
