"""Second moments of loops that mix real rows and batches, whatever the law of a row.

A refit is affine in the weighted mean of its rows, as an empirical law, a smoothed one, an
amplified share of ones and a normal law's mean are; rows are vectors (symbols are unit vectors).
"""

from typing import NamedTuple

import numpy as np

from icl_stl import regimes
from icl_stl.bounds._check import flag, nonnegative
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import sampling_bias, variance
from icl_stl.references.discrete import LawPath, _law
from icl_stl.references.gaussian import MeanVariance


class Mixing(NamedTuple):
    """How a loop mixes real rows and batches of generated ones; rows of a source weigh alike."""

    shares: Floats
    """Weight of the real rows, [G+1]; 1 in generation 0."""
    samples: int
    """n, real rows."""
    n_syn: int
    """m, synthetic rows a generation, >= 1."""
    history: bool = False
    """All batches are there, not the last alone."""
    fresh: bool = False
    """Every generation sees n new real rows."""
    drawn: bool = False
    """A fit sees n of all rows, drawn anew without replacement; shares are those of the pool."""

    @classmethod
    def of(cls, regime: regimes.Regime, samples: int, generations: int) -> "Mixing | None":
        """How a regime mixes; None where it does not do it in one of these ways."""
        drawn = isinstance(regime, regimes.AccumulateSubsample)
        if not drawn and type(regime).mix is not regimes.Regime.mix:
            return None
        shares = regimes.real_shares(regime, samples, generations)
        n_syn = max(regimes.synthetic_size(regime, samples), 1)
        return cls(shares, samples, n_syn, regime.keeps_history, regime.fresh_real, drawn)

    @property
    def rows(self) -> Floats:
        """Rows with a weight, [G+1]."""
        if self.drawn:
            return np.full(len(self.shares), float(self.samples))
        batches = np.arange(len(self.shares)) if self.history else np.ones(len(self.shares))
        real = self.samples * (self.shares > 0)
        return np.asarray(real + self.n_syn * batches * (self.shares < 1), np.float64)


class _Moments(NamedTuple):
    mean: Floats
    """E p_i, [G+1, K]."""
    error: Floats
    """E |p_i - E p_i|^2, [G+1]."""
    within: Floats
    """Mean trace of the covariance of a row that generation i generates, [G+1]."""


def law_affine(mixing: Mixing, law: Num, scale: Num = 1.0, offset: Num = 0.0) -> LawPath:
    r"""A law on K symbols refitted as p_i = k_i x_i + b_i, x_i the shares in its training set.

    With V = E |p - E p|^2, s = 1 - |E p|^2 - V (a row's variance), u and c variance of the mean A
    of the batches there are and its covariance with that of the real rows S, h = 1 - |p|^2:
    V_i = k^2 [w^2 h/n + 2 w (1-w) c_i + (1-w)^2 u_i]; the batch that joins adds
    Cov(B, S) = k [w h/n + (1-w) c], Cov(B, A) = k [w c + (1-w) u], E |B - E B|^2 = V + s/m.

    Args:
        mixing: Mixing.
        scale: k, number or [G+1].
        offset: b, number, [K] or [G+1, K]; every k x + b must be a law.
    Returns: LawPath.
    Source: derived here, THEORY.md statement 98.
    """
    p = _law(law)
    found = _moments(mixing, p, 1.0, scale, offset)
    bias = found.mean - p
    return LawPath(found.mean, found.error + (bias**2).sum(axis=1), found.within)


def mean_variance_mixed(
    mixing: Mixing, noise: float, unbiased: bool = False, bias: float = 1.0, added: float = 0.0
) -> MeanVariance:
    r"""Mean and variance of a normal law, both fitted, in a loop that mixes in any of these ways.

    By maximum likelihood E v_i + E (mu_i - mu)^2 = sigma^2 in every generation, and the error is
    that of a law on symbols times sigma^2/h; `unbiased` variances grow by N/(N-1).

    Args:
        mixing: Mixing.
        unbiased: variances are multiplied by N/(N - 1), N the rows with a weight.
        bias: s in (0, 1], the variance of generated rows over that of the fit: statement 116.
        added: variance >= 0 of noise that the generator adds to its rows; then the law of a row may
            be any, and the variance is that of the generator: statement 137.
    Returns: MeanVariance, [G+1] each; nan from a fit to one row on, if unbiased.
    Source: derived here, THEORY.md statement 98.
    """
    rows = mixing.rows
    spread = np.where(rows > 1, rows / np.maximum(rows - 1, 1), np.nan)
    spread = spread if flag("unbiased", unbiased) else np.ones(len(rows))
    s = sampling_bias(bias)
    more = float(nonnegative("added", added))
    found = _moments(mixing, np.zeros(1), variance(noise), 1.0, 0.0, s * spread, more)
    return MeanVariance(found.error, found.within / s)


def _moments(
    mixing: Mixing,
    p: Floats,
    square: float,
    scale: Num,
    offset: Num,
    spread: Floats | None = None,
    added: float = 0.0,
) -> _Moments:
    """Real rows have mean p and mean square norm `square`; a row's variance is `spread` times that
    of the fit's rows, and `added`.
    """
    n, m, last = mixing.samples, mixing.n_syn, len(mixing.shares) - 1
    scales = np.broadcast_to(np.asarray(scale, np.float64), (last + 1,))
    offsets = np.broadcast_to(np.asarray(offset, np.float64), (last + 1, len(p)))
    spreads = np.ones(last + 1) if spread is None else spread
    first = (square - p @ p) / n
    means, error, within = np.empty((last + 1, len(p))), np.empty(last + 1), np.empty(last + 1)
    # Of the mean of the batches: its mean, variance, covariance with the real rows; rows' squares.
    centre, own, cross, squares = np.zeros_like(p), 0.0, 0.0, 0.0
    for i, (w, k) in enumerate(zip(mixing.shares, scales, strict=True)):
        cross = 0.0 if mixing.fresh else cross
        seen, all_squares = w * p + (1 - w) * centre, w * square + (1 - w) * squares
        with_real, with_own = w * first + (1 - w) * cross, w * cross + (1 - w) * own
        away = w * with_real + (1 - w) * with_own
        if mixing.drawn and i:
            pool = n + i * m
            away += (1 / n - 1 / pool) * pool / (pool - 1) * (all_squares - seen @ seen - away)
        means[i], error[i] = k * seen + offsets[i], k**2 * away
        within[i] = spreads[i] * (all_squares - means[i] @ means[i] - error[i]) + added
        part = 1 / (i + 1) if mixing.history else 1.0
        batch = error[i] + within[i] / m
        own = (1 - part) ** 2 * own + 2 * part * (1 - part) * k * with_own + part**2 * batch
        cross = (1 - part) * cross + part * k * with_real
        centre = (1 - part) * centre + part * means[i]
        total = within[i] + error[i] + means[i] @ means[i]
        squares = (1 - part) * squares + part * total
    return _Moments(means, error, within)
