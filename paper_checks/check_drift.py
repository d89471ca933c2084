"""Statements 1 to 7: how errors accumulate. Finite spaces, exact fractions wherever possible."""

import math
from fractions import Fraction

import numpy as np
import pytest

from icl_stl import bounds

SYMBOLS = 5  # on the points 0, 1, ..., 4


def laws(rng, count):
    """Random laws on a few symbols, as fractions."""
    cells = rng.integers(0, 50, size=(count, SYMBOLS)) + 1
    return [[Fraction(int(c), int(row.sum())) for c in row] for row in cells]


def mixture(weights, members):
    return [
        sum(w * law[k] for w, law in zip(weights, members, strict=True)) for k in range(SYMBOLS)
    ]


def tv(p, q):
    return sum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2


def w1(p, q):
    """Wasserstein-1 of laws on the points 0, 1, ..., K-1."""
    return sum(abs(sum(p[: k + 1]) - sum(q[: k + 1])) for k in range(SYMBOLS))


def chi(p, q):
    """Square root of chi-squared to q; the square is exact."""
    return math.sqrt(sum((x - y) ** 2 / y for x, y in zip(p, q, strict=True)))


def hellinger(p, q):
    affinity = math.fsum(math.sqrt(x * y) for x, y in zip(p, q, strict=True))
    return math.sqrt(max(0.0, 1 - affinity))


def w2(p, q):
    """Wasserstein-2 on the points 0..K-1: the monotone coupling, mass by mass."""
    left, right, i, j, cost = list(p), list(q), 0, 0, Fraction(0)
    while i < SYMBOLS and j < SYMBOLS:
        mass = min(left[i], right[j])
        cost += mass * (i - j) ** 2
        left[i], right[j] = left[i] - mass, right[j] - mass
        i, j = (i + 1, j) if left[i] == 0 else (i, j + 1)
    return math.sqrt(cost)


def kl(p, q):
    return math.fsum(float(x) * math.log(x / y) for x, y in zip(p, q, strict=True) if x)


def random_weights(rng, count):
    """Shares of the real law (first column) and of generations 0, 1, ...: rows sum to 1."""
    rows = []
    for i in range(count):
        cells = [int(c) for c in rng.integers(0, 9, size=i + 1)]
        cells[0] += 1
        rows.append([Fraction(c, sum(cells)) for c in cells])
    return rows


def as_matrix(rows):
    matrix = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        matrix[i, :i] = [float(w) for w in row[1:]]
    return matrix


def random_loop(rng, count, spread):
    """A loop of laws, each near the mixture it was trained on; returns laws, mixtures, weights."""
    weights, (real,) = random_weights(rng, count), laws(rng, 1)
    generated, trained = [], []
    for row in weights:
        target = mixture(row, [real, *generated])
        noise = laws(rng, 1)[0]
        trained.append(target)
        generated.append(mixture([1 - spread, spread], [target, noise]))
    return real, generated, trained, weights


def test_mixing_with_the_real_law_shrinks_distances_linearly(ledger) -> None:
    rng, controls, worst = np.random.default_rng(1), 0, 0.0
    for _ in range(300):
        real, other = laws(rng, 2)
        alpha = Fraction(int(rng.integers(0, 11)), 10)
        mixed = mixture([alpha, 1 - alpha], [real, other])
        assert tv(mixed, real) == (1 - alpha) * tv(other, real)
        assert w1(mixed, real) == (1 - alpha) * w1(other, real)
        assert chi(mixed, real) == pytest.approx(float(1 - alpha) * chi(other, real), abs=1e-12)
        root = math.sqrt(1 - alpha)
        assert hellinger(mixed, real) <= root * hellinger(other, real) + 1e-12
        assert w2(mixed, real) <= root * w2(other, real) + 1e-12
        cap = -math.log(alpha) if alpha else math.inf
        assert kl(real, mixed) <= min(float(1 - alpha) * kl(real, other), cap) + 1e-12
        controls += hellinger(mixed, real) > float(1 - alpha) * hellinger(other, real) + 1e-9
        controls += w2(mixed, real) > float(1 - alpha) * w2(other, real) + 1e-9
        if other != real and alpha < 1:
            worst = max(worst, hellinger(mixed, real) / (root * hellinger(other, real)))
    ledger.record("1 mixing shrinks TV, W1, chi exactly; h, W2, KL", "holds", worst, controls > 200)


def test_general_recursion_is_attained_in_total_variation(ledger) -> None:
    """D_i = (1 - t_i) D_0 + t_i nu with nu singular: every inequality becomes an equality."""
    rng = np.random.default_rng(2)
    exceeded = 0
    for _ in range(40):
        weights = random_weights(rng, 7)
        eps = [Fraction(int(e), 400) for e in rng.integers(1, 20, size=7)]
        real = [*laws(rng, 1)[0][:-1], Fraction(0)]
        real[0] += 1 - sum(real)
        far = [Fraction(0)] * (SYMBOLS - 1) + [Fraction(1)]
        heights: list[Fraction] = []
        generated: list[list[Fraction]] = []
        for i, row in enumerate(weights):
            heights.append(
                eps[i] + sum((w * t for w, t in zip(row[1:], heights, strict=True)), Fraction(0))
            )
            target = mixture(row, [real, *generated])
            generated.append(mixture([1 - heights[i], heights[i]], [real, far]))
            assert tv(generated[i], target) == eps[i]
        drifts = [float(tv(law, real)) for law in generated]
        bound = bounds.drift_recursion([float(e) for e in eps], as_matrix(weights))
        np.testing.assert_allclose(bound.total, drifts, rtol=1e-12)
        wrong = bounds.drift_recursion([float(e) for e in eps], as_matrix(weights) ** 2).total
        exceeded += bool((np.array(drifts) > wrong * (1 + 1e-9)).any())
    ledger.record("2 drift recursion, any weights", "attained", 1.0, exceeded == 40)


def test_general_recursion_bounds_every_loop(ledger) -> None:
    rng, ratios, controls = np.random.default_rng(3), [], 0
    for _ in range(150):
        real, generated, trained, weights = random_loop(rng, 6, Fraction(1, 7))
        for distance in (tv, w1):
            eps = [float(distance(g, t)) for g, t in zip(generated, trained, strict=True)]
            drifts = np.array([float(distance(g, real)) for g in generated])
            bound = bounds.drift_recursion(eps, as_matrix(weights)).total
            assert (drifts <= bound * (1 + 1e-12)).all()
            ratios.append((drifts / bound).max())
            controls += bool((drifts > np.array(eps) * (1 + 1e-9)).any())
    ledger.record("2 drift recursion, random loops", "holds", max(ratios), controls > 100)


def test_square_convex_metrics(ledger) -> None:
    """Hellinger and W2: random loops obey the square-root form and break the linear one."""
    rng, ratios, broken = np.random.default_rng(5), [], 0
    for _ in range(150):
        real, generated, trained, weights = random_loop(rng, 6, Fraction(1, 9))
        for distance in (hellinger, w2):
            eps = [distance(g, t) for g, t in zip(generated, trained, strict=True)]
            drifts = np.array([distance(g, real) for g in generated])
            bound = bounds.drift_convex_square(eps, as_matrix(weights)).total
            assert (drifts <= bound * (1 + 1e-9)).all()
            ratios.append((drifts / bound).max())
    for steps in range(1, 6):
        # D_0 at the point 0, D_j at 1: the squared cost of the mixture is linear in its share.
        real = [Fraction(1)] + [Fraction(0)] * (SYMBOLS - 1)
        far = [Fraction(0), Fraction(1)] + [Fraction(0)] * (SYMBOLS - 2)
        row = [Fraction(1, steps + 1)] * (steps + 1)
        drift = w2(mixture(row, [real, *[far] * steps]), real)
        weights = np.zeros((steps + 1, steps + 1))
        weights[-1, :-1] = 1 / (steps + 1)
        eps = np.array([1.0] * steps + [0.0])
        assert bounds.drift_convex_square(eps, weights).total[-1] == pytest.approx(drift, rel=1e-12)
        broken += drift > bounds.drift_recursion(eps, weights).total[-1] * (1 + 1e-6)
    ledger.record("6 Hellinger and W2, any weights", "attained", max(*ratios, 1.0), broken == 5)


def test_square_root_of_the_share_is_sharp(ledger) -> None:
    alpha, tiny = 0.36, Fraction(1, 10**6)
    real = [Fraction(1, 4)] * 4 + [Fraction(0)]
    far = [Fraction(0)] * 4 + [Fraction(1)]
    start = mixture([1 - tiny, tiny], [real, far])
    mixed = mixture([Fraction(36, 100), Fraction(64, 100)], [real, start])
    affinity = [1 - math.sqrt(1 - float(t)) for t in (tiny, tiny * Fraction(64, 100))]
    ratio = math.sqrt(affinity[1] / affinity[0])
    bound = bounds.drift_root_share(1.0, 0.0, alpha, 1).total
    assert ratio <= bound
    assert ratio / bound > 0.999999
    assert tv(mixed, real) == tiny * Fraction(64, 100)
    limit = bounds.drift_root_share(0.1, 0.1, alpha, math.inf).total
    assert limit <= 2 * 0.1 / alpha
    ledger.record("6 Hellinger with a constant share", "attained", ratio / bound, ratio > 1 - alpha)


def test_kl_identity_and_recursion(ledger) -> None:
    rng, ratios, controls = np.random.default_rng(7), [], 0
    for _ in range(150):
        real, generated, trained, weights = random_loop(rng, 6, Fraction(1, 5))
        eta = [
            math.fsum(float(p) * math.log(t / g) for p, t, g in zip(real, mix, law, strict=True))
            for mix, law in zip(trained, generated, strict=True)
        ]
        exact = np.array([kl(real, law) for law in generated])
        parts = np.array([kl(real, mix) for mix in trained])
        np.testing.assert_allclose(exact, parts + eta, atol=1e-13)
        bound = bounds.drift_kl(eta, as_matrix(weights)).total
        assert (exact <= bound + 1e-12).all()
        ratios.append((exact[bound > 0] / bound[bound > 0]).max())
        one_step = [kl(mix, law) for mix, law in zip(trained, generated, strict=True)]
        for i, row in enumerate(weights):
            assert eta[i] <= bounds.kl_eta_bound(one_step[i], float(row[0])) + 1e-12
        naive = bounds.drift_kl(one_step, as_matrix(weights)).total
        controls += bool((exact > naive + 1e-9).any())
        for mix, law in zip(trained, generated, strict=True):
            assert float(tv(mix, law)) <= bounds.total_variation_from_kl(kl(mix, law)) + 1e-12
    ledger.record("7 KL recursion in eta", "holds", max(ratios), controls > 20)


def test_bound_on_eta_needs_the_real_share(ledger) -> None:
    """A law that misses what only the real data show: eta is about K/alpha, not K."""
    alpha = 0.01
    real, synthetic = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    mixed = alpha * real + (1 - alpha) * synthetic
    fitted = np.array([alpha / 10, 1 - alpha / 10])
    eta = math.log(mixed[0] / fitted[0])
    one_step = float((mixed * np.log(mixed / fitted)).sum())
    bound = bounds.kl_eta_bound(one_step, alpha)
    assert eta <= bound
    ledger.record("7 eta from the one-step excess", "holds", eta / bound, eta > alpha * bound)
