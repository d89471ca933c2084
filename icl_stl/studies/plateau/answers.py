"""One figure of four answers, drawn from what the claims about them have judged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import (
    Cell,
    Stored,
    band,
    cells_of,
    chosen,
    column,
    generations,
    looks_of,
    name_of,
)
from icl_stl.studies.plateau.claims import errors
from icl_stl.style import MARKERS, PALETTE, plain_log


def draw_answers(stored: Stored) -> Figure:
    """Error by generation and real share; squared error over n, dashed: of endless data; bounds
    over what they bound; risk by amount of synthetic data. Bands and bars: 95 %.
    """
    figure = Figure(figsize=(9.4, 7.0))
    axes = figure.subplots(2, 2).ravel()
    for ax, draw, title in zip(
        axes,
        (_share, _data, _tightness, _amount),
        (
            "Does a constant real share prevent collapse?",
            "Does more real data help?",
            "How tight are the bounds?",
            "How much synthetic data is best?",
        ),
        strict=True,
    ):
        ax.set_title(title, loc="left", fontsize=11.5)
        draw(ax, stored)
        if not ax.has_data():
            ax.text(0.5, 0.5, "not judged in this run", ha="center", transform=ax.transAxes)
    return figure


def _at_end(ax: Axes, x: float, y: float, words: str, colour: str) -> None:
    """What a line is, at its end."""
    ax.annotate(
        words,
        (x, y),
        color=colour,
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
    )


def _share(ax: Axes, stored: Stored) -> None:
    looks = looks_of(stored.loops)
    for name, result in stored.loops.items():
        x = generations(ax, result)
        error = errors(result)
        band(ax, x, error, looks[name], "")
        _at_end(ax, x[-1], error[:, -1].mean(), name_of(result), looks[name].colour)
    if stored.loops:
        ax.set_xlim(0, 1.75 * ax.get_xlim()[1])
    ax.set_ylim(0, None)
    ax.set_ylabel("error of predictions beyond Bayes")


def _data(ax: Axes, stored: Stored) -> None:
    cells = [c for c in chosen(stored, "convergence", "squared") if c.get("drawn")]
    last = max((c["generation"] for c in cells), default=0)
    for generation, share, words, colour, marker in (
        (0, 0.5, "first fit", "0.35", "D"),
        (last, 0.5, f"gen. {last:g}, half real", PALETTE[1], MARKERS[1]),
        (last, 0.0, "none real", PALETTE[2], MARKERS[2]),
    ):
        own = [c for c in cells if (c["generation"], c["alpha"]) == (generation, share)]
        sized = sorted((c for c in own if c["n"] != "streamed"), key=lambda c: float(c["n"]))
        if sized:
            n, y = column(sized, "n"), column(sized, "measured")
            ends = np.maximum([y - column(sized, "low"), column(sized, "high") - y], 0)
            style: Any = {"color": colour, "marker": marker, "capsize": 2.5, "markersize": 4.5}
            ax.errorbar(n, y, yerr=ends, **style)
            _at_end(ax, n[-1], y[-1], words, colour)
            for cell in (c for c in own if c["n"] == "streamed"):
                ax.axhline(cell["measured"], color=colour, linestyle="--", linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    if sizes := [float(c["n"]) for c in cells if c["n"] != "streamed"]:
        ax.set_xlim(0.7 * min(sizes), 12 * max(sizes))
    plain_log(ax.xaxis, (1, 3))
    plain_log(ax.yaxis, (1, 2, 3, 5))
    ax.set_xlabel("real prompts n")
    ax.set_ylabel("squared error of predictions beyond Bayes")


def _ratios(cells: Sequence[Cell]) -> np.ndarray:
    """Bound over measured."""
    return np.array([c["bound"] / c["measured"] for c in cells if c["measured"] and c["bound"]])


def _tightness(ax: Axes, stored: Stored) -> None:
    drift = [c for c in cells_of(stored, "drift") if not c.get("by_definition")]
    whole = max((c["prefix"] for c in drift), default=0)
    gap = chosen(stored, "generalization_gap", "quantile")
    rows = {
        "drift: total variation": [c for c in drift if c["prefix"] == whole],
        "level: law of the plateau": chosen(stored, "plateau_level", "level"),
        "risk: rows held out": chosen(stored, "network_bound", "held_out"),
        "gap: by variances": [c for c in gap if c.get("form") == "localised"],
        "gap: by stability": [c for c in gap if c.get("form") == "stability"],
    }
    rows = {words: cells for words, cells in rows.items() if len(_ratios(cells))}
    for k, (words, cells) in enumerate(rows.items()):
        ratios = _ratios(cells)
        ratios = np.sqrt(ratios) if words.startswith("level") else ratios  # of squares
        ax.plot(ratios, np.full(len(ratios), k), "|", color="0.25", markersize=13)
        for cell, ratio in zip(cells, ratios, strict=False):
            if words.startswith("level"):
                below: Any = {"textcoords": "offset points", "xytext": (0, -18), "ha": "center"}
                ax.annotate(f"α = {cell['alpha']:g}", (ratio, k), fontsize=9, **below)
        vacuous = sum(bool(c.get("vacuous")) for c in cells)
        said = f", {vacuous} of {len(cells)} vacuous" if vacuous else ""
        ax.text(0.05, k - 0.32, words + said, transform=ax.get_yaxis_transform(), fontsize=10)
    if rows:
        ax.set_xscale("log")
        ax.axvline(1, color="k", linewidth=1)
        ax.set_ylim(4.5, -0.9)
        ax.set_xlim(0.9, None)
        plain_log(ax.xaxis, (1, 2, 5))
    ax.set_yticks([])
    ax.set_xlabel("bound over what is measured (1: attained)")


def _amount(ax: Axes, stored: Stored) -> None:
    """Of least squares with its real rows the same or new; else of the transformer by n."""
    cells = chosen(stored, "optimal_synthetic_size", "regret", loop="ols", objective="risk")
    words = {("fixed", 20): "same rows", ("fresh", 20): "new rows"}
    of, measured = "least squares", "excess risk"
    if not cells:
        cells = [c for c in cells_of(stored, "transformer_synthetic_size") if "prediction" in c]
        cells = [c for c in cells if (c["objective"], c["predicted_by"]) == ("nll", "squares")]
        few = sorted({c["n"] for c in cells})
        words = {("augment", n): f"n = {n:g}" for n in (*few[:1], *few[1:][-1:])}
        of, measured = "transformer", "excess NLL"
    last = min(5, max((c["generation"] for c in cells), default=0))
    shown = [c for c in cells if c["generation"] == last and (c["regime"], c["n"]) in words]
    for k, cell in enumerate(shown, 3):
        lams, unit = np.array(cell["lams"]), cell["curve"][0]
        some = np.isin(lams, (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32))
        x, y = np.arange(some.sum()), np.array(cell["curve"])[some] / unit
        half = np.array(cell["half_width"])[some] / unit
        style = {"color": PALETTE[k], "marker": MARKERS[k], "capsize": 2.5, "markersize": 4.5}
        ax.errorbar(x, y, yerr=half, **style)
        _at_end(ax, x[-1], y[-1], words[cell["regime"], cell["n"]], PALETTE[k])
        ax.set_xticks(x, [f"{lam:g}" for lam in lams[some]])
        ax.set_xlim(None, x[-1] + 2.6)
        ax.axhline(1, color="0.5", linewidth=1)
    ax.set_xlabel(f"synthetic rows per real one ({of}, gen. {last:g})")
    ax.set_ylabel(f"{measured} over that of none")
