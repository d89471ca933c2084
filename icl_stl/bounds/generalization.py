"""Gap between the risk on the real law and the empirical risk on the mixed training set."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any, NamedTuple, TypeVar

import numpy as np

from icl_stl.bounds._check import checked, flag, generation_index, positive, probability
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds._series import common_shape, geometric
from icl_stl.bounds.stability import (
    BoolArray,
    Propagation,
    deviation,
    fresh_data_stability,
    influence_from_stability,
    propagation,
    weighted_stability,
)

Bound = TypeVar("Bound")


class Gap(NamedTuple):
    """Bound on risk on the real law minus empirical risk on the mixed set of generation i."""

    shift: Floats
    """Part paid for training on a law that has drifted."""
    stability: Floats
    """Part paid for depending on single examples, in expectation."""
    fluctuation: Floats
    """Part paid for holding with probability 1 - delta; 0 in expectation bounds."""
    total: Floats
    vacuous: BoolArray
    """Whether the total exceeds the largest possible loss."""
    constants: tuple[Constant, ...]


class UniformGap(NamedTuple):
    """Bound on the gap of every parameter at once; parts as in `Gap`, ``cover`` for the net."""

    shift: Floats
    cover: Floats
    fluctuation: Floats
    total: Floats
    vacuous: BoolArray
    constants: tuple[Constant, ...]


class CoupledGap(NamedTuple):
    """Bound on the gap, the real and the synthetic part of the training set bounded apart."""

    shift: Floats
    real: Floats
    synthetic: Floats
    total: Floats
    vacuous: BoolArray
    constants: tuple[Constant, ...]


class StableAlgorithmGap(NamedTuple):
    """Bound on the gap of a uniformly stable algorithm on independent data."""

    stability: Floats
    fluctuation: Floats
    total: Floats
    vacuous: BoolArray
    constants: tuple[Constant, ...]


def _gap(
    shift: Floats, stability: Floats, fluctuation: Floats, M: Floats, record: tuple[Constant, ...]
) -> Gap:
    return summed(Gap, M, record, shift, stability, fluctuation)


def summed(
    kind: Callable[..., Bound], M: Floats, record: tuple[Constant, ...], *parts: Floats
) -> Bound:
    """A bound in the shape that its parts have in common; vacuous where their sum exceeds M."""
    *shaped, loss = common_shape(*parts, M)
    total = reduce(add, shaped)
    return kind(*shaped, total, total > loss, record)


def bernstein(variance: Floats, reach: Floats, size: Floats, log: Floats) -> Floats:
    """Deviation of a mean of ``size`` terms below ``reach`` that has probability e^{-log}."""
    return np.sqrt(2 * np.maximum(variance, 0) * log / size) + reach * log / (3 * size)


def _log_odds(delta: Num) -> Floats:
    return -np.log(probability("delta", delta))


@to_infinity
def generalization_gap(
    n: Num,
    alpha: Num,
    generation: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    delta: Num,
    discrepancy: Num,
    gamma: Num | None = None,
    pathwise: bool = False,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Generalization bound of generation i, with probability at least 1 - delta.

    Gap_i <= (1-alpha) d + b [alpha chi_i + alpha (1-alpha)/n] + (M + 2b) sqrt(ln(1/delta) V_i/2),
    chi_i and V_i of `recursive_stability`; b/n + (M + 2b) sqrt(ln(1/delta)/(2n)) for i = 0.

    Args:
        discrepancy: d, sup over parameters of |risk on the real law - risk on generation i-1's
            law|, >= 0: its mean over loops or, if ``pathwise``, its realised value. M times the
            total variation bounds it.
        gamma: recursive stability of generation i-1 in [0, 1], where it is known better than
            kappa tells; then chi_i = alpha/n + (1-alpha) gamma.
        pathwise: use the realised discrepancy; M + 2b becomes 2M + 2b.
    Returns: Gap in the broadcast shape.
    Assumes: Loss in [0, M]; sup_z |loss(A(S), z) - loss(A(S'), z)| <= b Ham(S, S')/|S|; TV(D_A(S),
        D_A(S')) <= kappa Ham(S, S')/|S|.
    Source: derived here, THEORY.md statements 14 and 15. That such a bound exists: paper,
        abstract-level claim.
    """
    size, real_share, i = checked(n=n, alpha=alpha, generation=generation)
    distance, follow, loss, sensitivity = checked(discrepancy=discrepancy, kappa=kappa, M=M, b=b)
    shift = np.where(i == 0, 0.0, times(1 - real_share, distance))
    known = {"M": M, "b": b, "kappa": kappa, "discrepancy": discrepancy}
    known |= {} if gamma is None else {"gamma": gamma}
    spread = propagation(real_share, follow, i)
    if gamma is not None:
        given = size * influence_from_stability(n, alpha, gamma)
        spread = spread._replace(influence=np.where(i == 0, 1.0, given))
    change = np.where((i > 0) & flag("pathwise", pathwise), 2.0, 1.0) * loss + 2 * sensitivity
    return _gap(
        shift,
        _stability_part(size, real_share, i, sensitivity, spread),
        _fluctuation_part(size, real_share, change, delta, spread),
        loss,
        constants(provenance, **known),
    )


def _stability_part(
    size: Floats, alpha: Floats, i: Floats, b: Floats, spread: Propagation
) -> Floats:
    later = alpha * (spread.influence + (1 - alpha))
    shares = np.where(i == 0, 1.0, np.where(np.isinf(spread.influence), np.inf, later))
    return times(b, shares) / size


def _fluctuation_part(
    size: Floats, alpha: Floats, change: Floats, delta: Num, spread: Propagation
) -> Floats:
    return times(deviation(alpha, spread), change) * np.sqrt(_log_odds(delta) / (2 * size))


@to_infinity
def discrepancy_at_rate(
    n: Num, alpha: Num, generation: Num, *, c: Num, a: Num, floor: Num = 0.0
) -> Floats:
    r"""(1 - alpha) times the drift of generation i - 1 when errors fall like e + c N^{-a}.

    c n^{-a} [rho^i + rho alpha^{a-1} (1 - rho^{i-1})] + e sum_{s=1}^{i} rho^s, rho = 1 - alpha;
    0 for i = 0.

    Args:
        n: size of the real set, >= 1; generation 0 learns from n, later ones from n/alpha examples.
    Returns: the mean distance between the law that generation i is trained on and the real law.
    Source: derived here, THEORY.md statements 3 and 73.
    """
    size, real_share, rate, i = checked(n=n, alpha=alpha, a=a, generation=generation)
    rho = 1 - real_share
    earlier = geometric(rho, real_share, np.maximum(i - 1, 0))
    later = np.where(np.isinf(i), real_share ** (rate - 1), times(real_share**rate, earlier.total))
    transient = np.where(np.isinf(i), 0.0, earlier.power)
    mixed = np.where(i == 0, 0.0, times(rho, transient + later))
    kept = times(rho, geometric(rho, real_share, i).total)
    scale, stays = checked(c=c, floor=floor)
    return (times(scale * size**-rate, mixed) + times(stays, kept))[()]


@to_infinity
def generalization_gap_at_rate(
    n: Num,
    alpha: Num,
    generation: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    c: Num,
    a: Num,
    delta: Num,
    floor: Num = 0.0,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Generalization bound of generation i when a fit to N examples errs by e + c N^{-a}.

    `generalization_gap` with discrepancy M times the drift of generation i - 1.
    Returns: Gap in the broadcast shape.
    Assumes: As `generalization_gap`, and mean one-step errors E eps_0 <= e + c n^{-a}, E eps_i <= e
        + c N^{-a}.
    Source: derived here, THEORY.md statements 3, 14 and 73.
    """
    size, real_share, i, loss = checked(n=n, alpha=alpha, generation=generation, M=M)
    follow, sensitivity = checked(kappa=kappa, b=b)
    spread = propagation(real_share, follow, i)
    return _gap(
        loss * discrepancy_at_rate(n, alpha, generation, c=c, a=a, floor=floor),
        _stability_part(size, real_share, i, sensitivity, spread),
        _fluctuation_part(size, real_share, loss + 2 * sensitivity, delta, spread),
        loss,
        constants(provenance, M=M, b=b, kappa=kappa, c=c, a=a, floor=floor),
    )


@to_infinity
def expected_gap(
    n: Num,
    alpha: Num,
    generation: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    discrepancy: Num,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Mean generalization gap: (1-alpha) d + b [alpha chi_i + alpha (1-alpha)/n]; b/n for i = 0.

    Returns: Gap in the broadcast shape with ``fluctuation`` 0.
    Assumes: As `generalization_gap`; the loss need not be bounded.
    Source: derived here, THEORY.md statement 13.
    """
    size, real_share, i = checked(n=n, alpha=alpha, generation=generation)
    distance, follow, change, loss = checked(discrepancy=discrepancy, kappa=kappa, b=b, M=M)
    spread = propagation(real_share, follow, i)
    return _gap(
        np.where(i == 0, 0.0, times(1 - real_share, distance)),
        _stability_part(size, real_share, i, change, spread),
        np.asarray(0.0),
        loss,
        constants(provenance, M=M, b=b, kappa=kappa, discrepancy=discrepancy),
    )


@to_infinity
def excess_risk(
    n: Num,
    alpha: Num,
    generation: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    discrepancy: Num,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Mean excess risk of empirical risk minimisation: the shift counts twice.

    E risk - inf risk <= 2 (1-alpha) d + b [alpha chi_i + alpha (1-alpha)/n].
    Returns: Gap in the broadcast shape with ``fluctuation`` 0.
    Assumes: As `expected_gap`, and a learner that minimises the empirical risk.
    Source: derived here, THEORY.md statement 18.
    """
    gap = expected_gap(
        n, alpha, generation, M=M, b=b, kappa=kappa, discrepancy=discrepancy, provenance=provenance
    )
    return _gap(2 * gap.shift, gap.stability, gap.fluctuation, positive("M", M), gap.constants)


@to_infinity
def excess_risk_at_rate(
    n: Num,
    alpha: Num,
    generation: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    c: Num,
    a: Num,
    floor: Num = 0.0,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Mean excess risk of empirical risk minimisation, errors of a fit e + c N^{-a}.

    `excess_risk` with discrepancy M times the drift of generation i - 1.
    Returns: Gap in the broadcast shape with ``fluctuation`` 0.
    Assumes: As `excess_risk`, and E eps_0 <= e + c n^{-a}, E eps_i <= e + c N^{-a}.
    Source: derived here, THEORY.md statements 3, 18 and 73.
    """
    known: Any = {"M": M, "b": b, "kappa": kappa, "c": c, "a": a, "floor": floor}
    known |= {"delta": 0.5, "provenance": provenance}
    gap = generalization_gap_at_rate(n, alpha, generation, **known)
    none = np.zeros_like(gap.fluctuation)
    return _gap(2 * gap.shift, gap.stability, none, positive("M", M), gap.constants)


@to_infinity
def weighted_gap(
    n: Num,
    n_syn: Num,
    weight: Num,
    generation: Num,
    *,
    M: Num,
    b: Num,
    kappa: Num,
    delta: Num,
    discrepancy: Num,
    fresh: bool = False,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""Generalization bound when real and synthetic risks have weights w and 1 - w.

    (1-w) d + b [w chi_i + (1-w)^2/m] + (M + 2b) sqrt(ln(1/delta) V_i/2), V_i of
    `weighted_stability`; with fresh real data w^2/n replaces w chi_i and V_i is that of
    `fresh_data_stability`.
    Returns: Gap in the broadcast shape.
    Assumes: As `generalization_gap`, changed shares counted with their weights.
    Source: derived here, THEORY.md statement 12.
    """
    size, synthetic, w, i = checked(n=n, n_syn=n_syn, weight=weight, generation=generation)
    loss, change, distance = checked(M=M, b=b, discrepancy=discrepancy)
    stability = fresh_data_stability if flag("fresh", fresh) else weighted_stability
    loop = stability(n, n_syn, weight, kappa, generation)
    real_part = w**2 / size if fresh else times(w, loop.influence)
    shares = np.where(i == 0, 1 / size, real_part + (1 - w) ** 2 / synthetic)
    return _gap(
        np.where(i == 0, 0.0, times(1 - w, distance)),
        times(change, shares),
        (loss + 2 * change) * np.sqrt(_log_odds(delta) / 2) * np.sqrt(loop.variance_proxy),
        loss,
        constants(provenance, M=M, b=b, kappa=kappa, discrepancy=discrepancy),
    )


@to_infinity
def uniform_convergence_gap(
    n: Num,
    alpha: Num,
    *,
    M: Num,
    delta: Num,
    log_size: Num,
    discrepancy: Num,
    cover_radius: Num = 0.0,
    variance: Num | None = None,
    provenance: Provenance = "assumed",
) -> UniformGap:
    r"""Generalization bound of any generation from the size of the class; no stability at all.

    (1-alpha) d + 2 eta + M sqrt(alpha L/(2n)), L = ln size + ln(1/delta), for every generation
    i >= 1, any learner and any generator. With a variance v the last part is
    sqrt(2 alpha v L/n) + alpha M L/(3n).

    Args:
        log_size: natural logarithm of the number of parameters, or of an eta-net of the losses in
            sup norm (`log_cover_ball`), >= 0.
        discrepancy: realised loss discrepancy between generation i-1's law and the real law, >= 0
            (or the difference of risks at one parameter, if positive).
        cover_radius: eta, >= 0.
        variance: v >= 0, at most M^2/4: of the loss of generation i's parameter (or of its
            neighbour in the net), the largest under the real law and the generator's laws, or
            alpha times the one and 1-alpha times the largest of the others.
    Returns: UniformGap in the broadcast shape.
    Assumes: Loss in [0, M]; nothing of the learner. A bound on the mean of the discrepancy over
        loops does not do for ``discrepancy``: it must hold for the realised one.
    Source: derived here, THEORY.md statements 17 and 84.
    """
    size, real_share, loss, distance = checked(n=n, alpha=alpha, M=M, discrepancy=discrepancy)
    log, radius = checked(log_size=log_size, cover_radius=cover_radius)
    shift = times(1 - real_share, distance)
    cover, logs = 2 * radius, log + _log_odds(delta)
    fluctuation = loss * np.sqrt(real_share * logs / (2 * size))
    known = {"M": M, "log_size": log_size, "discrepancy": discrepancy}
    if variance is not None:
        known["variance"] = variance
        (spread,) = checked(variance=variance)
        fluctuation = bernstein(spread, loss, size / real_share, logs)
    record = constants(provenance, **known)
    return summed(UniformGap, loss, record, shift, cover, fluctuation)


@to_infinity
def log_cover_ball(dimension: Num, radius: Num, lipschitz: Num, cover_radius: Num) -> Floats:
    r"""Log size of an eta-net of a parameter ball: q ln(1 + 2 W L/eta).

    Args:
        dimension: q >= 1, number of parameters.
        radius: W > 0, radius of the ball.
        lipschitz: L >= 0, Lipschitz constant of the loss in the parameters.
        cover_radius: eta > 0.
    Returns: natural logarithm of the size, in the broadcast shape.
    Source: published: Kolmogorov and Tikhomirov 1959 (volume argument).
    """
    q, slope = checked(dimension=dimension, lipschitz=lipschitz)
    reach = positive("radius", radius) * slope
    return (q * np.log1p(2 * reach / positive("cover_radius", cover_radius)))[()]


@to_infinity
def bousquet_elisseeff(
    n: Num, beta: Num, M: Num, delta: Num, *, provenance: Provenance = "assumed"
) -> StableAlgorithmGap:
    r"""Gap of a uniformly stable algorithm: beta + (2 n beta + M) sqrt(ln(1/delta)/(2n)).

    Returns: StableAlgorithmGap in the broadcast shape.
    Assumes: Independent examples of one law: not the mixed set of a loop, whose parts depend on
        each other.
    Source: published: Bousquet and Elisseeff 2002 (replace-one form).
    """
    size, change, loss = checked(n=n, beta=beta, M=M)
    fluctuation = (2 * size * change + loss) * np.sqrt(_log_odds(delta) / (2 * size))
    known = constants(provenance, beta=beta, M=M)
    return summed(StableAlgorithmGap, loss, known, change, fluctuation)


@to_infinity
def bousquet_klochkov_zhivotovskiy(
    n: Num, beta: Num, M: Num, delta: Num, *, provenance: Provenance = "assumed"
) -> StableAlgorithmGap:
    r"""Gap of a uniformly stable algorithm without the factor sqrt(n) on beta.

    beta (2 + sqrt(2) e p ceil(log2 n)) + M sqrt(ln(2/delta)/(2n)), p = max(2, ln(2/delta)).
    Returns: StableAlgorithmGap in the broadcast shape; better than `bousquet_elisseeff` from n of
        some thousands on.
    Assumes: Independent examples of one law.
    Source: derived here, THEORY.md statement 16 (method: Bousquet, Klochkov and Zhivotovskiy 2020;
        the constants are ours).
    """
    size, change, loss = checked(n=n, beta=beta, M=M)
    logs = _log_odds(delta) + np.log(2)
    levels = np.sqrt(2) * np.e * np.maximum(2.0, logs) * _ceil_log2(size)
    fluctuation = loss * np.sqrt(logs / (2 * size))
    known = constants(provenance, beta=beta, M=M)
    return summed(StableAlgorithmGap, loss, known, change * (2 + levels), fluctuation)


def _ceil_log2(size: Floats) -> Floats:
    mantissa, exponent = np.frexp(size)
    return np.where(mantissa == 0.5, exponent - 1, exponent).astype(np.float64)


@to_infinity
def coupled_gap(
    n: Num,
    n_syn: Num,
    *,
    M: Num,
    b: Num,
    beta_real: Num,
    delta: Num,
    discrepancy: Num,
    provenance: Provenance = "assumed",
) -> CoupledGap:
    r"""Generalization bound of a loop whose randomness does not depend on the real set.

    (1-alpha) d + alpha B(n, beta_real, delta/2) + (1-alpha) B(m, b/N, delta/2), with B the smaller
    of `bousquet_elisseeff` and `bousquet_klochkov_zhivotovskiy` in each place.

    Args:
        beta_real: beta_i, the most that one swap in the real set changes the loss of generation i
            when the loop is run again with the same randomness, >= 0.
        discrepancy: realised loss discrepancy between generation i-1's law and the real law, >= 0.
    Returns: CoupledGap in the broadcast shape.
    Assumes: Loss in [0, M]; common random numbers independent of the real set; generation i >= 1.
    Source: derived here, THEORY.md statement 16.
    """
    size, synthetic, loss, change = checked(n=n, n_syn=n_syn, M=M, b=b)
    distance, swapped = checked(discrepancy=discrepancy, beta_real=beta_real)
    half = probability("delta", delta) / 2
    alpha, rho = size / (size + synthetic), synthetic / (size + synthetic)
    one_fit = change / (size + synthetic)
    shift = times(rho, distance)
    real_part = alpha * _smaller_gap(size, swapped, loss, half)
    synthetic_part = rho * _smaller_gap(synthetic, one_fit, loss, half)
    known = constants(provenance, M=M, b=b, beta_real=beta_real, discrepancy=discrepancy)
    return summed(CoupledGap, loss, known, shift, real_part, synthetic_part)


def _smaller_gap(n: Floats, beta: Floats, M: Floats, delta: Floats) -> Floats:
    first = bousquet_elisseeff(n, beta, M, delta).total
    return np.minimum(first, bousquet_klochkov_zhivotovskiy(n, beta, M, delta).total)


@to_infinity
def delta_for_every_generation(delta: Num, generation: Num) -> Floats:
    r"""Failure probability to spend on generation i so that all i >= 1 hold: 6 delta/(pi i)^2.

    Returns: the probability for generation i; they sum to ``delta``.
    Source: derived here, THEORY.md statement 19.
    """
    i = generation_index("generation", generation, first=1)
    return (6 * probability("delta", delta) / (np.pi * i) ** 2)[()]
