"""Loops of Gaussian data: weighted means, and means with variances, in closed form.

Real rows are i.i.d. N(mu, sigma^2), mu unknown. Generation 0 is fitted on n = ``samples`` of them;
every generation then leaves a batch of ``n_syn`` rows from the law it has fitted.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import flag, nonnegative, positive, probability, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.bounds.drift import anchored_weights
from icl_stl.references._common import (
    last_generation,
    mixing,
    real_weight,
    rows,
    sampling_bias,
    variance,
)
from icl_stl.references._gains import (
    accumulate_gain,
    augment_gain,
    batch_gain,
    best_fresh_weight,
    fresh_limit,
    fresh_path,
)


class BestWeight(NamedTuple):
    """The weight of real data with the least error in the limit of many generations."""

    weight: float
    """w*, between 0 and 1."""
    error: float
    """The limit at w*."""


class GapParts(NamedTuple):
    """Mean generalization gap of every generation, [G+1] each, and what it consists of.

    total = weight (direct + indirect) + (1 - weight) (synthetic + shift).
    """

    direct: Floats
    """A real row, swapped in the training set alone."""
    indirect: Floats
    """What the same swap changes by way of the synthetic rows."""
    synthetic: Floats
    """A synthetic row, swapped."""
    shift: Floats
    """Risk on the real law less risk on the law of the generation before."""
    weight: Floats
    """Of the real rows, 1 in generation 0."""
    total: Floats
    """The gap, risk on the real law less (weighted) empirical risk."""


class MeanVariance(NamedTuple):
    """Exact moments where mean and variance are both fitted."""

    mean_error: Floats
    """E (mu_i - mu)^2."""
    variance: Floats
    """E v_i, the mean fitted variance."""


def mean_loop(weights: Num, samples: int, n_syn: int, noise: float) -> Floats:
    r"""Error of the weighted mean in a loop with any mixing weights.

    E (mu_i - mu)^2 = sigma^2/n + (sigma^2/n_syn) sum_j B_ij^2, B = (I - W)^{-1} W.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 37.
    """
    shares = mixing(weights)
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    return square / n + square / m * batch_gain(shares)


def mean_replace(samples: int, n_syn: int, noise: float, generations: int) -> Floats:
    r"""Error of the mean if only the last batch is seen: sigma^2/n + i sigma^2/n_syn.

    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 37.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    return square / n + np.arange(last_generation(generations) + 1.0) * square / m


def mean_augment(
    samples: int, n_syn: int, noise: float, generations: int, weight: float | None = None
) -> Floats:
    r"""Error of the mean beside a fixed real set, with the last batch only.

    sigma^2/n + (sigma^2/n_syn) sum_{j=1}^{i} (1-w)^{2j}, at most 3 sigma^2/(2 n) for w = n/N.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 37.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    gain = augment_gain(real_weight(weight, n, m), last_generation(generations))
    return square / n + square / m * gain


def mean_augment_limit(
    samples: int, n_syn: int, noise: float, weight: float | None = None
) -> float:
    r"""Limit of `mean_augment`: sigma^2/n + (sigma^2/n_syn) (1-w)^2/(w (2-w)).

    Returns: the limit of E (mu_i - mu)^2; infinite for w = 0.
    Source: derived here, THEORY.md statement 37.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w = real_weight(weight, n, m)
    return square / n + square / m * fresh_limit(0.0, 1.0, w)


def mean_accumulate(samples: int, n_syn: int, noise: float, generations: int) -> Floats:
    r"""Error of the mean if the real set and all batches are kept, every row alike.

    (sigma^2/n) [1 + sum_{j=1}^{i} lam/(1 + j lam)^2], lam = n_syn/n; below 2 sigma^2/n for every
    lam, and (sigma^2/n) sum_{k=1}^{i+1} k^{-2} for lam = 1.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 37.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    return square / n + square / m * accumulate_gain(n, m, last_generation(generations))


def mean_anchored(samples: int, n_syn: int, noise: float, generations: int, alpha: float) -> Floats:
    r"""Error of the mean if all batches are kept but the real set has a fixed weight.

    `mean_loop` with w_ij = (1 - alpha)/i.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 37.
    """
    shares = anchored_weights(alpha, last_generation(generations))
    return mean_loop(shares, samples, n_syn, noise)


def mean_fresh(
    samples: int, n_syn: int, noise: float, generations: int, weight: float, *, bias: float = 1.0
) -> Floats:
    r"""Error of the mean if every generation sees n new real rows and the last batch.

    V_i = w^2 sigma^2/n + (1-w)^2 (V_{i-1} + s sigma^2/n_syn), V_0 = sigma^2/n.

    Args:
        bias: s in (0, 1], the variance of generated rows over sigma^2.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 38; with a bias 115.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w, s = float(share("weight", weight)), sampling_bias(bias)
    return fresh_path(square / n, s * square / m, w, last_generation(generations))


def mean_fresh_limit(samples: int, n_syn: int, noise: float, weight: float) -> float:
    r"""Limit of `mean_fresh`: sigma^2 (w^2/n + (1-w)^2/n_syn)/(1 - (1-w)^2).

    Returns: the limit of E (mu_i - mu)^2; infinite for w = 0.
    Source: derived here, THEORY.md statement 38.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    return fresh_limit(square / n, square / m, float(share("weight", weight)))


def mean_fresh_best(samples: int, n_syn: int, noise: float) -> BestWeight:
    r"""The weight of new real rows with the least limit: w^2 = (n/n_syn) (1-w), limit w sigma^2/n.

    Returns: BestWeight: w* (the golden section 0.618 for n = n_syn) and the limit there.
    Source: derived here, THEORY.md statement 38.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    best = best_fresh_weight(square / n, square / m)
    return BestWeight(best, best * square / n)


def mean_accumulate_subsample(samples: int, n_syn: int, noise: float, generations: int) -> Floats:
    r"""Error of the mean if all rows are kept but each fit sees n of them, drawn anew.

    Generation i is the mean of n rows drawn without replacement from the pool of the real set and
    all batches so far, N_i = n + i n_syn rows. With the pool's mean P_i and sum of squares Q_i,
    v_i = (1/n - 1/N_i) E Q_i/(N_i - 1) and E (mu_i - mu)^2 = E (P_i - mu)^2 + v_i, where

    E (P_{i+1} - mu)^2 = E (P_i - mu)^2 + (n_syn/N_{i+1})^2 (v_i + sigma^2/n_syn),
    E Q_{i+1} = E Q_i + (n_syn - 1) sigma^2 + (N_i n_syn/N_{i+1}) (v_i + sigma^2/n_syn).
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 39.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    error = np.empty(last_generation(generations) + 1)
    center, squares = square / n, (n - 1) * square
    for i in range(len(error)):
        pool = n + i * m
        drawn = (1 / n - 1 / pool) * squares / (pool - 1) if i else 0.0
        error[i] = center + drawn
        step = drawn + square / m
        center += (m / (pool + m)) ** 2 * step
        squares += (m - 1) * square + pool * m / (pool + m) * step
    return error


def mean_total_variation(variance: Num, noise: float) -> Floats:
    r"""Mean total variation between N(mu_i, sigma^2) and the real law.

    E [2 Phi(|mu_i - mu|/(2 sigma)) - 1] = (2/pi) arctan(sd/(2 sigma)), sd^2 = E (mu_i - mu)^2.

    Args:
        variance: E (mu_i - mu)^2 of a loop with known sigma, where mu_i - mu is Gaussian; >= 0.
    Returns: the mean total variation in the shape of ``variance``.
    Assumes: mu_i - mu Gaussian with mean 0: all loops of statements 37 and 38, not the subsample.
    Source: derived here, THEORY.md statement 41.
    """
    deviation = np.sqrt(nonnegative("variance", variance))
    return 2 / np.pi * np.arctan(deviation / (2 * positive("noise", noise)))


def mean_linear_gap_quantile(variance: Num, level: float) -> Floats:
    r"""Quantile of the gap of the linear loss l(theta, z) = z: sd Phi^{-1}(level).

    The gap is mu less the weighted mean of the training set, which is mu - mu_i: N(0, sd^2).

    Args:
        variance: sd^2 = E (mu_i - mu)^2 of a loop with known sigma; >= 0.
        level: the probability that the gap is at most the quantile, in (0, 1).
    Returns: the quantile in the shape of ``variance``, unit of the data.
    Assumes: As `mean_total_variation`.
    Source: derived here, THEORY.md statement 41.
    """
    deviation = np.sqrt(nonnegative("variance", variance))
    return deviation * NormalDist().inv_cdf(float(probability("level", level)))


def mean_gap_parts(
    samples: int, n_syn: int, noise: float, generations: int, weight: float | None = None
) -> GapParts:
    r"""Mean gap of the squared loss (z - theta)^2 beside a fixed real set, and all its parts.

    For i >= 1: direct = (2 w sigma^2/n) (1 - (1-w)/n), direct + indirect = 2 sigma^2/n,
    synthetic = 2 (1-w) sigma^2/n_syn, shift = sigma^2/n + (1 - 2 w) d_{i-1} with
    d_i = (sigma^2/n_syn) sum_{j=1}^{i} (1-w)^{2j}. For i = 0 the gap is 2 sigma^2/n, all direct.
    Returns: GapParts, [G+1] each.
    Source: derived here, THEORY.md statement 40.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w, last = real_weight(weight, n, m), last_generation(generations)
    later = np.arange(last + 1) > 0
    around = square / m * np.concatenate([[0.0], augment_gain(w, last)[:-1]])
    direct = np.where(later, 2 * w * square / n * (1 - (1 - w) / n), 2 * square / n)
    indirect = np.where(later, 2 * (1 - w) * square / n * (1 + w / n), 0.0)
    synthetic = np.where(later, 2 * (1 - w) * square / m, 0.0)
    shift = np.where(later, square / n + (1 - 2 * w) * around, 0.0)
    real = np.where(later, w, 1.0)
    total = real * (direct + indirect) + (1 - real) * (synthetic + shift)
    return GapParts(direct, indirect, synthetic, shift, real, total)


def mean_fresh_gap_parts(
    samples: int, n_syn: int, noise: float, generations: int, weight: float | None = None
) -> GapParts:
    r"""Mean gap of the squared loss (z - theta)^2 with new real rows, and all its parts.

    For i >= 1: direct = 2 w sigma^2/n, indirect = 0 (a real row is seen once), synthetic =
    2 (1-w) sigma^2/n_syn, shift = (1 - 2 w) V_{i-1} with V of `mean_fresh`. With equal rows
    the total is 2 sigma^2/N + rho (rho - alpha) V_{i-1}, N = n + n_syn, alpha = n/N, rho =
    1 - alpha. For i = 0 the gap is 2 sigma^2/n, all direct.
    Returns: GapParts, [G+1] each.
    Source: derived here, THEORY.md statement 78.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w, last = real_weight(weight, n, m), last_generation(generations)
    later = np.arange(last + 1) > 0
    before = np.roll(mean_fresh(n, m, noise, last, w), 1)
    direct = np.where(later, 2 * w * square / n, 2 * square / n)
    synthetic = np.where(later, 2 * (1 - w) * square / m, 0.0)
    shift = np.where(later, (1 - 2 * w) * before, 0.0)
    real = np.where(later, w, 1.0)
    total = real * direct + (1 - real) * (synthetic + shift)
    return GapParts(direct, np.zeros(last + 1), synthetic, shift, real, total)


def mean_variance_augment(
    samples: int, n_syn: int, noise: float, generations: int, weight: float | None = None
) -> MeanVariance:
    r"""Mean and variance both fitted by maximum likelihood beside a fixed real set.

    With d_0 = 0, e_0 = sigma^2 (1 - 1/n) and D_i = d_{i-1} + e_{i-1}/n_syn: d_i = (1-w)^2 D_i,
    e_i = w sigma^2 (1 - 1/n) + (1-w)(1 - 1/n_syn) e_{i-1} + w (1-w) D_i,
    E (mu_i - mu)^2 = sigma^2/n + d_i and E v_i = e_i.

    Args:
        weight: w in [0, 1], weight of the real rows; n/(n + n_syn) by default. 0 is the replace
            loop.
    Returns: MeanVariance, [G+1] each.
    Source: derived here, THEORY.md statement 42.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w, last = real_weight(weight, n, m), last_generation(generations)
    first = square * (1 - 1 / n)
    distance, fitted = np.zeros(last + 1), np.full(last + 1, first)
    for i in range(1, last + 1):
        apart = distance[i - 1] + fitted[i - 1] / m
        distance[i] = (1 - w) ** 2 * apart
        fitted[i] = w * first + (1 - w) * ((1 - 1 / m) * fitted[i - 1] + w * apart)
    return MeanVariance(square / n + distance, fitted)


def mean_variance_augment_limit(
    samples: int, n_syn: int, noise: float, weight: float | None = None
) -> MeanVariance:
    r"""Limit of `mean_variance_augment`; the variance does not collapse while w > 0.

    e = sigma^2 (1 - 1/n)/(1 + c) and d = c e with c = (1-w)^2/(w (2-w) n_syn).
    Returns: MeanVariance of scalars: sigma^2/n + d and e; sigma^2 and 0 for w = 0.
    Source: derived here, THEORY.md statement 42.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w = real_weight(weight, n, m)
    first, ratio = square * (1 - 1 / n), fresh_limit(0.0, 1.0, w) / m
    fitted = first / (1 + ratio)
    return MeanVariance(np.asarray(square / n + first - fitted), np.asarray(fitted))


def mean_variance_replace(samples: int, n_syn: int, noise: float, generations: int) -> MeanVariance:
    r"""Mean and variance fitted by maximum likelihood on the last batch alone: collapse.

    E v_i = sigma^2 (1 - 1/n)(1 - 1/n_syn)^i, E (mu_i - mu)^2 = sigma^2 - E v_i.
    Returns: MeanVariance, [G+1] each.
    Source: derived here, THEORY.md statement 42.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    i = np.arange(last_generation(generations) + 1.0)
    fitted = square * (1 - 1 / n) * (1 - 1 / m) ** i
    return MeanVariance(square - fitted, fitted)


def log_variance_replace(
    samples: int, n_syn: int, noise: float, generations: int, unbiased: bool = True
) -> Floats:
    r"""Mean log of the variance fitted on the last batch alone; it falls without end.

    E ln v_i = ln sigma^2 + c(n) + i c(n_syn), c(m) = psi((m-1)/2) - ln((m-1)/2) < 0; for maximum
    likelihood the logarithm is that of m/2.

    Args:
        samples: n, real rows of generation 0, >= 2.
        n_syn: synthetic rows a generation, >= 2.
        unbiased: sums of squares are divided by m - 1, else by m.
    Returns: E ln v_i, [G+1].
    Source: derived here, THEORY.md statement 42.
    """
    n, m, square = rows("samples", samples, 2), rows("n_syn", n_syn, 2), variance(noise)
    i, less = np.arange(last_generation(generations) + 1.0), flag("unbiased", unbiased)
    first, later = (
        _digamma_minus_log((size - 1) / 2) + (0.0 if less else np.log1p(-1 / size))
        for size in (n, m)
    )
    return np.asarray(np.log(square) + first + i * later)


def _digamma_minus_log(x: float) -> float:
    """psi(x) - ln x, x > 0: upwards to 16 by psi(x + 1) = psi(x) + 1/x, then asymptotically."""
    steps = x + np.arange(max(0, int(np.ceil(16 - x))))
    end = x + len(steps)
    power, series = 1 / end**2, 0.0
    for coefficient in (-1 / 132, 1 / 240, -1 / 252, 1 / 120, -1 / 12):
        series = (series + coefficient) * power
    return float(series - 0.5 / end + np.log(end / x) - (1 / steps).sum())
