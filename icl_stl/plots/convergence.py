"""Figures of the transformer over sizes, drawn from the claims' cells alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icl_stl.plots._common import (
    MARKERS,
    PALETTE,
    Cell,
    Drawing,
    Stored,
    cells_of,
    column,
    grouped,
    plain_log,
    points,
)

FOUND = (
    "Bars are 95 % Student intervals of the mean over whole loops, each by itself. Steps, not "
    "epochs, are equal for every size."
)

CLAIM = "transformer_convergence"

WORDS = {
    "gap": "generalization gap",
    "excess": "excess risk over Bayes, bounded loss",
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


def _interval(cell: Cell) -> str:
    if cell["measured"] is None:
        return "undecided"
    return f"{cell['measured']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]"


# --- convergence ---------------------------------------------------------------------------------


def _over_generations(ax: Axes, cells: Sequence[Cell], kind: str) -> None:
    """Measured means by n, and the bound on the mean."""
    for k, ((n,), own) in enumerate(grouped(cells, "n").items()):
        x = column(own, "generation")
        points(ax, own, x + 0.06 * (k - 1), PALETTE[k], f"n = {n}", MARKERS[k])
        ax.plot(x, column(own, "measured"), color=PALETTE[k], linewidth=1)
        bound = [c["bound"] for c in own]
        if bound[0] is not None:
            later = x >= 1
            drawn = np.array(bound, float)
            ax.plot(x[later], drawn[later], "--", color=PALETTE[k], linewidth=1.1)
    ax.plot([], [], "k--", linewidth=1.1, label="bound on the mean")
    ax.set_xlabel("generation")
    ax.set_xticks(sorted({int(c["generation"]) for c in cells}))
    ax.set_ylabel(WORDS[kind])


def _over_exponents(ax: Axes, stored: Stored, kinds: Sequence[str]) -> None:
    """Fitted exponents in n by generation, beside what bounds them."""
    named = {"own": "gap less its shift", "gap": "gap", "excess": "excess risk", "kl": "excess NLL"}
    k = 0
    for kind in kinds:
        for (alpha,), own in grouped(_exponents(stored, kind), "alpha").items():
            seen = [c for c in own if c["measured"] is not None]
            x = column(seen, "generation") + 0.09 * (k - 1)
            points(ax, seen, x, PALETTE[k], f"{named[kind]}, α = {alpha:g}", MARKERS[k])
            k += 1
    theory = _exponents(stored, kinds[0])[0]["bound"]
    ax.axhline(theory, color="black", linestyle="--", linewidth=1.1, label="-min(a, 1/2)")
    ax.axhline(0, color="0.35", linewidth=0.8)
    ax.set_xlabel("generation")
    ax.set_xticks(sorted({int(c["generation"]) for c in _exponents(stored, kinds[0])}))
    ax.set_ylabel("exponent in n")


def _draw_convergence(stored: Stored) -> Figure:
    shares = sorted({c["alpha"] for c in _measured(stored, "gap")})
    figure = Figure(figsize=(4.2 * (len(shares) + 1), 7.6))
    axes = figure.subplots(2, len(shares) + 1)
    for row, kind in enumerate(("gap", "excess")):
        for ax, share in zip(axes[row], shares, strict=False):
            own = [c for c in _measured(stored, kind) if c["alpha"] == share]
            _over_generations(ax, own, kind)
            ax.set_title(f"real share α = {share:g}")
            if kind == "excess":
                ax.set_yscale("log")
                plain_log(ax.yaxis)
            else:
                seen = np.concatenate([column(own, "low"), column(own, "high")])
                ax.set_ylim(1.3 * min(seen.min(), 0), 2.2 * seen.max())
                ax.axhline(0, color="0.35", linewidth=0.8)
        axes[row, 0].legend(fontsize=8)
    _over_exponents(axes[0, -1], stored, ("own", "gap"))
    _over_exponents(axes[1, -1], stored, ("excess", "kl"))
    for ax in axes[:, -1]:
        ax.set_title("fitted exponents")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
        ax.legend(fontsize=7.5, loc="upper center", ncols=2)
    return figure


def _constants(stored: Stored, claim: str) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in stored.claims[claim]["constants"]}


def _fitted(value: Mapping[str, float], form: str = ".2g") -> str:
    return f"{value['fitted']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def _least(known: Mapping[str, Any], prefix: str) -> float:
    return float(min(value for name, value in known.items() if name.startswith(prefix)))


def _falls(stored: Stored, kind: str) -> str:
    """Of the comparisons of the largest with the smallest n, how many are decided."""
    judged = [c for c in cells_of(stored, CLAIM) if c["kind"] == kind and c["verdict"] != "finding"]
    return f"{sum(c['verdict'] == 'holds' for c in judged)} of {len(judged)}"


def _caption_convergence(stored: Stored) -> str:
    known = _constants(stored, CLAIM)
    floor, c, a = (
        _fitted(known[f"{name} of eps(N) = floor + c N^-a, whole prompts"])
        for name in ("floor", "c", "a")
    )
    gaps = _measured(stored, "gap")
    totals = [c["bounds"]["certificate"]["total"] for c in gaps]
    least = min(x for x in totals if x is not None)
    last = max(c["generation"] for c in gaps)
    first = [c for c in gaps if c["generation"] == 1 and c["measured"] > 0]
    ratios = [c["bound"] / c["measured"] for c in first]
    over = f"{min(ratios):.1f} to {max(ratios):.1f}" if ratios else "without a number"

    passed = [f"{v:.1f} at {k.partition(', ')[2]}" for k, v in known.items() if "kappa_c" in k]

    def exponents(kind: str, generations: tuple[int, ...]) -> str:
        return "; ".join(
            f"{_interval(c)} (generation {c['generation']}, α = {c['alpha']:g})"
            for c in _exponents(stored, kind)
            if c["generation"] in generations
        )

    return (
        "Does the transformer converge with a constant share of real prompts? Less with the "
        f"largest n than with the smallest is decided for the gap in {_falls(stored, 'gap')} "
        f"generations and shares, for the excess risk in {_falls(stored, 'excess')}, for the "
        f"excess NLL in {_falls(stored, 'kl')}. Above: the gap of the bounded loss; it is below 0 "
        "where real prompts are easier for a network than those that it learned from. Dashed: the "
        "bound on its mean, from the realised loss discrepancy, the influence of a prompt on its "
        "own loss and what the generator passes on of a distance "
        f"(κ_c {', '.join(passed)}), all measured; over measured in "
        f"generation 1: {over}. The bound that holds with probability 95 %, from M times the total "
        "variation and the largest changes seen, is vacuous: at least "
        f"{least:.2g} for a loss of at most 1, with the realised discrepancy too, since its "
        f"constants of stability are large (b at least {_least(known, 'b, '):.0f}, κ at least "
        f"{_least(known, 'kappa, '):.0f}). Below: the excess risk, on a logarithmic axis. The "
        f"error of one fit is {floor} + {c} N^-a in total variation, a = {a}: its floor is there "
        "in every generation anew. The dashed bound is on the excess over the best network, from "
        "M times the total variation; the points are excess over Bayes. Exponents in n of the gap "
        f"less its shift: {exponents('own', (1, last))}; of the excess risk: "
        f"{exponents('excess', (0, last))}; the bounds fall like n^-min(a, 1/2). {FOUND}"
    )


# --- how much synthetic data ---------------------------------------------------------------------

SIZE = "optimal_synthetic_size"


def _regrets(stored: Stored) -> list[Cell]:
    return [c for c in cells_of(stored, SIZE) if c["loop"] == "transformer" and "prediction" in c]


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
        ax.axvline(at, color=colour, linestyle=style, label=f"bound, {cell['predicted_by']}")
        if high > low:
            ax.axvspan(low, high, color=colour, alpha=0.1, linewidth=0)
    lams = last[0]["lams"]
    ax.set_xticks(range(len(lams)), [f"{lam:g}" for lam in lams])
    ax.set_xlabel("λ, synthetic prompts per real one")


def _draw_size(stored: Stored) -> Figure:
    cells = _regrets(stored)
    sizes = sorted({c["n"] for c in cells})
    worlds = {"augment": "fixed real set", "fresh": "fresh real prompts"}
    figure = Figure(figsize=(4.6 * 2 * len(sizes), 9.6))
    axes = figure.subplots(len(WORDS), 2 * len(sizes), squeeze=False)
    for column_at, (n, regime) in enumerate((n, r) for n in sizes for r in worlds):
        for row, (objective, words) in enumerate(WORDS.items()):
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
    axes[0, 0].legend(fontsize=8)
    return figure


def _useful(cell: Cell) -> str:
    """Where the bound recommends none: for which n it would."""
    prediction = cell["prediction"]
    if prediction["lam"] > 0:
        return ""
    if prediction["useful"] is None:
        return ", above 0 for no n"
    return f", above 0 only for n from {' to '.join(f'{n:.2g}' for n in prediction['useful'])}"


def _caption_size(stored: Stored) -> str:
    cells = _regrets(stored)
    said = []
    for c in cells:
        if c["generation"] == max(x["generation"] for x in cells):
            said.append(
                f"{WORDS[c['objective']]}, {'fixed' if c['regime'] == 'augment' else 'fresh'}, n = "
                f"{c['n']}, {c['predicted_by']}: λ* = {c['prediction']['lam']:.2g} "
                f"[{c['prediction']['low']:.2g}, {c['prediction']['high']:.2g}], best tried "
                f"{c['best']:g}, regret {_interval(c)}{_useful(c)}"
            )
    return (
        "How much synthetic data is best for the transformer: measured, with stars at the best "
        "amount tried, and where the bounds with measured constants have their certified minimum "
        "(vertical lines for the last generation, bands 95 % over resampled error laws): from M "
        "times the total variation, and from the realised loss discrepancy. Regret: the objective "
        "at the amount tried that is nearest to the recommended one, over the best tried; of the "
        "gap, which may be negative, 1 plus the difference over the gap without synthetic data. In "
        f"the last generation: {'; '.join(said)}. No theorem says that a bound's minimum is where "
        f"the measured one is. {FOUND}"
    )


def _drawing(draw: Any, caption: Any, claim: str) -> Drawing:
    return Drawing(draw, caption, needs_loops=False, needs_claim=claim)


DRAWINGS: Mapping[str, Drawing] = {
    CLAIM: _drawing(_draw_convergence, _caption_convergence, CLAIM),
    "transformer_synthetic_size": _drawing(_draw_size, _caption_size, SIZE),
}
"""A figure of each of the two questions."""
