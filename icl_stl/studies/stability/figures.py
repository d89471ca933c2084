"""Figures of recursive stability, drawn from the claims' cells alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import (
    BARS,
    Cell,
    Drawing,
    Stored,
    cells_of,
    column,
    grouped,
    interval,
    numbers,
    points,
)
from icl_stl.style import MARKERS, PALETTE, plain_log

FOUND = (
    "Bars of transformers are 95 % Student intervals of the mean over whole loops, each by itself: "
    "a finding, not a test. Steps, not epochs, are equal for every n."
)


def _of(stored: Stored, claim: str, **keys: Any) -> list[Cell]:
    return [
        cell
        for cell in cells_of(stored, claim)
        if all(cell.get(key) == value for key, value in keys.items())
    ]


def _shares(stored: Stored, claim: str) -> list[float]:
    return sorted({cell["alpha"] for cell in _of(stored, claim, loop="transformer")})


# --- the recursion -------------------------------------------------------------------------------


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


def _caption_recursive_stability(stored: Stored) -> str:
    cells = cells_of(stored, "recursive_stability")
    judged = [c for c in cells if c.get("test") == "equal"]
    most = numbers(abs(c["measured"] / c["bound"] - 1) for c in judged).max()
    common = [c for c in cells if "n gamma, common" in c["quantity"]]
    worst = numbers(c["worst"] for c in cells if "worst" in c).max()
    said = []
    for (share,), own in grouped(
        _of(stored, "recursive_stability", loop="transformer", kind="parameters"), "alpha"
    ).items():
        last = [c for c in own if c["generation"] == max(x["generation"] for x in own)]
        said += [f"{c['measured'] / c['bound']:.2g} (n = {c['n']}, α = {share:g})" for c in last]
    return (
        "What one replaced real row moves, generation by generation. Upper left: loops in which "
        "χ_i = α/n + (1 - α) κ χ_{i-1} is an equality; the measured means differ from it by at "
        f"most {most:.1%}. Symbols under common random numbers instead of the maximal coupling "
        f"differ {common[0]['measured']:.2g} times as much: each statement needs its own coupling. "
        "Upper right: linear attention, refitted with shared randomness; no pair of loops comes "
        f"nearer to its bound than {worst:.2f} in any generation. Below: "
        "transformers whose real sets differ in one "
        "random prompt, their randomness shared, beside the recursion with Ω and κ_c measured on "
        f"the same loops; measured over drawn in the last generation: {', '.join(said)}. The "
        "largest change over all swaps tried, those found by a search among them, is a lower bound "
        f"on the supremum. A real prompt is drawn {_visits(stored)} times in a generation. "
        f"{FOUND} {BARS}"
    )


# --- rates ---------------------------------------------------------------------------------------


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


def _visits(stored: Stored) -> str:
    """How often a real prompt is drawn in a generation after the first: from, to."""
    cells = _of(stored, "recursive_stability", loop="transformer", kind="parameters")
    visits = [cell["visits"] for cell in cells if cell["generation"]]
    return f"{min(visits):.2g} to {max(visits):.2g}" if visits else "few"


def _caption_stability_rate(stored: Stored) -> str:
    said = [
        f"{cell['quantity'].removeprefix('exponent in n, ').replace('kappa', 'κ')} {interval(cell)}"
        for cell in _slopes_in_n(stored, None)
    ]
    found = [
        f"{interval(c)} (generation {c['generation']}, α = {c['alpha']:g})"
        for c in _slopes_in_n(stored, "transformer")
        if c["kind"] == "tv"
    ]
    return (
        "How the influence of one real row falls with n, and whether it grows with the generation "
        f"at a constant share. Solvable loops, exponent in n: {'; '.join(said)}; theory says -1. "
        "Transformers: exponents of the total variation between the generators "
        f"{'; '.join(found)}. A real prompt is drawn {_visits(stored)} times in a generation on "
        "average, less often where n is larger: part of the fall. Legends give fitted exponents "
        f"with intervals. {FOUND} {BARS}"
    )


# --- architectures -------------------------------------------------------------------------------

MEASURED = {
    "parameters": "distance of the weights",
    "tv": "total variation",
    "loss_max": "largest loss change",
    "kappa": "κ_c, passed on",
    "kl": "excess NLL, nats a label",
}


def _draw_architecture(stored: Stored) -> Figure:
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


def _caption_architecture(stored: Stored) -> str:
    cells = cells_of(stored, "architecture")
    last = max(c["generation"] for c in cells)
    tv = {c["architecture"]: c for c in cells if c["kind"] == "tv" and c["generation"] == last}
    by_size = sorted(tv, key=lambda k: (not np.isnan(tv[k]["measured"]), tv[k]["measured"]))
    least, most = by_size[sum(np.isnan(c["measured"]) for c in tv.values()) % len(tv)], by_size[-1]
    n, alpha = cells[0]["n"], cells[0]["alpha"]
    return (
        "Which architecture is recursively stable: what one replaced real prompt of "
        f"n = {n} moves (real share α = {alpha:g}), the base and one change of it at a time; on "
        "the right how well each has learned, without which stability is cheap. Least moved after "
        f"{last} generations, in total variation: {least} ({interval(tv[least], '.2g')}); most: "
        f"{most} ({interval(tv[most], '.2g')}). κ_c is the share of a distance that the generator "
        f"passes on, 1 a generator that follows its training set. Distances are those of the "
        f"matrices that act, not of their factors. {FOUND}"
    )


DRAWINGS: Mapping[str, Drawing] = {
    name: Drawing(draw, caption, needs_loops=False, needs_claim=name)
    for name, draw, caption in (
        ("recursive_stability", _draw_recursive_stability, _caption_recursive_stability),
        ("stability_rate", _draw_stability_rate, _caption_stability_rate),
        ("architecture", _draw_architecture, _caption_architecture),
    )
}
"""A figure a claim, by the claim's name."""
