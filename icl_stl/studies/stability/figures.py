"""Figures of recursive stability, drawn from the claims' cells alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import (
    Cell,
    Stored,
    cells_of,
    column,
    grouped,
    interval,
    numbers,
    of_cells,
    points,
)
from icl_stl.style import MARKERS, PALETTE, plain_log


def _of(stored: Stored, claim: str, **keys: Any) -> list[Cell]:
    return [
        cell
        for cell in cells_of(stored, claim)
        if all(cell.get(key) == value for key, value in keys.items())
    ]


def _shares(stored: Stored, claim: str) -> list[float]:
    return sorted({cell["alpha"] for cell in _of(stored, claim, loop="transformer")})


def _attained(ax: Axes, stored: Stored) -> None:
    judged = [c for c in cells_of(stored, "recursive_stability") if "n gamma" in c["quantity"]]
    for k, ((words,), cells) in enumerate(grouped(judged, "quantity").items()):
        whole = next(c for c in cells if "curve" in c)
        generations = np.arange(len(whole["curve"]))
        label = words.removeprefix("n gamma, ")
        label = f"bootstrap, {label}" if "kappa" not in label else label.replace("kappa", "κ")
        if "common" in words:
            ax.plot(generations, whole["curve"], ":", color=PALETTE[k], marker="x", label=label)
            continue
        label += f", α = {whole['alpha']:g}"
        ax.plot(generations, whole["theory"], "k--", linewidth=1.1, zorder=4)
        points(ax, cells, column(cells, "generation"), PALETTE[k], label, MARKERS[k])
    ax.plot([], [], "k--", linewidth=1.1, label="recursion")
    ax.set_ylabel("nγ, total variation times n")
    ax.set_title("loops in which the recursion is attained")
    ax.legend(fontsize=8)


def _contracted(ax: Axes, stored: Stored) -> None:
    cells = [c for c in _of(stored, "recursive_stability", loop="linear attention") if "worst" in c]
    whole = next(c for c in cells if "curve" in c)
    generations = np.arange(len(whole["curve"]))
    points(ax, cells, column(cells, "generation"), PALETTE[0], "measured, mean over pairs")
    ax.plot(generations, whole["theory"], "k--", linewidth=1.1, label="bound, mean over pairs")
    worst = numbers(c["worst"] for c in cells).max()
    ax.set_title(f"linear attention; largest measured/bound {worst:.2f}")
    ax.set_ylabel("n times the distance of Γ")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8)


def _transformer(ax: Axes, stored: Stored, share: float) -> None:
    own = _of(stored, "recursive_stability", loop="transformer", kind="parameters", alpha=share)
    for k, ((n,), cells) in enumerate(grouped(own, "n").items()):
        x = column(cells, "generation")
        points(ax, cells, x, PALETTE[k], f"n = {n}", MARKERS[k])
        ax.plot(x, column(cells, "bound"), "--", color=PALETTE[k], linewidth=1.1)
        ax.plot(x, column(cells, "most"), "_", color=PALETTE[k], markersize=9)
    ax.plot([], [], "k--", linewidth=1.1, label="Ω χ, both constants measured")
    ax.plot([], [], "k_", markersize=9, linestyle="none", label="largest of all swaps tried")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
    plain_log(ax.yaxis)
    ax.set_title(f"transformer, real share α = {share:g}")
    ax.set_ylabel("distance of the weights, relative")
    ax.legend(fontsize=8, ncols=2, loc="upper left")


def _draw_recursive_stability(stored: Stored) -> Figure:
    """What one replaced real row moves. Above: loops that attain the recursion (dashed), and
    linear attention below its bound. Below: transformers beside the recursion at measured
    constants, a finding; ticks: the largest change of all swaps tried.
    """
    shares = _shares(stored, "recursive_stability")
    rows = 1 + -(-len(shares) // 2)
    figure = Figure(figsize=(9.6, 3.9 * rows))
    axes = figure.subplots(rows, 2).ravel()
    _attained(axes[0], stored)
    _contracted(axes[1], stored)
    for ax, share in zip(axes[2:], shares, strict=False):
        _transformer(ax, stored, share)
    for ax in axes:
        ax.set_xlabel("generation")
    for ax in axes[2 + len(shares) :]:
        ax.set_axis_off()
    return figure


def _guide(ax: Axes, x: Any, start: float) -> None:
    x = np.array(x, float)
    ax.plot(x, start * x[0] / x, "k--", linewidth=1.1, label="slope -1")


def _slopes_in_n(stored: Stored, loop: str | None) -> list[Cell]:
    cells = [c for c in cells_of(stored, "stability_rate") if "exponent in n" in c["quantity"]]
    return [c for c in cells if (c["loop"] == "transformer") == (loop == "transformer")]


PANELS = {
    "parameters": "distance of the weights, relative",
    "tv": "total variation, whole prompts",
    "loss_mean": "mean change of the loss",
    "loss_max": "largest change of the loss seen",
}


def _draw_stability_rate(stored: Stored) -> Figure:
    """How the influence of one real row falls with n (theory: slope -1, dashed), and whether it
    grows with the generation. Transformers are a finding: a real prompt is drawn less often
    where n is larger, part of the fall.
    """
    figure = Figure(figsize=(13.2, 8.4))
    axes = figure.subplots(2, 3).ravel()
    for k, cell in enumerate(_slopes_in_n(stored, None)):
        label = cell["quantity"].removeprefix("exponent in n, ").replace("kappa", "κ")
        label = f"{label}: {interval(cell)}"
        axes[0].plot(cell["n"], cell["curve"], color=PALETTE[k], marker=MARKERS[k], label=label)
        if k == 0:
            _guide(axes[0], cell["n"], cell["curve"][0])
    axes[0].set_title("solvable loops, generation 10")
    axes[0].set_ylabel("total variation, or distance")
    measured = _slopes_in_n(stored, "transformer")
    shares = _shares(stored, "stability_rate")
    for ax, (kind, words) in zip(axes[1:], PANELS.items(), strict=False):
        own = [c for c in measured if c["kind"] == kind]
        for cell in own:
            k = shares.index(cell["alpha"])
            first = cell["generation"] == 0
            label = f"α = {cell['alpha']:g}, generation {cell['generation']}: {interval(cell)}"
            ax.plot(
                cell["n"],
                cell["curve"],
                color=PALETTE[k],
                linestyle=":" if first else "-",
                marker=MARKERS[k],
                markerfacecolor="white" if first else None,
                label=label,
            )
        if own:
            _guide(ax, own[0]["n"], own[0]["curve"][0])
        ax.set_title("transformer")
        ax.set_ylabel(words)
    for ax in axes[:5]:
        ax.set_xlabel("n, real rows")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.legend(fontsize=7, loc="lower left")
        low, high = ax.get_ylim()
        if 0 < low < high:
            ax.set_ylim(low / (high / low) ** 0.6, high)  # room for the legend
        for axis in (ax.xaxis, ax.yaxis):
            plain_log(axis)
    own = [c for c in cells_of(stored, "stability_rate") if "exponent in i" in c["quantity"]]
    _draw_in_generations(axes[5], own)
    return figure


def _draw_in_generations(ax: Axes, own: Sequence[Cell]) -> None:
    """Exponents in the generation, one a row."""
    rows = [c for c in own if c["loop"] != "transformer" or c.get("kind") == "parameters"]
    for k, cell in enumerate(rows):
        found = cell["loop"] == "transformer"
        error = [[cell["measured"] - cell["low"]], [cell["high"] - cell["measured"]]]
        colour = PALETTE[1] if found else PALETTE[0]
        ax.errorbar(cell["measured"], -k, xerr=error, fmt="o", color=colour, capsize=2.5)
    ax.axvline(0, color="black", linestyle="--", linewidth=1.1)
    names = [
        f"transformer, n = {c['n']}, α = {c['alpha']:g}"
        if c["loop"] == "transformer"
        else str(c["quantity"].split(", generations")[0].removeprefix("exponent in i, "))
        for c in rows
    ]
    ax.set_yticks([-k for k in range(len(rows))], [n.replace("kappa", "κ") for n in names])
    ax.tick_params(axis="y", labelsize=7)
    ax.set_xlabel("exponent in the generation")
    ax.set_title("growth with the generation: beside 0")


MEASURED = {
    "parameters": "distance of the weights",
    "tv": "total variation",
    "loss_max": "largest loss change",
    "kappa": "κ_c, passed on",
    "kl": "excess NLL, nats a label",
}


def _draw_architecture(stored: Stored) -> Figure:
    """A finding: what one replaced real prompt moves, for an architecture and one change of it
    at a time; right: how well each has learned, without which stability is cheap. κ_c is the
    share of a distance passed on.
    """
    cells = cells_of(stored, "architecture")
    names = list(dict.fromkeys(cell["architecture"] for cell in cells))
    figure = Figure(figsize=(13, 1.6 + 0.42 * len(names)))
    axes = figure.subplots(1, len(MEASURED), sharey=True)
    for ax, (kind, title) in zip(axes, MEASURED.items(), strict=True):
        own = grouped([c for c in cells if c["kind"] == kind], "generation")
        for k, ((generation,), chosen) in enumerate(own.items()):
            at = np.array([names.index(c["architecture"]) for c in chosen]) + 0.16 * (k - 0.5)
            measured, low, high = (column(chosen, key) for key in ("measured", "low", "high"))
            error = np.maximum([measured - low, high - measured], 0)
            colour = PALETTE[2 if kind == "kappa" else k]
            ax.errorbar(
                measured,
                at,
                xerr=error,
                fmt=MARKERS[k],
                color=colour,
                capsize=2,
                markersize=4.5,
                label=f"generation {generation}",
            )
        if kind == "kappa":
            ax.axvline(1, color="black", linestyle=":", linewidth=1)
            ax.set_xlim(left=0)
        else:
            ax.set_xscale("log", nonpositive="clip")
            shown = column([c for c in cells if c["kind"] == kind], "measured")
            if np.any(shown > 0):
                ax.set_xlim(shown[shown > 0].min() / 4, shown[shown > 0].max() * 4)
            plain_log(ax.xaxis, (1, 3))
        ax.set_title(title)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(-0.9, -0.04), ncols=2)
    return figure


DRAWINGS = of_cells(
    {
        "recursive_stability": _draw_recursive_stability,
        "stability_rate": _draw_stability_rate,
        "architecture": _draw_architecture,
    }
)
