"""The figure of own confidence, drawn from its cells alone."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icl_stl.studies.drawing import Stored, chosen, column, grouped, of_cells, points
from icl_stl.style import MARKERS, PALETTE

NAME = "own_confidence"


def _paths(ax: Axes, stored: Stored, kind: str, *, law: bool = False) -> None:
    """A number by generation, one line a filter; filled: by confidence."""
    cells = chosen(stored, NAME, kind)
    for k, ((own, rate), path) in enumerate(grouped(cells, "own", "rate").items()):
        x, colour = column(path, "generation"), PALETTE[k % 2 if own else 2 + k % 2]
        words = f"{rate:.0%} kept, {'surest' if own else 'by lot'}"
        points(ax, path, x, colour, words, MARKERS[k])
        of_law = np.array([1.0, *column(path, "bound")]) if law else column(path, "measured")
        ax.plot([0, *x] if law else x, of_law, "--" if law else "-", color=colour, linewidth=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("generation, no real prompts")


def _draw(stored: Stored) -> Figure:
    """Keeping the prompts that the model is surest of loses the task: variance of tasks, empirical
    Bayes with its law (dashed) and the transformer; and its excess NLL. Bars: the claim's
    intervals.
    """
    figure = Figure(figsize=(12.6, 4.1))
    axes = figure.subplots(1, 3)
    _paths(axes[0], stored, "law", law=True)
    _paths(axes[1], stored, "task_variance")
    _paths(axes[2], stored, "excess_nll")
    axes[0].set_title("empirical Bayes")
    for ax in axes[1:]:
        ax.set_title("transformer")
    axes[0].set_ylabel("task variance of kept prompts, τ²")
    axes[1].set_ylabel("task variance of its prompts")
    axes[2].set_ylabel("excess NLL, nats a label")
    for ax in axes:
        ax.set_ylim(0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


DRAWINGS = of_cells({NAME: _draw})
