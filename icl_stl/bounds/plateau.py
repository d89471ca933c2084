"""Where a loop with a constant real share ends: errors of predictors in a Hilbert norm, and in KL.

Distances are root mean squares over loops of a Hilbert norm: of predictors in L2(D_0), of mean
embeddings (MMD), of laws on K symbols, of their densities to the real law (chi). A generation's
conditional mean given the past has a bias; what is left, its batch and its seed, is noise.
"""

import math
from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, nonnegative, positive
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds._series import common_shape, geometric, one_minus_product


class BiasNoise(NamedTuple):
    """Bound on D_i, the distance of generations 0..G to a target known after generation 0."""

    total: Floats
    """The recursion, which is attained."""
    upper: Floats
    """The sum of the three parts below, at least ``total``."""
    start: Floats
    bias: Floats
    noise: Floats
    constants: tuple[Constant, ...]


class Plateau(NamedTuple):
    """Bound on the distance of generation i's predictor to the Bayes predictor, by parts."""

    first: Floats
    """What the learner cannot learn: it enters once."""
    refit: Floats
    """What is lost by fitting its own output, amplified by the ratio of synthetic to real rows."""
    mixing: Floats
    noise: Floats
    start: Floats
    total: Floats
    constants: tuple[Constant, ...]


class SquarePlateau(NamedTuple):
    """The same for learners that are affine in the labels: bias and noise add in squares."""

    bias: Floats
    noise: Floats
    total: Floats
    constants: tuple[Constant, ...]


class KeptInputsLimit(NamedTuple):
    """Least squared error where no kept input looks: of generation g, and for ever."""

    total: Floats
    limit: Floats
    contraction: Floats
    """theta, the part of two tasks' total variation that one generation keeps at most."""
    constants: tuple[Constant, ...]


@to_infinity
def bias_noise_drift(
    start: Num,
    bias: Num,
    noise: Num,
    alpha: Num,
    *,
    kappa_c: Num = 1.0,
    provenance: Provenance = "measured",
) -> BiasNoise:
    r"""Distance of every generation to its target: biases add, noises add in squares.

    D_i^2 <= (r D_{i-1} + c_i)^2 + s_i^2, r = (1-alpha) kappa_c, attained; so
    D_i <= r^i D_0 + sum_j r^{i-j} c_j + sqrt(sum_j r^{2(i-j)} s_j^2).

    Args:
        start: D_0 >= 0, [...].
        bias: c_1..c_G >= 0, root mean squares of E[mu_i | past] - alpha g - (1-alpha) A(mu_{i-1}),
            [..., G].
        noise: s_1..s_G >= 0, root mean squares of mu_i - E[mu_i | past], [..., G].
        kappa_c: |A(mu) - g| <= kappa_c |mu - g|, >= 0; 1 for A(mu) = mu.
    Returns: BiasNoise, its parts [..., G+1], in the unit of the distance.
    Assumes: A Hilbert norm; batch and seed independent of the past given the last generation and
        the real rows; the target g known after generation 0.
    Source: derived here, THEORY.md statement 86.
    """
    first, own, spread, real_share, follow = checked(
        start=start, bias=bias, noise=noise, alpha=alpha, kappa_c=kappa_c
    )
    biases, noises = _same_generations(own, spread)
    ratio, shape = (1 - real_share) * follow, biases.shape[:-1]
    shape = np.broadcast_shapes(shape, first.shape, ratio.shape)
    parts = [(first, first, 0.0, 0.0)]
    for c, s in zip(np.moveaxis(biases, -1, 0), np.moveaxis(noises, -1, 0), strict=True):
        total, kept, added, squares = (ratio * part for part in parts[-1])
        parts.append((np.hypot(total + c, s), kept, added + c, np.hypot(squares, s)))
    total, kept, added, squares = (
        np.stack([np.broadcast_to(part, shape) for part in column], axis=-1)
        for column in zip(*parts, strict=True)
    )
    record = constants(provenance, start=first, bias=own, noise=spread, kappa_c=follow)
    return BiasNoise(total, kept + added + squares, kept, added, squares, record)


def _same_generations(bias: Floats, noise: Floats) -> tuple[Floats, Floats]:
    biases, noises = np.atleast_1d(bias, noise)
    counts = biases.shape[-1], noises.shape[-1]
    if counts[0] != counts[1] and 1 not in counts:
        raise ValueError(
            f"bias has {counts[0]} generations and noise {counts[1]}, outside the admissible "
            "range: equally many, or one number for all"
        )
    return tuple(np.broadcast_arrays(biases, noises))  # type: ignore[return-value]


@to_infinity
def bias_noise_limit(bias: Num, noise: Num, alpha: Num, *, kappa_c: Num = 1.0) -> Floats:
    r"""Where the recursion of `bias_noise_drift` ends, for equal biases c and noises s.

    [r c + sqrt(c^2 + (1-r^2) s^2)]/(1-r^2), r = (1-alpha) kappa_c < 1, from every start.

    Args:
        bias: c >= 0, of every generation.
        noise: s >= 0, likewise.
        kappa_c: as in `bias_noise_drift`.
    Returns: the limit in the broadcast shape; inf where r >= 1.
    Source: derived here, THEORY.md statement 86.
    """
    c, s, real_share, follow = checked(bias=bias, noise=noise, alpha=alpha, kappa_c=kappa_c)
    gap = one_minus_product(real_share, follow)
    rest = gap * (2 - gap)
    limit = ((1 - gap) * c + np.sqrt(c**2 + np.maximum(rest, 0.0) * s**2)) / rest
    return np.where(gap > 0, limit, np.inf)[()]


@to_infinity
def plateau(
    alpha: Num,
    generation: Num,
    *,
    a: Num,
    o: Num,
    q: Num = 0.0,
    s: Num = 0.0,
    start: Num = 0.0,
    provenance: Provenance = "measured",
) -> Plateau:
    r"""The law of the plateau: what a constant real share amplifies, and what it does not.

    |f_i - f_B| <= a + (lam o + q/alpha)(1 - rho^i) + s sqrt((1 - rho^{2i})/(alpha (2-alpha)))
    + rho^i start, rho = 1-alpha, lam = rho/alpha; a + (o + q) i + s sqrt(i) + start at alpha = 0.

    Args:
        a: |g - f_B|, of the target g to the Bayes predictor f_B. A fixed real set: g = f_0, and a
            is the error of the first fit. New real rows: g = A(f_B), and a is the bias of a fit.
        o: largest refit error |A(f_j) - f_j|, j < i, of the learner fitting its own output; for one
            a generation give rho o_j + q as the biases of `bias_noise_drift` and add a.
        q: mixing defect, largest |E[f_j | past] - alpha g - rho A(f_{j-1})|; 0 for new real rows
            and learners linear in the labels, to be measured beside a fixed real set.
        s: largest noise |f_j - E[f_j | past]|, given the real rows and f_{j-1}.
        start: |f_0 - g|; 0 for a fixed real set.
    Returns: Plateau in the broadcast shape, in the unit of the prediction. Sharper:
        a + `bias_noise_drift` (start, rho o + q, s, alpha), in the limit `bias_noise_limit`.
    Assumes: As `bias_noise_drift`; |.| is the root mean square over loops and inputs of D_0, and A
        the mean fit of N rows labelled by its argument.
    Source: derived here, THEORY.md statement 87.
    """
    error, lost, defect, spread, away = (
        nonnegative(name, value)
        for name, value in (("a", a), ("o", o), ("q", q), ("s", s), ("start", start))
    )
    real_share, i = checked(alpha=alpha, generation=generation)
    series = geometric(1 - real_share, real_share, i)
    first, refit, mixing, noise, kept = common_shape(
        error,
        times(lost, (1 - real_share) * series.total),
        times(defect, series.total),
        times(spread, _noises(real_share, i)),
        times(away, series.power),
    )
    record = constants(provenance, a=error, o=lost, q=defect, s=spread, start=away)
    total = first + refit + mixing + noise + kept
    return Plateau(first, refit, mixing, noise, kept, total, record)


def _noises(gap: Floats, i: Floats) -> Floats:
    """sqrt(1 + r^2 + ... + r^{2(i-1)}), r = 1 - gap."""
    return np.sqrt(geometric((1 - gap) ** 2, gap * (2 - gap), i).total)


@to_infinity
def plateau_affine(
    alpha: Num,
    generation: Num,
    *,
    a: Num,
    o: Num,
    s: Num,
    start: Num,
    spread: Num,
    kappa_c: Num = 1.0,
    provenance: Provenance = "measured",
) -> SquarePlateau:
    r"""The plateau of a learner that is affine in the labels, with new real rows: a true square.

    |f_i - f_B|^2 <= [a + lam o (1 - rho^i) + rho^i start]^2
    + s^2 (1 - r^{2i})/(1 - r^2) + r^{2i} spread^2, r = rho kappa_c, f_B the Bayes predictor.

    Args:
        a: |A(f_B) - f_B|, the bias of a fit.
        o: largest refit error of mean predictors, |A(E f_j) - E f_j|, j < i.
        s: largest noise |f_j - E[f_j | past]|.
        start: |E f_0 - A(f_B)|.
        spread: |f_0 - E f_0|, the standard deviation of the first fit.
        kappa_c: |A(f) - A(f')| <= kappa_c |f - f'|; with 1 where a fit stretches differences the
            bound is false.
    Returns: SquarePlateau in the broadcast shape, in the unit of the prediction; ``total`` is the
        root of the sum of the squares of its parts.
    Assumes: As `plateau`; A is affine.
    Source: derived here, THEORY.md statement 88.
    """
    mean = plateau(alpha, generation, a=a, o=o, start=start, provenance=provenance)
    real_share, i, own = checked(alpha=alpha, generation=generation, s=s)
    first, follow = checked(spread=spread, kappa_c=kappa_c)
    gap = one_minus_product(real_share, follow)
    kept = geometric(1 - gap, gap, i).power
    bias, noise = common_shape(
        mean.total, np.hypot(times(own, _noises(gap, i)), times(first, kept))
    )
    given = constants(provenance, a=a, o=o, s=own, start=start, spread=first, kappa_c=follow)
    return SquarePlateau(bias, noise, np.hypot(bias, noise), given)


def plateau_prediction(alpha: Num, generation: Num, *, a: Num, o: Num) -> Floats:
    r"""Where a loop is expected, x_i = a + lam o (1 - rho^i): a prediction, no bound.

    The first two parts of `plateau` with equality: refit errors that point the same way as what the
    learner cannot learn, the same in every generation, no mixing defect and no noise. At alpha = 0
    a + o i.

    Args:
        a: root of the excess squared error of the first fit.
        o: refit error of the loop's own predictors.
    Returns: x_i in the broadcast shape, the root of the excess squared error.
    Source: derived here, THEORY.md statement 87.
    """
    return plateau(alpha, generation, a=a, o=o).total


@to_infinity
def plateau_in_squares(
    alpha: Num, generation: Num, *, a: Num, o: Num, s: Num, first_noise: Num = 0.0
) -> Floats:
    r"""Where a loop is expected if refit errors point anywhere: a prediction, no bound.

    x_i^2 = a^2 - s_0^2 (1 - rho^{2i}) + (rho^2 o^2 + s^2)(1 - rho^{2i})/(alpha (2-alpha)),
    rho = 1-alpha; a^2 + (o^2 + s^2) i at alpha = 0. With s_0 = s it is a^2 + rho^2 (o^2 + s^2)
    (1 - rho^{2i})/(alpha (2-alpha)): a constant share amplifies the squared error of a refit by
    rho^2/(1 - rho^2), where `plateau_prediction` amplifies its root by lam.

    Args:
        a: root of the excess squared error of the first fit, its noise included.
        o: refit error of the loop's own predictors.
        s: noise of a later generation given the real set and the one before.
        first_noise: s_0, noise of the first fit given the real set, at most a.
    Returns: x_i in the broadcast shape, the root of the excess squared error.
    Assumes: No mixing defect; what is lost by a refit is uncorrelated in L2(D_0) with the error of
        the mean fit to the real set, and from generation to generation.
    Source: derived here, THEORY.md statement 91.
    """
    error, lost, spread, first = (
        nonnegative(name, value)
        for name, value in (("a", a), ("o", o), ("s", s), ("first_noise", first_noise))
    )
    real_share, i = checked(alpha=alpha, generation=generation)
    kept = geometric((1 - real_share) ** 2, real_share * (2 - real_share), i)
    added = times(((1 - real_share) * lost) ** 2 + spread**2, kept.total)
    away = times(first**2, 1 - kept.power)
    return np.sqrt(np.maximum(error**2 - away + added, 0.0))[()]


@to_infinity
def mixture_kl_cap(alpha: Num, kl: Num = np.inf) -> Floats:
    r"""Largest KL(D_0 || alpha D_0 + (1-alpha) D) where KL(D_0 || D) = K: -ln(alpha + rho e^{-K}).

    At most ln(1/alpha), for every number of generations, and at most rho K; attained. With eta_i
    of `drift_kl` KL_i = KL(D_0 || M_{i-1}) + eta_i exactly, so equal eta end at most at
    ln(1 + (e^eta - 1)/alpha).

    Args:
        kl: K >= 0, nats; inf if nothing is known of it.
    Returns: the cap in nats, in the broadcast shape; inf at alpha = 0 and K = inf.
    Source: derived here, THEORY.md statement 89.
    """
    real_share, k = checked(alpha=alpha, kl=kl)
    log_kept = np.logaddexp(np.log(real_share), np.log1p(-real_share) - k)
    near = np.log1p((1 - real_share) * np.expm1(-k))
    return (0.0 - np.where(near > -0.5, near, log_kept))[()]


@to_infinity
def kept_inputs_limit(
    distance: Num, reach: Num, noise: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> KeptInputsLimit:
    r"""What no predictor learns in its own context where the kept inputs do not span the space.

    In a direction that no kept input sees, the mean squared error over two tasks that differ by t
    in it is at least (t^2/4)(1 - theta^g), theta = 2 Phi(A/s) - 1, and tends to t^2/4 at least,
    however large the share of real labels is: alpha m >= d is needed.

    Args:
        distance: t >= 0, of the two tasks, in the unit of the weights.
        reach: A >= 0, bound on the norm of the r new labels without their noise: B sqrt(r) where
            each is cut off at B.
        noise: s > 0, standard deviation of the noise on new labels. Without noise labels can carry
            the task for ever, and the statement is false.
        generation: g, rounds of relabelling.
    Returns: KeptInputsLimit in the broadcast shape, squared units of the weights. The rate is of no
        use, theta is nearly 1; the limit is.
    Assumes: New labels are made from all inputs, the context before and seeds alone. Any predictor.
    Source: derived here, THEORY.md statement 90.
    """
    apart, largest, g = checked(distance=distance, reach=reach, generation=generation)
    ratio = largest / positive("noise", noise)
    gap = np.asarray(_erfc(ratio / math.sqrt(2)), np.float64)
    lost = np.where(np.isinf(g), 1.0, geometric(1 - gap, gap, g).deficit)  # theta < 1, if rounded
    lost, limit, theta = common_shape(lost, apart**2 / 4, 1 - gap)
    record = constants(provenance, distance=apart, reach=largest, noise=noise)
    return KeptInputsLimit(limit * lost, limit, theta, record)


_erfc = np.vectorize(math.erfc, otypes=[float])
