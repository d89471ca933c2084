"""Bits whose learner errs in one direction, all rows kept: where its errors add up like ln i."""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import nonnegative, real, share
from icl_stl.bounds._kinds import Floats
from icl_stl.references._common import last_generation, rows


class BitsPath(NamedTuple):
    """Exact moments of the fitted chance theta_i of a one."""

    mean: Floats
    """E theta_i, [G+1]."""
    square: Floats
    """E (theta_i - p)^2, [G+1]."""


def bits_accumulate(
    probability: float,
    samples: int,
    n_syn: int,
    generations: int,
    *,
    kappa: float = 1.0,
    centre: float = 0.5,
    injected: float = 0.0,
) -> BitsPath:
    r"""The amplifier on bits if all rows are kept: theta_i = c + kappa (z_i - c) + e.

    z_i is the share of ones among n + i n_syn rows, u_i = z_i - c, g_i = n_syn/(n + i n_syn). With
    f_i = 1 - g_i (1 - kappa), E u_i = f_i E u_{i-1} + g_i e and
    E u_i^2 = f_i^2 E u_{i-1}^2 + 2 f_i g_i e E u_{i-1} + g_i^2 (e^2 + E theta (1 - theta)/n_syn),
    theta that of generation i-1. A penalty beside the mean loss is kappa = 1 - s: for e = 0 then
    E theta_i - c = (1-s)(p - c) prod_{j=1}^{i} (1 - s g_j), whose error grows like ln i at first.

    Args:
        probability: p of the real law, in [0, 1].
        kappa: >= 0.
        centre: c, in [0, 1].
        injected: e, any sign, added in every generation.
    Returns: BitsPath.
    Assumes: No fit is cut off at 0 or 1, which is certain if c (1 - kappa) + e and
        c + kappa (1 - c) + e are in [0, 1].
    Source: derived here, THEORY.md statement 120.
    """
    p, c = float(share("probability", probability)), float(share("centre", centre))
    follow, e = float(nonnegative("kappa", kappa)), float(real("injected", injected, -1, 1))
    n, m = rows("samples", samples), rows("n_syn", n_syn)
    first, second = np.empty((2, last_generation(generations) + 1))
    first[0], second[0] = p - c, (p - c) ** 2 + p * (1 - p) / n
    base = c + e
    for i in range(1, len(first)):
        g = m / (n + i * m)
        f, u, square = 1 - g * (1 - follow), first[i - 1], second[i - 1]
        spread = base * (1 - base) + follow * (1 - 2 * base) * u - follow**2 * square
        first[i] = f * u + g * e
        second[i] = f**2 * square + 2 * f * g * e * u + g**2 * (e**2 + spread / m)
    away = base - p
    return BitsPath(base + follow * first, follow**2 * second + 2 * follow * away * first + away**2)
