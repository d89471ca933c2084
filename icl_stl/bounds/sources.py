"""What can be learned from rows of which nobody knows whether they are real."""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, sample_size
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, to_infinity


class SourcesError(NamedTuple):
    """Least worst squared error of stages 0..G, [..., G+1] each, over all laws on K symbols."""

    upper: Floats
    """What the interpolating estimator never exceeds."""
    lower: Floats
    """What no estimator can stay below that publishes laws near the uniform one."""
    oracle: Floats
    """Of the uniform law, what the empirical law of the real rows cannot stay below."""
    price: Floats
    """sum n_i alpha_i/sum n_i alpha_i^2: what not knowing the sources costs, to first order."""
    published_upper: Floats
    """3/sum n_i alpha_i^2; infinite where its condition on n_t fails."""
    published_lower: Floats
    """1/(512 sum n_i alpha_i^2), under side conditions that are not checked."""
    constants: tuple[Constant, ...]


@to_infinity
def sources_rates(
    sizes: Num, alphas: Num, symbols: Num = 2, *, provenance: Provenance = "certified"
) -> SourcesError:
    r"""Squared error of the best estimator of a law from rows of hidden sources.

    Stage t has n_t rows of alpha_t P + (1-alpha_t) P_{t-1}, P_{t-1} the last published estimate.
    With I_t = sum_{i<=t} n_i alpha_i^2, alpha_0 = 1: upper = (1 - 1/K)/I_t, attained to first
    order at the uniform law; lower = 1/(2 (sqrt(I_t) + pi)^2); oracle = (1 - 1/K)/sum n_i alpha_i.

    Args:
        sizes: n_0..n_G, rows of each stage, stage 0 all real; [..., G+1], >= 1.
        symbols: K, at least 2.
    Returns: SourcesError.
    Assumes: For `lower`: on two symbols, laws are published in 1/2 +- h with
        h^2 = pi/(4 (sqrt(I_t) + pi)). Published extremes tell the sources apart.
    Source: derived here, THEORY.md statement 107 (`upper`, `lower`, `oracle`, `price`); published:
        Kanabar and Gastpar 2025 (`published_upper`, `published_lower`, as their sequel has them).
    """
    counts, shares = np.atleast_1d(sample_size("sizes", sizes)), np.asarray(checked(alphas=alphas))
    real = np.concatenate([np.ones((*shares.shape[1:-1], 1)), np.atleast_1d(shares[0])], axis=-1)
    if real.shape[-1] != counts.shape[-1]:
        raise ValueError(
            f"alphas has {real.shape[-1] - 1} stages, outside the admissible range: one for each "
            f"of the {counts.shape[-1] - 1} sizes after the first"
        )
    kinds = sample_size("symbols", symbols)
    if (kinds < 2).any():
        raise ValueError(f"symbols = {symbols!r} is outside the admissible range: at least 2")
    known, worth = np.cumsum(counts * real, axis=-1), np.cumsum(counts * real**2, axis=-1)
    spread = 1 - 1 / kinds
    return SourcesError(
        upper=spread / worth,
        lower=1 / (2 * (np.sqrt(worth) + np.pi) ** 2),
        oracle=spread / known,
        price=known / worth,
        published_upper=np.where(counts * real <= worth, 3 / worth, np.inf),
        published_lower=1 / (512 * worth),
        constants=constants(provenance, sizes=counts, alphas=shares[0], symbols=kinds),
    )
