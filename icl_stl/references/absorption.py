"""What is lost for good on the last batch alone: symbols, counts, deviations.

Every generation is fitted to n = ``samples`` rows of the one before, generation 0 to real ones;
generation i is the k-th fit, k = i + 1. Nothing that a fit has lost comes back.
"""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import flag, nonnegative, positive, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references import bernoulli
from icl_stl.references._common import last_generation, real_weight, rows
from icl_stl.references.discrete import _law


class Between(NamedTuple):
    """Two sides of what is not known exactly."""

    low: Floats
    high: Floats


def absorption_factor(generations: int) -> Floats:
    r"""g_1 = 1, g_{k+1} = 1 - exp(-g_k) at k = i + 1: between 1/k and 3/(k+2).

    A count of mean n p_0 that is drawn anew from itself is still there with a chance of about
    1 - exp(-n p_0 g_k), however large it was.
    Returns: g_{i+1}, [G+1].
    Source: published: Suresh, Thangaraj and Khandavally 2024 (with 3/k); 3/(k+2) derived here:
        THEORY.md statement 100.
    """
    found = np.ones(last_generation(generations) + 1)
    for i in range(1, len(found)):
        found[i] = -np.expm1(-found[i - 1])
    return found


def symbol_survival(chance: Num, samples: int, generations: int) -> Between:
    r"""Chance that a symbol of probability p_0 is left on the last batch alone, from both sides.

    1 - exp(-n p_0 g_k) <= P(p_i > 0) <= 1 - (1 - 3 n p_0^2 - 3 k p_0) exp(-n p_0 g_k), k = i + 1;
    the sum over symbols bounds how many are left.

    Args:
        chance: p_0, one or many, [...].
    Returns: Between, [..., G+1] each; the upper one at most 1.
    Source: published: Suresh, Thangaraj and Khandavally 2024; THEORY.md statement 100.
    """
    p, n = share("chance", chance)[..., None], rows("samples", samples)
    factor = absorption_factor(generations)
    gone, k = np.exp(-n * p * factor), np.arange(1.0, len(factor) + 1)
    return Between(1 - gone, np.minimum(1 - (1 - 3 * n * p**2 - 3 * k * p) * gone, 1.0))


def poisson_survival(intensity: Num, samples: int, generations: int) -> Floats:
    r"""Chance that the fitted rate of Poisson counts is not 0: 1 - exp(-n lam g_k), exactly.

    Args:
        intensity: lam, mean of a count of the real law, one or many, [...]; fitted by the mean.
    Returns: P(lam_i > 0), [..., G+1].
    Source: published: Suresh, Thangaraj and Khandavally 2024; THEORY.md statement 100.
    """
    mean = nonnegative("intensity", intensity)[..., None]
    return np.asarray(-np.expm1(-rows("samples", samples) * mean * absorption_factor(generations)))


def deviation_tail(noise: float, threshold: float, samples: int, generations: int) -> Floats:
    r"""Bound on P(sigma_i > e) of a fitted normal law: (sigma/e) exp(-k/(4 n - 1)).

    Deviations are unbiased in the square: sums of squares are divided by n - 1.

    Args:
        samples: n, rows of every fit, >= 2.
        threshold: e, what the deviation may exceed, > 0.
    Returns: the bound at k = i + 1, at most 1; [G+1].
    Source: published: Suresh, Thangaraj and Khandavally 2024; THEORY.md statement 101.
    """
    n, ratio = (
        rows("samples", samples, 2),
        positive("noise", noise) / positive("threshold", threshold),
    )
    k = np.arange(1.0, last_generation(generations) + 2)
    return np.asarray(np.minimum(ratio * np.exp(-k / (4 * n - 1)), 1.0))


def law_symbols(
    law: Num,
    samples: int,
    n_syn: int,
    generations: int,
    weight: float | None = None,
    fresh: bool = False,
) -> Floats:
    r"""Mean number of symbols that are left, with real rows kept, new ones, or none (w = 0).

    Beside a kept real set those of it stay, sum_k 1 - (1 - p_k)^n; otherwise each symbol is a
    chain of `bernoulli.last_laws`: work of order K' n m^2, or K' m^2 for w = 0, K' distinct
    probabilities.

    Args:
        fresh: every generation sees n new real rows.
    Returns: E #{k: p_i(k) > 0}, [G+1].
    Source: derived here, THEORY.md statement 102.
    """
    p, n, m = _law(law), rows("samples", samples), rows("n_syn", n_syn)
    w, last = real_weight(weight, n, m), last_generation(generations)
    if not flag("fresh", fresh) and w > 0:
        return np.full(last + 1, float((1 - (1 - p) ** n).sum()))
    left = np.zeros(last + 1)
    for chance, count in zip(*np.unique(p[p > 0], return_counts=True), strict=True):
        loop = bernoulli.BernoulliLoop(n, m, float(chance), weight=w)
        laws = bernoulli.last_laws(loop, last)
        left += count * np.array([one.probability[one.support > 0].sum() for one in laws])
    return left
