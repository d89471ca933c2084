"""Linear self-attention on regression prompts, solved exactly: risks, moments and refits.

A prompt holds k examples (x_j, y_j), y_j = w^T x_j + sigma e_j, and a query x with label y. With
h = (1/k) sum_j x_j y_j the layer predicts x^T Gamma h. Two laws: ``gaussian`` (x standard normal,
w normal with variance tau^2, e normal) and ``sphere`` (x uniform with |x|^2 = d, |w| = 1 uniform,
e uniform on [-sqrt(3), sqrt(3)]).
"""

from typing import Literal, NamedTuple

import numpy as np

from icl_stl.bounds import SphereMoments, sphere_moments
from icl_stl.bounds._check import nonnegative, positive, real, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, rows

__all__ = [
    "GaussianMoments",
    "Refit",
    "SphereMoments",
    "gaussian_moments",
    "kl_divergence",
    "refit",
    "risk",
    "second_moments",
    "sphere_moments",
    "total_variation_bound",
]


class GaussianMoments(NamedTuple):
    """What the gaussian law of a prompt decides."""

    square: float
    """E|h|^2."""
    scale: float
    """s_h = E|h|^2/d; the features x h^T have second moment s_h I."""
    optimum: float
    """g; the best layer is Gamma* = g I."""
    risk: float
    """R*, its risk."""


class Refit(NamedTuple):
    """Refits of one number gamma to mixtures of real and generated prompts."""

    gamma: Floats
    """gamma_0, gamma_1, ..."""
    energy: Floats
    """Q_g, the sum over positions of E|B_k|^2/k^2 under generation g's prompts."""
    factor: Floats
    """(gamma_{g+1} - gamma*)/(gamma_g - gamma*)."""
    optimum: float
    """gamma*."""
    real_energy: float
    """Q under the real law."""


def gaussian_moments(dim: int, context: int, tau: float, sigma: float) -> GaussianMoments:
    r"""Moments of a prompt under the gaussian law.

    s_h = tau^2 + ((d+1) tau^2 + sigma^2)/k, g = tau^2/s_h, R* = sigma^2 + d tau^2 (1 - g).

    Returns: GaussianMoments.
    Source: derived here, THEORY.md statement 48.
    """
    d, k = rows("dim", dim), rows("context", context)
    prior, noise = float(positive("tau", tau)) ** 2, float(nonnegative("sigma", sigma)) ** 2
    scale = prior + ((d + 1) * prior + noise) / k
    optimum = prior / scale
    return GaussianMoments(d * scale, scale, optimum, noise + d * prior * (1 - optimum))


def risk(gamma: Num, moments: GaussianMoments | SphereMoments) -> Floats:
    r"""Mean squared error of x^T Gamma h: R* + s_h |Gamma - g I|^2.

    Args:
        moments: of the law of prompts.
    Returns: risk, of shape (...).
    Source: derived here, THEORY.md statement 48.
    """
    matrix = _layers("gamma", gamma)
    away = matrix - moments.optimum * np.eye(matrix.shape[-1])
    return np.asarray(moments.risk + moments.scale * (away**2).sum(axis=(-2, -1)))


def second_moments(
    gamma: Num, noises: Num, law: Literal["gaussian", "sphere"] = "gaussian"
) -> Floats:
    r"""E h_j h_j^T, j = 0..k, when the layer itself writes all labels of a prompt.

    y_j = x_j^T Gamma h_{j-1} + s_j e_j, h_j = (1/j) sum_{l<=j} x_l y_l, e of mean 0 and variance 1.

    Args:
        noises: s_1..s_k.
        law: of the inputs.
    Returns: shape (k + 1, d, d); the first is 0.
    Source: derived here, THEORY.md statement 49.
    """
    matrix, spread = _layer("gamma", gamma), nonnegative("noises", noises)
    if spread.ndim != 1:
        raise ValueError(f"noises has shape {spread.shape}, outside the admissible shape [k]")
    if law not in ("gaussian", "sphere"):
        raise ValueError(f"law = {law!r} is neither 'gaussian' nor 'sphere'")
    d = len(matrix)
    fourth = 1.0 if law == "gaussian" else d / (d + 2)
    moments = np.zeros((len(spread) + 1, d, d))
    for j, noise in enumerate(spread, start=1):
        before = moments[j - 1]
        cross = matrix @ before
        pushed = cross @ matrix.T
        fresh = fourth * (2 * pushed + np.trace(pushed) * np.eye(d)) + noise**2 * np.eye(d)
        moments[j] = ((j - 1) ** 2 * before + (j - 1) * (cross + cross.T) + fresh) / j**2
    return moments


def kl_divergence(
    gamma: Num, other: Num, noises: Num, law: Literal["gaussian", "sphere"] = "gaussian"
) -> float:
    r"""KL between the prompts that two layers write with the same normal noise, exactly.

    sum_j tr((Gamma - Gamma') S_{j-1} (Gamma - Gamma')^T)/(2 s_j^2), S of `second_moments`.

    Args:
        gamma: Gamma, shape (d, d): the law of the mean.
        noises: s_1..s_k > 0, shared.
        law: of the inputs; the noise is normal in both cases.
    Returns: KL(Gamma's prompts | Gamma''s prompts), k labels.
    Source: derived here, THEORY.md statement 49.
    """
    own, its = _layer("gamma", gamma), _layer("other", other)
    if own.shape != its.shape:
        raise ValueError(f"other has shape {its.shape}, outside the admissible shape {own.shape}")
    step, spread = own - its, positive("noises", noises)
    before = second_moments(gamma, spread, law)[:-1]
    energy = np.einsum("ab,jbc,ac->j", step, before, step)
    return float((energy / (2 * spread**2)).sum())


def total_variation_bound(
    gamma: Num, other: Num, noises: Num, law: Literal["gaussian", "sphere"] = "gaussian"
) -> float:
    """Pinsker's bound on the total variation between the prompts of two layers.

    Args:
        noises: s_1..s_k > 0, shared.
        law: of the inputs.
    Returns: sqrt(KL/2), which may exceed 1.
    Source: published: Pinsker 1964, with `kl_divergence`.
    """
    return float(np.sqrt(kl_divergence(gamma, other, noises, law) / 2))


def refit(
    gamma: float,
    generations: int,
    *,
    alpha: float,
    dim: int,
    labels: int,
    tau: float,
    sigma: float,
    noises: Num,
) -> Refit:
    r"""Fit y_{k+1} = (gamma/k) x_{k+1}^T B_k again and again, with infinitely many prompts.

    B_k = sum_{j<=k} x_j y_j. Generation g writes y_{k+1} = (gamma_g/k) x_{k+1}^T B_k + nu_{k+1} e,
    gaussian inputs; generation g + 1 is the least squares fit over positions k = 1..labels - 1 to
    a share alpha of real prompts and 1 - alpha of these:

        gamma_{g+1} - gamma* = (1-alpha) Q_g/(alpha Q + (1-alpha) Q_g) (gamma_g - gamma*).

    Args:
        gamma: gamma_0.
        labels: in a prompt, >= 2.
        noises: nu_1..nu_labels of the generator.
    Returns: Refit with generations + 1 values of gamma and generations energies and factors.
    Source: derived here, THEORY.md statement 49.
    """
    d, count, last = rows("dim", dim), rows("labels", labels, 2), last_generation(generations)
    prior, noise = float(positive("tau", tau)) ** 2, float(nonnegative("sigma", sigma)) ** 2
    kept, spread = float(share("alpha", alpha)), nonnegative("noises", noises)
    if spread.shape not in ((), (1,), (count,)):
        raise ValueError(f"noises has shape {spread.shape}, outside the admissible shape [labels]")
    spread = np.broadcast_to(spread, (count,))
    k = np.arange(1, count)
    squares = k * (k - 1) * d * prior + k * d * ((d + 2) * prior + noise)
    real_energy = float((squares / k**2).sum())
    optimum = (count - 1) * d * prior / real_energy
    path, energies, factors = [float(_finite("gamma", gamma))], [], []
    for _ in range(last):
        energy = _energy(path[-1], d, spread)
        factor = (1 - kept) * energy / (kept * real_energy + (1 - kept) * energy)
        path.append(optimum + factor * (path[-1] - optimum))
        energies.append(energy)
        factors.append(factor)
    return Refit(np.array(path), np.array(energies), np.array(factors), optimum, real_energy)


def _finite(name: str, value: Num) -> Floats:
    return real(name, value, open_low=True, open_high=True)


def _layers(name: str, gamma: Num) -> Floats:
    matrix = _finite(name, gamma)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"{name} has shape {matrix.shape}, outside the admissible shape [..., d, d]"
        )
    return matrix


def _layer(name: str, gamma: Num) -> Floats:
    matrix = _layers(name, gamma)
    if matrix.ndim > 2:
        raise ValueError(f"{name} has shape {matrix.shape}, outside the admissible shape [d, d]")
    return matrix


def _energy(gamma: float, dim: int, noises: Floats) -> float:
    """Sum over k = 1..labels-1 of E|B_k|^2/k^2 for generated prompts."""
    square, energy = dim * noises[0] ** 2, 0.0
    for k in range(1, len(noises)):
        energy += square / k**2
        growth = 1 + 2 * gamma / k + (dim + 2) * gamma**2 / k**2
        square = square * growth + dim * noises[k] ** 2
    return float(energy)
