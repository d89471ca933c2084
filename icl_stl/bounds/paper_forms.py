"""The shapes of the paper's own bounds, as far as its abstract fixes them; constants assumed.

The paper is Fu, Wang, Chen, Tian and Tao, ICLR 2025, arXiv 2502.18865. Only what its abstract and
its public reviews say is used. A constant here is a stand-in for one that we do not know.
"""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, generation_index
from icl_stl.bounds._kinds import Constant, Floats, Num, constants, times, to_infinity
from icl_stl.bounds._series import geometric, power_sum


class PaperForm(NamedTuple):
    """A bound of the paper's shape; the constants stand in for unknown ones, all ``assumed``."""

    total: Floats
    terms: Floats
    """Its parts, on the last axis."""
    constants: tuple[Constant, ...]


def _form(*terms: Floats, **stand_ins: Num) -> PaperForm:
    stacked = np.stack(np.broadcast_arrays(*terms), axis=-1)
    return PaperForm(stacked.sum(axis=-1), stacked, constants("assumed", **stand_ins))


@to_infinity
def accumulated_error(alpha: Num, generation: Num, one_step: Num = 1.0) -> PaperForm:
    r"""Last term of the paper's generalization bound: eps (1 - (1-alpha)^i)/alpha.

    i eps as alpha -> 0, at most eps/alpha for a constant share.

    Args:
        one_step: eps, error of one generation in total variation, >= 0.
    Returns: PaperForm with one term.
    Source: paper, abstract-level claim.
    """
    real_share, i, error = checked(alpha=alpha, generation=generation, one_step=one_step)
    factor = geometric(1 - real_share, real_share, i).total
    return _form(times(error, factor), one_step=one_step)


@to_infinity
def augmentation_trade_off(
    n: Num, generation: Num, leading: Num = 1.0, second: Num = 1.0
) -> PaperForm:
    r"""Shape of the paper's bound with growing synthetic data: n^{-1/4} log i + n^{-1} sum 1/k^2.

    Args:
        generation: i, a whole number >= 1 or inf; the sum runs over k = 1..i.
        leading: constant of the first term, >= 0.
        second: constant of the second term, >= 0.
    Returns: PaperForm with two terms.
    Source: paper, abstract-level claim.
    """
    size, own, other = checked(n=n, leading=leading, second=second)
    i = generation_index("generation", generation, first=1)
    first = times(own, size**-0.25 * np.log(i))
    rest = other * power_sum(np.asarray(2.0), i) / size
    return _form(first, rest, leading=leading, second=second)


@to_infinity
def transformer_factor(weight_norm: Num, depth: Num, constant: Num = 1.0) -> PaperForm:
    r"""Factor of the paper's recursive stability of transformers: e^{B_W L}.

    Args:
        weight_norm: B_W, >= 0.
        depth: L, number of layers, >= 0.
        constant: its unknown constant, >= 0.
    Returns: PaperForm with one term, inf where it overflows.
    Source: paper, abstract-level claim.
    """
    norm, layers, scale = checked(weight_norm=weight_norm, depth=depth, constant=constant)
    return _form(times(scale, np.exp(norm * layers)), constant=constant)
