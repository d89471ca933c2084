"""The figure of the claim about generators that forget their uncertainty, from its cells alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import (
    Cell,
    Stored,
    cells_of,
    chosen,
    column,
    constants_of,
    grouped,
    of_cells,
    points,
)
from icl_stl.style import MARKERS, PALETTE

CLAIM = "predictive_collapse"
GREY = "0.35"


def _cells(stored: Stored, loop: str, kind: str) -> list[Cell]:
    """Cells of this loop and kind, by generation."""
    found = chosen(stored, CLAIM, kind, loop=loop)
    return sorted(found, key=lambda cell: cell["generation"])


def _curve(ax: Axes, cells: Sequence[Cell], k: int, label: str, *, line: bool = True) -> None:
    """Measured points over generations and, as a line, what they should be."""
    if not cells:
        return
    x = column(cells, "generation")
    if line:
        ax.plot(x, column(cells, "bound"), color=PALETTE[k], linewidth=1.2)
    points(ax, cells, x, PALETTE[k], label, MARKERS[k])


def _shares(cells: Sequence[Cell]) -> dict[float, list[Cell]]:
    return {alpha: found for (alpha,), found in grouped(cells, "alpha").items()}


def _generations(ax: Axes, x: np.ndarray) -> None:
    ax.set_xticks(sorted({int(i) for i in x}))
    ax.set_xlabel("generation")


def _share(alpha: float) -> str:
    return f"α = {alpha:g}"


def _one_generation(ax: Axes, stored: Stored) -> None:
    cells = _cells(stored, "one generation", "posterior")
    cells.sort(key=lambda c: (c["signal"], c["repeats"]))
    designs = list(grouped(cells, "signal", "repeats"))
    for k, generator in enumerate(("plug-in", "predictive")):
        own = [cell for cell in cells if cell["generator"] == generator]
        x = np.array([designs.index((c["signal"], c["repeats"])) for c in own], float)
        ax.hlines(column(own, "bound"), x - 0.25, x + 0.25, color=PALETTE[k], linewidth=1.2)
        points(ax, own, x, PALETTE[k], generator, MARKERS[k])
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.set_xticks(range(len(designs)), [f"u = {u:g}\nn = {n}" for u, n in designs])
    ax.set_yscale("log")
    ax.set_ylabel("task variance over the prior's")
    ax.set_title("one generation")
    ax.legend(loc="lower left")


def _fitted(ax: Axes, stored: Stored) -> None:
    cells = _cells(stored, "empirical Bayes, plug-in", "fitted")
    for k, (alpha, own) in enumerate(_shares(cells).items()):
        _curve(ax, own, k, f"plug-in, {_share(alpha)}")
        if alpha > 0:
            ax.axhline(alpha * own[0]["signal"], color=PALETTE[k], linestyle=":", linewidth=1)
    bounds = _cells(stored, "empirical Bayes, plug-in", "bound")
    x = column(bounds, "generation")
    ax.plot(x, column(bounds, "bound"), "k--", linewidth=1, label="bound without real prompts")
    kept = _cells(stored, "empirical Bayes, predictive", "fitted")
    _curve(ax, kept, 2, f"predictive, {_share(kept[0]['alpha'])}")
    _generations(ax, column(kept, "generation"))
    ax.set_yscale("log")
    ax.set_ylim(3e-3, None)
    ax.set_ylabel("task variance u (noise units)")
    ax.set_title("prior fitted in every generation")
    ax.legend(loc="lower left")


def _test_error(ax: Axes, stored: Stored) -> None:
    for k, loop in enumerate(("empirical Bayes, plug-in", "least squares, plug-in")):
        cells = [cell for cell in _cells(stored, loop, "error") if cell["alpha"] == 0]
        points(ax, cells, column(cells, "generation"), PALETTE[k], loop, MARKERS[k])
    ax.axhline(cells[0]["bound"], color="k", linestyle="--", linewidth=1, label="counted as blind")
    _generations(ax, column(cells, "generation"))
    ax.set_yscale("log")
    ax.set_ylim(1e-7, None)
    ax.set_ylabel("excess test error over that of Bayes")
    ax.set_title("what squared error sees, α = 0")
    ax.legend(loc="lower right")


def _written(ax: Axes, stored: Stored) -> None:
    cells = _cells(stored, "least squares, plug-in", "written")
    for k, (alpha, own) in enumerate(_shares(cells).items()):
        _curve(ax, own, k, _share(alpha))
    ax.axhline(cells[0]["signal"], color=GREY, linewidth=0.8, label="real prompts")
    _generations(ax, column(cells, "generation"))
    ax.set_ylim(0, None)
    ax.set_ylabel("task variance u (noise units)")
    ax.set_title("prompts of least squares, plug-in")
    ax.legend(loc="center right")


def _read_again(ax: Axes, stored: Stored) -> None:
    named = {
        "read again, sampled": "draw from the posterior",
        "read again, frozen": "posterior mean, prior kept",
        "read again, fitted": "... prior fitted",
    }
    k = 0
    for loop, name in named.items():
        every = _cells(stored, loop, "task variance")
        for alpha, cells in _shares(every).items():
            label = f"{name}, {_share(alpha)}" if loop.endswith("fitted") else name
            _curve(ax, cells, k, label)
            if 0 < cells[0]["limit"] < cells[0]["signal"]:
                ax.axhline(cells[0]["limit"], color=PALETTE[k], linestyle=":", linewidth=1)
            k += 1
    ax.set_xlabel("generation")
    ax.set_ylim(0, 1.75 * cells[0]["signal"])
    ax.set_ylabel("task variance m v/σ²")
    ax.set_title("prompts read and written again")
    ax.legend(loc="upper right")


def _linear_attention(ax: Axes, stored: Stored) -> None:
    for k, generator in enumerate(("plug-in", "predictive")):
        cells = _cells(stored, f"linear attention, {generator}", "distance")
        _curve(ax, cells, k, generator)
    x = column(cells, "generation")
    alpha = cells[0]["alpha"]
    ax.plot(x, (1 - alpha) ** x, "k--", linewidth=1, label=f"(1 - α)^g, {_share(alpha)}")
    _generations(ax, x)
    ax.set_ylabel("distance from the best, over the first")
    ax.set_title("linear attention, refitted")
    ax.legend(loc="upper right")


def _transformer(ax: Axes, stored: Stored, kind: str) -> None:
    cells = _cells(stored, "transformer, plug-in", kind)
    last = max(cell["generation"] for cell in cells)
    beside = [
        cell
        for cell in cells_of(stored, "quality")
        if cell.get("kind") == kind and cell["generation"] <= last
    ]
    for k, (alpha, own) in enumerate(_shares(cells).items()):
        _curve(ax, own, k, f"plug-in, {_share(alpha)}", line=False)
        regime = own[0]["regime"]
        same = [c for c in beside if c["alpha"] == alpha and c["regime"] == regime]
        if same:
            x = column(same, "generation")
            colour, label = PALETTE[k], f"predictive, {_share(alpha)}"
            ax.plot(x, column(same, "measured"), color=colour, linestyle="--", label=label)
    _generations(ax, column(cells, "generation"))
    ax.set_ylim(0, None)


def _exact_plug_in(stored: Stored) -> float:
    constants = constants_of(stored, CLAIM)
    (found,) = [c["value"] for c in constants if c["name"].startswith("implied task variance")]
    return float(found)


def _draw(stored: Stored) -> Figure:
    """Labels written with the noise alone (plug-in) forget the task, with the predictive
    deviation they do not; squared error is blind to it. Lines: closed forms; dotted: limits;
    points: measured. The transformer is a finding (dashed: predictive).
    """
    figure = Figure(figsize=(15.5, 7.4))
    axes = figure.subplots(2, 4)
    for ax, draw in zip(
        axes.flat,
        (_one_generation, _fitted, _written, _test_error, _read_again, _linear_attention),
        strict=False,
    ):
        draw(ax, stored)
    shown, error = axes[1, 2], axes[1, 3]
    _transformer(shown, stored, "implied_task_variance")
    shown.axhline(1, color=GREY, linewidth=0.8)
    shown.set_ylim(0, 1.75)
    shown.axhline(_exact_plug_in(stored), color="k", linestyle=":", label="Bayes, plug-in")
    shown.set_ylabel("implied task variance over the prior's")
    shown.set_title("transformer: its prompts")
    shown.legend(loc="upper right")
    _transformer(error, stored, "excess_squared_risk")
    error.set_ylabel("excess squared error over Bayes")
    error.set_title("transformer: its test error")
    error.legend(loc="upper left")
    return figure


DRAWINGS = of_cells({CLAIM: _draw})
