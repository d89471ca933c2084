"""Statements 8 to 12: how a swapped example travels. Exact laws of binary loops."""

import math

import numpy as np
import pytest
from binary_loop import BinaryLoop, amplifier, binomial, copier

from icl_stl import bounds


def influence(loop, real_ones, generation):
    """Expected changed share of the training set when one real 0 becomes 1.

    With two generators ordered by their counts the maximal coupling is monotone, so the changed
    share is the difference of the shares of ones.
    """
    with_one, law_with = loop.shares(real_ones + 1, generation)
    without, law_without = loop.shares(real_ones, generation)
    return with_one @ law_with - without @ law_without


@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 12), (7, 2)])
def test_amplifier_attains_the_influence(ledger, kappa, n, m) -> None:
    loop, alpha = BinaryLoop(n, m, amplifier(kappa)), n / (n + m)
    worst = 0.0
    for i in (0, 1, 2, 5, 20):
        exact = [influence(loop, k, i) for k in range(n)]
        chi = bounds.recursive_stability(n, alpha, kappa, i).influence
        np.testing.assert_allclose(exact, chi, rtol=1e-12)
        worst = max(worst, max(exact) / chi)
    spurious = [1 / n]
    for _ in range(20):
        spurious.append(1 / n + (1 - alpha) * kappa * spurious[-1])
    rejected = spurious[20] > max(exact) * (1 + 1e-6)
    wrong = bounds.recursive_stability(n, alpha, kappa * 0.9, 20).influence
    assert rejected
    ledger.record(
        f"8 influence, amplifier kappa = {kappa:g}, {n} + {m}",
        "attained",
        worst,
        None if kappa == 0 else bool(max(exact) > wrong * (1 + 1e-9)),
    )


@pytest.mark.parametrize("kappa", [1.2, 1.5, 1.9])
def test_copier_attains_the_influence_above_one(ledger, kappa) -> None:
    """Rare ones are copied kappa-fold on average until the cut-off, whose probability is tiny."""
    n, m, i = 20, 20, 3
    loop = BinaryLoop(n, m, copier(kappa))
    exact = influence(loop, 0, i)
    shares, law = loop.shares(1, i - 1)
    cut_off = law[kappa * shares > 1].sum()
    result = bounds.recursive_stability(n, 0.5, kappa, i)
    assert exact <= result.influence * (1 + 1e-12)
    assert exact >= result.influence - 2 * cut_off - 1e-12
    assert cut_off < 1e-4
    wrong = bounds.recursive_stability(n, 0.5, kappa, i - 1).influence
    rejected = kappa * exact > kappa * wrong if kappa * 0.5 + 0.5 > 1 else True
    ledger.record(
        f"8 influence, copier kappa = {kappa:g}", "attained", exact / result.influence, rejected
    )


def test_one_synthetic_example(ledger) -> None:
    n, m, kappa = 6, 9, 0.8
    loop, alpha = BinaryLoop(n, m, amplifier(kappa)), 0.4
    step = loop.transition(3)
    ones = np.arange(m + 1) / (n + m)
    effect = ones.copy()
    for lag in range(6):
        exact = np.diff(effect)
        np.testing.assert_allclose(
            exact, bounds.synthetic_influence(n, alpha, kappa, lag), rtol=1e-11
        )
        effect = step @ effect
    wrong = bounds.synthetic_influence(n, alpha, kappa, 6)
    ledger.record("8 influence of a synthetic example", "attained", 1.0, exact.max() > wrong * 1.01)


def test_phase_condition(ledger) -> None:
    """Above the threshold the influence stays below its uniform bound; below it outgrows it."""
    n, m, kappa = 24, 24, 1.6
    stable = BinaryLoop(n, m, copier(kappa))
    limit = bounds.uniform_recursive_stability(n, 0.5, kappa)
    assert limit.stable
    exact = [influence(stable, 0, i) for i in range(9)]
    assert max(exact) <= limit.influence * (1 + 1e-12)
    assert bounds.phase_threshold(kappa) == pytest.approx(1 - 1 / kappa)
    unstable = BinaryLoop(12, 36, copier(kappa))
    grown = influence(unstable, 0, 8)
    assert not bounds.uniform_recursive_stability(12, 0.25, kappa).stable
    ledger.record(
        "9 phase condition alpha > 1 - 1/kappa",
        "holds",
        max(exact) / limit.influence,
        grown > 1 / 12 * max(1, 0.25 / (1 - 0.5 * 1.6)),
    )


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 1.4])
def test_accumulating_data(ledger, kappa) -> None:
    """All batches kept: exact mean number of ones after i generations."""
    n, last = 8, 6

    def mean_ones(start):
        law = np.zeros(n + 1)
        law[start] = 1.0
        for i in range(1, last + 1):
            grown = np.zeros((i + 1) * n + 1)
            for ones, probability in enumerate(law):
                share = min(1.0, kappa * ones / (i * n))
                grown[ones : ones + n + 1] += probability * binomial(n, share)
            law = grown
        return np.arange(len(law)) @ law / ((last + 1) * n)

    exact = mean_ones(1) - mean_ones(0)
    chi = bounds.accumulate_influence(n, kappa, last)
    assert exact <= chi * (1 + 1e-12)
    if kappa <= 1:
        assert exact == pytest.approx(chi, rel=1e-12)
    exponential = bounds.accumulate_influence(n, 0.9 * kappa, last)
    ledger.record(
        f"10 influence, accumulate, kappa = {kappa:g}",
        "attained" if kappa <= 1 else "holds",
        exact / chi,
        None if kappa == 0 else bool(exact > exponential),
    )


def test_accumulating_grows_polynomially(ledger) -> None:
    late, early = (bounds.accumulate_influence(1, 1.5, i) for i in (10**8, 10**6))
    slope = math.log(late / early) / math.log(100)
    assert slope == pytest.approx(0.5, abs=1e-5)
    assert late * math.gamma(2.5) / 1e4 == pytest.approx(1, rel=1e-6)
    ledger.record("10 accumulate grows like i^{kappa-1}", "attained", 1.0, abs(slope - 1.5) > 0.5)


def test_parameters_under_common_randomness(ledger) -> None:
    """A mean learner on the line, generator kappa theta + u: the bound is an equality, surely."""
    rng, n, m, kappa = np.random.default_rng(4), 10, 25, 1.3
    real = rng.normal(size=n)
    swapped = real.copy()
    swapped[3] += 2.0
    theta = [real.mean(), swapped.mean()]
    noise = rng.normal(size=(12, m))
    ratios = []
    for i in range(1, 13):
        theta = [
            np.concatenate([data, kappa * t + noise[i - 1]]).mean()
            for data, t in zip((real, swapped), theta, strict=True)
        ]
        bound = bounds.parameter_stability(n, n / (n + m), kappa, i, 2.0)
        ratios.append((theta[1] - theta[0]) / bound)
    np.testing.assert_allclose(ratios, 1, rtol=1e-11)
    smaller = bounds.parameter_stability(n, n / (n + m), 1.0, 12, 2.0)
    ledger.record(
        "11 parameters under shared randomness", "attained", 1.0, theta[1] - theta[0] > smaller
    )


def variance_of_share(loop, generation, fresh=False):
    """Exact variance of the share of ones when real ones are Binomial(n, 1/2)."""
    real = binomial(loop.n, 0.5)
    k0, k = np.arange(loop.n + 1), np.arange(loop.m + 1)
    if not fresh:
        first = second = 0.0
        for ones, weight in zip(k0, real, strict=True):
            shares, law = loop.shares(ones, generation)
            first, second = first + weight * shares @ law, second + weight * shares**2 @ law
        return second - first**2
    shares, law = k0 / loop.n, real
    for _ in range(generation):
        synthetic = sum(
            p * binomial(loop.m, loop.generator(s)) for s, p in zip(shares, law, strict=True)
        )
        shares = loop.share(k0[:, None], k[None, :]).ravel()
        law = np.outer(real, synthetic).ravel()
    return shares**2 @ law - (shares @ law) ** 2


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("m", [10, 30])
def test_variance_proxy(ledger, kappa, m) -> None:
    """Loss z: the gap's variance is that of the share of ones, at most a quarter of V_i."""
    n, ratios = 10, []
    for i in (0, 1, 2, 4, 8):
        exact = variance_of_share(BinaryLoop(n, m, amplifier(kappa)), i)
        proxy = bounds.recursive_stability(n, n / (n + m), kappa, i).variance_proxy / 4
        assert exact <= proxy * (1 + 1e-12)
        ratios.append(exact / proxy)
    naive = 1 / (4 * (n + m))
    assert min(ratios) > 0.9
    ledger.record(
        f"14 variance proxy, kappa = {kappa:g}, {n} + {m}",
        "holds",
        min(ratios),
        bool(variance_of_share(BinaryLoop(n, m, amplifier(1.0)), 8) > 1.3 * naive),
    )


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
def test_weighted_and_fresh_data(ledger, weight) -> None:
    n, m, kappa = 8, 16, 0.9
    loop = BinaryLoop(n, m, amplifier(kappa), weight)
    exact = influence(loop, 3, 5)
    weighted = bounds.weighted_stability(n, m, weight, kappa, 5)
    assert exact == pytest.approx(weighted.influence, rel=1e-12)
    variance = variance_of_share(loop, 5)
    assert variance <= weighted.variance_proxy / 4 * (1 + 1e-12)
    fresh = bounds.fresh_data_stability(n, m, weight, kappa, 5)
    fresh_variance = variance_of_share(loop, 5, fresh=True)
    assert fresh_variance <= fresh.variance_proxy / 4 * (1 + 1e-12)
    tightness = min(variance / weighted.variance_proxy, fresh_variance / fresh.variance_proxy) * 4
    ledger.record(
        f"12 weight {weight:g} on the real risk, fixed and fresh data",
        "holds",
        tightness,
        bool(variance > fresh.variance_proxy / 4) or fresh_variance < 0.9 * variance,
    )
