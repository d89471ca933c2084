"""The figure of the claim about the ln i of augmentation, drawn from its cells and bounds."""

import numpy as np
from matplotlib.figure import Figure

from icl_stl import bounds
from icl_stl.studies.augmentation.claims import NAMES, shrunken
from icl_stl.studies.drawing import Stored, chosen, column, of_cells
from icl_stl.style import MARKERS, PALETTE

NAME = "augmentation"
RATES = {0.0: "does not fall", 0.25: "falls like N^(-¼)", 0.5: "N^(-½)", 1.0: "1/N"}
"""Bounds, by the rate at which the one-step error falls with the pool."""
LAST = 3000
"""The last generation of the curves without loops."""


def _draw(stored: Stored) -> Figure:
    """All rows kept. Left: loops; an error that does not shrink with the pool grows like ln i, one
    that does, or noise, does not. Right: bounds by how the one-step error falls; only a constant
    one has no limit.
    """
    figure = Figure(figsize=(10.6, 4.4))
    left, right = figure.subplots(1, 2)
    for k, (kind, words) in enumerate(NAMES.items()):
        cells = chosen(stored, NAME, kind)
        x = 1 + column(cells, "generation")
        ends = np.abs(column(cells, "measured") - [column(cells, "low"), column(cells, "high")])
        look = {"fmt": MARKERS[k], "color": PALETTE[k], "capsize": 3, "markersize": 5}
        left.errorbar(x, column(cells, "measured"), yerr=ends, **look, label=words)
        left.plot([1, *x], [1, *column(cells, "bound")], "--", color=PALETTE[k], linewidth=1.2)
    left.plot([], [], "k--", linewidth=1.2, label="closed form")
    left.set_ylabel("error over that of the first fit")
    left.set_title("measured")
    i = np.unique(np.geomspace(1, LAST + 1, 80).round()) - 1
    for k, (rate, words) in enumerate(RATES.items()):
        bound = bounds.drift_accumulate_constant(1.0, i)
        if rate:
            bound = bounds.drift_accumulate_growing(1.0, rate, i)
        right.plot(1 + i, bound.total, color=PALETTE[k], label=words)
    style = {"color": "0.35", "linestyle": ":"}
    right.plot(1 + i, shrunken(LAST)[i.astype(int)], **style, label="penalty beside the mean")
    right.set_ylabel("drift over that of the first fit")
    right.set_title("by how the one-step error falls with the pool N")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("i + 1, generations")
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=8, loc="upper left")
    return figure


DRAWINGS = of_cells({NAME: _draw})
