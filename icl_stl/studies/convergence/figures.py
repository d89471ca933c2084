"""Figures of the transformer over sizes, drawn from the claims' cells alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import (
    Cell,
    Stored,
    cells_of,
    column,
    grouped,
    numbers,
    of_cells,
    points,
)
from icl_stl.style import MARKERS, PALETTE, plain_log

CLAIM, SIZE = "transformer_convergence", "transformer_synthetic_size"

WORDS = {
    "own": "gap less its shift",
    "gap": "generalization gap",
    "excess": "excess risk over Bayes",
    "kl": "excess NLL over Bayes, nats a label",
}


def _measured(stored: Stored, kind: str) -> list[Cell]:
    """The findings of every generation: one n, not a comparison of two, nor an exponent."""
    return [
        cell
        for cell in cells_of(stored, CLAIM)
        if cell["kind"] == kind and cell["verdict"] == "finding" and not isinstance(cell["n"], list)
    ]


def _exponents(stored: Stored, kind: str) -> list[Cell]:
    return [cell for cell in cells_of(stored, CLAIM) if cell["kind"] == kind and "curve" in cell]


def _over_generations(ax: Axes, cells: Sequence[Cell], kind: str) -> None:
    """Measured means by n, and the formula at measured constants where there is one."""
    for k, ((n,), own) in enumerate(grouped(cells, "n").items()):
        x = column(own, "generation")
        points(ax, own, x + 0.06 * (k - 1), PALETTE[k], f"n = {n}", MARKERS[k])
        ax.plot(x, column(own, "measured"), color=PALETTE[k], linewidth=1)
        if np.isfinite(own[0]["bound"]):
            formula = column(own, "bound")
            ax.plot(x[x >= 1], formula[x >= 1], "--", color=PALETTE[k], linewidth=1.1)
    if np.isfinite(cells[0]["bound"]):
        ax.plot([], [], "k--", linewidth=1.1, label="formula, constants measured")
    ax.set_xlabel("generation")
    ax.set_xticks(sorted({int(c["generation"]) for c in cells}))
    ax.set_ylabel(WORDS[kind])
    if kind == "gap":
        ax.axhline(0, color="0.35", linewidth=0.8)
        return
    ax.set_yscale("log")
    seen = numbers(column(cells, "measured"))
    formulas = [c["bound"] for c in cells if c["bound"] > 0 and c["generation"]]
    if seen.max() > 0:
        ax.set_ylim(0.4 * seen[seen > 0].min(), 12 * max([seen.max(), *formulas[:1]]))
    plain_log(ax.yaxis, (1,))


def _over_exponents(ax: Axes, stored: Stored, kind: str) -> None:
    """Fitted exponents in n by generation."""
    for k, ((alpha,), own) in enumerate(grouped(_exponents(stored, kind), "alpha").items()):
        seen = [c for c in own if np.isfinite(c["measured"])]
        x = column(seen, "generation") + 0.09 * (k - 0.5)
        points(ax, seen, x, PALETTE[3 + k], f"α = {alpha:g}", MARKERS[3 + k])
    theory = _exponents(stored, kind)[0]["bound"]
    ax.axhline(theory, color="black", linestyle="--", linewidth=1.1, label="-min(a, 1/2)")
    ax.axhline(0, color="0.35", linewidth=0.8)
    ax.set_xlabel("generation")
    ax.set_xticks(sorted({int(c["generation"]) for c in _exponents(stored, kind)}))
    ax.set_ylabel("exponent in n")
    ax.set_title(f"exponents: {WORDS[kind].partition(',')[0]}")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    ax.legend(fontsize=8, loc="upper center", ncols=3)


ROWS = ("own", "gap", "excess")


def _draw_convergence(stored: Stored) -> Figure:
    """The transformer at a constant real share, by n: the gap less its shift, the gap, the
    excess risk; right: exponents in n. Dashed: formulas at measured constants, which are no
    bounds. Bars: 95 % intervals, each by itself.
    """
    shares = sorted({c["alpha"] for c in _measured(stored, "gap")})
    figure = Figure(figsize=(4.2 * (len(shares) + 1), 3.6 * len(ROWS)))
    axes = figure.subplots(len(ROWS), len(shares) + 1, squeeze=False)
    for row, kind in zip(axes, ROWS, strict=True):
        for ax, share in zip(row, shares, strict=False):
            own = [c for c in _measured(stored, kind) if c["alpha"] == share]
            _over_generations(ax, own, kind)
            ax.set_title(f"real share α = {share:g}")
        row[0].legend(fontsize=8)
        _over_exponents(row[-1], stored, kind if kind != "gap" else "kl")
    return figure


def _regrets(stored: Stored) -> list[Cell]:
    return [c for c in cells_of(stored, SIZE) if "prediction" in c]


def _sweep(ax: Axes, own: Sequence[Cell]) -> None:
    """One objective over λ in several generations, and what the bounds recommend for the last."""
    generations = grouped(own, "generation")
    for k, ((generation,), cells) in enumerate(generations.items()):
        cell = cells[0]
        x = np.arange(len(cell["lams"]))
        ax.errorbar(
            x + 0.06 * k,
            cell["curve"],
            yerr=cell["half_width"],
            color=PALETTE[k],
            marker=MARKERS[k],
            markersize=5,
            capsize=2.5,
            label=f"generation {generation}",
        )
        if cell["best"] in cell["lams"]:
            best = cell["lams"].index(cell["best"])
            ax.plot(best + 0.06 * k, cell["curve"][best], "*", color=PALETTE[k], markersize=15)
    last = list(generations.values())[-1]
    for k, cell in enumerate(last):
        lams = np.log1p(cell["lams"])
        at, low, high = (
            np.interp(np.log1p(v), lams, np.arange(len(lams)))
            for v in (cell["prediction"][key] for key in ("lam", "low", "high"))
        )
        style = ("--", ":")[k]
        colour = PALETTE[5 + k]
        ax.axvline(at, color=colour, linestyle=style, label=f"formula, {cell['predicted_by']}")
        if high > low:
            ax.axvspan(low, high, color=colour, alpha=0.1, linewidth=0)
    lams = last[0]["lams"]
    ax.set_xticks(range(len(lams)), [f"{lam:g}" for lam in lams])
    ax.set_xlabel("λ, synthetic prompts per real one")


def _draw_size(stored: Stored) -> Figure:
    """Measured objectives by the amount of synthetic data, stars at the best tried; vertical
    lines and bands: where the bounds' formulas at measured constants are least, for the last
    generation. No theorem says that both must agree.
    """
    cells = _regrets(stored)
    sizes = sorted({c["n"] for c in cells})
    worlds = {"augment": "fixed real set", "fresh": "fresh real prompts"}
    objectives = {name: words for name, words in WORDS.items() if name != "own"}
    figure = Figure(figsize=(4.6 * 2 * len(sizes), 9.6))
    axes = figure.subplots(len(objectives), 2 * len(sizes), squeeze=False)
    for column_at, (n, regime) in enumerate((n, r) for n in sizes for r in worlds):
        for row, (objective, words) in enumerate(objectives.items()):
            ax = axes[row, column_at]
            own = [
                c for c in cells if (c["n"], c["regime"], c["objective"]) == (n, regime, objective)
            ]
            _sweep(ax, own)
            ax.set_title(f"{worlds[regime]}, n = {n}")
            if column_at == 0:
                ax.set_ylabel(words)
            if objective == "gap":
                ax.axhline(0, color="0.35", linewidth=0.8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)
    return figure


DRAWINGS = of_cells({CLAIM: _draw_convergence, SIZE: _draw_size})
