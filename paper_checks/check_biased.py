"""Section 25: sampling bias, loops of the package against their exact laws.

24,000 loops each, all cells in one Holm family at 5 %; each family has a wrong formula that the
same loops must reject. Distances at many more, by sufficient statistics.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stored
from check_references import PRECISION, Cell, quick_compilation, seen_of  # noqa: F401
from check_tables import LAST as LAST_OF_ROWS
from check_tables import SIGMA, draw, looped, moments_of
from check_tables import N as ROWS

from icl_stl import references
from icl_stl.learners import GENERATIVE, categorical, tempered
from icl_stl.loops import self_consume
from icl_stl.problems import Gaussian, GaussianMean, expected_excess, expected_quality
from icl_stl.regimes import AccumulateFresh, Anchored, Augment, FreshReal, Replace

N, LAST, SHOWN, RUNS, S = 12, 4, (1, 2, 4), 24_000, 0.6
FITTED, KNOWN = Gaussian(unbiased=True, sampling_bias=S), GaussianMean(sampling_bias=S)
SECOND = Gaussian(sampling_bias=S)
LOOPS = [(FITTED, regime) for regime in (Replace(2), Augment(0.5), FreshReal(2.0))]
LOOPS += [(SECOND, regime) for regime in (Replace(), Augment(0.5, 0.3), FreshReal(2.0, 0.4))]
LOOPS += [(KNOWN, regime) for regime in (Replace(), Augment(0.25), FreshReal(), AccumulateFresh())]
LOOPS += [(KNOWN, Anchored(0.3))]


def family(problem, regime, seed):
    """Cells of the exact moments, and of those without a bias."""
    of = problem, regime, N, LAST
    seen = seen_of(*of, seed, RUNS)
    plain = replace(problem, sampling_bias=1.0), *of[1:]
    laws = [{"excess": expected_excess(*one), **expected_quality(*one)} for one in (of, plain)]
    return [[Cell(seen[k][:, i], float(law[k][i])) for k in law for i in SHOWN] for law in laws]


def covariances(regime, weight):
    """Cells of the covariance of generated rows, of two columns, with the bias and without."""
    learner = tempered(GENERATIVE["normal"]().make(2), S)
    _, seen = looped(learner, regime, draw, moments_of)
    size = SIGMA, ROWS, ROWS, LAST_OF_ROWS, weight
    known = references.covariance_augment(*size, widening=S, shrinkage=1 - S)
    wrong = references.covariance_augment(*size)
    places = [(i, a, b) for i in range(LAST_OF_ROWS + 1) for a, b in ((0, 0), (0, 1), (1, 1))]
    return [
        [Cell(S * seen[:, i, a, b], float(law.covariance[i, a, b])) for i, a, b in places]
        for law in (known, wrong)
    ]


@pytest.mark.usefixtures("quick_compilation")
def test_loops_have_their_moments(ledger) -> None:
    """Means and variances of one column, and covariances of two."""
    made = {
        f"115, 116 {problem.name}, {regime}; control: no bias": family(problem, regime, seed)
        for seed, (problem, regime) in enumerate(LOOPS)
    }
    fine = [cell.precision for cells, _ in made.values() for cell in cells]
    assert max(fine) <= PRECISION
    made["119 two columns, replace; control: no bias"] = covariances(Replace(), 0.0)
    made["119 two columns, augment; control: no bias"] = covariances(Augment(0.5), None)
    cells = [cell for own, _ in made.values() for cell in own]
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    for name, (own, wrong) in made.items():
        rejected = any(stored.holm_rejects([cell.p_value for cell in wrong]))
        ledger.record(name, "holds", f"|z| <= {max(abs(c.z) for c in own):.1f}", rejected)


def steady(n, m, s, last, runs, rng):
    """Mean and variance of generation `last` of many fresh loops, by sufficient statistics."""
    mean, variance = rng.normal(size=runs) / n**0.5, rng.chisquare(n - 1, runs) / (n - 1)
    w = n / (n + m)
    for _ in range(last if m else 0):
        x, spread = rng.normal(size=runs) / n**0.5, rng.chisquare(n - 1, runs) / n
        y = mean + (s * variance / m) ** 0.5 * rng.normal(size=runs)
        own = s * variance * rng.chisquare(m - 1, runs) / m
        variance = w * spread + (1 - w) * own + w * (1 - w) * (x - y) ** 2
        mean, variance = w * x + (1 - w) * y, variance * (n + m) / (n + m - 1)
    return mean, variance


def test_distances_lie_between_their_bounds(ledger) -> None:
    """The limit of E W2², its threshold, and that the mean has none."""
    rng, worst = np.random.default_rng(7), 0.0
    for n, s in ((50, 0.9), (50, 0.7), (12, 0.9)):
        found = references.admissible_synthetic(n, s)
        alone = references.one_fit_distance(n, 1.0)
        for m in (0, found.best, found.most // 2, found.harmful):
            mean, variance = steady(n, m, s, 60, 40_000, rng)
            w2 = mean**2 + (variance**0.5 - 1) ** 2
            error = w2.std(ddof=1) / len(w2) ** 0.5
            low, value, high = references.biased_distance_limit(n, m, 1.0, s)
            assert low < w2.mean() - 5 * error
            assert w2.mean() + 5 * error < high
            close = abs(w2.mean() - float(value))
            assert close < 4 * error + 1.2 * alone / n  # of a higher order
            worst = max(worst, close / alone)
            if m == 0:
                assert abs(w2.mean() - alone) < 4 * error
            elif m == found.harmful:
                assert w2.mean() - 5 * error > alone
            else:
                assert w2.mean() + 5 * error < alone
            if m:
                assert (mean**2).mean() * 1.03 < 1 / n
    ledger.record("117, 118 limit of squared W2", "holds", f"second order within {worst:.1%}")
    limit = references.mean_variance_biased_limit(50, 238, 1.0, 0.9)
    unbiased = references.biased_distance_limit(50, 238, 1.0, 1.0).value
    harms = references.biased_distance_limit(50, 238, 1.0, 0.9).value
    rejected = bool(unbiased < references.one_fit_distance(50, 1.0) < harms)
    ledger.record("118 a threshold in W2; control: without a bias", "holds", 1.0, rejected)
    ledger.record("116 none in the mean", "holds", float(50 * limit.mean_error))


def test_powers_of_many_rows(ledger) -> None:
    """Laws on symbols fitted to 10^5 rows follow the power of the probabilities."""
    law, last = np.array([0.4, 0.3, 0.2, 0.1]), 3
    learner, count = tempered(categorical(4), 0.9), 100_000

    def loop(key):
        real = learner.generate(key, jnp.array(law), count, bias=1.0)
        return self_consume(
            key, learner, real, last, regime=Replace(), observe=lambda _, g: g.params
        )

    seen = np.asarray(jax.jit(jax.vmap(loop))(jax.random.split(jax.random.key(5), 8))).mean(0)
    known, wrong = (references.law_powered(law, s, last) for s in (0.9, 1.0))
    apart = np.abs(seen - known).max()
    assert apart < 2e-3
    rejected = bool(np.abs(seen - wrong)[1:].max() > 0.02)
    ledger.record("119 powers of symbols; control: no power", "holds", f"{apart:.1e}", rejected)
