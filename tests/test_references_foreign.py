"""Rows of another model: closed forms against enumeration, limits and loops; the option."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners, references
from icl_stl.problems import GaussianMean, Ols, expected_excess
from icl_stl.regimes import (
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    FreshReal,
    Hidden,
    RealOnly,
    Replace,
    mixing_weights,
)


@pytest.mark.parametrize("regime", [Replace(), Augment(0.25, 0.4), AccumulateFresh(2.0)])
def test_a_mean_by_enumeration(regime):
    """Rows are the mean and -1 or 1, each as likely: all of them."""
    n, c, i = 2, 0.7, 2
    m = regime.synthetic_size(n) * (i if regime.keeps_history else 1)
    w = regime.share(i)
    rows = np.array([*product((-1, 1), repeat=n + m)])
    error = (w * rows[:, :n].mean(1) + (1 - w) * (rows[:, n:] + c).mean(1)) ** 2
    known = expected_excess(GaussianMean(foreign=c), regime, n, i)
    assert known == pytest.approx([1 / n, known[1], error.mean()])


def test_least_squares_in_the_limit():
    """c^2 (p^2 + p q f/(1 - f)), half of the labels bad or more."""
    d, c = 2000, 3.0
    for n, m in ((3000, 5000), (4000, 4000)):
        p, f = m / (n + m), d / (n + m)
        of = references.Mixing.of(FreshReal(m / n), n, 1)
        bad, good = (references.ols_foreign(of, d, 1.0, one)[1] for one in (c, 0.0))
        assert bad - good == pytest.approx(c**2 * (p**2 + p * (1 - p) * f / (1 - f)), rel=2e-3)
        assert good == pytest.approx(d / (n + m - d - 1))


def test_the_floor_is_below_what_is_lost():
    for n, ratio, d in product((8, 60), (1, 3), (1, 5)):
        floor = (ratio / (1 + ratio)) ** 2
        known, same = (
            expected_excess(Ols(d, foreign=2.0), kind.from_lam(ratio), n, 2)[1:]
            - expected_excess(Ols(d, foreign=0.0), kind.from_lam(ratio), n, 2)[1:]
            for kind in (Augment, AugmentSameInputs)
        )
        assert np.all(known > 4 * floor * (1 + 1e-9))
        assert same == pytest.approx([4 * floor] * 2)
    # One direction: the weighted mean of two slopes, E [A/(A+B)]^2 of two chi squares.
    rng = np.random.default_rng(3)
    a, b = rng.chisquare(24, 10**6), rng.chisquare(8, 10**6)
    share = (a / (a + b)) ** 2
    known = expected_excess(Ols(1, foreign=1.0), Augment(0.25), 8, 1)[1] - 1 / 30
    assert known == pytest.approx(share.mean(), abs=5 * share.std() / 1e3)


def test_beyond_the_crossover_the_other_model_is_worse():
    c, last = 0.5, 4
    for regime in (Replace(), Augment(0.5), Augment(0.2, 0.4)):
        at = references.foreign_crossover(
            mixing_weights(regime, 10, last), 10, regime.synthetic_size(10), 1.0, c
        )
        assert np.isnan(at[0])
        assert np.all(np.diff(at[1:]) > 0)
        for n in range(5, 60, 5):
            own, other = (
                expected_excess(GaussianMean(foreign=one), regime, n, last) for one in (None, c)
            )
            assert ((other > own) == (n > at))[1:].all()
    walk = references.foreign_crossover(mixing_weights(Replace(), 9, 3), 9, 9, 2.0, c)
    assert walk[1:] == pytest.approx(np.arange(1, 4) * 4 / c**2)
    alone = references.foreign_crossover(np.zeros((3, 3)), 9, 9, 1.0, c)
    assert np.isinf(alone[1:]).all()


def test_another_model_helps_while_it_is_near():
    for n, m in ((10, 10), (10, 40)):
        most = references.foreign_helps(n, m, 1.0)
        for factor in (0.99, 1.01):
            problem = GaussianMean(foreign=factor * most)
            error = expected_excess(problem, Augment.from_lam(m / n), n, 1)
            assert (error[1] < error[0]) == (factor < 1)


def test_whatever_was_fitted_the_other_model_writes():
    key, other = jax.random.key(0), jnp.float32(5.0)
    own = learners.gaussian_mean()
    changed = learners.foreign(own, other)
    for fitted in (0.0, 100.0):
        made = changed.generate(key, jnp.float32(fitted), 7)
        assert jnp.array_equal(made, own.generate(key, other, 7))
    assert changed.fit is own.fit
    problem = Ols(3, foreign=2.0)
    assert problem.truth(key).tolist() == [0, 0, 0]
    real = problem.draw(key, problem.truth(key), 4000)
    fits = [
        problem.learner.fit(key, rows, jnp.full(4000, 1 / 4000))
        for rows in (real, problem.learner.generate(key, jnp.zeros(3), 4000))
    ]
    assert np.asarray(fits) == pytest.approx(np.array([[0, 0, 0], [2, 0, 0]]), abs=0.1)
    risk = problem.synthetic_risk(jnp.full(3, 9.0), jnp.zeros(3))
    assert float(risk) == pytest.approx(1 + 4)
    # The one-step error is that from the rows that there were.
    mean = GaussianMean(foreign=6.0)
    eps = mean.eps(key, jnp.float32(0), jnp.float32(0), jnp.float32(6), 1e-6)
    assert float(eps) < 1e-3
    assert float(mean.drift(key, jnp.float32(0), jnp.float32(6))) > 0.9


def test_what_is_not_known_is_not_said():
    for regime in (AccumulateSubsample(), Hidden()):
        for problem in (GaussianMean(foreign=1.0), Ols(3, foreign=1.0)):
            assert np.isnan(expected_excess(problem, regime, 20, 2)[1:]).all()
    for regime in (Augment(0.5, 0.2), FreshReal(1.0, 0.2), Anchored(0.3), AugmentSameInputs(0.4)):
        assert np.isnan(expected_excess(Ols(3, foreign=1.0), regime, 20, 2)[1:]).all()
    assert np.isnan(expected_excess(Ols(3, foreign=1.0), Augment(0.5), 4, 2)[1:]).all()
    alone = expected_excess(Ols(3, foreign=1.0), RealOnly(), 20, 2)
    assert alone == pytest.approx([3 / 16] * 3)
