"""Loops of rows of a table: formulas against enumeration of everything that may be drawn."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from icl_stl import references

POINTS = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 3.0]])
"""The real law: one of these, every one alike."""
SIGMA = np.cov(POINTS.T, bias=True)


def moments(rows, shares):
    mean = shares @ rows
    return mean, (rows - mean).T @ (shares[:, None] * (rows - mean))


def atoms(mean, covariance):
    """Four rows, every one alike, of this mean and covariance."""
    values, axes = np.linalg.eigh(covariance)
    steps = (axes * np.sqrt(2 * np.maximum(values, 0))).T
    return mean + np.concatenate([steps, -steps])


def enumerated(n, m, w, factors, last, fresh):
    """E (mu_i - mu)(mu_i - mu)^T and E C_i over all real rows and batches of a law of 4 atoms."""
    found, true = np.zeros((2, last + 1, 2, 2)), POINTS.mean(axis=0)
    sets = [POINTS[list(own)] for own in itertools.product(range(3), repeat=n)]
    shares = np.concatenate([np.full(n, w / n), np.full(m, (1 - w) / m)])

    def follow(i, real, mean, covariance, chance):
        covariance = factors * covariance
        found[0, i] += chance * np.outer(mean - true, mean - true)
        found[1, i] += chance * covariance
        if i == last:
            return
        made = atoms(mean, covariance)
        reals = sets if fresh else [real]
        for own in reals:
            for batch in itertools.product(range(4), repeat=m):
                rows = np.concatenate([own, made[list(batch)]])
                follow(i + 1, own, *moments(rows, shares), chance / len(reals) / 4**m)

    for real in sets:
        follow(0, real, *moments(real, np.full(n, 1 / n)), 1 / len(sets))
    return found


@pytest.mark.parametrize(
    ("n", "m", "w", "widening", "shrinkage", "last"),
    [(2, 2, None, 1.0, 0.0, 2), (2, 2, 0.3, 1.4, 0.25, 2), (2, 3, 0.0, 1.2, 0.5, 1)],
)
@pytest.mark.parametrize("fresh", [False, True])
def test_mean_and_covariance_equal_enumeration(n, m, w, widening, shrinkage, last, fresh) -> None:
    loop = references.covariance_fresh if fresh else references.covariance_augment
    last = 1 if fresh else last
    own = loop(SIGMA, n, m, last, w, widening=widening, shrinkage=shrinkage)
    factors = np.array([[widening, 1 - shrinkage], [1 - shrinkage, widening]])
    expected = enumerated(n, m, n / (n + m) if w is None else w, factors, last, fresh)
    np.testing.assert_allclose(own.mean_error, expected[0], rtol=1e-10)
    np.testing.assert_allclose(own.covariance, expected[1], rtol=1e-10)


def test_two_generations_of_new_rows_equal_enumeration() -> None:
    own = references.covariance_fresh(SIGMA, 1, 2, 2, 0.4, widening=1.1)
    expected = enumerated(1, 2, 0.4, np.array([[1.1, 1], [1, 1.1]]), 2, True)
    np.testing.assert_allclose(own.mean_error, expected[0], rtol=1e-10)
    np.testing.assert_allclose(own.covariance, expected[1], rtol=1e-10)


@pytest.mark.parametrize(("n", "m", "w"), [(1, 3, None), (5, 2, 0.0), (8, 8, 0.7)])
def test_one_column_is_a_fitted_variance(n, m, w) -> None:
    own = references.covariance_augment([[2.25]], n, m, 9, w)
    known = references.mean_variance_augment(n, m, 1.5, 9, w)
    np.testing.assert_allclose(own.mean_error[:, 0, 0], known.mean_error, rtol=1e-12)
    np.testing.assert_allclose(own.covariance[:, 0, 0], known.variance, rtol=1e-12)


def test_without_real_rows_noise_of_one_size_keeps_the_variance() -> None:
    """Of 1/sqrt(n_syn - 1) deviations; less collapses, more grows without end."""
    n, m, last = 7, 10, 200
    for h, goes in ((0.9, -1), (1.0, 0), (1.1, 1)):
        wide = 1 + h**2 / (m - 1)
        path = references.covariance_augment(SIGMA, n, m, last, 0.0, widening=wide).covariance
        known = (1 - 1 / n) * wide * (wide * (1 - 1 / m)) ** np.arange(last + 1)
        np.testing.assert_allclose(path[:, 0, 0], known * SIGMA[0, 0], rtol=1e-9)
        assert np.sign(np.round(path[-1, 1, 1] / path[0, 1, 1] - 1, 9)) == goes
        shrinks = (1 - 1 / n) * (1 - 1 / m) ** np.arange(last + 1)
        np.testing.assert_allclose(path[:, 0, 1], shrinks * SIGMA[0, 1], rtol=1e-9)


INITIAL = np.array([0.6, 0.4])
TRANSITION = np.array([[0.7, 0.3], [0.2, 0.8]])


@pytest.mark.parametrize("w", [None, 0.0, 0.3])
def test_a_chain_of_two_places_is_a_law_of_pairs(w) -> None:
    pairs = (INITIAL[:, None] * TRANSITION).ravel()
    own = references.chain_augment(INITIAL, TRANSITION, 2, 3, 4, 5, w)
    known = references.law_augment(pairs, 3, 4, 5, w)
    np.testing.assert_allclose(own.mean.reshape(6, 4), known.mean, rtol=1e-10)
    np.testing.assert_allclose(own.error, known.error, rtol=1e-10)
    distance = references.law_total_variation(pairs, 3, 4, 5, w)
    np.testing.assert_allclose(own.total_variation, distance, rtol=1e-10)
    if w == 0:
        fixed = references.law_fixation(pairs, 3, 4, 5).sum(axis=1)
        np.testing.assert_allclose(own.fixed, fixed, rtol=1e-10)


def chain_of(weighted, total, a, k=2):
    """Law of rows that a first-order chain has, fitted to weighted rows, from the definition."""
    count = Counter()
    for row, weight in weighted:
        for t, b in enumerate(row):
            count[b] += total * weight
            count[row[t - 1] if t else "start", b] += total * weight
    flat = {b: (count[b] + a) / (sum(count[c] for c in range(k)) + k * a) for b in range(k)}

    def after(u, b):
        visits = sum(count[u, c] for c in range(k)) + k * a
        return (count[u, b] + k * a * flat[b]) / visits if visits else flat[b]

    def law(row):
        return math.prod(after(row[t - 1] if t else "start", b) for t, b in enumerate(row))

    return law


@pytest.mark.parametrize(("w", "a"), [(None, 0.0), (0.0, 0.0), (0.3, 0.5), (0.0, 0.2), (1.0, 1.0)])
def test_chains_equal_enumeration_of_all_rows(w, a) -> None:
    n, m, last = 2, 1, 2
    rows = list(itertools.product(range(2), repeat=3))
    real = {r: INITIAL[r[0]] * TRANSITION[r[0], r[1]] * TRANSITION[r[1], r[2]] for r in rows}
    share = n / (n + m) if w is None else w
    mean, error, apart, fixed = np.zeros((last + 1, 8)), *np.zeros((3, last + 1))

    def follow(i, own, law, chance):
        laws = np.array([law(r) for r in rows])
        off = laws - np.array([*real.values()])
        mean[i] += chance * laws
        error[i] += chance * off @ off
        apart[i] += chance * np.abs(off).sum() / 2
        fixed[i] += chance * math.isclose(laws.max(), 1)
        if i == last:
            return
        for batch in itertools.product(rows, repeat=m):
            likely = math.prod(law(r) for r in batch)
            weighted = [(r, share / n) for r in own] + [(r, (1 - share) / m) for r in batch]
            if likely:
                fit = chain_of(weighted, n * (share > 0) + m * (share < 1), a)
                follow(i + 1, own, fit, chance * likely)

    for own in itertools.product(rows, repeat=n):
        start = chain_of([(r, 1 / n) for r in own], n, a)
        follow(0, own, start, math.prod(real[r] for r in own))
    found = references.chain_augment(INITIAL, TRANSITION, 3, n, m, last, w, pseudo_count=a)
    np.testing.assert_allclose(found.mean.reshape(last + 1, 8), mean, rtol=1e-9)
    np.testing.assert_allclose(found.error, error, rtol=1e-9)
    np.testing.assert_allclose(found.total_variation, apart, rtol=1e-9)
    np.testing.assert_allclose(found.fixed, fixed, rtol=1e-9, atol=1e-15)


def test_without_real_rows_a_row_remains_in_which_a_symbol_has_one_successor() -> None:
    found = references.chain_augment(INITIAL, TRANSITION, 3, 2, 2, 200, 0.0)
    left = found.mean[-1]
    lasting = np.ones((2, 2, 2), bool)
    lasting[[0, 1], [0, 1], [1, 0]] = False  # 001 and 110
    assert found.fixed[-1] == pytest.approx(1, abs=1e-9)
    assert left[lasting].min() > 1e-3
    assert left[~lasting].max() < 1e-9
    assert (np.diff(found.fixed) >= -1e-12).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: references.covariance_augment([[1, 2]], 3, 3, 1), "covariance = .* symmetric"),
        (lambda: references.covariance_augment([[1, 2], [0, 1]], 3, 3, 1), "symmetric"),
        (lambda: references.covariance_fresh([[1, 2], [2, 1]], 3, 3, 1), "eigenvalue below 0"),
        (lambda: references.covariance_fresh([[1.0]], 3, 3, 1, shrinkage=1.5), "shrinkage = 1.5"),
        (lambda: references.covariance_fresh([[1.0]], 3, 3, 1, widening=-1), "widening = -1"),
        (
            lambda: references.chain_augment(INITIAL, [[1.0]], 3, 2, 2, 1),
            r"transition has shape \(1, 1\)",
        ),
        (
            lambda: references.chain_augment(INITIAL, [[0.5, 0.4], [0, 1]], 3, 2, 2, 1),
            "probabilities with sum 1",
        ),
        (
            lambda: references.chain_augment(INITIAL, TRANSITION, 4, 2, 9, 1),
            "n_syn = 9 is outside .* at most 5000",
        ),
    ],
)
def test_what_is_no_such_loop_is_refused(call, said) -> None:
    with pytest.raises(ValueError, match=said):
        call()
