"""Loops whose synthetic rows are weighed by e^r, r a reward.

The real law is p. Synthetic rows are drawn from the law of the generation before and weighed by
e^r; beside real rows of weight w they share 1 - w. Rewards of symbols are one number each.
"""

from math import comb, inf
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from icl_stl.bounds._check import flag, numbers, one, real, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, real_weight, rows, variance
from icl_stl.references.discrete import LawPath, _law
from icl_stl.references.gaussian import MeanVariance

MOST_STATES = 3 * 10**7
"""Most changes of counts that are enumerated."""

STEEPEST = 10.0
"""Largest |b| sigma of a linear reward b z whose law of one step is integrated."""


class FixedPoint(NamedTuple):
    """Where curation beside a reference law goes."""

    law: Floats
    """p*, [K]."""
    weight: float
    """Z = E e^r under p*."""
    rate: float
    """eta max e^r/Z < 1: distances shrink by this factor, or a smaller one, each generation."""


class Step(NamedTuple):
    """What one generation adds to a mean: moments of D."""

    shift: float
    """E D."""
    variance: float
    """Var D."""


class CuratedMean(NamedTuple):
    """Moments of the fitted mean mu_i of N(0, sigma^2)."""

    mean: Floats
    """E mu_i, [G+1]."""
    error: Floats
    """E mu_i^2, [G+1]."""


def _rewards(law: Num, reward: Num) -> tuple[Floats, Floats]:
    """Probabilities and rewards."""
    p, r = _law(law), numbers("reward", reward)
    if r.shape != p.shape or not np.isfinite(r).all():
        raise ValueError(
            f"reward = {reward!r} is outside the admissible range: a finite number for each of "
            f"the {len(p)} symbols"
        )
    return p, np.asarray(r, np.float64)


def curated_law(law: Num, reward: Num, weight: float, generations: int) -> Floats:
    r"""Curation of a law on symbols, each generation fitted without error.

    p_{t+1} = w p + (1 - w) p_t e^r/Z_t, Z_t = sum p_t e^r. Without reference, w = 0, p_t is
    p e^{t r} over its sum.

    Args:
        weight: w in [0, 1], the share of the reference law p.
    Returns: p_t, [G+1, K].
    Source: published: Ferbach et al. 2024 (the recursion); THEORY.md statement 130.
    """
    p, r = _rewards(law, reward)
    w, tilt = float(share("weight", weight)), (p > 0) * np.exp(np.minimum(r - r[p > 0].max(), 0.0))
    path = [p]
    for _ in range(last_generation(generations)):
        own = path[-1] * tilt
        path.append(w * p + (1 - w) * own / own.sum())
    return np.array(path)


def curation_fixed_point(law: Num, reward: Num, weight: float) -> FixedPoint:
    r"""The limit of `curated_law` beside a reference law, w > 0.

    p* = w p Z/(Z - eta e^r), eta = 1 - w, Z > eta max e^r the only number for which it sums to 1,
    the largest eigenvalue of w q q^T + eta diag(e^r), q = sqrt(p e^r).
    From every start whose symbols p has, p_t goes there geometrically; from p itself E e^r never
    falls on the way.

    Args:
        weight: w in (0, 1], the share of the reference law p.
    Returns: FixedPoint.
    Source: published: Ferbach et al. 2024 (the fixed point); THEORY.md statement 131.
    """
    p, r = _rewards(law, reward)
    w = one("weight", real("weight", weight, 0.0, 1.0, open_low=True))
    there, top = p > 0, float(r[p > 0].max())
    tilt = there * np.exp(np.minimum(r - top, 0.0))
    root = np.sqrt(p * tilt)
    z = float(np.linalg.eigvalsh(w * np.outer(root, root) + np.diag((1 - w) * tilt))[-1])
    return FixedPoint(w * p * z / (z - (1 - w) * tilt), z * np.exp(top), (1 - w) / z)


def _counts(size: int, kinds: int) -> Floats:
    """All ways to have so many rows of so many kinds: `[S, K]`."""
    if kinds == 1:
        return np.array([[float(size)]])
    parts = [_counts(size - k, kinds - 1) for k in range(size + 1)]
    return np.concatenate(
        [np.concatenate([np.full((len(own), 1), float(k)), own], 1) for k, own in enumerate(parts)]
    )


def _chances(counts: Floats, law: Floats) -> Floats:
    """Multinomial chances of the counts: laws `[*n, K]` -> `[*n, S]`."""
    ways = gammaln(counts[0].sum() + 1) - gammaln(counts + 1).sum(1)
    logs = np.log(np.where(law > 0, law, 1.0)) @ counts.T
    never = (law == 0).astype(np.float64) @ (counts.T > 0) > 0
    return np.asarray(np.where(never, 0.0, np.exp(ways + logs)))


def curated_states(symbols: int, samples: int, n_syn: int, weight: float) -> int:
    """Changes of counts that `curated_law_loop` goes through.

    Args:
        symbols: K.
        weight: w in [0, 1].
    Returns: their number.
    Source: derived here: THEORY.md statement 133.
    """
    kinds = rows("symbols", symbols) - 1
    sizes = rows("samples", samples), rows("n_syn", n_syn)
    first, later = (comb(size + kinds, kinds) for size in sizes)
    return later * (first + later * (first if share("weight", weight) > 0 else 1))


def curated_law_loop(
    law: Num,
    reward: Num,
    samples: int,
    n_syn: int,
    generations: int,
    weight: float | None = None,
    *,
    fresh: bool = False,
) -> LawPath:
    r"""Empirical laws whose synthetic symbols are weighed by e^r, exactly, by enumeration.

    The counts s of n_syn symbols are a Markov chain: p_i = w c/n + (1 - w) s e^r/sum(s e^r), c the
    real counts, and s is multinomial by p_{i-1}.

    Args:
        weight: w in [0, 1]; n/(n + n_syn) by default. 0 is the fully synthetic loop.
        fresh: new real rows in every generation; else the same.
    Returns: LawPath, [G+1, ...].
    Raises: ValueError if there are more than 3e7 changes of counts (`curated_states`).
    Source: derived here, setting of Ferbach et al. 2024: THEORY.md statement 133.
    """
    p, r = _rewards(law, reward)
    n, m, last = rows("samples", samples), rows("n_syn", n_syn), last_generation(generations)
    w, anew = real_weight(weight, n, m), flag("fresh", fresh)
    if (states := curated_states(len(p), n, m, w)) > MOST_STATES:
        raise ValueError(
            f"samples = {samples!r} of {len(p)} symbols are outside the admissible range: "
            f"{states} changes of counts, at most {MOST_STATES}"
        )
    real_rows, made = _counts(n, len(p)), _counts(m, len(p))
    first = _chances(real_rows, p)
    top = np.where(made > 0, r, -inf).max(1, keepdims=True)
    tilted = made * np.exp(np.minimum(r - top, 0.0))
    tilted /= tilted.sum(1, keepdims=True)
    mean, square = np.zeros((last + 1, len(p))), np.zeros(last + 1)

    def add(i: int, chance: Floats, fitted: Floats) -> None:
        mean[i] += chance @ fitted
        square[i] += chance @ (fitted**2).sum(1)

    add(0, first, real_rows / n)
    beside = real_rows / n if w > 0 else np.zeros((1, len(p)))
    chance = first if w > 0 else np.ones(1)
    start = _chances(made, real_rows / n)
    if anew or w == 0:
        state = first @ start
        step = np.zeros((len(made), len(made)))
        for own, c in zip(chance, beside, strict=True):
            step += own * _chances(made, w * c + (1 - w) * tilted)
        for i in range(1, last + 1):
            for own, c in zip(chance, beside, strict=True):
                add(i, own * state, w * c + (1 - w) * tilted)
            state = state @ step
    else:
        for own, c, state in zip(chance, beside, first[:, None] * start, strict=True):
            fitted, now = w * c + (1 - w) * tilted, state
            step = _chances(made, fitted) if own > 0 else np.zeros((len(made), len(made)))
            for i in range(1, last + 1):
                add(i, now, fitted)
                now = now @ step
    return LawPath(mean, square - 2 * mean @ p + p @ p, 1 - square)


def curated_normal(mean: float, noise: float, reward: Num, generations: int) -> MeanVariance:
    r"""A normal law curated by r = b_1 z + b_2 z^2 without reference, fitted without error.

    1/v_t = 1/sigma^2 - 2 b_2 t and mu_t = v_t (mu_0/sigma^2 + b_1 t): with b_2 = 0 the mean moves
    by b_1 sigma^2 a generation, the variance stays. A generation without a law is infinite.

    Args:
        mean: mu_0.
        noise: sigma of generation 0.
        reward: (b_1,) or (b_1, b_2).
    Returns: MeanVariance with mu_t^2 and v_t, [G+1] each.
    Source: derived here, setting of Ferbach et al. 2024: THEORY.md statement 135.
    """
    square, middle = variance(noise), float(numbers("mean", mean))
    slopes = np.atleast_1d(numbers("reward", reward))
    if slopes.shape not in ((1,), (2,)) or not (np.isfinite(slopes).all() and abs(middle) < inf):
        raise ValueError(
            f"reward = {reward!r} is outside the admissible range: one or two finite numbers, "
            "beside a finite mean"
        )
    linear, curved = (*slopes, 0.0)[:2]
    t = np.arange(last_generation(generations) + 1.0)
    precision = 1 / square - 2 * curved * t
    there = precision > 0
    fitted = 1 / np.where(there, precision, 1.0)
    moved = fitted * (middle / square + linear * t)
    return MeanVariance(np.where(there, moved**2, inf), np.where(there, fitted, inf))


def curated_step(n_syn: int, noise: float, slope: float) -> Step:
    r"""D = sum z_k e^{b z_k}/sum e^{b z_k} of n normal numbers z_k ~ N(0, sigma^2), exactly.

    E D = n int E[z e^{q - e^q}] phi^{n-1} ds, q = b z + s, phi = E e^{-e^q}, and E D^2 likewise,
    from 1/S^k = int u^{k-1} e^{-u S} du, u = e^s. E D is below b sigma^2, its limit in n.

    Args:
        slope: b, the reward of a number being b z; |b| sigma at most 10.
    Returns: Step, in units of the data.
    Source: derived here, setting of Ferbach et al. 2024: THEORY.md statement 134.
    """
    n, square = rows("n_syn", n_syn), variance(noise)
    sigma, signed = square**0.5, one("slope", numbers("slope", slope))
    b = abs(signed) * sigma
    if not b <= STEEPEST:
        raise ValueError(
            f"slope = {slope!r} is outside the admissible range: |slope| noise at most {STEEPEST:g}"
        )
    if b == 0:
        return Step(0.0, square / n)
    dz, ds = min(0.2, 0.1 / b), 0.05
    z = np.arange(-12.0, 12.0 + 2 * b, dz)
    s = np.arange(-np.log(n) - b**2 / 2 - 36, 12 * b + 5, ds)[:, None]
    density = dz * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    q = b * z + s
    once = np.exp(np.minimum(q, 30.0))
    log_phi = np.log1p(np.maximum(np.expm1(-once) @ density, -1 + 1e-16))
    first = (np.exp(q - once) * z) @ density
    second = (np.exp(2 * q - once) * z**2) @ density
    one_left, two_left = np.exp((n - 1) * log_phi), np.exp(max(n - 2, 0) * log_phi)
    shift = ds * n * float(np.sum(first * one_left))
    both = ds * n * float(np.sum(second * one_left + (n - 1) * first**2 * two_left))
    return Step(float(np.sign(signed)) * sigma * shift, square * (both - shift**2))


def curated_mean(
    samples: int,
    n_syn: int,
    noise: float,
    generations: int,
    slope: float,
    weight: float | None = None,
    *,
    fresh: bool = False,
) -> CuratedMean:
    r"""Mean of a normal law, sigma known, its synthetic rows weighed by e^{b z}.

    mu_i = w x + (1 - w)(mu_{i-1} + D_i), x the mean of the real rows, D_i independent of the past
    with the moments of `curated_step`: E mu_i = E D (k + ... + k^i), k = 1 - w.

    Args:
        slope: b.
        weight: w in [0, 1]; n/(n + n_syn) by default. 0 is the fully synthetic loop.
        fresh: new real rows in every generation; else the same.
    Returns: CuratedMean, [G+1] each.
    Source: derived here, setting of Ferbach et al. 2024: THEORY.md statement 134.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w, anew = real_weight(weight, n, m), flag("fresh", fresh)
    step, kept = curated_step(m, noise, slope), 1 - w
    mean, moved = [0.0], [square / n if anew else 0.0]
    for _ in range(last_generation(generations)):
        mean.append(kept * (mean[-1] + step.shift))
        moved.append(kept**2 * (moved[-1] + step.variance) + anew * w**2 * square / n)
    spread = np.array(moved) + (0.0 if anew else square / n)
    return CuratedMean(np.array(mean), spread + np.array(mean) ** 2)
