"""Loops whose real share and numbers of rows change, and estimators that know no row's source.

``sizes`` are n_0..n_G, rows that a generation is fitted on, generation 0 on real ones; ``alphas``
are the real shares of generations 1..G.
"""

from typing import Literal, get_args

import numpy as np

from icl_stl.bounds._check import flag, sample_size, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import rows, variance
from icl_stl.references.discrete import _binomial, _diversity, _law

Estimator = Literal["pooled", "interpolating", "oracle"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


def law_hidden(law: Num, sizes: Num, alphas: Num) -> Floats:
    r"""Empirical laws of rows that are real by lot: independent rows of a p + (1-a) p_{t-1}.

    E |p_t - p|^2 = h/n_t + (1 - 1/n_t) (1-alpha_t)^2 E |p_{t-1} - p|^2, from h/n_0.
    Returns: E |p_t - p|^2, [G+1].
    Source: published: Bakshi and Chakraborty 2026; THEORY.md statement 104.
    """
    h, (counts, shares) = _diversity(_law(law)), _stages(sizes, alphas)
    return _path(h / counts, (1 - 1 / counts[1:]) * (1 - shares) ** 2)


def mean_hidden(noise: float, sizes: Num, alphas: Num) -> Floats:
    r"""Error of the mean of rows that are real by lot.

    V_t = sigma^2/n_t + [(1-alpha_t)^2 + alpha_t (1-alpha_t)/n_t] V_{t-1}, from sigma^2/n_0.
    Returns: E (mu_t - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 104.
    """
    square, (counts, a) = variance(noise), _stages(sizes, alphas)
    return _path(square / counts, (1 - a) ** 2 + a * (1 - a) / counts[1:])


def sources_error(estimator: str, law: Num, sizes: Num, alphas: Num, by_lot: bool = True) -> Floats:
    r"""Error of an estimator of all stages of rows whose sources are hidden.

    R_t = [(1-w)^2 - (1-alpha_t)^k w u] R_{t-1} + h w u, R_0 = h/n_0, k = 2 by lot, else 1. Pooled:
    w = n_t alpha_t/N_t, w u = n_t/N_t^2, N_t = sum n_i. Interpolating: w = n_t alpha_t^2/I_t,
    w u = w/I_t, I_t = sum n_i alpha_i^2, alpha_0 = 1. Oracle: h E 1/(real rows so far).

    Args:
        estimator: pooled, interpolating or oracle.
        by_lot: whether every row is real with probability alpha_t; else alpha_t n_t of them are.
    Returns: E |P_t - p|^2, [G+1]; of interpolation nan from the first stage of which an estimate
        may be no law, and is projected: where n_t alpha_t (1-alpha_t) > I_{t-1}.
    Source: derived here, THEORY.md statement 106.
    """
    h, (counts, a), lot = _diversity(_law(law)), _stages(sizes, alphas), flag("by_lot", by_lot)
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator = {estimator!r} is none of {', '.join(ESTIMATORS)}")
    if estimator == "oracle":
        return h * (_reciprocal_counts(counts, a) if lot else 1 / _informed(counts, a))
    if estimator == "pooled":
        kept, noise = _informed(counts, a, 0), counts[1:]
        moved = counts[1:] * a / kept[1:]
    else:
        kept = _informed(counts, a, 2)
        moved = noise = counts[1:] * a**2
        moved = moved / kept[1:]
    if estimator == "interpolating":
        fine = np.logical_and.accumulate(noise * (1 - a) <= a * kept[:-1] * (1 + 1e-12))
        noise = np.where(fine, noise, np.nan)
    noise = noise / kept[1:] ** 2
    factor = (1 - moved) ** 2 - (1 - a) ** (2 if lot else 1) * noise
    return _path(h * np.concatenate([[1 / counts[0]], noise]), factor)


def mean_kept(noise: float, sizes: Num, alphas: Num) -> Floats:
    r"""Error of the mean where real rows are added in every generation and all rows are kept.

    V_t = (1 - n_t alpha_t/N_t)^2 V_{t-1} + (n_t/N_t^2) sigma^2, N_t = n_0 + ... + n_t, alpha_t n_t
    new real rows and the rest of the last generation.
    Returns: E (mu_t - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 108.
    """
    square, (counts, a) = variance(noise), _stages(sizes, alphas)
    total = np.cumsum(counts)
    return _path(square * counts / total**2, (1 - counts[1:] * a / total[1:]) ** 2)


def law_varying(law: Num, samples: int, sizes: Num, alphas: Num) -> Floats:
    r"""Empirical law of a fixed real set of weight alpha_i and ``sizes``[i - 1] synthetic rows.

    E |p_i - p|^2 = h/n + q_i, q_i = (1-alpha_i)^2 [q_{i-1} + ((1 - 1/n) h - q_{i-1})/m_i].

    Args:
        sizes: m_1..m_G, synthetic rows of a generation.
    Returns: E |p_i - p|^2, [G+1].
    Source: derived here, THEORY.md statement 109.
    """
    h, n = _diversity(_law(law)), rows("samples", samples)
    counts, a = _stages([n, *np.atleast_1d(sizes)], alphas)
    kept, m = (1 - a) ** 2, counts[1:]
    added = np.concatenate([[0.0], kept * (1 - 1 / n) * h / m])
    return h / n + _path(added, kept * (1 - 1 / m))


def mean_varying(noise: float, samples: int, sizes: Num, alphas: Num) -> Floats:
    r"""Error of the mean beside a fixed real set of weight alpha_i: sigma^2/n + g_i.

    g_i = (1-alpha_i)^2 (g_{i-1} + sigma^2/m_i), g_0 = 0.

    Args:
        sizes: m_1..m_G, synthetic rows of a generation.
    Returns: E (mu_i - mu)^2, [G+1].
    Source: derived here, THEORY.md statement 109.
    """
    square, n = variance(noise), rows("samples", samples)
    counts, a = _stages([n, *np.atleast_1d(sizes)], alphas)
    kept = (1 - a) ** 2
    added = np.concatenate([[0.0], kept * square / counts[1:]])
    return square / n + _path(added, kept)


def _stages(sizes: Num, alphas: Num) -> tuple[Floats, Floats]:
    """n_0..n_G and alpha_1..alpha_G."""
    counts = sample_size("sizes", sizes)
    if counts.ndim != 1 or (counts != np.floor(counts)).any():
        raise ValueError(
            f"sizes = {sizes!r} is outside the admissible range: a list of whole numbers from 1 on"
        )
    shares = share("alphas", alphas if np.size(alphas) else np.zeros(0))
    if shares.shape != (len(counts) - 1,):
        raise ValueError(
            f"alphas has shape {shares.shape}, outside the admissible shape ({len(counts) - 1},): "
            f"one for each of the sizes ({len(counts)}) after the first"
        )
    return counts, shares


def _informed(counts: Floats, shares: Floats, power: int = 1) -> Floats:
    """sum_{i<=t} n_i alpha_i^power, alpha_0 = 1."""
    return np.cumsum(counts * np.concatenate([[1.0], shares]) ** power)


def _path(added: Floats, kept: Floats) -> Floats:
    """R_t = kept_t R_{t-1} + added_t, R_0 = added_0."""
    path = added.copy()
    for t, factor in enumerate(kept, 1):
        path[t] += factor * path[t - 1]
    return path


def _reciprocal_counts(counts: Floats, shares: Floats) -> Floats:
    """E 1/(n_0 + B_1 + ... + B_t), B_i binomial of n_i and alpha_i, independent."""
    chances, first = np.ones(1), counts[0]
    found = [1 / first]
    for n, a in zip(counts[1:], shares, strict=True):
        chances = np.convolve(chances, _binomial(int(n), a))
        found.append(float(chances @ (1 / (first + np.arange(len(chances))))))
    return np.array(found)
