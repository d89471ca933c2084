"""Statements 82 to 85: bounds by variances, around a parameter. Exact laws of binary loops."""

import itertools
import math

import numpy as np
from binary_loop import BinaryLoop, amplifier, binomial
from check_gap import quantile
from scipy import special

from icl_stl import bounds


def two_generations(loop, generation, real):
    """Shares of ones that generations i - 1 and i >= 1 learn from, and chances of the pairs."""
    found = []
    for ones, weight in enumerate(binomial(loop.n, real)):
        before, law = loop.shares(ones, generation - 1)
        for share, chance in zip(before, law, strict=True):
            counts = np.arange(loop.m + 1)
            now = loop.share(ones, counts)
            mass = weight * chance * binomial(loop.m, loop.generator(share))
            found.append((np.full_like(now, share), now, mass))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def squared_risk(theta, p):
    return p * (1 - theta) ** 2 + (1 - p) * theta**2


def test_localised_gap_of_bits(ledger) -> None:
    """(z - theta)^2 = theta^2 + <(1, -2 theta), (z, z)>: around the real share of ones.

    In one coordinate, u = 1 - 2 theta. Control: nothing varies at the centre.
    """
    ratios, controls = [], []
    for (n, m), kappa, real in itertools.product([(12, 12), (10, 30)], [0.6, 1.0], [0.2, 0.5]):
        loop = BinaryLoop(n, m, amplifier(kappa))
        for i, delta in itertools.product([1, 3], [0.2, 0.05]):
            before, share, law = two_generations(loop, i, real)
            theta, p = loop.generator(share), loop.generator(before)
            gap = squared_risk(theta, real) - squared_risk(theta, share)
            centre = 1 - 2 * real
            v_a = bounds.mixed_variance(n / (n + m), centre**2 * real * (1 - real), centre**2 / 4)
            bound = bounds.localised_gap(
                n,
                n / (n + m),
                v_a=v_a,
                r_a=centre,
                v_b=1 / 4,
                r_b=1,
                distance=2 * np.abs(theta - real),
                shift=squared_risk(theta, real) - squared_risk(theta, p),
                delta=delta,
                M=1,
            )
            assert law[gap > bound.total + 1e-12].sum() <= delta
            tight = (gap - bound.shift) / np.maximum(bound.total - bound.shift, 1e-9)
            ratios.append(quantile(tight, law, 1 - delta))
            if real != 0.5:
                controls.append(law[gap > bound.shift + bound.moved + 1e-12].sum() > delta)
    ledger.record("82 gap around a parameter, bits", "holds", max(ratios), any(controls))


def test_hyperbolic_cosine_of_a_martingale(ledger) -> None:
    """E cosh|x + d| <= (1 + E psi(|d|)) cosh|x| with psi(u) = e^u - 1 - u, for E d = 0."""
    rng, ratios, controls = np.random.default_rng(0), [], []
    for _ in range(500):
        x, d = rng.normal(size=3), rng.normal(size=(2, 3)) * rng.exponential()
        d = np.concatenate([d, -d.sum(0, keepdims=True)])
        left = np.cosh(np.linalg.norm(x + d, axis=1)).mean() / np.cosh(np.linalg.norm(x))
        size = np.linalg.norm(d, axis=1)
        ratios.append((left - 1) / (np.exp(size) - 1 - size).mean())
        controls.append(left - 1 > (size**2 / 2).mean())
    assert max(ratios) <= 1
    ledger.record("82 vectors, one step", "holds", max(ratios), any(controls))


def test_bits_before_the_loop_is_run(ledger) -> None:
    """Tail and mean, and that the gap is 2 kappa T^2. Control: the mean instead of the tail."""
    ratios, controls = [], []
    for (n, m), kappa, i in itertools.product([(12, 12), (10, 30)], [0.5, 1.0, 1.5], [1, 2, 6]):
        loop = BinaryLoop(n, m, lambda s, k=kappa: float(np.clip(0.5 + k * (s - 0.5), 0, 1)))
        _, share, law = two_generations(loop, i, 0.5)
        theta = np.array([loop.generator(s) for s in share])
        gap = squared_risk(theta, 0.5) - squared_risk(theta, share)
        exact = 2 * kappa * (share - 0.5) ** 2
        assert (gap <= exact + 1e-12).all()
        assert kappa > 1 or np.allclose(gap, exact, atol=1e-14)
        for delta in (0.2, 0.05, 0.01):
            bound = bounds.bits_gap(n, n / (n + m), i, kappa=kappa, delta=delta)
            assert law[gap > bound.total + 1e-12].sum() <= delta
            ratios.append(quantile(gap, law, 1 - delta) / bound.total)
            if kappa <= 1 and delta < 0.2:
                controls.append(law[gap > bound.mean + 1e-12].sum() > delta)
            squares = bounds.recursive_stability(n, n / (n + m), kappa, i).variance_proxy
            side = np.sqrt(squares * math.log(1 / delta) / 2)
            assert law[0.5 - share > side + 1e-12].sum() <= delta
        assert law @ gap <= bound.mean * (1 + 1e-12)
    ledger.record("83 fair bits before the run", "holds", max(ratios), all(controls))


def test_classes_by_their_variance(ledger) -> None:
    """Two opposite losses, a generator that jumps between 0.1 and 0.9: its variance is 0.09."""
    n, m, delta, ratios, halves = 9, 15, 0.05, [], []
    loop = BinaryLoop(n, m, lambda share: 0.9 if round(share * (n + m)) % 2 else 0.1)
    alpha = n / (n + m)
    variance = bounds.mixed_variance(alpha, 0.25, 0.09)
    known = {"M": 1, "delta": delta, "log_size": math.log(2), "discrepancy": 0}
    bound = bounds.uniform_convergence_gap(n, alpha, **known, variance=variance).fluctuation
    for i in (1, 2):
        before, share, law = two_generations(loop, i, 0.5)
        drawn = np.array([loop.generator(s) for s in before])
        gap = np.abs(alpha * 0.5 + (1 - alpha) * drawn - share)
        assert law[gap > bound].sum() <= delta
        ratios.append(quantile(gap, law, 1 - delta) / bound)
        halves.append(law[gap > bound / 2].sum() > delta)
    ledger.record("84 a class by its variance", "holds", max(ratios), any(halves))


def test_held_out_rows_must_be_unseen(ledger) -> None:
    """Losses of 1000 candidates are fair coins. Control: rows that chose one, counted as unseen."""
    k, candidates, real = 20, 1000, 0.5
    gap, law = real - np.arange(k + 1) / k, binomial(k, real)
    known = {"empirical": 0, "variance": 0.25, "shift": 0, "M": 1}
    ratios, controls = [], []
    for delta in (0.2, 0.05):
        one = bounds.held_out_risk(k, 1.0, **known, delta=delta).total
        some = bounds.held_out_risk(k, 1.0, **known, delta=delta, log_size=math.log(candidates))
        assert law[gap > one].sum() <= delta
        ratios.append(quantile(gap, law, 1 - delta) / one)
        best = lambda limit: 1 - (1 - law[gap > limit].sum()) ** candidates  # noqa: E731
        assert best(some.total) <= delta
        controls.append(best(one) > delta)
    ledger.record("84 held-out rows", "holds", max(ratios), all(controls))


def test_pac_bayes_needs_rows_that_the_prior_has_not_seen(ledger) -> None:
    """The mean of the exponential under the prior: at most 1 for new rows, above it for kept ones.

    Loss 1 if sign(theta) is wrong about a bit; theta_0 says what was commoner among the kept rows.
    """
    n, lam, real = 20, 0.4, 0.5
    ones, law = np.arange(n + 1), binomial(n, real)
    exponents = {
        theta: np.exp(
            lam * n * (real - np.abs(ones / n - theta))
            - n * lam**2 * real * (1 - real) / 2 / (1 - lam / 3)
        )
        for theta in (0, 1)
    }
    right = float(special.ndtr(2.0))  # prior N(2 sigma, sigma^2): theta > 0 with that chance

    def under_prior(one):
        """Mean over the prior around a theta_0 that says 1, or 0."""
        chance = np.where(one, right, 1 - right)
        return chance * exponents[1] + (1 - chance) * exponents[0]

    fresh = max(float(law @ under_prior(one)) for one in (False, True))
    kept = float(law @ under_prior(2 * ones > n))
    assert fresh <= 1
    ledger.record("85 prior around the generation before", "holds", fresh, kept > 1)
