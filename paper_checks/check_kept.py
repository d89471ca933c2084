"""Statements 120 and 121, and the claim about them: which errors of kept rows add up like ln i."""

import math

import numpy as np
import pytest
import stored
from check_references import LAST, PRECISION, N, at, simulated
from scipy import stats

from icl_stl.regimes import Accumulate


def harmonic(count: int) -> float:
    return math.fsum(1 / k for k in range(1, count + 1))


def mean_path(shares, last: int) -> list[float]:
    """1 - E theta_i/p of a fit that goes the share s_i of the way to 0; n = m, in mean laws alone.

    The mean of the fitted law is linear in that of the rows: no rows need be drawn.
    """
    kept, found = [1.0], []
    for i in range(last + 1):
        fitted = (1 - shares[i]) * sum(kept) / len(kept)
        found.append(1 - fitted)
        kept.append(fitted)
    return found


def test_only_what_does_not_shrink_adds_up_like_a_logarithm(ledger) -> None:
    s, last = 0.01, 2000
    lost = mean_path([s] * (last + 1), last)
    for i in (1, 10, 100, last):
        assert 1 - math.exp(-s * harmonic(i + 1)) <= lost[i] <= s * harmonic(i + 1)
        product = math.prod(1 - s / k for k in range(1, i + 2))
        assert lost[i] == pytest.approx(1 - product, rel=1e-10)
        gamma = math.lgamma(i + 2 - s) - math.lgamma(1 - s) - math.lgamma(i + 2)
        assert 1 - lost[i] == pytest.approx(math.exp(gamma), rel=1e-9)
    tau = s / (1 - s)  # beside the sum, n = 1: the same first fit
    same = mean_path([tau / (i + 1 + tau) for i in range(last + 1)], last)
    assert same == pytest.approx([s] * (last + 1), rel=1e-9)
    doubling = lost[-1] - lost[last // 2]
    ledger.record(
        "120 a logarithm, if the error does not shrink",
        "attained",
        doubling / (s * math.log(2) * (1 - lost[-1])),
        abs(same[-1] / lost[-1] - 1) > 0.5 and doubling > 0.5 * s * math.log(2),
    )


NOISE = 0.3


def ridge_excess(penalty: float, last: int, *, total: bool, noise: float = NOISE) -> np.ndarray:
    """One input column, the same inputs in every batch: an integral over its mean square."""
    square = stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, N) / N
    kept, spread, found = np.ones_like(square), noise**2 / (N * square), []
    for i in range(last + 1):
        own = penalty / (N * (i + 1)) if total else penalty
        shrunk = own / (square + own)
        found.append(np.mean((1 - (1 - shrunk) * kept) ** 2 + (1 - shrunk) ** 2 * spread))
        g = 1 / (i + 2)
        kept = kept * (1 - g * shrunk)
        spread = spread * (1 - g * shrunk) ** 2 + g**2 * noise**2 / (N * square)
    return np.array(found)


def test_ridge_adds_up_like_a_logarithm_beside_the_mean_alone(ledger) -> None:
    """Excess over that of the first fit: the logarithm is in its root."""
    cells, control = [], []
    for seed, (total, penalty) in enumerate(((False, 0.2), (True, 0.2 * N))):
        more = {"dim": 1, "noise": NOISE, "penalty": penalty, "total": total}
        seen = simulated("ridge", Accumulate(), N, seed, runs=60_000, **more)
        cells += at(seen["excess"], ridge_excess(penalty, LAST, total=total))
        other = 0.2 * N if not total else 0.2
        control += at(seen["excess"], ridge_excess(other, LAST, total=not total))
    assert max(cell.precision for cell in cells) <= PRECISION
    assert min(cell.p_value for cell in cells) > 0.05 / len(cells)
    rejected = max(cell.p_value for cell in control) < 1e-6
    bias = (ridge_excess(p, 300, total=t, noise=0.0) ** 0.5 for t, p in ((0, 0.02), (1, 0.02 * N)))
    mean, whole = (path / path[0] for path in bias)
    assert whole == pytest.approx(np.ones(301), rel=1e-9)
    assert mean[300] - mean[30] == pytest.approx(math.log(10), rel=0.25)
    worst = max(abs(cell.z) for cell in cells)
    ledger.record("120 ridge, kept rows, both penalties", "holds", worst, rejected)


def test_bias_adds_straight_and_noise_in_squares(ledger) -> None:
    """Each batch and each fit has a noise of its own: the loop is a matrix, row by row."""
    n, m, last, v = 3, 2, 40, 1.7
    bias, tau = 0.3 * np.arange(1, last + 2) ** -0.2, np.linspace(0.5, 0.9, last + 1)
    width = 1 + 2 * (last + 1)  # the real rows' error, then those of fits and of batches
    pool, mean = np.eye(1, width)[0], 0.0
    size = n
    for i in range(last + 1):
        fitted = pool + np.eye(1, width, 1 + i)[0]
        own = mean + bias[i]
        batch = fitted + np.eye(1, width, 2 + last + i)[0]
        variances = np.concatenate([[v / n], tau**2, np.full(last + 1, v / m)])
        square = own**2 + fitted**2 @ variances
        steps = [m / (n + (j + 1) * m) for j in range(i)]
        straight = bias[i] + sum(g * b for g, b in zip(steps, bias, strict=False))
        noise = sum(g**2 * (t**2 + v / m) for g, t in zip(steps, tau, strict=False))
        assert square == pytest.approx(straight**2 + v / n + tau[i] ** 2 + noise, rel=1e-12)
        assert noise <= m / n * tau.max() ** 2 + v / n
        pool, mean = (size * pool + m * batch) / (size + m), (size * mean + m * own) / (size + m)
        size += m
    k = np.arange(1.0, 10**6)
    slow, slower = np.cumsum(k**-1.25), np.cumsum(1 / (k * np.log(k + 1)))
    assert slow[-1] - slow[len(k) // 1000] < 0.7
    wrong = sum(g * t for g, t in zip(steps, tau, strict=False)) ** 2
    rejected = wrong > 2 * noise and slower[-1] - slower[len(k) // 1000] > 0.6
    ledger.record("121 bias and noise of kept rows", "attained", 1.0, bool(rejected))


def test_claim_augmentation(ledger) -> None:
    claim = stored.claim("augmentation")
    assert (claim["verdict"], claim["negative_control"]["rejected"]) == ("holds", True)
    wrong = []
    for cell in claim["cells"]:
        i = cell["generation"]
        known = {
            "added": harmonic(i + 1),
            "mean": (1 - math.prod(1 - 0.1 / k for k in range(1, i + 2))) / 0.1,
            "sum": 1.0,
        }
        if cell["kind"] in known:
            assert cell["bound"] == pytest.approx(known[cell["kind"]], rel=1e-9)
            other = harmonic(i + 1) if cell["kind"] == "sum" else 1.0
            wrong.append(not 0.95 * other < cell["measured"] < 1.05 * other)
        assert cell["measured"] == pytest.approx(cell["bound"], rel=0.05)
    ledger.record("claim augmentation: curves by hand", "holds", 1.0, all(wrong))
