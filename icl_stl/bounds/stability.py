"""How far one swapped real example travels through the generations of a loop."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl.bounds._check import checked, generation_index, nonnegative, real, sample_size
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds._series import common_shape, geometric, log_product, one_minus_product

BoolArray = NDArray[np.bool_]


class Stability(NamedTuple):
    """Effect of replacing one example of the real set on generation i."""

    influence: Floats
    """chi_i, expected share of the training set that the swap changes."""
    gamma: Floats
    """kappa chi_i, recursive stability: expected total variation between the two models."""
    stable: BoolArray
    """The phase condition (1 - alpha) kappa < 1, under which gamma is bounded in i."""
    variance_proxy: Floats
    """V_i, sum of squared influences of everything the loop ever drew."""
    constants: tuple[Constant, ...]


class Propagation(NamedTuple):
    """What a swap becomes in i generations, with r = (1 - w) kappa and w the real weight."""

    influence: Floats
    """n chi_i = w (1 + r + ... + r^{i-1}) + r^i."""
    injected: Floats
    """Its part w (1 + r + ... + r^{i-1})."""
    total: Floats
    """1 + r + ... + r^{i-1}."""
    square_ratio: Floats
    """(1 + r^i)/(1 + r), so that 1 + r^2 + ... + r^{2i-2} = total * square_ratio."""
    gap: Floats
    """1 - r."""
    power: Floats
    """r^i."""


def propagation(weight: Floats, kappa: Floats, i: Floats) -> Propagation:
    """The recursion n chi_i = w + (1 - w) kappa n chi_{i-1}, n chi_0 = 1, solved.

    At i = inf, w = 0, kappa = 1 it is the limit w -> 0 of the loop's limit: n chi = 1, all of it
    injected.
    """
    gap = one_minus_product(weight, kappa)
    ratio = (1 - weight) * kappa
    power, _, total = geometric(ratio, gap, i)
    corner = np.isinf(i) & (gap == 0) & (weight == 0)
    injected = np.where(corner, 1.0, times(weight, total))
    power = np.where(corner, 0.0, power)
    return Propagation(injected + power, injected, total, (1 + power) / (1 + ratio), gap, power)


def deviation(alpha: Floats, spread: Propagation) -> Floats:
    """sqrt(n V_i), in a form that overflows no earlier than V_i^{1/2} does."""
    synthetic = times(1 - alpha, spread.injected)
    batches = times(np.sqrt(synthetic), np.sqrt(spread.square_ratio))
    return np.asarray(np.hypot(spread.influence, batches))


@to_infinity
def recursive_stability(
    n: Num, alpha: Num, kappa: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> Stability:
    r"""Recursive stability of a loop with a fixed real set and a constant real share.

    chi_0 = 1/n, chi_i = alpha/n + r chi_{i-1}, r = (1-alpha) kappa; gamma_i = kappa chi_i;
    V_i = n chi_i^2 + (alpha (1-alpha)/n) sum_{s<i} r^{2s}. Attained by the Bernoulli amplifier.

    Returns: Stability in the broadcast shape; infinite at i = inf where r >= 1 (but kappa = 1 with
        alpha = 0, where influence is 1/n in every generation).
    Assumes: TV(D_A(S), D_A(S')) <= kappa Ham(S, S')/|S|.
    Source: derived here, THEORY.md statement 8. The notion: paper, abstract-level claim.
    """
    size, real_share, follow, i = checked(n=n, alpha=alpha, kappa=kappa, generation=generation)
    spread = propagation(real_share, follow, i)
    variance = deviation(real_share, spread) ** 2 / size
    return _stability(follow, spread.gap, spread.influence / size, variance, provenance)


def _stability(
    kappa: Floats, gap: Floats, influence: Floats, variance: Floats, provenance: Provenance
) -> Stability:
    gap, influence, gamma, variance = common_shape(
        gap, influence, times(kappa, influence), variance
    )
    return Stability(influence, gamma, gap > 0, variance, constants(provenance, kappa=kappa))


@to_infinity
def phase_threshold(kappa: Num) -> Floats:
    r"""Real share above which recursive stability is bounded in i: max(0, 1 - 1/kappa).

    Returns: the threshold in [0, 1).
    Source: derived here, THEORY.md statement 9.
    """
    follow = nonnegative("kappa", kappa)
    return np.where(follow > 1, (follow - 1) / np.maximum(follow, 1), 0.0)[()]


@to_infinity
def uniform_recursive_stability(
    n: Num, alpha: Num, kappa: Num, *, provenance: Provenance = "assumed"
) -> Stability:
    r"""Recursive stability for all generations at once: chi_i <= max(1, alpha/(1 - r))/n.

    Returns: Stability; ``influence`` = max(1, alpha/(1-r))/n, ``variance_proxy`` bounds every V_i;
        infinite where r >= 1 (but kappa = 1 with alpha = 0).
    Assumes: As `recursive_stability`.
    Source: derived here, THEORY.md statement 9.
    """
    size, real_share, follow = checked(n=n, alpha=alpha, kappa=kappa)
    limit = propagation(real_share, follow, np.asarray(np.inf))
    largest = limit._replace(influence=np.maximum(limit.influence, 1.0))
    variance = deviation(real_share, largest) ** 2 / size
    return _stability(follow, largest.gap, largest.influence / size, variance, provenance)


@to_infinity
def varying_share_influence(n: Num, alphas: Num, kappas: Num) -> Floats:
    r"""Influence when share and generator change from one generation to the next.

    chi_i = alpha_i/n + (1-alpha_i) kappa_i chi_{i-1}.

    Args:
        kappas: stability of the generator that generation i learns from, [..., G], >= 0.
    Returns: chi_0..chi_G, [..., G+1].
    Assumes: As `recursive_stability`, generation by generation.
    Source: derived here, THEORY.md statement 8.
    """
    size, *rest = checked(n=n, alphas=alphas, kappas=kappas)
    real_shares, follow = np.broadcast_arrays(*map(np.atleast_1d, rest))
    chi = [np.broadcast_to(1.0, real_shares.shape[:-1])]
    for i in range(real_shares.shape[-1]):
        chi.append(real_shares[..., i] + times((1 - real_shares[..., i]) * follow[..., i], chi[-1]))
    return np.stack(chi, axis=-1) / size[..., None]


@to_infinity
def accumulate_influence(n: Num, kappa: Num, generation: Num) -> Floats:
    r"""Influence when all data are kept: chi_i = (1/n) prod_{k=1}^{i} (k + kappa)/(k + 1).

    Polynomial in i, like i^{kappa - 1}, never exponential.

    Args:
        kappa: generator stability, in [0, 10000].
    Returns: chi_i in the broadcast shape: at i = inf 0, 1/n or inf for kappa below, at, above 1.
    Assumes: As `recursive_stability`; one equal batch a generation.
    Source: derived here, THEORY.md statement 10.
    """
    # As many factors are multiplied one by one as kappa says.
    size, follow = sample_size("n", n), real("kappa", kappa, 0, 10_000)
    i = generation_index("generation", generation)
    return (np.exp(log_product(follow - 1, i + 1)) / size)[()]


@to_infinity
def synthetic_influence(n: Num, alpha: Num, kappa: Num, lag: Num) -> Floats:
    r"""Influence of one synthetic example ``lag`` generations later: r^lag alpha/n.

    Args:
        lag: i - j for an example of generation j, a whole number >= 0 or inf.
    Returns: the expected changed share of generation i's training set, in the broadcast shape.
    Assumes: As `recursive_stability`.
    Source: derived here, THEORY.md statement 8.
    """
    size, real_share, follow, later = checked(n=n, alpha=alpha, kappa=kappa, lag=lag)
    spread = propagation(real_share, follow, later)
    return (times(real_share, spread.power) / size)[()]


@to_infinity
def influence_from_stability(n: Num, alpha: Num, gamma: Num) -> Floats:
    r"""Influence on generation i from the recursive stability of i - 1: alpha/n + (1-alpha) gamma.

    Args:
        gamma: gamma_{i-1} in [0, 1], expected total variation under the coupling used.
    Returns: chi_i in the broadcast shape.
    Source: derived here, THEORY.md statement 8.
    """
    size, real_share, swapped = checked(n=n, alpha=alpha, gamma=gamma)
    return (real_share / size + (1 - real_share) * swapped)[()]


@to_infinity
def parameter_stability(
    n: Num, alpha: Num, kappa: Num, generation: Num, sensitivity: Num
) -> Floats:
    r"""Distance in parameters between two loops that share their randomness: Omega chi_i.

    Args:
        kappa: how far a generated example moves per unit of parameter change, randomness held
            fixed, times how far parameters move per example: >= 0.
        sensitivity: Omega, the most that one changed example of N moves the parameters, times N.
    Returns: bound on the parameter distance, in the broadcast shape.
    Assumes: |A(S) - A(S')| <= (1/|S|) sum_k omega(z_k, z'_k) with omega <= Omega, and
        omega(G(theta, u), G(theta', u)) <= kappa |theta - theta'| for every u (or on average).
    Source: derived here, THEORY.md statement 11.
    """
    omega = nonnegative("sensitivity", sensitivity)
    return times(omega, recursive_stability(n, alpha, kappa, generation).influence)[()]


def contraction_stability(start: Num, contraction: Num, injected: Num) -> Floats:
    r"""Distance between two loops whose generations contract it and add to it.

    d_i <= q_i d_{i-1} + u_i, solved: sum_{j<=i} u_j prod_{j<l<=i} q_l with u_0 = d_0.

    For linear attention fitted by ridge, with common random numbers, features phi, residuals r, N
    rows, and the norm of B = alpha Sigma' + rho I (Sigma' the second moment of the real features of
    the second loop): q = c/(1 + c), c the largest eigenvalue of B^{-1/2} C B^{-1/2}, C the
    synthetic features' share of the second moment, and u = |phi_k r_k - phi'_k r'_k| /
    (N sqrt(lambda_min(B))) for the swapped row k. So q < 1 for every alpha > 0.

    Args:
        start: d_0, [...], >= 0.
        contraction: q_1..q_G, [..., G], >= 0.
        injected: u_1..u_G, [..., G], >= 0.
    Returns: bound on d_0..d_G, [..., G + 1].
    Raises: ValueError for different numbers of generations.
    Assumes: the inequality above in every generation; for linear attention without clipping, of
        labels or of parameters.
    Source: derived here, THEORY.md statement 71.
    """
    first, factors, put = checked(start=start, contraction=contraction, injected=injected)
    if factors.ndim == 0 or factors.shape[-1:] != put.shape[-1:]:
        raise ValueError(
            "contraction and injected must have one number a generation on their last axis, but "
            f"their shapes are {factors.shape} and {put.shape}"
        )
    lead = np.broadcast_shapes(first.shape, factors.shape[:-1], put.shape[:-1])
    bound = [np.broadcast_to(first, lead)]
    for i in range(factors.shape[-1]):
        bound.append(times(factors[..., i], bound[-1]) + put[..., i])
    return np.stack(bound, axis=-1)


@to_infinity
def weighted_stability(
    n: Num,
    n_syn: Num,
    weight: Num,
    kappa: Num,
    generation: Num,
    *,
    provenance: Provenance = "assumed",
) -> Stability:
    r"""Recursive stability when the real risk has weight w, whatever the sizes.

    n chi_i = w sum_{s<i} r^s + r^i, V_i = n chi_i^2 + ((1-w)^2/m) sum_{s<i} r^{2s},
    r = (1-w) kappa, m = n_syn; w = 0 is the replace loop.

    Returns: Stability in the broadcast shape.
    Assumes: As `recursive_stability`, changed shares counted with their weights.
    Source: derived here, THEORY.md statement 12.
    """
    size, synthetic, w = checked(n=n, n_syn=n_syn, weight=weight)
    follow, i = checked(kappa=kappa, generation=generation)
    spread = propagation(w, follow, i)
    batches = times((1 - w) ** 2 / synthetic, spread.total * spread.square_ratio)
    variance = spread.influence**2 / size + batches
    return _stability(follow, spread.gap, spread.influence / size, variance, provenance)


@to_infinity
def fresh_data_stability(
    n: Num,
    n_syn: Num,
    weight: Num,
    kappa: Num,
    generation: Num,
    *,
    provenance: Provenance = "assumed",
) -> Stability:
    r"""Recursive stability when every generation draws new real data.

    A first example has influence r^i/n; V_i = (w^2/n + (1-w)^2/m) sum_{s<i} r^{2s} + r^{2i}/n.

    Returns: Stability in the broadcast shape; ``influence`` and ``gamma`` are those of an example
        of generation 0.
    Assumes: As `weighted_stability`.
    Source: derived here, THEORY.md statement 12.
    """
    size, synthetic, w = checked(n=n, n_syn=n_syn, weight=weight)
    follow, i = checked(kappa=kappa, generation=generation)
    spread = propagation(w, follow, i)
    batch = w**2 / size + (1 - w) ** 2 / synthetic
    variance = batch * spread.total * spread.square_ratio + spread.power**2 / size
    return _stability(follow, spread.gap, spread.power / size, variance, provenance)


@to_infinity
def best_fresh_weight(n: Num, n_syn: Num) -> Floats:
    r"""Real weight of least limiting variance proxy with fresh data and kappa = 1.

    w^2 = (n/m)(1 - w); n = m gives the golden section 0.618, and V_inf = w/n at the optimum.

    Returns: w in (0, 1), in the broadcast shape.
    Source: derived here, THEORY.md statement 12.
    """
    ratio = sample_size("n_syn", n_syn) / sample_size("n", n)
    return (2 / (1 + np.sqrt(1 + 4 * ratio)))[()]
