"""Loops of rows of a table: mean and covariance of many learners, and Markov chains of symbols."""

from itertools import combinations, pairwise
from math import comb, lgamma
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl.bounds._check import nonnegative, numbers, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, real_weight, rows
from icl_stl.references.discrete import _law

MOST_BATCHES = 5000
"""Most batches that are told apart in an enumeration."""


class CovariancePath(NamedTuple):
    """Exact moments where mean and covariance are fitted."""

    mean_error: Floats
    """E (mu_i - mu)(mu_i - mu)^T, [G+1, d, d]."""
    covariance: Floats
    """E C_i, the mean covariance of generated rows, [G+1, d, d]."""


class ChainPath(NamedTuple):
    """Exact moments of the fitted laws p_i of whole rows."""

    mean: Floats
    """E p_i, [G+1, K, ..., K]."""
    error: Floats
    """E |p_i - p|^2, [G+1]."""
    total_variation: Floats
    """E TV(p_i, p), [G+1]."""
    fixed: Floats
    """The chance that only one row is left, [G+1]."""


def covariance_augment(
    covariance: Num,
    samples: int,
    n_syn: int,
    generations: int,
    weight: float | None = None,
    *,
    widening: float = 1.0,
    shrinkage: float = 0.0,
) -> CovariancePath:
    r"""Mean and covariance fitted beside a fixed real set; weight 0 is the replace loop.

    Every entry of the covariance Sigma of the real law by itself, times f = ``widening`` on the
    diagonal and f = 1 - ``shrinkage`` elsewhere: with c_0 = f (1 - 1/n), d_0 = 0 and
    D_i = d_{i-1} + c_{i-1}/n_syn, d_i = (1-w)^2 D_i and
    c_i = f [w (1 - 1/n) + (1-w)(1 - 1/n_syn) c_{i-1} + w (1-w) D_i]; the moments are
    (1/n + d_i) Sigma and c_i Sigma. For w = 0, c_i = (1 - 1/n) f^{i+1} (1 - 1/n_syn)^i.

    Args:
        covariance: Sigma of the real law, whatever its form, [d, d].
        weight: w in [0, 1], weight of the real rows; n/(n + n_syn) by default.
        widening: factor of fitted variances: 1 for a normal law, the bootstrap and a mixture;
            1 + h^2 for smoothed resampling with noise of h deviations, 1 + r for a mixture whose
            components' variances get r more, in units of the columns.
        shrinkage: share of every covariance between columns that is taken away.
    Returns: CovariancePath.
    Source: derived here, THEORY.md statement 95.
    """
    n, m = rows("samples", samples), rows("n_syn", n_syn)
    w = real_weight(weight, n, m)
    last = last_generation(generations)

    def path(f: float) -> tuple[Floats, Floats]:
        apart, fitted = np.zeros(last + 1), np.full(last + 1, f * (1 - 1 / n))
        for i in range(1, last + 1):
            between = apart[i - 1] + fitted[i - 1] / m
            apart[i] = (1 - w) ** 2 * between
            within = w * (1 - 1 / n) + (1 - w) * (1 - 1 / m) * fitted[i - 1]
            fitted[i] = f * (within + w * (1 - w) * between)
        return 1 / n + apart, fitted

    return _by_entry(covariance, path(_widening(widening)), path(_kept(shrinkage)))


def covariance_fresh(
    covariance: Num,
    samples: int,
    n_syn: int,
    generations: int,
    weight: float | None = None,
    *,
    widening: float = 1.0,
    shrinkage: float = 0.0,
) -> CovariancePath:
    r"""Mean and covariance fitted to n new real rows a generation and the last batch.

    As `covariance_augment` with v_0 = 1/n, D_i = v_{i-1} + c_{i-1}/n_syn,
    v_i = w^2/n + (1-w)^2 D_i and
    c_i = f [w (1 - 1/n) + (1-w)(1 - 1/n_syn) c_{i-1} + w (1-w)(1/n + D_i)]; the moments are
    v_i Sigma and c_i Sigma.

    Args:
        covariance: Sigma of the real law, whatever its form, [d, d].
        weight: w in [0, 1], weight of the real rows; n/(n + n_syn) by default.
        widening: see `covariance_augment`.
        shrinkage: see `covariance_augment`.
    Returns: CovariancePath.
    Source: derived here, THEORY.md statement 95.
    """
    n, m = rows("samples", samples), rows("n_syn", n_syn)
    w = real_weight(weight, n, m)
    last = last_generation(generations)

    def path(f: float) -> tuple[Floats, Floats]:
        error, fitted = np.full(last + 1, 1 / n), np.full(last + 1, f * (1 - 1 / n))
        for i in range(1, last + 1):
            between = error[i - 1] + fitted[i - 1] / m
            error[i] = w**2 / n + (1 - w) ** 2 * between
            within = w * (1 - 1 / n) + (1 - w) * (1 - 1 / m) * fitted[i - 1]
            fitted[i] = f * (within + w * (1 - w) * (1 / n + between))
        return error, fitted

    return _by_entry(covariance, path(_widening(widening)), path(_kept(shrinkage)))


def chain_augment(
    initial: Num,
    transition: Num,
    length: int,
    samples: int,
    n_syn: int,
    generations: int,
    weight: float | None = None,
    *,
    pseudo_count: float = 0.0,
) -> ChainPath:
    r"""Markov chain fitted to rows of symbols beside a fixed real set, by enumeration.

    Given how often each of the K^length rows is in the real set, the same counts of the batch are a
    Markov chain: a batch is multinomial with the fitted law of rows. That law comes from n(u), the
    weighted count of u times the number of rows with a weight, by p_0(b) = (n(b) + a)/(sum n + K a)
    and p(b | u) = (n(u b) + K a p_0(b))/(n(u) + K a) after the symbol u and at the start; p_0(b)
    where that is 0/0. Work of order of the number of batches squared times that of real sets.

    Args:
        initial: law of the first symbol, [K], with sum 1.
        transition: [K, K], row u the law of the symbol after u.
        length: symbols of a row, >= 1.
        weight: w in [0, 1], weight of the real rows; n/(n + n_syn) by default; 0 is the replace
            loop.
    Returns: ChainPath.
    Raises: ValueError if there are more than 5000 batches or real sets to be told apart.
    Source: derived here, THEORY.md statement 96.
    """
    first, size = _law(initial), rows("length", length)
    n, m = rows("samples", samples), rows("n_syn", n_syn)
    w, last = real_weight(weight, n, m), last_generation(generations)
    a, k = float(nonnegative("pseudo_count", pseudo_count)), len(first)
    after = numbers("transition", transition)
    if after.shape != (k, k):
        raise ValueError(f"transition has shape {after.shape}, outside the admissible ({k}, {k})")
    after = np.stack([_law(row) for row in after])
    every = np.indices((k,) * size).reshape(size, -1)  # the rows, one a column
    for name, count in (("samples", n), ("n_syn", m)):
        if comb(count + every.shape[1] - 1, count) > MOST_BATCHES:
            raise ValueError(
                f"{name} = {count} is outside the admissible range: at most {MOST_BATCHES} "
                f"different batches of rows of length {size} of {k} symbols"
            )
    symbols = np.eye(k)[every]
    pairs = np.einsum("trb,trc->rbc", symbols[:-1], symbols[1:])

    def law_of(count: Floats, total: float) -> Floats:
        """The law of rows fitted to counts of rows, [batches, K^length]."""
        flat = (count @ symbols.sum(axis=0) + a) / (total * size + k * a)
        begin = (count @ symbols[0] + k * a * flat) / (total + k * a)
        seen = np.einsum("nr,rbc->nbc", count, pairs) + k * a * flat[:, None]
        visits = seen.sum(axis=2, keepdims=True)
        follow = np.where(visits > 0, seen / np.where(visits > 0, visits, 1), flat[:, None])
        return _law_of_rows(begin, follow, every)

    real, batches = _compositions(n, every.shape[1]), _compositions(m, every.shape[1])
    known = _law_of_rows(first[None], after[None], every)[0]
    seen = np.zeros((last + 1, len(known) + 3))

    def see(i: int, chance: Floats, laws: Floats) -> None:
        off = laws - known
        parts = (off**2).sum(axis=1), np.abs(off).sum(axis=1) / 2, laws.max(axis=1) > 1 - 1e-12
        seen[i] += chance @ np.column_stack([laws, *parts])

    for own, start in zip(real, _multinomial(real, known[None])[:, 0], strict=True):
        law = law_of(own[None], n)
        see(0, np.array([start]), law)
        total = n * (w > 0) + m * (w < 1)  # rows with a weight
        laws = law_of(total * (w * own / n + (1 - w) * batches / m), total)
        chance = start * _multinomial(batches, law)[:, 0]
        step = _multinomial(batches, laws)
        for i in range(1, last + 1):
            see(i, chance, laws)
            chance = step @ chance
    mean = seen[:, :-3].reshape(-1, *(k,) * size)
    return ChainPath(mean, *seen[:, -3:].T)


def _widening(value: float) -> float:
    return float(nonnegative("widening", value))


def _kept(shrinkage: float) -> float:
    return 1 - float(share("shrinkage", shrinkage))


def _by_entry(
    covariance: Num, diagonal: tuple[Floats, Floats], others: tuple[Floats, Floats]
) -> CovariancePath:
    sigma = numbers("covariance", covariance)
    if sigma.ndim != 2 or sigma.shape[0] != sigma.shape[1] or not np.allclose(sigma, sigma.T):
        raise ValueError(f"covariance = {covariance!r} is outside the admissible range: symmetric")
    if np.linalg.eigvalsh(sigma).min() < -1e-9 * np.abs(sigma).max():
        raise ValueError(f"covariance = {covariance!r} has an eigenvalue below 0")
    own = np.eye(len(sigma), dtype=bool)
    factors = (
        np.where(own, a[:, None, None], b[:, None, None])
        for a, b in zip(diagonal, others, strict=True)
    )
    return CovariancePath(*(factor * sigma for factor in factors))


def _law_of_rows(begin: Floats, follow: Floats, every: NDArray[np.int_]) -> Floats:
    """Probability of every row, [laws, rows]: initial laws [laws, K], transitions [laws, K, K]."""
    found = begin[:, every[0]]
    for before, now in pairwise(every):
        found = found * follow[:, before, now]
    return found


def _compositions(total: int, parts: int) -> Floats:
    """All ways to write a whole number as a sum of so many, [ways, parts]."""
    bars = np.array(list(combinations(range(total + parts - 1), parts - 1)), dtype=float)
    bars = bars.reshape(-1, parts - 1)
    ends = np.full((len(bars), 1), -1.0), np.full((len(bars), 1), total + parts - 1.0)
    return np.diff(np.concatenate([ends[0], bars, ends[1]], axis=1), axis=1) - 1


def _multinomial(counts: Floats, laws: Floats) -> Floats:
    """Probability of counts, given laws of the cells: [counts, laws]."""
    factorial = np.vectorize(lgamma)(counts + 1)
    ways = lgamma(counts[0].sum() + 1) - factorial.sum(axis=1)
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(laws), -1e6)  # 0 times it is 0; once it is, the chance is 0
    chances: Floats = np.exp(ways[:, None] + counts @ logs.T)
    return chances
