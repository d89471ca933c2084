"""The figure of consistent learners that keep all rows, drawn from its cells alone."""

from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, chosen, column, constants_of, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE

NAME = "accumulation_counterexample"


def _draw(stored: Stored) -> Figure:
    """Left: one fit of (1 + N^-b) times the largest row is consistent. Right: all rows kept, its
    error over that of one fit; dotted π²/6, that of a mean. Curves are exact; bars: intervals of
    the claim.
    """
    figure = Figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2)
    known = {c["name"]: c["value"] for c in constants_of(stored, NAME)}
    once, growth = known["one fit by rows"], known["growth by generation"]
    for k, name in enumerate(key for key in once if key != "n"):
        left.plot(once["n"], once[name], color=PALETTE[k], label=name)
    for k, name in enumerate(key for key in growth if key != "generation"):
        right.plot(growth["generation"], growth[name], color=PALETTE[k], label=name)
    groups = grouped(chosen(stored, NAME, "error"), "decay")
    for k, ((decay,), cells) in enumerate(groups.items()):
        colour = PALETTE[[*once].index(f"b = {decay:g}") - 1]
        over = [
            {**c, **{key: c[key] / c["first"] for key in ("measured", "low", "high")}}
            for c in cells
        ]
        points(
            right, over, column(cells, "generation"), colour, f"measured, b = {decay:g}", MARKERS[k]
        )
    right.axhline(1.6449, color="0.35", linestyle=":")
    right.set_ylim(0.5, 1e4)
    for ax, words in ((left, "real rows"), (right, "generation")):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(words)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9)
    left.set_ylabel("squared relative error of one fit")
    right.set_ylabel("squared error over that of one fit")
    return figure


DRAWINGS = of_cells({NAME: _draw})
