"""Sums and products that bounds are made of, exact at their limits and free of cancellation."""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._kinds import Floats, times

# B_{2j} / (2j)! of the Euler-Maclaurin formula, j = 1..7.
_EULER_MACLAURIN = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
)
_HEAD = 32  # terms added one by one before an asymptotic expansion takes over


class Geometric(NamedTuple):
    """q^k, 1 - q^k and 1 + q + ... + q^{k-1}."""

    power: Floats
    deficit: Floats
    total: Floats


def geometric(ratio: Floats, gap: Floats, count: Floats) -> Geometric:
    """Powers and sums of ``ratio`` = 1 - ``gap`` >= 0; both are given since both can be tiny."""
    near = np.abs(gap) < 0.25
    exponent = times(np.log1p(-np.where(near, gap, 0.0)), count)
    power = np.where(near, np.exp(exponent), np.power(ratio, count))
    deficit = np.where(near, -np.expm1(exponent), 1 - power)
    total = np.where(gap == 0, count, deficit / gap)
    return Geometric(power, deficit, total)


def one_minus_product(share: Floats, kappa: Floats) -> Floats:
    """1 - (1 - share) kappa to full relative precision, also where it nearly vanishes."""
    complement, rest = _two_sum(np.ones_like(kappa), -kappa)
    product, tail = _two_product(share, kappa)
    total, carry = _two_sum(complement, product)
    return total + (carry + (rest + tail))


def _two_sum(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The rounded sum, and what rounding lost."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _two_product(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The rounded product, and what rounding lost (Dekker); nothing recovered from 1e290 on."""
    product = x * y
    x_high, x_low = _split(x)
    y_high, y_low = _split(y)
    tail = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low
    return product, tail


def _split(x: Floats) -> tuple[Floats, Floats]:
    scaled = 134217729.0 * np.where(np.abs(x) < 1e290, x, 0.0)
    high = scaled - (scaled - x)
    return high, x - high


def power_sum(exponent: Floats, last: Floats) -> Floats:
    """sum_{k=1}^{last} k^{-exponent}, exponent >= 0, last >= 0, also inf."""
    shape = np.broadcast_shapes(np.shape(exponent), np.shape(last))
    head = np.zeros(shape)
    for k in range(1, _HEAD):
        head = head + np.where(k <= last, float(k) ** -exponent, 0.0)
    return head + _power_sum_from(_HEAD, exponent, last)


def _power_sum_from(first: int, exponent: Floats, last: Floats) -> Floats:
    """sum_{k=first}^{last} k^{-exponent} by Euler-Maclaurin; 0 where last < first."""
    end = np.maximum(last, first)
    step = 1 - exponent
    growth = times(step, np.log(end / first))
    integral = np.where(step == 0, np.log(end / first), first**step * np.expm1(growth) / step)
    at_first, at_end = first**-exponent, end**-exponent
    total = integral + (at_first + at_end) / 2
    rising = np.asarray(exponent, dtype=np.float64)
    slope_first, slope_end = at_first / first, at_end / end
    for j, coefficient in enumerate(_EULER_MACLAURIN):
        total = total + coefficient * rising * (slope_first - slope_end)
        rising = rising * (exponent + 2 * j + 1) * (exponent + 2 * j + 2)
        slope_first, slope_end = slope_first / first**2, slope_end / end**2
    return np.where(last < first, 0.0, total)


def harmonic(count: Floats) -> Floats:
    """H_count = 1 + 1/2 + ... + 1/count."""
    return power_sum(np.asarray(1.0), count)


def log_product(shift: Floats, last: Floats) -> Floats:
    """sum_{k=2}^{last} log(1 + shift/k), shift >= -1, also for last = inf."""
    first = int(max(_HEAD, np.ceil(8 * np.max(np.abs(shift)))))
    total = np.zeros(np.broadcast_shapes(np.shape(shift), np.shape(last)))
    for k in range(2, first):
        total = total + np.where(k <= last, np.log1p(shift / k), 0.0)
    for j in range(1, 20):
        tail = _power_sum_from(first, np.asarray(float(j)), last)
        total = total + times(-((-shift) ** j) / j, tail)
    return total


def growing_sum(exponent: Floats, count: Floats) -> Floats:
    """sum_{k=1}^{count} k^{-exponent} / (k + 1), exponent > 0, also for count = inf."""
    total = np.zeros(np.broadcast_shapes(np.shape(exponent), np.shape(count)))
    for k in range(1, _HEAD):
        total = total + np.where(k <= count, float(k) ** -exponent / (k + 1), 0.0)
    for j in range(12):
        total = total + (-1) ** j * _power_sum_from(_HEAD, exponent + 1 + j, count)
    return total


def resolvent(weights: Floats) -> Floats:
    """(I - W)^{-1} by forward substitution: sums of non-negative numbers, nothing cancels."""
    inverse = np.eye(len(weights))
    for i in range(1, len(weights)):
        inverse[i] += weights[i, :i] @ inverse[:i]
    return inverse


def common_shape(*parts: Floats) -> tuple[Floats, ...]:
    """Every part in the shape all of them share (read-only views; scalars stay scalars)."""
    shape = np.broadcast_shapes(*(np.shape(part) for part in parts))
    return tuple(np.broadcast_to(part, shape)[()] for part in parts)
