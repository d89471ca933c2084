"""Loops of smoothed resampling: a row drawn from the training set, plus N(0, h^2), h fixed.

n = ``samples`` real rows of any law p with variance sigma^2, m = ``n_syn`` rows a generation.
D_i, what generation i draws from, has in the mean over loops the law sum_k c_ik p * N(0, k h^2).
"""

import numpy as np

from icl_stl.bounds._check import flag, nonnegative, positive, real
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, mixing, real_weight, rows, variance
from icl_stl.references.gaussian import MeanVariance
from icl_stl.references.moments import Mixing, mean_variance_mixed


def resampled_mixture(weights: Num) -> Floats:
    r"""Weights c_ik of p * N(0, k h^2) in the mean law of generation i, exact for every n.

    c_0 has all its weight on k = 1, and c_i = (1 - sum_j w_ij) c_0 + sum_j w_ij c_j, the latter
    moved to k + 1. Beside a constant real share alpha: c_ik = alpha (1-alpha)^{k-1} for k <= i,
    the rest on k = i + 1.

    Returns: c, [G+1, G+2].
    Source: derived here, setting of Khelifa, Turner and Venkataramanan 2026:
        THEORY.md statement 136.
    """
    shares = mixing(weights)
    found = np.zeros((len(shares), len(shares) + 1))
    for i, own in enumerate(shares):
        found[i, 1] = 1 - own.sum()
        found[i, 1:] += own[:i] @ found[:i, :-1]
    return found


def resampled_mean_variance(
    samples: int,
    n_syn: int,
    noise: float,
    generations: int,
    bandwidth: float,
    weight: float | None = None,
    *,
    fresh: bool = False,
) -> MeanVariance:
    r"""Mean error and mean variance of D_i, for every law p of variance sigma^2.

    Their sum is T_i = sigma^2 + h^2 sum_k k c_ik. With V_i the variance, u = 1 - w: new real rows,
    M_i = w^2 sigma^2/n + u^2 (M_{i-1} + V_{i-1}/m); kept ones, the same for M_i - sigma^2/n in
    place of M_i without the first term. With w = 0, V_i = (1 - 1/m) V_{i-1} + h^2.

    Args:
        bandwidth: h, the same in every generation, unit of the data, >= 0.
        weight: w in [0, 1], weight of the real rows; n/(n + n_syn) by default. 0 is the replace
            loop.
        fresh: whether every generation has new real rows; else the first ones are kept.
    Returns: MeanVariance of the generator, [G+1] each.
    Source: derived here, setting of Khelifa, Turner and Venkataramanan 2026:
        THEORY.md statement 137.
    """
    n, m, h = rows("samples", samples), rows("n_syn", n_syn), nonnegative("bandwidth", bandwidth)
    w, last = real_weight(weight, n, m), last_generation(generations)
    shares = np.array([1.0] + [w] * last)
    how = Mixing(shares, n, m, fresh=flag("fresh", fresh))
    return mean_variance_mixed(how, noise, added=float(h) ** 2)


def resampled_limit(
    samples: int,
    n_syn: int,
    noise: float,
    bandwidth: float,
    weight: float | None = None,
    *,
    fresh: bool = False,
) -> MeanVariance:
    r"""Limit of `resampled_mean_variance`.

    Beside a real share w > 0, T = sigma^2 + h^2/w and, with r = u^2/(1 - u^2 (1 - 1/m)),
    M - sigma^2/n = r (T - sigma^2/n)/m for kept rows, M = (w^2 sigma^2/n + u^2 T/m) r/u^2 for new
    ones. With w = 0 the variance tends to m h^2, however large m is, and the mean error has no
    limit.

    Args:
        bandwidth: h, the same in every generation, unit of the data, >= 0.
        weight: w in [0, 1]; n/(n + n_syn) by default.
        fresh: whether every generation has new real rows; else the first ones are kept.
    Returns: MeanVariance of scalars; the mean error is infinite for w = 0, sigma^2 for w = h = 0.
    Source: derived here, setting of Khelifa, Turner and Venkataramanan 2026:
        THEORY.md statement 138.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    w, added = real_weight(weight, n, m), float(nonnegative("bandwidth", bandwidth)) ** 2
    if w == 0:
        return MeanVariance(np.asarray(np.inf if added else square), np.asarray(m * added))
    total, kept = square + added / w, (1 - w) ** 2
    left = 1 - kept * (1 - 1 / m)
    if flag("fresh", fresh):
        error = (w**2 * square / n + kept * total / m) / left
    else:
        error = square / n + kept * (total - square / n) / m / left
    return MeanVariance(np.asarray(error), np.asarray(total - error))


def resampled_distance(alpha: Num, generations: int) -> Floats:
    r"""How far the mean law may be from its limit in total variation: (1-alpha)^{i+1}.

    The limit is sum_{k >= 1} alpha (1-alpha)^{k-1} p * N(0, k h^2), for every p, n and h; beside a
    fixed real set the same holds of every set by itself, with its empirical law for p.

    Args:
        alpha: constant real share, in (0, 1].
    Returns: the bound, [G+1].
    Source: derived here, setting of Khelifa, Turner and Venkataramanan 2026:
        THEORY.md statement 138.
    """
    share = float(real("alpha", alpha, 0.0, 1.0, open_low=True))
    return np.asarray((1 - share) ** (np.arange(last_generation(generations) + 1.0) + 1))


def hermite_mode(order: int, smoothings: Num, bandwidth: float, noise: float) -> Floats:
    r"""What is left of a Hermite mode of the standardised row after k smoothings of p.

    (1 + k h^2/sigma^2)^{-order/2}: E He_order of a row of p * N(0, k h^2) in its own deviations,
    over that of p. Without real rows generation i has k = i + 1; a mixture is no standardised row
    of one k.

    Args:
        order: of the Hermite polynomial He, >= 1.
        smoothings: k >= 0, number or array.
        bandwidth: h, unit of the data, >= 0.
    Returns: the factor, in the shape of ``smoothings``.
    Source: derived here, setting of Khelifa, Turner and Venkataramanan 2026:
        THEORY.md statement 139.
    """
    power, k = rows("order", order), nonnegative("smoothings", smoothings)
    ratio = nonnegative("bandwidth", bandwidth) / positive("noise", noise)
    return np.asarray((1 + k * ratio**2) ** (-power / 2))
