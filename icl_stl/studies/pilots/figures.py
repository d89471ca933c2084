"""The figure of the claim about plans from pilots, drawn from its cells alone."""

import numpy as np
from matplotlib.figure import Figure

from icl_stl.studies.drawing import Stored, cells_of, chosen, column, of_cells
from icl_stl.style import MARKERS, PALETTE, plain_log

NAME = "plan_from_pilots"
CHOICES = {
    "fitted": "least fitted loss",
    "best_pilot": "the best pilot",
    "none": "always none",
    "most": "always the largest pilot",
}
"""Who chooses the amount, by kind of cell."""


def _draw(stored: Stored) -> Figure:
    """Left: pilots, the fitted loss, its best amount with the 95 % set, and the closed form. Right:
    loss at the amounts chosen over the least, by learner and generation; dashed: what is claimed.
    """
    rows = len(chosen(stored, NAME, "fitted"))
    figure = Figure(figsize=(11.4, max(5.2, 1.2 + 0.18 * rows)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    (cell,) = [cell for cell in cells_of(stored, NAME) if "example" in cell]
    shown = cell["example"]
    lams, (at, loss, stderr) = np.array(shown["lams"]), np.array(shown["pilots"])
    lam, low, high = shown["best"]
    left.plot(lams, shown["exact"], "k--", linewidth=1.2, label="closed form")
    left.plot(lams, shown["fitted"], color=PALETTE[0], label="fitted to pilots")
    look = {"fmt": "o", "color": PALETTE[1], "capsize": 3}
    left.errorbar(at, loss, yerr=1.96 * stderr, **look, label="pilots, generation 3")
    left.axvspan(low, high, color=PALETTE[0], alpha=0.12, linewidth=0, label="95 % set")
    left.axvline(lam, color=PALETTE[0], linewidth=1)
    left.set_xlim(-0.12, 1.13 * lams[-1])
    left.set_xscale("function", functions=(np.log1p, np.expm1))
    ticks = [x for x in (0, 1, 2, 4, 8, 16, 32) if x <= lams[-1]]
    left.set_xticks(ticks, [f"{x:g}" for x in ticks])
    left.set_ylim(bottom=0)
    left.set_xlabel("λ, synthetic rows per real row")
    left.set_ylabel("excess loss")
    left.set_title(f"{cell['loop']}, new real rows: generation {cell['generation']:g}")
    left.legend(fontsize=8)
    for k, (kind, words) in enumerate(CHOICES.items()):
        own = chosen(stored, NAME, kind)
        places = np.arange(len(own)) + 0.15 * (k - 1.5)
        look = {"color": PALETTE[k], "markersize": 5, "linestyle": "none"}
        right.plot(column(own, "measured"), places, MARKERS[k], **look, label=words)
    names = [f"{c['loop']}, n = {c['n']}, {c['regime']}, {c['generation']:g}" for c in own]
    right.set_yticks(np.arange(len(own)), names, fontsize=7)
    right.axvline(own[0]["bound"], color="0.35", linestyle="--")
    right.set_xscale("log")
    plain_log(right.xaxis)
    right.set_xlabel("loss over the least there is")
    right.legend(fontsize=8)
    right.invert_yaxis()
    return figure


DRAWINGS = of_cells({NAME: _draw})
