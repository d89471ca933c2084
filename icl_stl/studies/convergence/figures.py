"""Figures of the transformer over sizes, drawn from the claims' cells alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.studies.drawing import (
    Cell,
    Drawing,
    Stored,
    cells_of,
    column,
    constants_of,
    grouped,
    interval,
    numbers,
    points,
)
from icl_stl.style import MARKERS, PALETTE, plain_log

FOUND = (
    "Bars are 95 % Student intervals of the mean over whole loops, each by itself. Steps, not "
    "epochs, are equal for every size."
)

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


# --- convergence ---------------------------------------------------------------------------------


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


def _constants(stored: Stored, claim: str) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in constants_of(stored, claim)}


def _fitted(value: Mapping[str, float], form: str = ".3g") -> str:
    return f"{value['fitted']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def _range(values: Sequence[float], form: str = ".2g") -> str:
    known = numbers(values)
    return f"{known.min():{form}} to {known.max():{form}}"


def _falls(stored: Stored, kind: str) -> str:
    """Of the comparisons of the largest with the smallest n, how many are decided."""
    judged = [c for c in cells_of(stored, CLAIM) if c["kind"] == kind and c["verdict"] != "finding"]
    return f"{sum(c['verdict'] == 'holds' for c in judged)} of {len(judged)}"


def _vacuous(gaps: Sequence[Cell]) -> str:
    """What the formulas of high probability come to."""
    totals = {
        kind: [c["formulas"][kind]["total"] for c in gaps] for kind in ("certificate", "realised")
    }
    said = []
    for kind, words in (
        ("certificate", "M times the total variation"),
        ("realised", "the realised discrepancy"),
    ):
        least = numbers(totals[kind]).min()
        state = "vacuous in every generation" if least > 1 else "vacuous in some generations"
        said.append(f"with {words} it is {state}, at least {least:.2g}")
    return "; ".join(said)


def _caption_convergence(stored: Stored) -> str:
    known = _constants(stored, CLAIM)
    words = "eps(N) = floor + c N^-a, whole prompts"
    floor, c, a = (_fitted(known[f"{name} of {words}"]) for name in ("floor", "c", "a"))
    entries = {e["name"]: e for e in constants_of(stored, CLAIM)}
    assumed = entries[f"floor of {words}"]["assumed"]
    gaps = _measured(stored, "gap")
    last = max(c["generation"] for c in gaps)

    def over(generation: int) -> str:
        own = [c for c in _measured(stored, "own") if c["generation"] == generation]
        ratios = [c["bound"] / c["measured"] for c in own if c["measured"] > 0]
        return _range(ratios) if ratios else "no number"

    def exponents(kind: str, generations: tuple[int, ...]) -> str:
        return "; ".join(
            f"{interval(c)} (generation {c['generation']}, α = {c['alpha']:g})"
            for c in _exponents(stored, kind)
            if c["generation"] in generations
        )

    def by_n(name: str, form: str = ".0f") -> str:
        return ", ".join(
            f"{v:{form}} at {k.partition(', ')[2]}"
            for k, v in known.items()
            if k.startswith(f"{name}, n")
        )

    passed = by_n("kappa_c", ".1f")
    shifts = "; ".join(
        f"{c['shift']:+.4f} (n = {c['n']}, α = {c['alpha']:g})"
        for c in gaps
        if c["generation"] == last
    )
    return (
        "Does the transformer converge with a constant share of real prompts? Less with the "
        "largest n than with the smallest is decided for the gap less its shift in "
        f"{_falls(stored, 'own')} generations and shares, for the excess risk in "
        f"{_falls(stored, 'excess')}, for the excess NLL in {_falls(stored, 'kl')}. Above: what a "
        "generation owes to its own training set. Dashed: the stability part of the bound's "
        "formula for the mean, at measured constants, which is no bound: b from the gap of "
        f"generation 0 (there it is an equality), κ from distances of weights ({passed}; "
        f"above 1/(1 - α) the formula grows in every generation). It is {over(1)} times what is "
        f"measured in generation 1, {over(last)} times in generation {last}. Middle: the gap, the "
        "shift included; its "
        f"(1 - α) shift in the last generation: {shifts}; below 0 real prompts are easier for "
        "the network than generated ones. The formula that would hold with probability 95 %, with "
        f"the largest changes seen (b {by_n('b')}; κ {by_n('kappa')}): {_vacuous(gaps)}. These "
        "constants grow with n, so that the rate n^-min(a, 1/2) of the theory, whose constants do "
        "not, is drawn for comparison only. Below: the excess risk of the bounded loss; dashed the "
        "formula of an exact minimiser with M times the total variation (the network minimises the "
        f"NLL in equally many steps). The error of one fit is {floor} + {c} N^-a in total "
        f"variation, a = {a}{' (assumed: ' + '; '.join(assumed) + ')' if assumed else ''}; every "
        f"generation has such a floor. Exponents of the gap less its shift: "
        f"{exponents('own', (1, last))}; of the excess risk: {exponents('excess', (0, last))}. "
        f"{FOUND}"
    )


# --- how much synthetic data ---------------------------------------------------------------------


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


def _useful(cell: Cell) -> str:
    """Where the formula recommends none: for which n it would, its constants unchanged."""
    prediction = cell["prediction"]
    if prediction["lam"] > 0:
        return ""
    if not prediction["useful"]:
        return ", above 0 for no n searched"
    ranges = ", ".join(f"{low:.2g} to {high:.2g}" for low, high in prediction["useful"])
    return f", above 0 for n from {ranges}"


def _caption_size(stored: Stored) -> str:
    cells = _regrets(stored)
    last = max(c["generation"] for c in cells)
    said = []
    for c in (c for c in cells if c["generation"] == last):
        world = "fixed" if c["regime"] == "augment" else "fresh"
        lost = "excess over it" if c["objective"] == "gap" else "regret"
        p = c["prediction"]
        said.append(
            f"{WORDS[c['objective']]}, {world}, n = {c['n']}, {c['predicted_by']}: λ* = "
            f"{p['lam']:.2g} [{p['low']:.2g}, {p['high']:.2g}]{_useful(c)}; best tried "
            f"{c['best']:g}, {lost} {interval(c, '.3f' if c['objective'] == 'gap' else '.2f')}"
        )
    return (
        "How much synthetic data is best for the transformer: measured, with stars at the best "
        "amount tried, and where the formulas of the bounds at measured constants have their "
        "certified minimum (vertical lines for the last generation, bands 95 % over resampled "
        "error laws): with M times the total variation of one fit, and with the realised loss "
        "discrepancy of generation 1. Regret: the objective at the amount tried that is nearest to "
        "the recommended one over the best tried; of the gap, which may be negative, the "
        f"difference. In generation {last}: {'. '.join(said)}. No theorem says that a bound's "
        f"minimum is where the measured one is. {FOUND}"
    )


def _drawing(draw: Any, caption: Any, claim: str) -> Drawing:
    return Drawing(draw, caption, needs_loops=False, needs_claim=claim)


DRAWINGS: Mapping[str, Drawing] = {
    CLAIM: _drawing(_draw_convergence, _caption_convergence, CLAIM),
    SIZE: _drawing(_draw_size, _caption_size, SIZE),
}
"""A figure of each of the two questions."""
