"""Arguments of all loops."""

from sys import float_info

import numpy as np

from icl_stl.bounds._check import (
    earlier_shares,
    generation_index,
    nonnegative,
    numbers,
    one,
    positive,
    real,
    share,
)
from icl_stl.bounds._kinds import Floats, Num


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


def sampling_bias(bias: float, *, below_one: bool = False) -> float:
    """s, the variance of generated rows over that of the fit, in (0, 1]."""
    return one("bias", real("bias", bias, 0.0, 1.0, open_low=True, open_high=below_one))


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
