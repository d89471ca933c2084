"""The recursions that the exact laws of loops share."""

import numpy as np

from icl_stl.bounds._kinds import Floats
from icl_stl.bounds._series import resolvent


def batch_coefficients(weights: Floats) -> Floats:
    """How much of the sampling noise of generation j's batch is in generation i: (I - W)^{-1} W."""
    return resolvent(weights) @ weights


def batch_gain(weights: Floats) -> Floats:
    """sum_j B_ij^2 for i = 0..G: the variance of those coefficients added up."""
    gain: Floats = (batch_coefficients(weights) ** 2).sum(axis=1)
    return gain


def augment_gain(weight: float, last: int) -> Floats:
    """sum_{j=1}^{i} (1-w)^{2j} for i = 0..G: the noise of synthetic batches beside a real set."""
    return np.concatenate([[0.0], np.cumsum((1 - weight) ** (2 * np.arange(1.0, last + 1)))])


def accumulate_gain(samples: int, n_syn: int, last: int) -> Floats:
    """sum_{j=1}^{i} (n_syn/N_j)^2 with N_j = n + j n_syn: the same where all batches are kept."""
    pool = samples + n_syn * np.arange(1.0, last + 1)
    return np.concatenate([[0.0], np.cumsum((n_syn / pool) ** 2)])


def fresh_path(
    real: float, synthetic: float, weight: float, last: int, kept: float = 1.0
) -> Floats:
    """V_i = w^2 real + (1-w)^2 (kept V_{i-1} + synthetic), V_0 = real."""
    path = np.full(last + 1, real)
    for i in range(1, last + 1):
        path[i] = weight**2 * real + (1 - weight) ** 2 * (kept * path[i - 1] + synthetic)
    return path


def fresh_limit(real: float, synthetic: float, weight: float) -> float:
    """The limit of `fresh_path`; infinite without real data."""
    if weight == 0:
        return np.inf
    return (weight**2 * real + (1 - weight) ** 2 * synthetic) / (weight * (2 - weight))


def best_fresh_weight(real: float, synthetic: float) -> float:
    """The weight of least limit, w^2 = k (1-w) with k = synthetic/real."""
    return float(2 / (1 + np.sqrt(1 + 4 * real / synthetic)))


def pooled_factor(real: int, synthetic: int, dim: int) -> float:
    """rho_2 of pooled least squares: what is left of E |w - w'|^2 if only `synthetic` rows know w.

    E |A^{-1} A_syn v|^2/|v|^2 with A the Gram matrix of all rows, standard normal inputs.
    """
    total = real + synthetic
    spread = synthetic * real / (total * (total - 1) * (total + 2))
    kept = synthetic * (synthetic + 2) / (total * (total + 2)) - spread
    return kept + spread * (total * dim - 2) / (total - dim - 1)
