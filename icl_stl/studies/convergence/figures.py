"""Figures of the transformer over sizes, drawn from the claims' cells alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.convergence.claims import WORDS
from icl_stl.studies.drawing import (
    Cell,
    Stored,
    cells_of,
    column,
    interval,
    numbers,
    of_cells,
    points,
)
from icl_stl.style import MARKERS, PALETTE, plain_log

CLAIM, SIZE = "convergence", "transformer_synthetic_size"


def _curves(stored: Stored, kind: str) -> dict[str, list[Cell]]:
    """What is drawn over n: generation 0, and the last one with and without real data."""
    shown = [c for c in cells_of(stored, CLAIM) if c.get("drawn") and c["kind"] == kind]
    last = max(c["generation"] for c in shown)
    found = {"generation 0": [c for c in shown if not c["generation"] and c["alpha"]]}
    for share, words in ((0.5, "half of the prompts real"), (0.0, "no real prompts")):
        own = [c for c in shown if c["generation"] == last and c["alpha"] == share]
        found |= {f"generation {last:g}, {words}": own} if own else {}
    return found


def _over_n(ax: Axes, stored: Stored, kind: str) -> None:
    """Measured means by n, and where new prompts in every step leave them, dashed."""
    for k, (words, cells) in enumerate(_curves(stored, kind).items()):
        sized = sorted((c for c in cells if c["n"] != "streamed"), key=lambda c: float(c["n"]))
        n = column(sized, "n")
        points(ax, sized, n, PALETTE[k], words, MARKERS[k])
        ax.plot(n, column(sized, "measured"), color=PALETTE[k], linewidth=1)
        for cell in (c for c in cells if c["n"] == "streamed"):
            ax.axhline(cell["measured"], color=PALETTE[k], linestyle="--", linewidth=1)
            ax.axhspan(cell["low"], cell["high"], color=PALETTE[k], alpha=0.12, linewidth=0)
    ax.set_ylabel(WORDS[kind])


def _beyond(ax: Axes, stored: Stored) -> None:
    """What limits by the data add: squared errors less those without limit, and the judged slope.

    Of the last generation with real data the slope is the claim's, in the title.
    """
    for k, cells in enumerate(_curves(stored, "squared").values()):
        floor = [c["measured"] for c in cells if c["n"] == "streamed"]
        sized = sorted((c for c in cells if c["n"] != "streamed"), key=lambda c: float(c["n"]))
        if not floor:
            continue
        n, more = column(sized, "n"), column(sized, "measured") - floor[0]
        ax.plot(n[more > 0], more[more > 0], MARKERS[k], color=PALETTE[k], ls="-", lw=1)
        if k == 1 and (more > 0).any():
            ax.plot(n, more[more > 0][0] * n[more > 0][0] / n, "k:", label="falls like 1/n")
            ax.legend(fontsize=8)
    judged = [c for c in cells_of(stored, CLAIM) if c.get("floor") == "streamed"]
    for slope in [c for c in judged if c["kind"] == "squared"][-1:]:
        ax.set_title(f"half real, generation {slope['generation']:g}: exponent {interval(slope)}")
    ax.set_ylabel("squared error, less that of n = ∞")


def _draw_convergence(stored: Stored) -> Figure:
    """Does more data help? Left: squared error; right: excess NLL; dashed: where every step sees
    new prompts. Middle: squared error less that. Bars and shades: 95 % intervals.
    """
    figure = Figure(figsize=(12.6, 4.1))
    axes = figure.subplots(1, 3)
    _over_n(axes[0], stored, "squared")
    _beyond(axes[1], stored)
    _over_n(axes[2], stored, "nll")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("real prompts n")
        plain_log(ax.xaxis, (1, 3))
        plain_log(ax.yaxis)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _amounts(ax: Axes, cells: Sequence[Cell], k: int, words: str) -> None:
    """One curve over λ, the best tried as a star, and formulas."""
    cell = cells[0]
    x = np.arange(len(cell["lams"])) + 0.06 * k
    style = {"color": PALETTE[k], "marker": MARKERS[k], "markersize": 4.5, "capsize": 2.5}
    ax.errorbar(x, cell["curve"], yerr=cell["half_width"], label=words, **style)
    best = list(cell["lams"]).index(cell["best"])
    ax.plot(x[best], cell["curve"][best], "*", color=PALETTE[k], markersize=15)
    for formula in cells:
        line = {"plateau": ":", "squares": "--"}[formula["predicted_by"]]
        ax.plot(x, formula["prediction"], line, color=PALETTE[k], linewidth=1.2)


def _draw_size(stored: Stored) -> Figure:
    """Squared error of the last generation by λ; star: best tried; dashed: predicted, refit
    errors in squares; dotted: Theorem R's prediction. Grey: averages and distillation of as many
    fits to the real set. Bars: 95 % intervals.
    """
    cells = cells_of(stored, SIZE)
    curves = [c for c in cells if "prediction" in c and c["objective"] == "squared"]
    last = max(c["generation"] for c in curves)
    curves = [c for c in curves if c["generation"] == last]
    sizes = sorted({c["n"] for c in curves})[:3]
    figure = Figure(figsize=(4.3 * len(sizes), 4.3))
    for ax, n in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        worlds = {"augment": "fixed real set", "fresh": "fresh real prompts"}
        for k, (regime, words) in enumerate(worlds.items()):
            own = [c for c in curves if (c["n"], c["regime"]) == (n, regime)]
            _amounts(ax, own, k, words)
        instead = [c for c in cells if c.get("kind") == "instead" and c["objective"] == "squared"]
        ways = {c["way"]: c["measured"] for c in instead if c["n"] == n}
        average = next(value for way, value in ways.items() if way.startswith("average"))
        distilled = numbers(v for way, v in ways.items() if way.startswith("distilled")).min()
        for level, line, words in (
            (average, "-.", "average of fits"),
            (distilled, "-", "best distilled from them"),
        ):
            ax.axhline(level, color="0.5", linestyle=line, linewidth=1.1, label=words)
        lams = curves[0]["lams"]
        ax.set_xticks(range(len(lams)), [f"{lam:g}" for lam in lams])
        ax.set_xlabel("λ, synthetic prompts per real one")
        ax.set_title(f"n = {n:g}, generation {last:g}")
        ax.set_yscale("log")
        plain_log(ax.yaxis)
    figure.axes[0].set_ylabel(WORDS["squared"])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2 * len(sizes), fontsize=9)
    return figure


DRAWINGS = of_cells({CLAIM: _draw_convergence, SIZE: _draw_size})
