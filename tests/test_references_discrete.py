"""Laws on K symbols: closed forms against the enumeration of every history."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from test_references_gaussian import accumulate_weights, random_weights

from icl_stl import references
from icl_stl.bounds import anchored_weights, drift_recursion

LAWS = [[0.7, 0.3], [0.5, 0.2, 0.3], [1.0, 0.0]]


def batches(law, size):
    """All empirical laws of ``size`` draws, with their probabilities."""
    chances = Counter()
    for draw in itertools.product(range(len(law)), repeat=size):
        counts = tuple(np.bincount(draw, minlength=len(law)))
        chances[counts] += math.prod(law[k] for k in draw)
    return [(np.array(counts) / size, p) for counts, p in chances.items() if p]


def enumerate_loop(law, n, m, last, fit):
    """E p_i, E |p_i - p|^2, E (1 - |p_i|^2), E TV, P(one symbol left) over every history.

    ``fit(real, seen)`` is the law fitted to the real frequencies and those of all batches so far.
    """
    p = np.array(law)
    mean, fixed = np.zeros((last + 1, len(p))), np.zeros((last + 1, len(p)))
    rest = np.zeros((3, last + 1))

    def grow(real, seen, chance):
        i, now = len(seen), fit(real, seen)
        mean[i] += chance * now
        fixed[i] += chance * (now == 1)
        distances = ((now - p) ** 2).sum(), 1 - now @ now, np.abs(now - p).sum() / 2
        rest[:, i] += chance * np.array(distances)
        if i < last:
            for batch, step in batches(now, m):
                grow(real, [*seen, batch], chance * step)

    for real, chance in batches(p, n):
        grow(real, [], chance)
    return mean, *rest, fixed


def by_weights(weights):
    def fit(real, seen):
        row = weights[len(seen)]
        return (1 - row.sum()) * real + sum((w * b for w, b in zip(row, seen, strict=False)), 0.0)

    return fit


def assert_path(path, exact):
    for value, expected in zip(path, exact[:3], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (3, 2)])
def test_any_weights_equal_enumeration(law, n, m) -> None:
    weights = random_weights(4, seed=n)
    exact = enumerate_loop(law, n, m, 3, by_weights(weights))
    assert_path(references.law_loop(weights, law, n, m), exact)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (30, 7), (100, 400)])
def test_closed_forms_equal_the_general_loop(n, m) -> None:
    law, last = [0.5, 0.2, 0.3], 12
    below = lambda w: np.diag(np.full(last, 1 - w), k=-1)  # noqa: E731
    pairs = [
        (references.law_replace(law, n, m, last), below(0.0)),
        (references.law_augment(law, n, m, last), below(n / (n + m))),
        (references.law_augment(law, n, m, last, 0.35), below(0.35)),
        (references.law_accumulate(law, n, m, last), accumulate_weights(n, m, last)),
        (references.law_anchored(law, n, m, last, 0.35), anchored_weights(0.35, last)),
    ]
    for closed, weights in pairs:
        for value, literal in zip(closed, references.law_loop(weights, law, n, m), strict=True):
            np.testing.assert_allclose(value, literal, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n", [1, 10, 300])
@pytest.mark.parametrize("lam", [1, 5, 500])
def test_augment_stays_below_its_bound(n, lam) -> None:
    law = [0.6, 0.1, 0.3]
    path = references.law_augment(law, n, lam * n, 5000)
    bound = references.law_augment_bound(law, n)
    assert bound == pytest.approx(1.5 * 0.54 / n)
    assert (path.error < bound).all()
    if n == 300 and lam == 500:
        assert path.error[-1] > 0.99 * bound


@pytest.mark.parametrize("law", LAWS[:2])
@pytest.mark.parametrize(("n", "m", "weight"), [(2, 3, None), (3, 2, 0.0), (2, 2, 0.8)])
def test_total_variation_and_fixation_equal_enumeration(law, n, m, weight) -> None:
    w = n / (n + m) if weight is None else weight
    mixing = np.diag(np.full(3, 1 - w), k=-1)
    *_, distance, fixed = enumerate_loop(law, n, m, 3, by_weights(mixing))
    value = references.law_total_variation(law, n, m, 3, weight)
    np.testing.assert_allclose(value, distance, rtol=1e-11)
    if w == 0:
        np.testing.assert_allclose(references.law_fixation(law, n, m, 3), fixed, rtol=1e-11)


def test_last_symbol_left_is_drawn_from_the_real_law() -> None:
    law = [0.5, 0.2, 0.3]
    fixed = references.law_fixation(law, 6, 4, 200)
    assert (np.diff(fixed, axis=0) >= -1e-15).all()
    np.testing.assert_allclose(fixed[-1], law, rtol=1e-12)
    assert references.law_replace(law, 6, 4, 200).diversity[-1] < 1e-20
    distance = references.law_total_variation(law, 6, 4, 200, 0.0)
    assert distance[-1] == pytest.approx(1 - np.dot(law, law), rel=1e-12)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("a", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("regime", ["replace", "augment", "accumulate"])
def test_smoothing_equals_enumeration(law, a, regime) -> None:
    n, m, last = 2, 3, 3

    def fit(real, seen):
        parts = {
            "replace": [(m, seen[-1])] if seen else [(n, real)],
            "augment": [(n, real), *[(m, b) for b in seen[-1:]]],
            "accumulate": [(n, real), *[(m, b) for b in seen]],
        }[regime]
        counts = sum(size * share for size, share in parts) + a
        return counts / counts.sum()

    path = getattr(references, f"smoothed_{regime}")(law, n, m, a, last)
    assert_path(path, enumerate_loop(law, n, m, last, fit))


def enumerate_one_sided(weights, m, error):
    """E T_i over every history, each fit cut off at mass 1; and whether a cut was ever needed."""
    mean, cut = np.zeros(len(weights)), [False]

    def grow(seen, chance):
        i = len(seen)
        share = error + float(weights[i, :i] @ np.array(seen)) if i else error
        cut[0] |= share > 1 + 1e-12
        mass = min(share, 1.0)
        mean[i] += chance * mass
        if i + 1 < len(weights):
            for k in range(m + 1):
                ways = math.comb(m, k) * mass**k * (1 - mass) ** (m - k)
                if ways:
                    grow([*seen, k / m], chance * ways)

    grow([], 1.0)
    return mean, cut[0]


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        (np.diag(np.full(4, 0.6), k=-1), 0.4),
        (accumulate_weights(3, 3, 4), 0.2),
        (accumulate_weights(2, 4, 4), 1 / 9),
    ],
)
def test_errors_of_one_sign_add_up_as_the_drift_bound_says(weights, error) -> None:
    exact, cut = enumerate_one_sided(weights, 3, error)
    assert not cut
    value = references.one_sided_loop(weights, error)
    np.testing.assert_allclose(value, exact, rtol=1e-12)
    bound = drift_recursion(np.full(len(weights), error), weights).total
    np.testing.assert_allclose(value, bound, rtol=1e-12)


def test_closed_forms_of_errors_of_one_sign() -> None:
    i = np.arange(9)
    harmonic = np.cumsum(1 / (i + 1.0))
    alpha, e, lam = 0.3, 0.02, 2.5
    pairs = [
        (references.one_sided_augment(e, alpha, 8), e * (1 - (1 - alpha) ** (i + 1)) / alpha),
        (references.one_sided_replace(e, 8), e * (i + 1)),
        (references.one_sided_accumulate(e, 8), e * harmonic),
        (
            references.one_sided_accumulate(e, 8, lam),
            e * (1 + np.cumsum(np.where(i > 0, lam / (1 + i * lam), 0))),
        ),
    ]
    for value, closed in pairs:
        np.testing.assert_allclose(value, closed, rtol=1e-12)
