"""Smoothed resampling: closed forms against enumeration, quadrature and iteration; its learner."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from icl_stl import learners, references
from icl_stl.problems import Kde, expected_excess, expected_quality
from icl_stl.regimes import AccumulateFresh, Augment, Edit, FreshReal, Replace, mixing_weights

H = 0.6
VALUES, SHARES = np.array([-0.5, 2.0]), np.array([0.8, 0.2])
"""A law with mean 0 and variance 1."""


def test_the_mean_law_has_these_weights():
    beside = [[0, 1, 0, 0], [0, 0.3, 0.7, 0], [0, 0.3, 0.21, 0.49]]
    kept = [[0, 1, 0, 0], [0, 1 / 2, 1 / 2, 0], [0, 1 / 3, 1 / 2, 1 / 6]]
    alone = np.eye(4)[1:]
    for regime, known in ((Augment(0.3), beside), (AccumulateFresh(), kept), (Replace(), alone)):
        found = references.resampled_mixture(mixing_weights(regime, 21, 2))
        assert found == pytest.approx(np.array(known))


@pytest.mark.parametrize(("w", "fresh"), [(0.0, False), (0.3, False), (None, True)])
def test_first_generation_by_enumeration(w, fresh):
    """All real rows, all rows that are drawn of them; noise by its moments."""
    n, m = 2, 3
    share = n / (n + m) if w is None else w
    error = variance = 0.0
    for rows in product(range(2), repeat=n * (1 + fresh)):
        first, later = VALUES[[*rows[:n]]], VALUES[[*rows[-n:]]]
        for drawn in product(range(n), repeat=m):
            chance = SHARES[[*rows]].prod() / n**m
            made = first[[*drawn]]
            mean = share * later.mean() + (1 - share) * made.mean()
            square = share * (later**2).mean() + (1 - share) * ((made**2).mean() + H**2)
            mean_square = mean**2 + (1 - share) ** 2 * H**2 / m
            error += chance * mean_square
            variance += chance * (square - mean_square + H**2)
    known = references.resampled_mean_variance(n, m, 1.0, 1, H, w, fresh=fresh)
    assert [known.mean_error[1], known.variance[1]] == pytest.approx([error, variance], rel=1e-12)


def test_limits_are_those_of_the_recursion():
    for fresh, w in product((False, True), (None, 0.3, 1.0)):
        path = references.resampled_mean_variance(9, 30, 1.5, 400, H, w, fresh=fresh)
        limit = references.resampled_limit(9, 30, 1.5, H, w, fresh=fresh)
        assert [part[-1] for part in path] == pytest.approx([*map(float, limit)], rel=1e-12)
        share = 9 / 39 if w is None else w
        assert float(sum(limit)) == pytest.approx(1.5**2 + H**2 / share)
    alone = references.resampled_mean_variance(9, 30, 1.5, 2000, H, 0.0)
    limit = references.resampled_limit(9, 30, 1.5, H, 0.0)
    assert (alone.variance[-1], float(limit.variance)) == pytest.approx((30 * H**2,) * 2)
    assert np.diff(alone.mean_error)[-1] == pytest.approx(H**2)
    assert np.isinf(limit.mean_error)
    assert references.resampled_limit(9, 30, 1.5, 0.0, 0.0).mean_error == 1.5**2
    same = references.resampled_limit(9, 9, 1.0, 0.0, 0.5, fresh=True)
    assert float(same.mean_error) == pytest.approx(2 / 28)


def test_total_variation_from_the_limit_is_what_is_left():
    share, z = 0.4, np.linspace(-12, 14, 5201)
    at = [SHARES @ norm.pdf(z, VALUES[:, None], k**0.5 * H) for k in range(1, 90)]
    weights = share * (1 - share) ** np.arange(89)
    mixture = references.resampled_mixture(mixing_weights(Augment(share), 6, 4))
    bound = references.resampled_distance(share, 4)
    for i, own in enumerate(mixture):
        apart = np.abs(own[1:] @ np.array(at[:5]) - weights @ np.array(at)).sum() * (z[1] - z[0])
        rest = weights[: 88 - i] @ np.array(at[i + 1 :])
        left = np.abs(at[i] - rest).sum() * (z[1] - z[0]) / 2
        assert apart / 2 == pytest.approx((1 - share) ** (i + 1) * left, rel=1e-6)
        assert 0.05 * bound[i] < apart / 2 < bound[i] == pytest.approx((1 - share) ** (i + 1))


@pytest.mark.parametrize("order", [1, 3, 4, 6])
def test_hermite_modes_by_quadrature(order):
    nodes, chances = np.polynomial.hermite_e.hermegauss(12)
    mode = np.polynomial.hermite_e.HermiteE.basis(order)
    k, sigma = np.array([0, 1, 5]), 2.0
    rows = sigma * VALUES[:, None, None] + H * k[:, None] ** 0.5 * nodes
    spread = (sigma**2 + k * H**2) ** 0.5
    seen = np.einsum("v,vkq,q->k", SHARES, mode(rows / spread[:, None]), chances / chances.sum())
    known = references.hermite_mode(order, k, H, sigma) * (SHARES @ mode(VALUES))
    assert seen == pytest.approx(known, abs=1e-12)


def test_rows_are_drawn_by_weight_and_smoothed():
    learner, key = learners.kde(0.3), jax.random.key(0)
    law = learner.fit(key, jnp.array([1.0, 5.0, jnp.nan]), jnp.array([0.25, 0.75, 0.0]))
    made = np.asarray(learner.generate(key, law, 40_000), np.float64)
    near = np.abs(made - 1) < 2
    assert near.mean() == pytest.approx(0.25, abs=4 * (0.1875 / 4e4) ** 0.5)
    for own, centre in ((made[near], 1), (made[~near], 5)):
        assert own.mean() == pytest.approx(centre, abs=4 * 0.3 / len(own) ** 0.5)
        assert own.std() == pytest.approx(0.3, rel=4 / (2 * len(own)) ** 0.5)


def test_the_problem_knows_its_law():
    """Its moments are those of its components; closed forms are there for what mixes."""
    problem, key = Kde(2.0, 0.5), jax.random.key(1)
    (p, q), (a, b), own = problem.components
    assert [p + q, p * a + q * b, p * a**2 + q * b**2 + own**2] == pytest.approx([1, 0, 4])
    rows = np.asarray(problem.draw(key, (), 200_000), np.float64)
    law = problem.learner.fit(key, jnp.asarray(rows), jnp.full(len(rows), 1 / len(rows)))
    seen, known = problem.quality((), law), problem.known(1)
    for power, name in ((3, "third"), (4, "fourth")):
        error = (rows**power).std() / len(rows) ** 0.5
        assert float(seen[f"{name}_moment"]) == pytest.approx(known[name], abs=5 * error)
    inside = known["inside"] / problem.known(0)["inside"]
    assert float(seen["precision"]) == pytest.approx(inside, abs=5e-3)
    error, quality = expected_excess(problem, FreshReal(), 8, 2), expected_quality
    known = references.resampled_mean_variance(8, 8, 2.0, 2, 0.5, fresh=True)
    assert error == pytest.approx(known.mean_error)
    assert quality(problem, FreshReal(), 8, 2)["variance"] == pytest.approx(known.variance)
    assert np.isnan(expected_excess(problem, Edit(), 8, 2)[1:]).all()
    assert not quality(problem, Edit(), 8, 2)
