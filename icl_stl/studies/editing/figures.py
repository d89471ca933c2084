"""The figure of the claim about token editing, drawn from its cells alone."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icl_stl.studies.drawing import Stored, chosen, column, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE

NAME = "token_editing"


def _draw(stored: Stored) -> Figure:
    """Least squares with edited labels: error over one fit, exact curves, the finite bound
    (dashed). Rows of a Markov chain: total variation and support of the next symbol, the surest
    symbols edited (p ≥ .99), beside replacement and augmentation.
    """
    figure = Figure(figsize=(11.6, 4.4))
    left, *others = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    for k, ((name,), cells) in enumerate(grouped(chosen(stored, NAME, "error"), "regime").items()):
        curve = cells[0]["curve"]
        left.plot(np.arange(len(curve)), curve, color=PALETTE[k], linewidth=1.2)
        points(left, cells, column(cells, "generation"), PALETTE[k], name, MARKERS[k])
    left.axhline(2, color="0.35", linestyle="--")
    left.set_yscale("log", base=2)
    left.set_yticks((1, 2, 4, 8), ("1", "2", "4", "8"))
    left.set_ylabel("excess risk over that of one fit")
    left.set_title("least squares, n = 30, d = 8")
    titles = {"drift": "total variation of the next symbol", "support": "symbols that may follow"}
    for ax, (what, words) in zip(others, titles.items(), strict=True):
        for k, ((name,), cells) in enumerate(grouped(chosen(stored, NAME, what), "regime").items()):
            at = column(cells, "generation")
            points(ax, cells, at, PALETTE[k], name, MARKERS[k])
            ax.plot(at, column(cells, "measured"), color=PALETTE[k], linewidth=1)
        ax.set_ylim(bottom=0)
        ax.set_ylabel(words)
        ax.set_title("rows of a Markov chain")
    for ax in (left, *others):
        ax.set_xlabel("generation")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        ax.legend(fontsize=8)
    return figure


DRAWINGS = of_cells({NAME: _draw})
