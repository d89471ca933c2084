"""The largest row, inflated, all rows kept: closed forms against quadrature; its learner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners, references
from icl_stl.problems import Maximum, expected_excess
from icl_stl.regimes import Accumulate, AccumulateFresh, AccumulateSubsample, Augment, RealOnly

NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2


def test_moments_by_quadrature():
    """Generation 2 from the largest row of each batch."""
    n, m, c, b = 3, 4, 0.8, 0.3
    g = 1 + c * (n + m * np.arange(3.0)) ** -b
    real = n * NODES ** (n - 1) * WEIGHTS
    made = m * NODES ** (m - 1) * WEIGHTS
    assert [real.sum(), made.sum()] == pytest.approx([1, 1])
    ratios = [np.maximum(1, g[j] * NODES) for j in (0, 1)]
    factors = [[made @ ratio**k for ratio in ratios] for k in (1, 2)]
    first = [real @ NODES**k for k in (1, 2)]
    for i in range(3):
        mean, square = (first[k] * np.prod(factors[k][:i]) for k in (0, 1))
        known = references.maximum_kept(n, m, 2, c, b)[i]
        # Quadrature of a kink: to the spacing of the nodes, squared.
        assert known == pytest.approx(1 - 2 * g[i] * mean + g[i] ** 2 * square, abs=2e-5)
    once = references.maximum_once(n, c, b)
    assert references.maximum_kept(n, m, 2, c, b)[0] == pytest.approx(float(once), rel=1e-12)


def test_it_is_bounded_for_powers_above_a_half_alone():
    def late(decay):
        path = references.maximum_kept(20, 20, 100_000, 0.5, decay)
        return path[100_000] / path[10_000]

    # What is left of the sum of N^(-2 b), against one that has no end.
    assert late(0.9) < 1.01
    assert 1.05 < late(0.5) < 20
    assert np.isinf(references.maximum_kept(20, 20, 20_000, 1.0, 0.25)[-1])
    path = references.maximum_kept(20, 20, 5, 1.0, 0.25)
    assert path[[1, 5]] / path[0] == pytest.approx([4.6, 87.5], rel=5e-3)
    likeliest = references.maximum_kept(20, 20, 50, 0.0, 0.25)
    assert likeliest == pytest.approx(np.full(51, 2 / (21 * 22)))
    many = references.maximum_once(10.0 ** np.arange(2, 9), 1.0, 0.25)
    assert np.all(np.diff(many) < 0)
    assert many[-1] == pytest.approx(1e-4, rel=0.01)


def test_rows_of_weight_0_are_not_there():
    learner = learners.maximum(1.0, 0.5)
    rows, weights = jnp.array([0.2, 0.7, jnp.inf]), jnp.array([0.5, 0.5, 0.0])
    theta = learner.fit(jax.random.key(0), rows, weights)
    assert float(theta) == pytest.approx(0.7 * (1 + 2**-0.5))
    made = np.asarray(learner.generate(jax.random.key(1), theta, 4000))
    assert 0 <= made.min() < 0.01 < 0.99 * float(theta) < made.max() <= float(theta)


def test_the_problem_knows_what_is_known():
    problem = Maximum(decay=0.4)
    path = references.maximum_kept(6, 12, 3, 1.0, 0.4)
    for regime in (AccumulateFresh(2.0), Accumulate(2.0)):
        assert expected_excess(problem, regime, 6, 3) == pytest.approx(path / 4)
    assert expected_excess(problem, RealOnly(), 6, 2) == pytest.approx(np.full(3, path[0] / 4))
    for regime in (Augment(), AccumulateSubsample()):
        assert np.isnan(expected_excess(problem, regime, 6, 2)[1:]).all()
    assert float(problem.drift(None, 1.0, 4.0)) == 0.75
    assert float(problem.drift(None, 1.0, 0.5)) == 0.5
