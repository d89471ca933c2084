"""Figures of the claims about laws on symbols, drawn from their cells alone."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Cell, Stored, cells_of, chosen, of_cells
from icl_stl.style import PALETTE

WORLDS = {"fresh": "new real rows", "fixed": "the same real rows"}


def _with_curve(cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if "curve" in cell]


def _measured(ax: Axes, cell: Cell, colour: Any, label: str) -> None:
    """Means with 95 % intervals by generation, and the exact law as a line."""
    x = np.arange(len(cell["curve"]))
    look = {"color": colour, "markersize": 3.5, "capsize": 2, "elinewidth": 1}
    half = np.array(cell["half"])
    ax.errorbar(x, cell["curve"], yerr=half, fmt="o", **look, label=label)
    ax.plot(x, cell["exact"], color=colour, linewidth=1)


def _real_rows(stored: Stored) -> Figure:
    """Squared distance of the fitted from the real law, by generation, with new and with the same
    real rows: points are means with 95 % intervals, lines the exact laws. Panels: real and
    synthetic rows, weight of the real ones.
    """
    found = _with_curve(chosen(stored, "symbols_real_rows", "error"))
    sizes = list(dict.fromkeys((c["n"], c["n_syn"], c["alpha"]) for c in found))[:3]
    figure = Figure(figsize=(11.4, 4.2))
    for ax, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        own = [c for c in found if (c["n"], c["n_syn"], c["alpha"]) == size]
        for k, cell in enumerate(own):
            _measured(ax, cell, PALETTE[k], WORLDS[cell["regime"]])
        ax.set_ylim(bottom=0)
        ax.set_xlabel("generation")
        ax.set_title(f"n = {size[0]:g}, m = {size[1]:g}, w = {size[2]:.2g}")
        ax.legend(fontsize=8)
    figure.axes[0].set_ylabel("mean squared distance of laws")
    return figure


def _absorption(stored: Stored) -> Figure:
    """Share of loops, or of symbols, that still have a symbol without real rows, by generation:
    points are means with 95 % intervals, lines the enumerated chance, shaded between the bounds.
    """
    found = _with_curve(cells_of(stored, "absorption"))
    figure = Figure(figsize=(9.4, 4.2))
    for ax, cell in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        _measured(ax, cell, PALETTE[0], "measured, and enumerated")
        x = np.arange(len(cell["curve"]))
        bounds = np.array(cell["curve_low"]), np.array(cell["curve_high"])
        ax.fill_between(x, *bounds, color=PALETTE[1], alpha=0.2, linewidth=0, label="bounds")
        ax.set_ylim(0, 1)
        ax.set_xlabel("generation")
        ax.set_title(f"{cell['loop']}, n = {cell['n']:g}")
        ax.legend(fontsize=8)
    figure.axes[0].set_ylabel("share that is left")
    return figure


DRAWINGS = of_cells({"symbols_real_rows": _real_rows, "absorption": _absorption})
