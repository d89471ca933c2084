"""The figure of rows of another model, drawn from its cells alone."""

import numpy as np
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, chosen, column, constants_of, of_cells, points
from icl_stl.style import PALETTE

NAME = "foreign_rows"


def _draw(stored: Stored) -> Figure:
    """Squared error where half of the rows are synthetic: a fixed other model writes them, or the
    generation before. Left a mean beside fixed real rows, right least squares beside new ones.
    Curves are exact; bars: intervals of the claim.
    """
    figure = Figure(figsize=(10, 4.2))
    (curves,) = [c["value"] for c in constants_of(stored, NAME) if "errors by n" in c["name"]]
    for ax, (name, own) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        n = np.array(own["n"])
        names = {"other": "other model", "1": "own, generation 1", "5": "own, generation 5"}
        for k, (key, label) in enumerate(names.items()):
            ax.plot(n, own[key], color=PALETTE[k], label=label)
        cells = [
            c
            for c in chosen(stored, NAME, "error", loop=name, generation=2)
            if c["n"] == c["n_syn"] and c["alpha"] > 0
        ]
        points(ax, cells, column(cells, "n"), PALETTE[0], "measured")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("real rows, as many synthetic ones")
        ax.set_ylabel("squared error, σ²")
        ax.set_title(name)
        ax.legend(fontsize=8)
    return figure


DRAWINGS = of_cells({NAME: _draw})
