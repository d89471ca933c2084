"""Figures of the claims about synthetic data, drawn from the claims' cells alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from icl_stl.studies.drawing import Cell, Drawing, Stored, chosen, grouped, of_cells
from icl_stl.style import MARKERS, PALETTE

GREY = "0.35"
TICKS = (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32)
NAMES = {"gaussian mean": "Gaussian mean", "ols": "least squares"}
CLAIM = "optimal_synthetic_size"


def _lam_axis(ax: Axes, ticks: Sequence[float] = TICKS) -> None:
    """A ratio from 0 on, evenly in ln(1 + λ)."""
    ax.set_xlim(-0.12, 1.13 * ticks[-1])
    ax.set_xscale("function", functions=(np.log1p, np.expm1))
    ax.set_xticks(ticks, [{0.25: "¼", 0.5: "½"}.get(x, f"{x:g}") for x in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("λ, synthetic rows per real row")


def _curve(
    ax: Axes,
    cell: Cell,
    x: Sequence[float],
    k: int,
    label: str,
    unit: float = 1.0,
    *,
    caps: float = 2.0,
) -> None:
    """Measured means with their intervals, in a unit."""
    ax.errorbar(
        x,
        np.array(cell["curve"]) / unit,
        yerr=np.array(cell["half_width"]) / unit,
        fmt=MARKERS[k],
        color=PALETTE[k],
        capsize=caps,
        markersize=4.5,
        label=label,
    )


def _known(cell: Cell) -> np.ndarray:
    return np.array(cell["exact"], float)


def _draw_phase(stored: Stored) -> Figure:
    """Least squares, a fixed real set beside synthetic rows with its inputs: at a fixed
    generation the excess first rises with λ, then falls; in the limit of many generations
    (dotted) it only rises. Right: the peak, predicted and measured.
    """
    figure = Figure(figsize=(10.6, 4.6))
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    heights = chosen(stored, "synthetic_phase", "height")
    for k, cell in enumerate(heights):
        i, lams = cell["generation"], np.array(cell["lams"])
        _curve(left, cell, cell["lams"], k, f"generation {i}")
        left.plot(lams, cell["exact"], "--", color=PALETTE[k], linewidth=1.2)
        (place,) = chosen(stored, "synthetic_phase", "place", generation=i)
        left.plot(place["bound"], cell["bound"], "k|", markersize=14, zorder=5)
        if np.isfinite(place["measured"]):
            error = [[place["measured"] - place["low"]], [place["high"] - place["measured"]]]
            look = {"color": PALETTE[k], "fmt": MARKERS[k], "capsize": 3}
            right.errorbar(i, place["measured"], yerr=error, **look)
        right.plot(i, place["bound"], "k_", markersize=16, zorder=5)
        right.plot(i, place["own_parabola"], "x", color=GREY, markersize=7, zorder=5)
    lams = np.array(heights[0]["lams"])
    left.plot(lams, lams / (1 + 2 * lams), ":", color=GREY, label="limit of many generations")
    left.plot([], [], "k--", linewidth=1.2, label="closed form")
    left.plot([], [], "k|", markersize=12, linestyle="none", label="its peak")
    _lam_axis(left, [0, 1, 2, 3, 5, 9, 16, 24, 48])
    left.set_ylim(bottom=-0.02)
    left.set_ylabel("excess over real rows alone / that of one fit")
    left.set_title("more synthetic rows: worse, then better")
    left.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    right.plot([], [], "k_", markersize=12, linestyle="none", label="predicted")
    right.plot([], [], "x", color=GREY, linestyle="none", label="closed form's own parabola")
    right.plot([], [], "o", color=GREY, label="measured, parabola")
    right.set_xticks([c["generation"] for c in heights])
    right.set_xlabel("generation")
    right.set_ylabel("λ of the peak")
    right.set_ylim(bottom=0)
    right.set_title("where the peak is")
    right.legend(fontsize=8, loc="upper left")
    return figure


def _draw_golden(stored: Stored) -> Figure:
    """Gaussian mean, new real rows beside the last generation's: the error by the weight of the
    real rows. The best weight is (√(k² + 4k) - k)/2, the golden section for k = 1, not that of
    equal rows.
    """
    cells = chosen(stored, "golden_weight", "weight")
    figure = Figure(figsize=(11.6, 4.3))
    axes = figure.subplots(1, len(cells), squeeze=False)[0]
    for j, (ax, cell) in enumerate(zip(axes, cells, strict=True)):
        _curve(ax, cell, cell["weights"], j, "measured")
        ax.plot(cell["weights"], cell["exact"], "--", color=PALETTE[j], label="closed form")
        ax.axvline(cell["bound"], color="k", linewidth=1.2, label="best weight, predicted")
        ax.axvline(cell["equal_rows"], color=GREY, linestyle=":", label="weight of equal rows")
        low, high = ax.get_ylim()
        level = low - 0.08 * (high - low)
        if np.isfinite(cell["measured"]):
            error = [[cell["measured"] - cell["low"]], [cell["high"] - cell["measured"]]]
            look = {"color": PALETTE[j], "capsize": 4, "fmt": "*", "markersize": 11}
            ax.errorbar(cell["measured"], level, xerr=error, **look, label="best weight, measured")
        ax.set_title(f"k = n/n_syn = {cell['k']:g}: w* = {cell['bound']:.3f}")
        ax.set_xlabel("w, weight of the new real rows")
    axes[0].set_ylabel("error / that of the real rows alone")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)
    return figure


PANELS = {
    ("gap", "fixed"): "generalization gap, fixed real set",
    ("gap", "fresh"): "generalization gap, new real rows",
    ("risk", "fixed"): "excess risk, fixed real set",
    ("risk", "fresh"): "excess risk, new real rows",
}
TALK = 5
"""The generation of the figure of one loop."""


def _draw_optimum(stored: Stored) -> Figure:
    """How much synthetic data is best: Gaussian mean. Two terms add up to the closed form
    (dashed), beside measured means. Vertical: the predicted optimum; star: the best measured;
    bar: the sizes that may be the best (95 %).
    """
    figure = Figure(figsize=(10.4, 8))
    axes = figure.subplots(2, 2, sharey="row")
    for ax, ((objective, world), title) in zip(axes.ravel(), PANELS.items(), strict=True):
        where = {"loop": "gaussian mean", "regime": world, "generation": TALK}
        (cell,) = chosen(stored, CLAIM, "regret", objective=objective, **where)
        unit, lams = cell["exact"][0], np.array(cell["lams"])
        for k, (name, values) in enumerate(cell["terms"].items()):
            look = {"color": PALETTE[k + 1], "linestyle": ("-.", ":")[k], "linewidth": 1.8}
            ax.plot(lams, np.array(values) / unit, **look, label=name)
        ax.plot(lams, _known(cell) / unit, "k--", linewidth=1.5, label="sum: closed form")
        _curve(ax, cell, cell["lams"], 0, "measured", unit)
        ax.axvline(cell["lam"], color="k", linewidth=1)
        floor = -0.09
        best = np.array(cell["best_set"])
        ax.plot(
            best,
            np.full(len(best), floor),
            color=PALETTE[0],
            linewidth=5,
            alpha=0.35,
            solid_capstyle="round",
            marker="s",
            markersize=4,
        )
        ax.plot(cell["best"], floor, "*", color=PALETTE[0], markersize=13, zorder=5)
        ax.axhline(0, color=GREY, linewidth=0.8)
        _lam_axis(ax)
        ax.set_title(f"{title}: best λ = {cell['lam']:.3g}")
        ax.legend(fontsize=8, loc="upper center" if ax is axes[0, 0] else "best")
    axes[0, 0].set_ylim(top=1.45)  # room for the legends
    for ax in axes[:, 0]:
        ax.set_ylabel("in units of real rows alone")
    for ax in axes[0]:
        ax.set_xlabel("")
    return figure


def _name(loop: str) -> str:
    return NAMES.get(loop, loop)


COLUMNS = (("fixed", "risk"), ("fresh", "risk"), ("fixed", "gap"), ("fresh", "gap"))


def _draw_curves(stored: Stored) -> Figure:
    """All problems and generations over their value without synthetic data; dashed: closed
    forms; triangles: predicted best sizes. Below: the clipped mean and its certified bound
    (dotted), whose least need not be where what it bounds is least.
    """
    by_loop = grouped(chosen(stored, CLAIM, "regret"), "loop")
    figure = Figure(figsize=(13.6, 2.9 * len(by_loop) + 0.7))
    axes = figure.subplots(len(by_loop), len(COLUMNS), squeeze=False)
    for row, ((loop,), cells) in zip(axes, by_loop.items(), strict=True):
        for ax, (world, objective) in zip(row, COLUMNS, strict=True):
            own = [c for c in cells if (c["regime"], c["objective"]) == (world, objective)]
            for k, cell in enumerate(own):
                _one_curve(ax, cell, k)
            _lam_axis(ax)
            ax.tick_params(axis="x", labelsize=8)
            ax.set_title(f"{_name(loop)}, {world}: {objective}", fontsize=9)
            if ax is not axes[-1][COLUMNS.index((world, objective))]:
                ax.set_xlabel("")
        row[0].set_ylabel("over that of λ = 0")
    for line, words in (("--", "closed form"), (":", "bound")):
        axes[0][0].plot([], [], f"k{line}", label=words)
    axes[0][0].plot([], [], "kv", markersize=7, linestyle="none", label="predicted best size")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)
    return figure


def _one_curve(ax: Axes, cell: Cell, k: int) -> None:
    """Measured curve over the value without synthetic data, with what is predicted for it."""
    lams, unit = np.array(cell["lams"]), cell["curve"][0]
    if np.isfinite(cell.get("exact", [np.nan])[0]):
        unit = cell["exact"][0]
    name = f"generation {cell['generation']}"
    _curve(ax, cell, cell["lams"], k, name, unit, caps=0.0)  # a thousand caps would be most of it
    ax.plot(lams, np.array(cell["curve"]) / unit, color=PALETTE[k], linewidth=0.8, alpha=0.5)
    if "exact" in cell and np.isfinite(_known(cell)[1:]).any():
        ax.plot(lams, _known(cell) / unit, "--", color=PALETTE[k], linewidth=1.2)
    at = cell["lam"]
    if "recommended" in cell:
        at = cell["recommended"]["lam"]
        ax.plot(lams, cell["recommended"]["curve"], ":", color=PALETTE[k], linewidth=1.4)
    ax.plot(
        at,
        0.02,
        "v",
        color=PALETTE[k],
        markersize=7,
        transform=ax.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
    )


DRAWINGS = of_cells(
    {"synthetic_phase": _draw_phase, "golden_weight": _draw_golden, CLAIM: _draw_optimum}
) | {"synthetic_curves": Drawing(_draw_curves, needs_loops=False, needs_claim=CLAIM)}
