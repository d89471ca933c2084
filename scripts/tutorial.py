"""A learner and a bound of one's own, end to end: read from top to bottom, then change it.

Rows are numbers z of Laplace's law with scale b: |z| is exponential with mean b. The learner is the
maximum-likelihood scale, which the package does not have. It learns from its own rows beside a
constant real set; how far it strays is derived by hand and judged on thousands of loops.
Exit status 0, 1 if a statement fails or a wrong one is not rejected, 2 for bad usage.
"""
# ruff: noqa: E402  (JAX is loaded only when the arguments are good)

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from icl_stl import console
from icl_stl.config import require
from icl_stl.intervals import LEVEL, Floats, t_half_width, t_test
from icl_stl.lab import results
from icl_stl.regimes import Augment, Regime, Replace


@dataclass(frozen=True)
class Arguments:
    """Judge a bound of one's own on loops of a learner of one's own."""

    runs: int = 4000
    """Independent loops, each with its own real set."""
    seed: int = 0
    """Seed of everything."""
    out: Path = Path("runs/tutorial")
    """Folder for tutorial.svg."""


arguments = console.arguments_of(Arguments)
try:
    require(arguments.runs >= 2, "runs", arguments.runs, "a whole number of at least 2")
    require(0 <= arguments.seed < 2**31, "seed", arguments.seed, "in [0, 2^31)")
    results.make_folder(arguments.out)
except ValueError as error:
    console.refuse(str(error))

import jax

from icl_stl import devices, style
from icl_stl.learners import Learner
from icl_stl.loops import self_consume

devices.use_all_cores(devices.default_cache())
b, n, m, G = 2.0, 50, 50, 10  # scale, real and synthetic rows, generations after generation 0
alpha = n / (n + m)

# 1. The learner: `fit` turns rows and their weights, which sum to 1, into parameters; `generate`
#    turns parameters into rows. Both are pure and written for a single loop.


def fit(key: Any, rows: Any, weights: Any) -> Any:
    """The scale of greatest likelihood."""
    return weights @ abs(rows)


def generate(key: Any, theta: Any, count: int) -> Any:
    """Rows of D_θ."""
    return theta * jax.random.laplace(key, (count,))


# 2. The loops. `self_consume` runs one, a function of its key; `many` runs thousands together, on
#    all cores. What is recorded of each generation is θ_i: arrays [runs, G + 1].


def one_loop(regime: Regime, key: Any) -> Any:
    """θ_0, ..., θ_G of one loop with a real set of its own."""
    key_real, key_loop = jax.random.split(key)
    learner, real = Learner(fit, generate), b * jax.random.laplace(key_real, (n,))
    return self_consume(
        key_loop, learner, real, G, regime=regime, observe=lambda key, generation: generation.params
    )


beside_real, alone = (
    devices.many(one_loop, regime, arguments.runs, seed=arguments.seed, batch=1000).astype(float)
    for regime in (Augment(alpha), Replace())
)

#    A loop whose numbers stop being finite would be missing in every mean: then nothing is judged.
for of, values in (("beside real rows", beside_real), ("without real rows", alone)):
    lost = ~np.isfinite(values)
    if lost.any():
        sys.exit(
            f"failed: Laplace's scale, {of}: {lost.any(1).sum()} of {arguments.runs} loops have "
            f"numbers that are not finite, the first in generation {lost.any(0).argmax()}"
        )

# 3. The theory. R, the mean of |z| over the real rows, has E R = b and Var R = b²/n. The |z| of m
#    rows of D_θ are θ times exponentials of mean 1; S_i, the mean of these, has E S_i = 1 and
#    Var S_i = 1/m. The fit is linear in |z|: θ_0 = R and, α = 0 standing for no real rows,
#
#        θ_i = α R + (1 - α) θ_{i-1} S_i,    so that E(θ_i | R) = R by induction.
#
#    Subtract R: θ_i - R = (1 - α) [(θ_{i-1} - R) + θ_{i-1} (S_i - 1)]. In the square the cross term
#    has mean 0, as S_i is independent of the past. So u_i = E(θ_i - R)² obeys u_0 = 0,
#
#        u_i = (1 - α)² [u_{i-1} + E θ_{i-1}²/m],    where E θ_{i-1}² = b² (1 + 1/n) + u_{i-1},
#
#    since θ_{i-1} - R and R are uncorrelated; likewise E(θ_i - b)² = b²/n + u_i, exactly.


def squared_error(alpha: float, power: int = 2) -> Floats:
    """E(θ_i - b)² of generations 0..G; any power of 1 - α but 2 is wrong."""
    u = [0.0]
    for _ in range(G):
        u.append((1 - alpha) ** power * (u[-1] + (b**2 * (1 + 1 / n) + u[-1]) / m))
    return b**2 / n + np.array(u)


#    u_i grows to the fixed point of its recursion. With m = n (1 - α)/α this gives, for α > 0,
#
#        E(θ_i - b)² <= b² (3 - 2 α) / ((2 - α) n - (1 - α))    in every generation.
#
#    W₁(D_θ, D_b) = |θ - b|: the coupling (θ x, b x) attains it, and z -> |z|, which is 1-Lipschitz,
#    shows that none does better. By Jensen's inequality the root bounds the mean distance:
bound = np.full(G + 1, b * ((3 - 2 * alpha) / ((2 - alpha) * n - (1 - alpha))) ** 0.5)

# 4. The judgement rests on Student's intervals of means over loops, 95 % for all generations
#    together (Bonferroni), and on no tolerance. A bound holds if all intervals lie below it. No
#    sample proves an equation: it holds if no interval excludes it. The last three statements are
#    wrong and must be rejected: they show how much would be noticed.


def interval(values: Floats) -> tuple[Floats, Floats]:
    """Both ends for the mean of every generation: `[runs, G + 1]` -> `[G + 1]`."""
    level = LEVEL / 2 / (G + 1)
    half = [t_half_width(t_test(column).stderr, column.size, level) for column in values.T]
    return values.mean(0) - half, values.mean(0) + half


square, distance, distance_alone = (beside_real - b) ** 2, abs(beside_real - b), abs(alone - b)
statements = (
    ("E(θ - b)²", square, "=", squared_error(alpha), "holds"),
    ("E(θ - b)², no real rows", (alone - b) ** 2, "=", squared_error(0), "holds"),
    ("E W₁", distance, "≤", bound, "holds"),
    ("E(θ - b)², 1 - α not squared", square, "=", squared_error(alpha, power=1), "violated"),
    ("E W₁, half the bound", distance, "≤", bound / 2, "violated"),
    ("E W₁, no real rows", distance_alone, "≤", bound, "violated"),
)
title = f"scale of Laplace's law, b = {b:g}, n = {n}, m = {m}: {arguments.runs} loops"
print(f"{title}\nnumbers of generation {G}, verdicts over all generations\n")
row = "{:29}{:>9}  {:20}{:>10}  {:10}{}".format
print(row("statement", "measured", "interval", "theory", "verdict", "expected"))
as_expected = True
for name, values, sign, theory, expected in statements:
    low, high = interval(values)
    verdict = "holds" if sign == "=" or np.all(high <= theory) else "inconclusive"
    if np.any(low > theory) or (sign == "=" and np.any(high < theory)):
        verdict = "violated"
    numbers = f"{values[:, -1].mean():.4f}", f"[{low[-1]:.4f}, {high[-1]:.4f}]"
    print(row(name, *numbers, f"{sign} {theory[-1]:.4f}", verdict, expected))
    as_expected &= verdict == expected

# 5. The figure, with words that say what to see.
caption = (
    "Points: means over loops; bands: 95 % Student intervals for all generations together.\n"
    "See: with a constant real share the distance settles below the bound; without real rows it\n"
    "grows and crosses it. Half the bound is too little from the start: no factor of 2 is lost."
)


def draw() -> Figure:
    """The distance by generation, with and without real rows, and the bound."""
    figure, x = Figure(figsize=(7, 5)), np.arange(G + 1)
    ax = figure.subplots()
    for values, name, marker, colour in (
        (distance, f"α = {alpha:g}", "o", style.PALETTE[0]),
        (distance_alone, "no real rows", "s", style.PALETTE[1]),
    ):
        ax.plot(x, values.mean(0), marker, color=colour, markersize=4, label=f"measured, {name}")
        ax.fill_between(x, *interval(values), color=colour, alpha=0.25, linewidth=0)
    ax.plot(x, bound, "k-", label=f"bound, α = {alpha:g}, every generation")
    ax.plot(x, bound / 2, "k:", label="half of it, rejected")
    ax.set(xlabel="generation i", ylabel="E W₁(D_θ, D_b) = E |θ - b|, in units of z", title=title)
    ax.set(xticks=x, ylim=(0, None))
    ax.legend(loc="upper left")
    figure.supxlabel(caption, fontsize=9)
    return figure


style.write_figure(draw, arguments.out / "tutorial")
print(f"\n{caption}\n{arguments.out}/tutorial.svg")
if not as_expected:
    sys.exit(1)
