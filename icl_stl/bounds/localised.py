"""Bounds whose fluctuation is that of one parameter, and of what moves away from it.

Bernstein's inequality sees how much the loss varies, not how large it may be; around a fixed
parameter it needs neither stability nor a class. The last functions bound the risk of a network.
"""

from typing import Any, NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, flag, generation_index, probability, real
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds.generalization import bernstein, summed
from icl_stl.bounds.stability import BoolArray, recursive_stability

_SCALES = 2.0 ** -np.arange(24)
"""Deviations of the noise, and exponents in units of 3/M, that a PAC-Bayes bound chooses from."""


class LocalisedGap(NamedTuple):
    """Bound on the gap of generation i, around a parameter that is fixed beforehand."""

    shift: Floats
    """Risk on the real law less that on generation i-1's law, times 1 - alpha; any sign."""
    centre: Floats
    """Fluctuation of the empirical risk of the fixed parameter."""
    moved: Floats
    """Fluctuation along the way from the fixed parameter to that of generation i."""
    total: Floats
    vacuous: BoolArray
    """Whether the total exceeds the largest possible loss."""
    constants: tuple[Constant, ...]


class BitsGap(NamedTuple):
    """Bound on the gap of a loop on fair bits with squared loss."""

    mean: Floats
    """At least the mean of the gap."""
    total: Floats
    """What the gap exceeds with probability at most delta."""
    vacuous: BoolArray
    """Whether the total exceeds the largest possible loss."""
    constants: tuple[Constant, ...]


class RiskBound(NamedTuple):
    """Bound on the risk on the real law of a model, or of the model with noise on its weights."""

    empirical: Floats
    """Mean loss over the rows that are counted."""
    shift: Floats
    """Part paid for rows that are synthetic; any sign."""
    sharpness: Floats
    """Rise of the empirical loss with the noise; 0 for a model without."""
    fluctuation: Floats
    """Part paid for holding with probability 1 - delta, whatever the data made of the model."""
    total: Floats
    vacuous: BoolArray
    """Whether the total exceeds the largest possible loss."""
    constants: tuple[Constant, ...]


class NetworkRisks(NamedTuple):
    """Bounds on the risk of the same network, each with probability 1 - delta."""

    quantised: RiskBound
    held_out: RiskBound
    pac_bayes: RiskBound


@to_infinity
def localised_gap(
    n: Num,
    alpha: Num,
    *,
    v_a: Num,
    r_a: Num,
    v_b: Num,
    r_b: Num,
    distance: Num,
    shift: Num,
    delta: Num,
    M: Num,
    provenance: Provenance = "assumed",
) -> LocalisedGap:
    r"""Gap of a loss l(theta, z) = a(theta) + <u(theta), phi(z)>, around u* = u(theta*).

    Gap_i <= (1-alpha) (R_{D_0} - R_{D_{i-1}})(theta_i) + beta(v_a, r_a, ln(2/delta))
    + |u(theta_i) - u*| beta(v_b, r_b, ln(4/delta)), beta(v, r, L) = sqrt(2 v L/N) + r L/(3 N),
    N = n/alpha, with probability at least 1 - delta; i >= 1. alpha = 0 is the limit of endlessly
    many synthetic rows beside n real ones, not a loop without real data.

    Args:
        v_a: >= 0, Var_P <u*, phi> <= v_a for P = D_0 and every law P of the generator; in both
            places alpha v(D_0) + (1-alpha) sup v(D_theta) will do, `mixed_variance`.
        r_a: >= 0, <u*, E_P phi - phi> <= r_a for the same P: this side, not the other.
        v_b: >= 0, E_P |phi - E_P phi|^2 <= v_b, phi projected on the span of all u(theta) - u*.
        r_b: >= 0, |phi - E_P phi| <= r_b for the same projection.
        distance: realised |u(theta_i) - u*| >= 0.
        shift: realised (R_{D_0} - R_{D_{i-1}})(theta_i), or what it is at most; any sign.
    Returns: LocalisedGap in the broadcast shape.
    Assumes: theta* fixed before the data; n and n_syn fixed; the noise of generation i's batch
        independent of the past. Nothing else of learner or generator; fresh real rows as well.
    Source: derived here, THEORY.md statement 82 (martingales: Bernstein; vectors: Pinelis 1994).
    """
    size, share, deviation, loss = checked(n=n, alpha=alpha, distance=distance, M=M)
    spread_a, reach_a, spread_b, reach_b = checked(v_a=v_a, r_a=r_a, v_b=v_b, r_b=r_b)
    drift, log = real("shift", shift, open_low=True, open_high=True), _log(delta)
    at_centre = bernstein(spread_a, reach_a, size / share, log + np.log(2))
    unit = bernstein(spread_b, reach_b, size / share, log + np.log(4))
    known = {"v_a": v_a, "r_a": r_a, "v_b": v_b, "r_b": r_b, "distance": distance, "shift": shift}
    record = constants(provenance, M=M, **known)
    shifted = times(1 - share, drift)
    return summed(LocalisedGap, loss, record, shifted, at_centre, times(deviation, unit))


def _log(delta: Num) -> Floats:
    return -np.log(probability("delta", delta))


def mixed_variance(alpha: Num, v_real: Num, v_syn: Num) -> Floats:
    r"""Variance of a row of the mixture, which serves as v_a and v_b of `localised_gap`.

    alpha v(D_0) + (1-alpha) sup v(D_theta).

    Args:
        v_real: variance under the real law, >= 0.
        v_syn: largest variance under a law of the generator, >= 0.
    Returns: the variance a row, in the broadcast shape.
    Source: derived here, THEORY.md statement 82.
    """
    share, of_real, drawn = checked(alpha=alpha, v_real=v_real, v_syn=v_syn)
    return (share * of_real + (1 - share) * drawn)[()]


@to_infinity
def bits_gap(
    n: Num,
    alpha: Num,
    generation: Num,
    *,
    kappa: Num,
    delta: Num,
    provenance: Provenance = "certified",
) -> BitsGap:
    r"""Gap of the amplifier of fair bits around 1/2, squared loss, before the loop is run.

    Gap_i <= kappa V_i ln(2/delta) with probability at least 1 - delta and E gap_i <= kappa V_i/2,
    V_i the ``variance_proxy`` of `recursive_stability`. Both are of order 1/n.
    Returns: BitsGap in the broadcast shape; the largest loss is min(1, (1 + kappa)/2)^2.
    Assumes: D_0 = Bern(1/2), theta_i = 1/2 + kappa (share of ones - 1/2), clipped to [0, 1]; loss
        (z - theta)^2.
    Source: derived here, THEORY.md statement 83.
    """
    (follow,) = checked(kappa=kappa)
    generation_index("generation", generation)
    squares = recursive_stability(n, alpha, kappa, generation).variance_proxy
    total = times(follow, squares) * (_log(delta) + np.log(2))
    largest = np.minimum(1.0, (1 + follow) / 2) ** 2
    record = constants(provenance, kappa=kappa)
    return BitsGap(times(follow, squares) / 2, total, total > largest, record)


@to_infinity
def held_out_risk(
    rows: Num,
    alpha: Num,
    *,
    empirical: Num,
    variance: Num,
    shift: Num,
    M: Num,
    delta: Num,
    log_size: Num = 0.0,
    provenance: Provenance = "measured",
) -> RiskBound:
    r"""Risk on the real law by rows that no generation was fitted to.

    R_{D_0}(theta_i) <= empirical + (1-alpha) shift + beta(v, M, log_size + ln(1/delta)), beta of
    `localised_gap` with ``rows`` for N.

    Args:
        rows: rows k that are counted, >= 1.
        alpha: real share of those rows; 1 if all of them are real, and then there is no shift.
        empirical: mean loss of theta_i over them, >= 0.
        variance: v >= 0, of the loss of theta_i: alpha Var_{D_0} + (1-alpha) Var_{D_{i-1}}, or
            what it is at most.
        shift: realised (R_{D_0} - R_{D_{i-1}})(theta_i), or what it is at most; any sign.
        log_size: logarithm of the number of candidates between which these rows choose, as early
            stopping does.
    Returns: RiskBound in the broadcast shape.
    Assumes: Loss in [0, M]. The real rows among them are seen by no generation at all: rows that an
        earlier one was fitted to are not independent of theta_i. The synthetic ones are drawn by
        generation i-1 beside the batch.
    Source: derived here, THEORY.md statement 84 (Bernstein).
    """
    log = checked(log_size=log_size)[0] + _log(delta)
    count, largest, spread = checked(rows=rows, M=M, variance=variance)
    part = bernstein(spread, largest, count, log)
    known = {"M": M, "variance": variance, "log_size": log_size, "rows": rows}
    record = constants(provenance, **known)
    return _risk(empirical, alpha, shift, np.asarray(0.0), part, largest, record)


def _risk(
    empirical: Num,
    alpha: Num,
    shift: Num,
    sharpness: Floats,
    fluctuation: Floats,
    M: Floats,
    record: tuple[Constant, ...],
) -> RiskBound:
    share, mean = checked(alpha=alpha, empirical=empirical)
    drift = real("shift", shift, open_low=True, open_high=True)
    shifted = times(1 - share, drift)
    return summed(RiskBound, M, record, mean, shifted, sharpness, fluctuation)


@to_infinity
def quantised_risk(
    rows: Num,
    alpha: Num,
    *,
    empirical: Num,
    variance: Num,
    shift: Num,
    M: Num,
    delta: Num,
    dimension: Num,
    bits: Num,
    provenance: Provenance = "measured",
) -> RiskBound:
    r"""Risk on the real law of a network whose weights are rounded, by its training rows.

    `held_out_risk` with ``log_size`` dimension bits ln 2: a union over every network.

    Args:
        rows: training rows N of generation i, >= 1.
        empirical: mean loss of the rounded network over them, >= 0.
        variance: v >= 0, alpha Var_{D_0} + (1-alpha) sup Var_{D_theta} of its loss.
        shift: realised [R_{D_0} - R_{D_{i-1}}] of the rounded network; any sign.
        dimension: weights of the network, >= 1.
        bits: binary digits of a weight, on a grid that is fixed before the data, >= 0.
    Returns: RiskBound in the broadcast shape.
    Assumes: Loss in [0, M]; a fixed real set or fresh real rows; nothing of learner or generator.
    Source: derived here, THEORY.md statement 84 (Bernstein).
    """
    weights, digits = checked(dimension=dimension, bits=bits)
    log_size = weights * digits * np.log(2)
    bound = held_out_risk(
        rows, alpha, empirical=empirical, variance=variance, shift=shift, M=M, delta=delta,
        log_size=log_size, provenance=provenance,
    )  # fmt: skip
    return bound._replace(constants=bound.constants + constants(provenance, bits=bits))


@to_infinity
def pac_bayes_risk(
    rows: Num,
    alpha: Num,
    *,
    empirical: Num,
    variance: Num,
    shift: Num,
    M: Num,
    delta: Num,
    distance: Num,
    curvature: Num,
    provenance: Provenance = "measured",
) -> RiskBound:
    r"""Risk of a network with noise on its weights, through the weights of generation i-1.

    With e ~ N(0, sigma^2 I): E R_{D_0}(theta_i + e) <= empirical + (1-alpha) shift + s sigma^2
    + lam v/(2 (1 - lam M/3)) + [D^2/(2 sigma^2) + ln(K/delta)]/(lam rows). D^2/(2 sigma^2) is the
    Kullback-Leibler divergence of N(theta_i, sigma^2 I) from N(theta_{i-1}, sigma^2 I). sigma and
    lam are the best of K pairs that are fixed beforehand.

    Args:
        rows: rows of generation i that are counted, >= 1: all N if its real rows are new. Rows of
            a real set that is kept are not independent of theta_{i-1}: then the m synthetic rows.
        alpha: real share of those rows: 0 for the synthetic rows alone.
        empirical: mean loss of theta_i over them, >= 0.
        variance: v >= 0, mean over e of alpha Var_{D_0} + (1-alpha) Var_{D_{i-1}} of the loss.
        shift: mean over e of (R_{D_0} - R_{D_{i-1}})(theta_i + e), or what it is at most.
        distance: D = |theta_i - theta_{i-1}| >= 0. From a centre that no data decided, 0 or the
            initial weights, all N rows are counted beside a kept set as well, with the largest
            variance under a law of the generator.
        curvature: s >= 0, with noise sigma the mean empirical loss rises by at most s sigma^2, for
            sigma = 1, 1/2, 1/4, ...: the largest of what is measured there; half the trace of the
            second derivative for small sigma.
    Returns: RiskBound in the broadcast shape; of the network with noise, not of the one without.
    Assumes: Loss in [0, M]; given everything up to theta_{i-1} the rows are independent.
    Source: derived here, THEORY.md statement 85 (after McAllester 1999, Catoni 2007).
    """
    count, largest, spread = checked(rows=rows, M=M, variance=variance)
    moved, steep = checked(distance=distance, curvature=curvature)
    logs = _log(delta) + 2 * np.log(_SCALES.size)
    shape = np.broadcast_shapes(*map(np.shape, (count, largest, spread, moved, steep, logs)))
    noise = _SCALES.reshape(-1, *[1] * len(shape))
    lam = 3 / largest * noise[:, None] / 2
    cost = (times(moved**2, 1 / (2 * noise**2)) + logs) / (lam * count)
    part = (lam * spread / (2 * (1 - lam * largest / 3)) + cost).min(axis=0)
    rise, part = np.broadcast_arrays(steep * noise**2, part)
    best = (rise + part).argmin(axis=0)[None]
    rise, part = (np.take_along_axis(x, best, 0)[0] for x in (rise, part))
    known = {"variance": variance, "distance": distance, "curvature": curvature, "rows": rows}
    record = constants(provenance, M=M, **known)
    return _risk(empirical, alpha, shift, rise, part, largest, record)


def network_risks(
    n: Num,
    n_syn: Num,
    *,
    training_loss: Num,
    synthetic_loss: Num,
    held_out_loss: Num,
    held_out: Num,
    variance: Num,
    shift: Num,
    M: Num,
    delta: Num,
    dimension: Num,
    bits: Num,
    distance: Num,
    curvature: Num,
    fresh: bool = False,
    provenance: Provenance = "measured",
) -> NetworkRisks:
    r"""Three bounds on the risk of generation i >= 1 of a network, from what can be measured.

    `quantised_risk` by all N rows, `held_out_risk` by ``held_out`` more of the same mixture, and
    `pac_bayes_risk` by all rows or, beside a real set that is kept, by the synthetic ones.

    Args:
        n_syn: m, synthetic rows of generation i, >= 1.
        training_loss: mean loss over the N rows, also of the rounded weights.
        synthetic_loss: mean loss over the m synthetic rows.
        held_out_loss: mean loss over rows of the mixture that no generation was fitted to.
        held_out: how many those are, >= 1.
        variance: v >= 0, of the loss over rows of the mixture.
        shift: (R_{D_0} - R_{D_{i-1}})(theta_i); any sign.
        dimension: weights of the network, >= 1.
        bits: binary digits of a rounded weight, >= 0.
        distance: |theta_i - theta_{i-1}| >= 0.
        curvature: rise of the empirical loss over sigma^2, with noise sigma on the weights, >= 0.
    Returns: NetworkRisks, each in the broadcast shape.
    Assumes: Loss in [0, M]; ``variance`` and ``shift`` serve for the rounded and for the noisy
        network and, with a kept set, the variance for synthetic rows alone.
    Source: derived here, THEORY.md statements 84 and 85.
    """
    size, synthetic, more = checked(n=n, n_syn=n_syn, held_out=held_out)
    checked(training_loss=training_loss, synthetic_loss=synthetic_loss, held_out_loss=held_out_loss)
    alpha = size / (size + synthetic)
    of_kept = (synthetic, np.zeros_like(alpha), synthetic_loss)
    counted, share, loss = (
        (size + synthetic, alpha, training_loss) if flag("fresh", fresh) else of_kept
    )
    known: Any = {"variance": variance, "shift": shift, "M": M, "delta": delta}
    known["provenance"] = provenance
    rounded: Any = {"empirical": training_loss, "dimension": dimension, "bits": bits}
    moves: Any = {"empirical": loss, "distance": distance, "curvature": curvature}
    return NetworkRisks(
        quantised_risk(size + synthetic, alpha, **rounded, **known),
        held_out_risk(more, alpha, empirical=held_out_loss, **known),
        pac_bayes_risk(counted, share, **moves, **known),
    )
