"""How far generation i has drifted from the real law, from the errors made on the way."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from icl_stl.bounds._check import (
    Constant,
    FloatArray,
    Provenance,
    constants,
    nonnegative,
)


class Drift(NamedTuple):
    """Bound on T_i, the distance between the law of generation i and the real law.

    Attributes:
        total: the bound, ``terms`` summed over their last axis.
        terms: what each one-step error contributes.
        constants: the errors and where they come from.
    """

    total: FloatArray
    terms: FloatArray
    constants: tuple[Constant, ...]


def drift_recursion(
    eps: ArrayLike, weights: ArrayLike, *, provenance: Provenance = "measured"
) -> Drift:
    r"""Drift of every generation when each one learns from a mixture of all earlier ones.

    T_i <= eps_i + sum_{j<i} w_ij T_j, solved: T <= (I - W)^{-1} eps. Attained in total variation.

    Args:
        eps: one-step errors of generations 0..G, the distance between the law generation i draws
            from and the law it was trained on; [..., G+1], >= 0, unit of the distance.
        weights: share of generation j's law in the training law of generation i; [G+1, G+1],
            strictly lower triangular, >= 0, rows sum to at most 1 (the real law has the rest).
        provenance: how ``eps`` is known: ``certified``, ``measured`` or ``assumed``.

    Returns:
        Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, G+1]; ``terms[..., i, j]`` is the
        contribution of ``eps[..., j]`` to generation i.

    Raises:
        ValueError: for a negative or infinite error, or weights that are not such shares.

    Assumes:
        A distance of the form sup_f |P f - Q f| (total variation, W1, MMD, loss discrepancy).

    Source:
        derived here: THEORY.md statement 2.
    """
    errors = nonnegative("eps", eps)
    shares = _mixture_weights(weights, errors.shape[-1] if errors.ndim else 0)
    terms = _resolvent(shares) * errors[..., None, :]
    return Drift(terms.sum(axis=-1), terms, constants(provenance, eps=errors))


def _mixture_weights(weights: ArrayLike, generations: int) -> FloatArray:
    shares = nonnegative("weights", weights)
    if generations == 0:
        raise ValueError("eps has no generations: its admissible shape is [..., G+1] with G >= 0")
    if shares.shape != (generations, generations):
        raise ValueError(
            f"weights has shape {shares.shape}, outside the admissible shape "
            f"({generations}, {generations}) given by eps"
        )
    if np.triu(shares).any():
        i, j = np.argwhere(np.triu(shares))[0]
        raise ValueError(
            f"weights[{i}, {j}] = {float(shares[i, j])!r} is outside the admissible range: "
            "0 on and above the diagonal, since a generation learns from earlier ones only"
        )
    rows = shares.sum(axis=1)
    if (rows > 1 + 1e-12).any():
        i = int(rows.argmax())
        raise ValueError(
            f"weights[{i}] sums to {float(rows[i])!r}, outside the admissible range [0, 1]"
        )
    return shares


def _resolvent(weights: FloatArray) -> FloatArray:
    """(I - W)^{-1} by forward substitution: sums of non-negative numbers, nothing cancels."""
    inverse = np.eye(len(weights))
    for i in range(1, len(weights)):
        inverse[i] += weights[i, :i] @ inverse[:i]
    return inverse
