"""Which closed form belongs to a problem in a regime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icl_stl import references
from icl_stl.references import bernoulli
from icl_stl.regimes import (
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
    real_share,
)

Floats = NDArray[np.float64]

KNOWN = (
    *(Augment, AugmentSameInputs, Replace, RealOnly, FreshReal),
    *(AccumulateFresh, Accumulate, AccumulateSubsample, Anchored),
)
"""The regimes of which something is known; below, a regime is one of these and no other."""

ENUMERATED = 90_000
"""Largest n n_syn for which the law of bits is enumerated."""


def excess_risk(
    problem: str,
    regime: Regime,
    samples: int,
    generations: int,
    settings: Mapping[str, Any],
) -> Floats:
    """Mean excess risk of every generation, `[G + 1]`; nan where no closed form is known.

    Args:
        problem: A name in `problems.PROBLEMS`.
        regime: The data regime. What is known is known of the regimes of the package alone: a
            subclass of one may mix rows in another way.
        samples: n.
        generations: G.
        settings: All arguments of the problem, by name.
    """
    table = {
        "gaussian_mean": _gaussian_mean,
        "gaussian": _gaussian,
        "categorical": _categorical,
        "bernoulli": _bernoulli,
        "ols": _ols,
    }
    unknown = np.full(generations + 1, np.nan)
    if problem not in table or type(regime) not in KNOWN:
        return unknown
    found = table[problem](regime, samples, regime.synthetic_size(samples), generations, settings)
    return unknown if found is None else np.asarray(found, float)


def _from_first(first: float, generations: int, *, stays: bool = False) -> Floats:
    """Generation 0 alone is known, or stays as it is."""
    return np.concatenate([[first], np.full(generations, first if stays else np.nan)])


def _gaussian_mean(
    regime: Regime, n: int, n_syn: int, last: int, settings: Mapping[str, Any]
) -> Any:
    noise = settings["noise"]
    match regime:
        case RealOnly():
            return _from_first(noise**2 / n, last, stays=True)
        case Replace():
            return references.mean_replace(n, n_syn, noise, last)
        case Augment():
            return references.mean_augment(n, n_syn, noise, last, regime.weight)
        case AccumulateSubsample():
            return references.mean_accumulate_subsample(n, n_syn, noise, last)
        case AccumulateFresh():
            return references.mean_accumulate(n, n_syn, noise, last)
        case FreshReal():
            return references.mean_fresh(n, n_syn, noise, last, real_share(regime, n, 1))
        case Anchored():
            return references.mean_anchored(n, n_syn, noise, last, regime.alpha)
    return None


def _gaussian(regime: Regime, n: int, n_syn: int, last: int, settings: Mapping[str, Any]) -> Any:
    noise = settings["noise"]
    first = noise**2 / n
    match regime:
        case RealOnly():
            return _from_first(first, last, stays=True)
        case Replace() if not settings.get("unbiased", False):
            return references.mean_variance_replace(n, n_syn, noise, last).mean_error
        case Augment() if not settings.get("unbiased", False):
            return references.mean_variance_augment(n, n_syn, noise, last, regime.weight).mean_error
    return _from_first(first, last)


def _categorical(regime: Regime, n: int, n_syn: int, last: int, settings: Mapping[str, Any]) -> Any:
    law, count = np.array(settings["probabilities"]), settings["pseudo_count"]
    if count:
        return _smoothed(law, regime, n, n_syn, last, count)
    first = (1 - float(law @ law)) / n
    match regime:
        case RealOnly():
            return _from_first(first, last, stays=True)
        case Replace():
            return references.law_replace(law, n, n_syn, last).error
        case Augment():
            return references.law_augment(law, n, n_syn, last, regime.weight).error
        case AccumulateSubsample():
            return _from_first(first, last)
        case AccumulateFresh():
            return references.law_accumulate(law, n, n_syn, last).error
        case Anchored():
            return references.law_anchored(law, n, n_syn, last, regime.alpha).error
    return _from_first(first, last)


def _smoothed(law: Floats, regime: Regime, n: int, n_syn: int, last: int, count: float) -> Any:
    start = references.smoothed_replace(law, n, max(n_syn, 1), count, 0).error[0]
    match regime:
        case RealOnly():
            return _from_first(start, last, stays=True)
        case Replace():
            return references.smoothed_replace(law, n, n_syn, count, last).error
        case Augment() if regime.weight is None:
            return references.smoothed_augment(law, n, n_syn, count, last).error
        case AccumulateFresh() if not regime.subsamples:
            return references.smoothed_accumulate(law, n, n_syn, count, last).error
    return _from_first(start, last)


def _bernoulli(regime: Regime, n: int, n_syn: int, last: int, settings: Mapping[str, Any]) -> Any:
    if n * max(n_syn, 1) > ENUMERATED:
        return None
    real_only, replace = isinstance(regime, RealOnly), isinstance(regime, Replace)
    loop = bernoulli.BernoulliLoop(
        n,
        max(n_syn, 1),
        settings["probability"],
        settings["kappa"],
        weight=regime.weight if isinstance(regime, Augment) else None,
        centre=settings["centre"],
        error=settings["injected"],
        replace=replace,
    )
    square = bernoulli.drift(loop, last if isinstance(regime, Replace | Augment) else 0).square
    if isinstance(regime, Replace | Augment):
        return square
    return _from_first(float(square[0]), last, stays=real_only)


def _ols(regime: Regime, n: int, n_syn: int, last: int, settings: Mapping[str, Any]) -> Any:
    dim, noise = settings["dim"], settings["noise"]
    first = references.ols_single_fit(n, dim, noise)
    repeated = n_syn % n == 0
    match regime:
        case RealOnly():
            return _from_first(first, last, stays=True)
        case Replace():
            return references.ols_replace(n, n_syn, dim, noise, last)
        case AugmentSameInputs():
            if repeated:
                return references.ols_augment_same_inputs(n, n_syn, dim, noise, last, regime.weight)
        case Augment(weight=None):
            return references.ols_augment_fresh_inputs(n, n_syn, dim, noise, last)
        case Accumulate():
            if repeated:
                return references.ols_accumulate_same_inputs(n, n_syn, dim, noise, last)
        case AccumulateFresh() if not regime.subsamples:
            return references.ols_accumulate_fresh_inputs(n, n_syn, dim, noise, last)
        case FreshReal(weight=None):
            return references.ols_fresh_real(n, n_syn, dim, noise, last)
    return _from_first(first, last)
