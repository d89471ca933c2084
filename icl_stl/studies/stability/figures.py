"""Figures of recursive stability, drawn from the claims' cells alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icl_stl.studies.drawing import (
    Cell,
    Stored,
    cells_of,
    column,
    grouped,
    interval,
    numbers,
    of_cells,
    points,
)
from icl_stl.style import MARKERS, PALETTE, plain_log


def _of(stored: Stored, claim: str, kind: str, **keys: Any) -> list[Cell]:
    """Cells of a kind, with these values of other keys."""
    wanted = {"kind": kind, **keys}
    return [
        cell
        for cell in cells_of(stored, claim)
        if all(cell.get(key) == value for key, value in wanted.items())
    ]


def _attained(ax: Axes, stored: Stored) -> None:
    judged = _of(stored, "recursive_stability", "attained")
    common = _of(stored, "recursive_stability", "common tv")
    for k, ((words,), cells) in enumerate(grouped(judged, "family").items()):
        whole = next(c for c in cells if "curve" in c)
        label = f"{words}, α = {whole['alpha']:g}".replace("kappa", "κ")
        ax.plot(range(len(whole["curve"])), whole["theory"], "k--", linewidth=1.1, zorder=4)
        points(ax, cells, column(cells, "generation"), PALETTE[k], label, MARKERS[k])
    for cell in common:
        x = range(len(cell["curve"]))
        ax.plot(x, cell["curve"], ":", color=PALETTE[-1], marker="x", label="common random numbers")
    ax.plot([], [], "k--", linewidth=1.1, label="recursion")
    ax.set_ylabel("n times total variation")
    ax.set_title("bits (κ) and symbols")
    ax.legend(fontsize=8)


def _contracted(ax: Axes, stored: Stored) -> None:
    cells = _of(stored, "recursive_stability", "contraction")
    whole = next(c for c in cells if "curve" in c)
    points(ax, cells, column(cells, "generation"), PALETTE[0], "measured, mean over pairs")
    x = range(len(whole["curve"]))
    ax.plot(x, whole["theory"], "k--", linewidth=1.1, label="bound, mean over pairs")
    worst = numbers(c["worst"] for c in cells).max()
    ax.set_title(f"linear attention; largest measured/bound {worst:.2f}")
    ax.set_ylabel("n times the distance of predictions")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8, loc="lower right")


def _transformer(ax: Axes, stored: Stored) -> None:
    """At the n at which there are most shares."""
    own = grouped(_of(stored, "recursive_stability", "predictions"), "n")
    (n,), cells = max(own.items(), key=lambda one: len(one[1]))
    for k, ((alpha,), some) in enumerate(grouped(cells, "alpha").items()):
        x = column(some, "generation")
        points(ax, some, x + 0.06 * (k - 1), PALETTE[k], _share(alpha), MARKERS[k])
        ax.plot(x, column(some, "bound"), "--", color=PALETTE[k], linewidth=1.1)
    ax.plot([], [], "k--", linewidth=1.1, label="recursion, Ω and κ measured")
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"transformer, n = {n} (a finding)")
    ax.set_ylabel("distance of predictions, units of a label")
    ax.legend(fontsize=8)


def _share(alpha: float) -> str:
    return f"α = {alpha:g}" if alpha else "no real prompts"


def _draw_recursive_stability(stored: Stored) -> Figure:
    """What one replaced real row moves. Left: loops that attain the recursion; middle: linear
    attention below its bound; right: transformers beside the recursion, its constants measured at
    generation 0 and without real prompts. Bars: 95 %.
    """
    figure = Figure(figsize=(14, 4.2))
    axes = figure.subplots(1, 3)
    for ax, draw in zip(axes, (_attained, _contracted, _transformer), strict=True):
        draw(ax, stored)
        ax.set_xlabel("generation")
    return figure


def _guide(ax: Axes, x: Any, start: float) -> None:
    x = np.array(x, float)
    ax.plot(x, start * x[0] / x, "k--", linewidth=1.1, label="slope -1")


def _draw_stability_rate(stored: Stored) -> Figure:
    """How one real row's influence falls with n (dashed: slope -1) and changes with the generation
    (dashed: 0). Transformers, trained with equally many steps at every n, are a finding; b and κ
    are of one fit. Bars: 95 %.
    """
    figure = Figure(figsize=(15, 4.8))
    axes = figure.subplots(1, 3)
    in_n = _of(stored, "stability_rate", "in n")
    solvable = [c for c in in_n if c["loop"] != "transformer"]
    for k, cell in enumerate(solvable):
        label = f"{cell['of']}: {interval(cell)}".replace("kappa", "κ")
        axes[0].plot(cell["n"], cell["curve"], color=PALETTE[k], marker=MARKERS[k], label=label)
    axes[0].set_title("solvable loops, generation 10")
    axes[0].set_ylabel("total variation, or distance of parameters")
    _transformer_in_n(axes[1], [c for c in in_n if c["loop"] == "transformer"])
    for ax, shown in zip(axes, (solvable, in_n[len(solvable) :]), strict=False):
        if shown:
            _guide(ax, shown[0]["n"], shown[0]["curve"][0])
        ax.set_xlabel("n, real rows")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.legend(fontsize=7, loc="lower left")
        low, high = ax.get_ylim()
        if 0 < low < high:
            ax.set_ylim(low / (high / low) ** 0.6, high)  # room for the legend
        for axis in (ax.xaxis, ax.yaxis):
            plain_log(axis)
    _draw_in_generations(axes[2], _of(stored, "stability_rate", "in i"))
    return figure


LARGEST = {"loss_max": "largest change of the loss, b/n", "tv": "largest total variation, κ/n"}
"""Quantities whose largest change at generation 0 gives a constant."""


def _transformer_in_n(ax: Axes, cells: Sequence[Cell]) -> None:
    moved = [c for c in cells if c["of"] == "predictions"]
    first = [c for c in moved if not c["generation"]][:1]
    later = [c for c in moved if c["generation"]]
    for k, cell in enumerate((*first, *later)):
        where = f"generation {cell['generation']}"
        where += f", {_share(cell['alpha'])}" if cell["generation"] else ""
        label = f"{where}: {interval(cell)}"
        style: Any = {"marker": MARKERS[k], "capsize": 2.5, "color": PALETTE[k], "label": label}
        ax.errorbar(cell["n"], cell["curve"], yerr=np.array(cell["widths"], float), **style)
    for k, (kind, words) in enumerate(LARGEST.items()):
        for cell in [c for c in cells if c["of"] == kind and not c["generation"]][:1]:
            colour, marker = PALETTE[k + 4], MARKERS[k + 4]
            ax.plot(cell["n"], cell["most"], ":", color=colour, marker=marker, label=words)
    ax.set_title("transformer, one prompt replaced")
    ax.set_ylabel("distance of predictions (units of a label), or change")


def _draw_in_generations(ax: Axes, own: Sequence[Cell]) -> None:
    """Exponents in the generation, one a row."""
    rows = [c for c in own if c["loop"] != "transformer" or c["of"] == "predictions"]
    names = []
    for k, cell in enumerate(rows):
        found = cell["loop"] == "transformer"
        error = [[cell["measured"] - cell["low"]], [cell["high"] - cell["measured"]]]
        colour = PALETTE[1] if found else PALETTE[0]
        ax.errorbar(cell["measured"], -k, xerr=error, fmt="o", color=colour, capsize=2.5)
        place = f"transformer, n = {cell['n']}, {_share(cell['alpha'])}"
        names.append(place if found else str(cell["of"]).replace("kappa", "κ"))
    ax.axvline(0, color="black", linestyle="--", linewidth=1.1)
    ax.set_yticks([-k for k in range(len(rows))], names)
    ax.tick_params(axis="y", labelsize=7)
    ax.set_xlabel("exponent in the generation")
    ax.set_title("growth with the generation")


MEASURED = {
    "predictions": "distance of predictions, units of a label",
    "kappa": "κ, share of it passed on",
    "kl": "excess NLL, nats a label",
}


def _draw_architecture(stored: Stored) -> Figure:
    """A finding: what one replaced real prompt moves, by architecture; the share of it that is
    passed on without real prompts; and how well each has learned, without which stability is
    cheap. Bars: 95 %.
    """
    cells = cells_of(stored, "architecture")
    names = list(dict.fromkeys(cell["architecture"] for cell in cells))
    figure = Figure(figsize=(13, 2.2 + 0.42 * len(names)))
    axes = figure.subplots(1, len(MEASURED), sharey=True)
    for ax, (kind, title) in zip(axes, MEASURED.items(), strict=True):
        for k, ((i,), chosen) in enumerate(
            grouped(_of(stored, "architecture", kind), "generation").items()
        ):
            at = np.array([names.index(c["architecture"]) for c in chosen]) + 0.16 * (k - 0.5)
            measured, low, high = (column(chosen, key) for key in ("measured", "low", "high"))
            error = np.maximum([measured - low, high - measured], 0)
            style: Any = {"color": PALETTE[2 if kind == "kappa" else k], "markersize": 4.5}
            label = f"generation {i}"
            ax.errorbar(measured, at, xerr=error, fmt=MARKERS[k], capsize=2, label=label, **style)
        if kind == "kappa":
            ax.axvline(1, color="black", linestyle=":", linewidth=1)
        ax.set_xlim(left=0)
        ax.set_xlabel(title)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


DRAWINGS = of_cells(
    {
        "recursive_stability": _draw_recursive_stability,
        "stability_rate": _draw_stability_rate,
        "architecture": _draw_architecture,
    }
)
