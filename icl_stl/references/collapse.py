"""In-context generators that forget their own uncertainty: how fast the task is lost, exactly.

A prompt has one task w, normal with variance tau^2 in each of d coordinates, and labels
y_k = w^T x_k + sigma e_k. Its labels are written one after the other, each from the predictive law
of the Bayes predictor: N(x^T m, sigma^2 + s) gives the real law, the ``plug-in`` law N(x^T m,
sigma^2) does not. In the orthogonal design inputs visit sqrt(d) e_1, ..., sqrt(d) e_d in turn, n
times each; u = d v/sigma^2 is a task variance v in units of the noise and c = 1/u. Where prompts
are read and written again, m examples have u = m v/sigma^2.

=====================================  =======================================  =========
plug-in or predictive labels           ``label_covariance``,                    65
                                       ``task_covariance``
... their divergences                  ``divergences``                          66
orthogonal design                      ``posterior_variance``,                  67
                                       ``design_divergences``
... prior fitted in each generation    ``refit``, ``refit_bound``,              68
                                       ``signal_path``, ``signal_bound``,
                                       ``signal_limit``, ``signal_limits``
... what squared error sees            ``shrinkage``, ``excess_error``,         69
                                       ``written_square``
prompts read and written again         ``regenerated``, ``regenerated_limit``,  70
                                       ``reread``, ``reread_limit``
=====================================  =======================================  =========

Prompts that linear attention writes: ``attention.refit`` and ``attention.second_moments``.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, polygamma

from icl_stl.bounds._check import flag, nonnegative, numbers, positive, real, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, rows


class Divergences(NamedTuple):
    """Kullback-Leibler divergences between real and plug-in labels of a prompt, in nats."""

    to_plug_in: float
    """KL(D_0 | D_plug), given the inputs."""
    from_plug_in: float
    """KL(D_plug | D_0), given the inputs."""
    information: float
    """I(w; y), what the labels say about the task."""


# --- any inputs ----------------------------------------------------------------------------------


def label_covariance(
    inputs: Num, noise: float, prior_scale: float, *, plug_in: bool = True
) -> Floats:
    r"""Covariance of the labels that the Bayes predictor writes, given the inputs.

    C = tau^2 X X^T + sigma^2 I = L diag(sigma^2 + s_k) L^T with unit lower triangular L; plug-in
    labels have sigma^2 L L^T.

    Returns: shape (..., m, m).
    Source: derived here, THEORY.md statement 65.
    """
    covariance, factor, pivots = _factors(inputs, noise, prior_scale)
    if not flag("plug_in", plug_in):
        return covariance
    unit = factor / pivots[..., None, :]
    return noise**2 * unit @ unit.swapaxes(-1, -2)


def task_covariance(
    inputs: Num, noise: float, prior_scale: float, *, plug_in: bool = True
) -> Floats:
    r"""Covariance of the posterior mean of the task after a written prompt, given the inputs.

    Plug-in: sum_k sigma^2/(sigma^2 + s_k) (S_{k-1} - S_k), S_k the posterior covariance after k
    examples; predictive: tau^2 I - S_m.

    Returns: shape (..., d, d).
    Source: derived here, THEORY.md statement 65.
    """
    X = real("inputs", inputs)
    variance, own = float(positive("noise", noise)) ** 2, flag("plug_in", plug_in)
    before = np.broadcast_to(
        float(positive("prior_scale", prior_scale)) ** 2 * np.eye(X.shape[-1]),
        (*X.shape[:-2], X.shape[-1], X.shape[-1]),
    )
    total = np.zeros_like(before)
    for k in range(X.shape[-2]):
        pushed = np.einsum("...ab,...b->...a", before, X[..., k, :])
        spread = np.einsum("...a,...a->...", X[..., k, :], pushed)[..., None, None]
        gained = pushed[..., :, None] * pushed[..., None, :] / (variance + spread)
        total = total + (variance / (variance + spread) if own else 1.0) * gained
        before = before - gained
    return total


def divergences(inputs: Num, noise: float, prior_scale: float) -> Divergences:
    r"""Divergences between real and plug-in labels: sum s_k/(2 sigma^2) - I and I - sum_k ...

    I = log det(I + X X^T tau^2/sigma^2)/2 = sum log(1 + s_k/sigma^2)/2; KL(D_0 | D_plug) =
    sum_k s_k/(2 sigma^2) - I, KL(D_plug | D_0) = I - sum_k s_k/(2 (sigma^2 + s_k)).

    Returns: Divergences.
    Source: derived here, THEORY.md statement 66.
    """
    _, _, pivots = _factors(inputs, noise, prior_scale)
    excess = (pivots / noise) ** 2 - 1  # s_k/sigma^2
    information = float(np.log1p(excess).sum() / 2)
    return Divergences(
        float(excess.sum() / 2) - information,
        information - float((excess / (1 + excess)).sum() / 2),
        information,
    )


def _factors(inputs: Num, noise: float, prior_scale: float) -> tuple[Floats, Floats, Floats]:
    """C, its Cholesky factor, and the roots of its pivots."""
    X = real("inputs", inputs)
    tau, sigma = float(positive("prior_scale", prior_scale)), float(positive("noise", noise))
    covariance = tau**2 * X @ X.swapaxes(-1, -2) + sigma**2 * np.eye(X.shape[-2])
    factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
    return covariance, factor, np.diagonal(factor, axis1=-2, axis2=-1)


# --- the orthogonal design -----------------------------------------------------------------------


def _repeats(repeats: float) -> float:
    return np.inf if numbers("repeats", repeats).tolist() == np.inf else rows("repeats", repeats)


def _signal(signal: Num) -> Floats:
    return positive("signal", signal)


def _squares(signal: Num, repeats: float) -> Floats:
    """sum_{k=1}^n 1/(c+k)^2 = psi'(1+c) - psi'(1+c+n)."""
    c, n = 1 / _signal(signal), _repeats(repeats)
    return np.asarray(polygamma(1, 1 + c) - (0.0 if np.isinf(n) else polygamma(1, 1 + c + n)))


def posterior_variance(signal: Num, repeats: float, *, plug_in: bool = True) -> Floats:
    r"""Variance of the posterior mean's coordinates after a written prompt, times d/sigma^2.

    Plug-in: sum_{k=1}^n 1/(c+k)^2 = psi'(1+c) - psi'(1+c+n), at most min(pi^2/6, 1/(c+1/2))
    whatever the prior; predictive: u n/(n+c).

    Returns: of the shape of ``signal``.
    Source: derived here, THEORY.md statement 67.
    """
    u, n = _signal(signal), _repeats(repeats)
    return _squares(u, n) if flag("plug_in", plug_in) else u / (1 + 1 / (u * n))


def design_divergences(signal: float, repeats: int, dim: int) -> Divergences:
    r"""`divergences` of the orthogonal design.

    I = (d/2) log((c+n)/c); KL(D_0 | D_plug) = (d/2) [psi(c+n) - psi(c)] - I, KL(D_plug | D_0) =
    I - (d/2) [psi(c+n+1) - psi(c+1)].

    Returns: Divergences.
    Source: derived here, THEORY.md statement 67.
    """
    c, n, half = 1 / float(_signal(signal)), rows("repeats", repeats), rows("dim", dim) / 2
    information = half * float(np.log1p(n / c))
    return Divergences(
        half * float(digamma(c + n) - digamma(c)) - information,
        information - half * float(digamma(c + n + 1) - digamma(c + 1)),
        information,
    )


def refit(signal: Num, repeats: float) -> Floats:
    r"""T_n(u), the task variance that plug-in prompts show to a fit of the prior.

    T_n(u) = (1 + c/n)^2 sum_{k=1}^n 1/(c+k)^2 - 1/n, c = 1/u: maximum marginal likelihood on
    infinitely many prompts that were written with the prior u. Units as `posterior_variance`.

    Returns: of the shape of ``signal``.
    Source: derived here, THEORY.md statement 68.
    """
    u, n = _signal(signal), _repeats(repeats)
    return (1 + 1 / (u * n)) ** 2 * _squares(u, n) - 1 / n


def refit_bound(signal: Num, repeats: float) -> Floats:
    r"""Upper bound of T_n(u): [1 - (n+c+1/4)/(n (c+n+1/2))]/(c+1/2), below u/(1+u/2).

    Returns: of the shape of ``signal``.
    Source: derived here, THEORY.md statement 68.
    """
    c, n = 1 / _signal(signal), _repeats(repeats)
    lost = 0.0 if np.isinf(n) else (n + c + 0.25) / (n * (c + n + 0.5))
    return np.asarray((1 - lost) / (c + 0.5))


def signal_path(
    signal: float, repeats: float, generations: int, alpha: float, *, plug_in: bool = True
) -> Floats:
    r"""Task variance that an empirical-Bayes learner fits in every generation, times d/sigma^2.

    u_0 is the real one; u_{g+1} = alpha u_0 + (1-alpha) T_n(u_g) if labels are written plug-in,
    u_{g+1} = alpha u_0 + (1-alpha) u_g = u_0 if they are written with the predictive deviation.

    Returns: u_0..u_G, shape (G + 1,). With n = 1 and alpha = 0 it is 0 from generation 1 on.
    Source: derived here, THEORY.md statement 68.
    """
    start, kept = float(_signal(signal)), float(share("alpha", alpha))
    path = np.full(last_generation(generations) + 1, start)
    _repeats(repeats)
    for g in range(1, len(path) if flag("plug_in", plug_in) else 1):
        written = float(refit(path[g - 1], repeats)) if path[g - 1] > 0 else 0.0
        path[g] = kept * start + (1 - kept) * max(written, 0.0)
    return path


def signal_bound(signal: float, generations: int) -> Floats:
    r"""Without real data u_g <= 1/(1/u_0 + g/2), hence v_g <= 2 sigma^2/(d g).

    Returns: shape (G + 1,).
    Source: derived here, THEORY.md statement 68.
    """
    g = np.arange(last_generation(generations) + 1.0)
    return np.asarray(1 / (1 / float(_signal(signal)) + g / 2))


def signal_limit(signal: float, repeats: float, alpha: float) -> float:
    r"""The fixed point of u = alpha u_0 + (1-alpha) T_n(u), where `signal_path` ends.

    The map has a slope in [0, 1 - alpha), so the fixed point is unique and bisection finds it.

    Args:
        alpha: real share in [0, 1]; 0 for alpha = 0.
    Returns: u*.
    Source: derived here, THEORY.md statement 68.
    """
    start, kept = float(_signal(signal)), float(share("alpha", alpha))
    if kept == 0:
        return 0.0
    low, high = kept * start, start
    for _ in range(200):
        middle = (low + high) / 2
        if kept * start + (1 - kept) * float(refit(middle, repeats)) > middle:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def signal_limits(signal: float, alpha: float) -> tuple[float, float]:
    r"""Between what u* lies: alpha u_0 and alpha u_0 + (1-alpha) pi^2/6.

    Returns: lower, upper.
    Source: derived here, THEORY.md statement 68.
    """
    start, kept = float(_signal(signal)), float(share("alpha", alpha))
    return kept * start, kept * start + (1 - kept) * np.pi**2 / 6


def shrinkage(signal: Num, repeats: int) -> Floats:
    r"""What the mean of k labels of one direction is shrunk by: h_k = k u/(1 + k u), k = 0..n-1.

    Returns: shape (..., n).
    Source: derived here, THEORY.md statement 69.
    """
    seen = nonnegative("signal", signal)[..., None] * np.arange(float(rows("repeats", repeats)))
    return np.asarray(seen / (1 + seen))


def excess_error(factors: Num, signal: float) -> Floats:
    r"""Excess squared error of shrunk means over Bayes on real prompts, over sigma^2.

    (1/n) sum_{k=1}^{n-1} (f_k - h_k)^2 (u + 1/k), the mean over the labels of a direction, h of
    `shrinkage`.

    Args:
        factors: f, shape (..., n); f_0 does not matter.
    Returns: shape (...).
    Source: derived here, THEORY.md statement 69.
    """
    f, u = real("factors", factors), float(_signal(signal))
    n = f.shape[-1]
    off = (f - shrinkage(u, n))[..., 1:] ** 2
    return np.asarray((off * (u + 1 / np.arange(1.0, n))).sum(-1) / n)


def written_square(factors: Num) -> Floats:
    r"""Mean square of the mean of k plug-in labels, over sigma^2, k = 1..n.

    Labels are written as y_{k+1} = f_k (mean of the k before) + sigma e, f any factors: with
    a_k = k^2 E(mean)^2 it is a_{k+1} = a_k (1 + f_k/k)^2 + 1, a_1 = 1. With f = `shrinkage`,
    n E(mean)^2 - 1 = n T_n(u).

    Args:
        factors: f_0..f_{n-1}, shape (n,).
    Returns: shape (n,).
    Source: derived here, THEORY.md statement 69.
    """
    f = real("factors", factors)
    sums = np.ones(len(f))
    for k in range(1, len(f)):
        sums[k] = sums[k - 1] * (1 + f[k] / k) ** 2 + 1
    return np.asarray(sums / np.arange(1.0, len(f) + 1) ** 2)


# --- prompts that are read and written again -----------------------------------------------------


def regenerated(signal: float, generations: int) -> Floats:
    r"""Task variance if a frozen Bayes predictor answers with its posterior mean, again and again.

    The labels of a prompt are written anew with w' = posterior mean of the task given the old ones:
    u_{g+1} = h^2 (u_g + 1), h = u_0/(1+u_0). With w' drawn from the posterior it stays u_0.

    Returns: u_0..u_G = m v_g/sigma^2.
    Source: derived here, THEORY.md statement 70.
    """
    start = float(_signal(signal))
    limit, h = regenerated_limit(start), start / (1 + start)
    g = np.arange(last_generation(generations) + 1.0)
    return np.asarray(limit + (start - limit) * h ** (2 * g))


def regenerated_limit(signal: float) -> float:
    r"""The limit of `regenerated`: u_0^2/(1 + 2 u_0), that is tau^2 m/(2 m + sigma^2/tau^2).

    Returns: u*, about half of u_0.
    Source: derived here, THEORY.md statement 70.
    """
    start = float(_signal(signal))
    return start**2 / (1 + 2 * start)


def reread(signal: float, generations: int, alpha: float) -> Floats:
    r"""The same if the prior is fitted in every generation, with a share of real prompts.

    u_{g+1} = alpha u_0 + (1-alpha) u_g^2/(1+u_g).

    Returns: u_0..u_G = m v_g/sigma^2.
    Source: derived here, THEORY.md statement 70.
    """
    start, kept = float(_signal(signal)), float(share("alpha", alpha))
    path = np.full(last_generation(generations) + 1, start)
    for g in range(1, len(path)):
        path[g] = kept * start + (1 - kept) * path[g - 1] ** 2 / (1 + path[g - 1])
    return path


def reread_limit(signal: float, alpha: float) -> float:
    r"""The limit of `reread`: [b + sqrt(b^2 + 4 alpha^2 u_0)]/(2 alpha), b = alpha u_0 - 1.

    Args:
        alpha: real share in [0, 1]; without one the limit is 0.
    Returns: u*, about u_0 - 1/alpha + 1 for alpha far above 1/u_0.
    Source: derived here, THEORY.md statement 70.
    """
    start, kept = float(_signal(signal)), float(share("alpha", alpha))
    b = kept * start - 1
    root = np.hypot(b, 2 * kept * np.sqrt(start))
    # Of the two forms, the one in which nothing cancels; the second holds for alpha = 0 too.
    return float((b + root) / (2 * kept) if b > 0 else 2 * kept * start / (root - b))
