"""The trade-off behind a recommended amount of synthetic data."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from icl_stl.planning.plan import PARTS, Plan
from icl_stl.style import PALETTE

_LINES = dict(
    zip(PARTS, (("-", 1), ("--", 2), ("-.", 3), (":", 7)), strict=True)  # and their colours
)
_TICKS = (0, 0.1, 0.2, 0.5, 1, 2, 5, *(m * 10**k for k in range(1, 9) for m in (1, 2, 5)))


def trade_off(plan: Plan) -> Figure:
    """The competing parts of the bound by ratio, their sum, and where it is smallest.

    The axis is even in ln(1 + lambda), so that 0 is on it.
    """
    figure = Figure(figsize=(6.6, 4.4))
    ax = figure.subplots()
    last = _last(plan)
    lam = np.expm1(np.linspace(0, math.log1p(last), 400))
    for name, values in plan.question.parts(plan.law, lam).items():
        line, colour = _LINES[name]
        if np.any(values > 0):
            ax.plot(lam, values, line, color=PALETTE[colour], linewidth=1.4, label=name)
    total = plan.question.trade_off(plan.law, lam).total
    ax.plot(lam, total, color=PALETTE[0], linewidth=2.2, label="the bound, their sum")
    _mark(ax, plan, last)
    ax.set_xscale("function", functions=(np.log1p, np.expm1))
    ticks = _ticks(last)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlim(0, last)
    ax.set_ylim(0, 1.25 * max(float(plan.alone.total), float(plan.best.value)))
    ax.set_xlabel("synthetic rows per real row, λ (even in ln(1 + λ))")
    ax.set_ylabel(f"bound on the {_NAMES[plan.question.objective]}")
    ax.set_title(_title(plan))
    figure.legend(loc="outside lower center", ncols=4)
    return figure


_NAMES = {"gap": "gap", "risk": "excess risk", "uniform": "gap, uniform convergence"}


def _last(plan: Plan) -> float:
    """Where the axis ends: well beyond the best ratio, its band and what is worse than nothing, at
    the largest one allowed.
    """
    ends = (plan.best.lam, *(plan.band or ()), *(high for _, high in plan.harmful))
    wanted = max([10.0, *(4 * end for end in ends if math.isfinite(end))])
    wanted = max(wanted, 1000.0) if any(map(math.isinf, ends)) else wanted
    return min(wanted, plan.question.max_lam) or 1.0


def _mark(ax: Axes, plan: Plan, last: float) -> None:
    """lambda* with its band."""
    if plan.band is not None:
        low, high = (min(end, last) for end in plan.band)
        ax.axvspan(low, high, color=PALETTE[0], alpha=0.12, linewidth=0, label="95 % band of λ*")
    lam = plan.best.lam
    shown = min(lam, last)
    text = "λ* without limit" if math.isinf(lam) else f"λ* = {lam:.3g}"
    height = float(plan.question.trade_off(plan.law, shown).total)
    ax.plot([shown], [height], "o", color=PALETTE[0], clip_on=False, zorder=5, label=text)
    ax.axvline(shown, color=PALETTE[0], linewidth=0.8)


def _ticks(last: float) -> list[float]:
    """At most some ten ticks from 0 on, far enough from each other to be read."""
    ticks: list[float] = []
    for tick in _TICKS:
        if tick > last * (1 + 1e-9):
            break
        if not ticks or math.log1p(tick) - math.log1p(ticks[-1]) > math.log1p(last) / 14:
            ticks.append(tick)
    return ticks


def _title(plan: Plan) -> str:
    question = plan.question
    rows = "new real rows in every generation" if question.fresh else "one real set, kept"
    when = "i → ∞" if math.isinf(question.generation) else f"i = {question.generation:g}"
    return f"{rows}: n = {question.n:g}, {when}, κ = {question.kappa:g}, b = {question.b:g}"
