"""Arguments of all loops, and the two recursions that their exact laws share."""

from sys import float_info

import numpy as np

from icl_stl.bounds._check import (
    Floats,
    Num,
    earlier_shares,
    generation_index,
    nonnegative,
    numbers,
    positive,
    share,
)
from icl_stl.bounds._series import resolvent


def rows(name: str, value: float, least: int = 1, why: str = "") -> int:
    """A whole number of rows, at least ``least``."""
    number = numbers(name, value)
    if number.ndim or not (number >= least and number < np.inf and number == np.floor(number)):
        raise ValueError(
            f"{name} = {value!r} is outside the admissible range: "
            f"whole numbers from {least} on{why}"
        )
    return int(value)


def last_generation(generations: int) -> int:
    """G, a finite whole number >= 0."""
    last = generation_index("generations", generations)
    if last.ndim or not np.isfinite(last):
        raise ValueError(f"generations = {generations!r} is outside the admissible range [0, inf)")
    return int(last)


def variance(noise: float) -> float:
    """sigma^2 of a noise sigma > 0."""
    square = float(positive("noise", noise)) ** 2
    if not float_info.min <= square < np.inf:
        raise ValueError(
            f"noise = {noise!r} is outside the admissible range [1.5e-154, 1.3e154], where its "
            "square is a number"
        )
    return square


def real_weight(weight: float | None, samples: int, n_syn: int) -> float:
    """The weight of the real rows; by default their share, so that every row weighs the same."""
    return samples / (samples + n_syn) if weight is None else float(share("weight", weight))


def mixing(weights: Num) -> Floats:
    """Mixing weights [G+1, G+1]: strictly lower triangular shares, rows with sum at most 1."""
    shares = nonnegative("weights", weights)
    if shares.ndim != 2 or len(shares) < 1 or shares.shape[0] != shares.shape[1]:
        raise ValueError(
            f"weights has shape {shares.shape}, outside the admissible shape [G+1, G+1], G >= 0"
        )
    return earlier_shares(shares)


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


def fresh_path(real: float, synthetic: float, weight: float, last: int) -> Floats:
    """V_i = w^2 real + (1-w)^2 (V_{i-1} + synthetic), V_0 = real."""
    path = np.full(last + 1, real)
    for i in range(1, last + 1):
        path[i] = weight**2 * real + (1 - weight) ** 2 * (path[i - 1] + synthetic)
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
