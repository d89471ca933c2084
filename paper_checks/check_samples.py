"""Statements 93 and 94: a bound on total variation from rows, and verdicts on growth.

Nothing of the package is used but the limit and the verdicts: chances are exact sums of binomial
laws, losses are simulated.
"""

import numpy as np
import pytest
from scipy import stats

from icl_stl.intervals import binomial_interval
from icl_stl.watching import Losses, watch

DELTA, SETS = 0.05, 5


def law_of_right(k, miss, hit):
    """Probabilities of 0 to 2 k right answers: k of chance 1 - miss, k of chance hit."""
    own = np.arange(k + 1)
    return np.convolve(stats.binom.pmf(own, k, 1 - miss), stats.binom.pmf(own, k, hit))


def test_the_level_of_the_certified_bound_exactly(ledger) -> None:
    """Every set of a grid, its chances of all counts summed; independent sets as a control."""
    worst, shared_alike = 0.0, []
    for k in (5, 20, 60):
        trials = 2 * k
        low, plain = (
            np.array(
                [binomial_interval(np.arange(trials) < s, level)[0] for s in range(trials + 1)]
            )
            for level in (DELTA / SETS, DELTA)
        )
        for variation in (0.0, 0.1, 0.35, 0.8, 0.97):
            for miss in np.linspace(0, 1 - variation, 7):
                law = law_of_right(k, miss, miss + variation)
                missed = law[2 * low - 1 > variation + 1e-12].sum()
                worst = max(worst, missed / (DELTA / SETS))
                assert missed <= DELTA / SETS * (1 + 1e-9)
                alone = law[2 * plain - 1 > variation + 1e-12].sum()
                shared_alike.append(1 - (1 - alone) ** SETS)  # five such, the level not shared
    rejected = max(shared_alike) > DELTA
    ledger.record("93 certified total variation", "holds", worst, rejected)


def losses_at_the_tolerance(rng, kind, generations=100):
    """Growth of exactly 1 a generation, the tolerance: every verdict is false."""
    mean, errors = np.arange(generations, dtype=float), rng.normal(size=generations)
    if "loops" in kind:
        own = rng.exponential(size=(6, 20)) - 1 if "skewed" in kind else rng.normal(size=(6, 20))
        return Losses(tuple(range(20)), mean[:20] + own.cumsum(1))
    stderr = np.ones(generations)
    if kind == "opposite":  # of one size and of turning signs: what dependence can do at worst
        errors = errors[0] * (-1) ** np.arange(generations)
    runs = np.full(generations, 4.0 if kind == "estimated" else np.inf)
    if kind == "estimated":
        few = rng.normal(size=(4, generations))
        errors, stderr = few.mean(0), few.std(0, ddof=1) / 2
    return Losses(tuple(range(generations)), mean + errors, stderr, runs)


@pytest.mark.parametrize("kind", ["independent", "opposite", "estimated", "loops", "skewed loops"])
def test_false_alarms_of_the_whole_sequence(ledger, request, kind) -> None:
    """100 generations, 1000 times; of loops 20, 50 times, 1000 with ``--long``.

    The control is the interval of one look, read at each.
    """
    of_loops = "loops" in kind
    few = of_loops and not request.config.getoption("long", False)
    rng = np.random.default_rng(0)
    alarms, naive = [], []
    for _ in range(50 if few else 1000):
        losses = losses_at_the_tolerance(rng, kind)
        alarms.append(watch(losses, 1.0)[-1].decided is not None)
        values, k = losses.values, np.arange(1, len(losses.generations))
        j = np.minimum(k // 2, np.maximum(k - 2, 0))
        if losses.stderr is None:
            growth = values[:, k] - values[:, j]
            growth, error = growth.mean(0), growth.std(0, ddof=1) / len(growth) ** 0.5
        else:
            growth, error = values[k] - values[j], np.hypot(losses.stderr[k], losses.stderr[j])
        naive.append((np.abs(growth - (k - j)) > 1.96 * error).any())
    share = float(np.mean(alarms))
    assert share <= 0.05
    rejected = np.mean(naive) > (0.5 if kind in ("independent", "estimated") else 0.1)
    ledger.record(f"94 growth, {kind}", "holds", share / 0.05, bool(rejected))
