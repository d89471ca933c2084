"""Loops of laws on K symbols: empirical laws, additive smoothing, and errors that add up.

The real law is p. Generation 0 is the empirical law of n = ``samples`` real rows; every generation
then leaves a batch of ``n_syn`` symbols drawn from the law it has fitted.
"""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import nonnegative, positive, real
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.bounds._series import resolvent
from icl_stl.bounds.drift import anchored_weights
from icl_stl.references._common import last_generation, mixing, real_weight, rows
from icl_stl.references._gains import batch_coefficients, fresh_path


class LawPath(NamedTuple):
    """Exact moments of the fitted laws p_i."""

    mean: Floats
    """E p_i, [G+1, K]."""
    error: Floats
    """E |p_i - p|^2, [G+1]."""
    diversity: Floats
    """E (1 - |p_i|^2), the chance that two draws of p_i differ; [G+1]."""


def law_loop(weights: Num, law: Num, samples: int, n_syn: int) -> LawPath:
    r"""Empirical laws in a loop with any mixing weights.

    E |p_i - p|^2 = h/n + q_i with h = 1 - |p|^2, B = (I - W)^{-1} W and
    q_i = sum_j B_ij^2 ((1 - 1/n) h - q_j)/n_syn.
    Returns: LawPath; the mean is p in every generation.
    Source: derived here, THEORY.md statement 46.
    """
    shares, p = mixing(weights), _law(law)
    n, m = rows("samples", samples), rows("n_syn", n_syn)
    gain = batch_coefficients(shares) ** 2
    return _martingale(gain, p, p, (1 - 1 / n) * _diversity(p), m)


def law_replace(law: Num, samples: int, n_syn: int, generations: int) -> LawPath:
    r"""Empirical law of the last batch alone: E (1 - |p_i|^2) = h (1 - 1/n)(1 - 1/n_syn)^i.

    Returns: LawPath; the mean is p in every generation.
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    i = np.arange(last_generation(generations) + 1.0)
    return _unbiased(p, _diversity(p) * (1 - 1 / n) * (1 - 1 / m) ** i)


def law_augment(
    law: Num, samples: int, n_syn: int, generations: int, weight: float | None = None
) -> LawPath:
    r"""Empirical law of a fixed real set and the last batch.

    E |p_i - p|^2 = h [1/n + ((1-w)^2/n_syn)(1 - 1/n)(1 + s + ... + s^{i-1})],
    s = (1-w)^2 (1 - 1/n_syn).
    Returns: LawPath; the mean is p in every generation.
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    w, last = real_weight(weight, n, m), last_generation(generations)
    ratio = (1 - w) ** 2 * (1 - 1 / m)
    powers = np.concatenate([[0.0], np.cumsum(ratio ** np.arange(last))])
    h = _diversity(p)
    return _unbiased(p, h - h * (1 / n + (1 - w) ** 2 / m * (1 - 1 / n) * powers))


def law_augment_limit(law: Num, samples: int, n_syn: int, weight: float | None = None) -> float:
    r"""Limit of `law_augment`: h [1/n + ((1-w)^2/n_syn)(1 - 1/n)/(1 - s)].

    Returns: the limit of E |p_i - p|^2; h for w = 0, where one symbol is left.
    Source: derived here, THEORY.md statement 99.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    rest = (1 - real_weight(weight, n, m)) ** 2
    return _diversity(p) * (1 / n + rest / m * (1 - 1 / n) / (1 - rest * (1 - 1 / m)))


def law_fresh(
    law: Num, samples: int, n_syn: int, generations: int, weight: float | None = None
) -> LawPath:
    r"""Empirical law of n new real rows a generation and the last batch.

    V_i = E |p_i - p|^2 = w^2 h/n + (1-w)^2 [h/n_syn + (1 - 1/n_syn) V_{i-1}], V_0 = h/n.
    Returns: LawPath; the mean is p in every generation.
    Source: derived here, THEORY.md statement 99.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    w, last, h = real_weight(weight, n, m), last_generation(generations), _diversity(p)
    return _unbiased(p, h - fresh_path(h / n, h / m, w, last, 1 - 1 / m))


def law_fresh_limit(law: Num, samples: int, n_syn: int, weight: float | None = None) -> float:
    r"""Limit of `law_fresh`: h (w^2/n + (1-w)^2/n_syn)/(1 - (1-w)^2 (1 - 1/n_syn)).

    Returns: the limit of E |p_i - p|^2; h for w = 0.
    Source: derived here, THEORY.md statement 99.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    w = real_weight(weight, n, m)
    rest = (1 - w) ** 2
    return _diversity(p) * (w**2 / n + rest / m) / (1 - rest * (1 - 1 / m))


def law_augment_bound(law: Num, samples: int) -> float:
    r"""Bound on E |p_i - p|^2 of `law_augment`, every row alike: 3 (1 - |p|^2)/(2 n).

    Returns: the bound, for every generation and every n_syn.
    Source: derived here, THEORY.md statement 46.
    """
    return 1.5 * _diversity(_law(law)) / rows("samples", samples)


def law_accumulate(law: Num, samples: int, n_syn: int, generations: int) -> LawPath:
    r"""Empirical law of the real set and all batches, every row alike.

    E (1 - |p_i|^2) = h (1 - 1/n) prod_{j=1}^{i} (1 - n_syn/N_j^2), N_j = n + j n_syn.
    Returns: LawPath; the mean is p in every generation.
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    pool = n + m * np.arange(1.0, last_generation(generations) + 1)
    factors = np.concatenate([[1 - 1 / n], 1 - m / pool**2])
    return _unbiased(p, _diversity(p) * np.cumprod(factors))


def law_anchored(law: Num, samples: int, n_syn: int, generations: int, alpha: float) -> LawPath:
    r"""Law of all batches, (1 - alpha)/i each, with a fixed weight on the real set: `law_loop`.

    Returns: LawPath; the mean is p in every generation.
    Source: derived here, THEORY.md statement 46.
    """
    return law_loop(anchored_weights(alpha, last_generation(generations)), law, samples, n_syn)


def law_total_variation(
    law: Num, samples: int, n_syn: int, generations: int, weight: float | None = None
) -> Floats:
    r"""Mean total variation between p_i and p beside a fixed real set, by enumeration.

    (1/2) sum_k E |p_i(k) - p(k)|: given its count in the real set, one symbol's share is a Markov
    chain of binomial draws. Work of order K n n_syn^2 a generation.
    Returns: E TV(p_i, p), [G+1].
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    w, last = real_weight(weight, n, m), last_generation(generations)
    real_shares, batch_shares = np.arange(n + 1) / n, np.arange(m + 1) / m
    fitted = w * real_shares[:, None] + (1 - w) * batch_shares
    step = _binomial(m, fitted)
    total = np.zeros(last + 1)
    for symbol in p:
        start = _binomial(n, symbol)
        total[0] += start @ np.abs(real_shares - symbol) / 2
        joint = start[:, None] * _binomial(m, real_shares)
        for i in range(1, last + 1):
            total[i] += (joint * np.abs(fitted - symbol)).sum() / 2
            joint = np.einsum("cj,cjk->ck", joint, step)
    return total


def law_fixation(law: Num, samples: int, n_syn: int, generations: int) -> Floats:
    r"""Probability that the loop on the last batch alone has one symbol left, by enumeration.

    It increases to p_k for symbol k.
    Returns: P(p_i puts all mass on symbol k), [G+1, K].
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    fixed = np.empty((last_generation(generations) + 1, len(p)))
    step = _binomial(m, np.arange(m + 1) / m)
    for k, symbol in enumerate(p):
        chance = _binomial(n, symbol)
        fixed[0, k] = chance[-1]
        chance = chance @ _binomial(m, np.arange(n + 1) / n)
        for i in range(1, len(fixed)):
            fixed[i, k] = chance[-1]
            chance = chance @ step
    return fixed


def smoothed_replace(
    law: Num, samples: int, n_syn: int, pseudo_count: float, generations: int
) -> LawPath:
    r"""Additive smoothing on the last batch alone: the mean runs to the uniform law.

    p_i = (counts + a)/(size + K a), so E p_i - 1/K = c_n c_m^i (p - 1/K), c_m = m/(m + K a).
    Returns: LawPath.
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    extra, last = _extra(pseudo_count, p), last_generation(generations)
    size = np.where(np.arange(last + 1) == 0, n, m)
    kept = size / (size + extra)
    flat = 1 / len(p)
    mean = flat + np.cumprod(kept)[:, None] * (p - flat)
    square = np.empty(last + 1)
    before = p @ p
    for i, (c, rows_seen) in enumerate(zip(kept, size, strict=True)):
        before = c**2 * (before + (1 - before) / rows_seen) + (1 - c**2) * flat
        square[i] = before
    return LawPath(mean, square - 2 * mean @ p + p @ p, 1 - square)


def smoothed_augment(
    law: Num, samples: int, n_syn: int, pseudo_count: float, generations: int
) -> LawPath:
    r"""Additive smoothing on a fixed real set and the last batch: the mean stays.

    E [p_i | S_0] = p_0 for every i: a fixed pseudo-count costs its bias once, not every time.
    Returns: LawPath.
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    last, extra = last_generation(generations), _extra(pseudo_count, p)
    weight = np.full(last + 1, m / (n + m + extra))
    weight[0] = 0.0
    return _smoothed(np.diag(weight[1:], k=-1), p, n, m, extra)


def smoothed_accumulate(
    law: Num, samples: int, n_syn: int, pseudo_count: float, generations: int
) -> LawPath:
    r"""Additive smoothing on the real set and all batches: the mean stays.

    Returns: LawPath.
    Source: derived here, THEORY.md statement 46.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    last, extra = last_generation(generations), _extra(pseudo_count, p)
    pool = n + extra + m * np.arange(last + 1.0)[:, None]
    return _smoothed(np.tril(np.broadcast_to(m / pool, (last + 1, last + 1)), -1), p, n, m, extra)


def one_sided_loop(weights: Num, error: float) -> Floats:
    r"""Mean drift of a learner on {0, 1} whose errors all point the same way.

    The real law puts no mass on 1, and every fit adds ``error`` to the share of ones in its
    training set: E T_i = error (I - W)^{-1} 1, the drift bound with equality.
    Returns: E T_i, the mean mass on 1, [G+1].
    Raises: ValueError if the mean mass would exceed 1.
    Assumes: No fit is cut off at mass 1, which is certain if ``error`` is at most the least real
        share of generations 1, 2, ...; otherwise the value is an upper bound for the loop with
        cut-off.
    Source: derived here, THEORY.md statement 47.
    """
    step = float(real("error", error, 0, 1))
    drift: Floats = step * resolvent(mixing(weights)).sum(axis=1)
    if drift.max() > 1 + 1e-12:
        raise ValueError(
            f"error = {error!r} is outside the admissible range: the mean mass of generation "
            f"{int(drift.argmax())} would be {float(drift.max()):.6g}, above 1; "
            f"at most {step / drift.max():.6g} for these weights"
        )
    return drift


def one_sided_augment(error: float, alpha: float, generations: int) -> Floats:
    r"""Mean drift of `one_sided_loop` with a constant real share: e (1 - (1-alpha)^{i+1})/alpha.

    Returns: E T_i, [G+1].
    Assumes: As `one_sided_loop`; no fit is cut off if error <= alpha.
    Source: derived here, THEORY.md statement 47.
    """
    keep, last = 1 - float(real("alpha", alpha, 0, 1)), last_generation(generations)
    return one_sided_loop(np.diag(np.full(last, keep), k=-1), error)


def one_sided_replace(error: float, generations: int) -> Floats:
    r"""Mean drift of `one_sided_loop` on the last batch alone: e (i + 1).

    Returns: E T_i, [G+1].
    Assumes: As `one_sided_loop`.
    Source: derived here, THEORY.md statement 47.
    """
    return one_sided_augment(error, 0.0, generations)


def one_sided_accumulate(error: float, generations: int, lam: float = 1.0) -> Floats:
    r"""Mean drift of `one_sided_loop` if all batches are kept: e [1 + sum_{j=1}^i lam/(1+j lam)].

    It is e H_{i+1} for lam = 1.

    Args:
        lam: synthetic rows a generation per real row, > 0.
    Returns: E T_i, [G+1].
    Assumes: As `one_sided_loop`; no fit is cut off if error <= 1/(1 + G lam).
    Source: derived here, THEORY.md statement 47.
    """
    last, ratio = last_generation(generations), float(positive("lam", lam))
    shares = ratio / (1 + ratio * np.arange(last + 1.0)[:, None])
    return one_sided_loop(np.tril(np.broadcast_to(shares, (last + 1, last + 1)), k=-1), error)


def _law(law: Num) -> Floats:
    p = nonnegative("law", law)
    if p.ndim != 1 or abs(p.sum() - 1) > 1e-9:
        raise ValueError(
            f"law = {law!r} is outside the admissible range: a list of probabilities with sum 1"
        )
    return p


def _diversity(p: Floats) -> float:
    return float(1 - p @ p)


def _extra(pseudo_count: float, p: Floats) -> float:
    return float(nonnegative("pseudo_count", pseudo_count)) * len(p)


def _unbiased(p: Floats, diversity: Floats) -> LawPath:
    """A loop in which every E p_i is p."""
    mean = np.broadcast_to(p, (len(diversity), len(p)))
    return LawPath(mean, _diversity(p) - diversity, diversity)


def _smoothed(weights: Floats, p: Floats, n: int, m: int, extra: float) -> LawPath:
    kept = n / (n + extra)
    mean = kept * p + (1 - kept) / len(p)
    start = float(1 - mean @ mean - kept**2 * _diversity(p) / n)
    return _martingale(batch_coefficients(weights) ** 2, mean, p, start, m)


def _martingale(gain: Floats, mean: Floats, p: Floats, start: float, m: int) -> LawPath:
    """A loop in which E [p_i | S_0] stays at p_0, with E p_0 = mean, E (1 - |p_0|^2) = start."""
    away = np.zeros(len(gain))
    for i in range(1, len(gain)):
        away[i] = gain[i, :i] @ (start - away[:i]) / m
    bias = mean - p
    first = bias @ bias + (1 - mean @ mean) - start
    return LawPath(np.broadcast_to(mean, (len(gain), len(p))), first + away, start - away)


def _binomial(size: int, chance: Num) -> Floats:
    """Probabilities of 0..size successes, on a new last axis."""
    p = np.asarray(chance, dtype=np.float64)[..., None]
    k = np.arange(size + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, size + 1)))])
    ways = log_factorial[-1] - log_factorial - log_factorial[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = np.where(k == 0, 0.0, k * np.log(p))
        misses = np.where(k == size, 0.0, (size - k) * np.log1p(-p))
    chances: Floats = np.exp(ways + hits + misses)
    return chances
