"""How far generation i has drifted from the real law, from the errors made on the way.

A one-step error is the distance between the law that a generation draws from and the law it was
trained on. Weights are strictly lower triangular shares, >= 0; a row sums to at most 1, and the
real law has the rest.
"""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, earlier_shares, generation_index, nonnegative, real
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds._series import geometric, growing_sum, harmonic, log_product, resolvent

_MOST = 10_000  # generations of a matrix of weights


class Drift(NamedTuple):
    """Bound on T_i, the distance between the law of generation i and the real law."""

    total: Floats
    terms: Floats
    """What each one-step error contributes."""
    constants: tuple[Constant, ...]


@to_infinity
def drift_recursion(eps: Num, weights: Num, *, provenance: Provenance = "measured") -> Drift:
    r"""Drift of every generation when each one learns from a mixture of all earlier ones.

    T_i <= eps_i + sum_{j<i} w_ij T_j, solved: T <= (I - W)^{-1} eps. Attained in total variation.

    Returns: Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, G+1]; ``terms[..., i, j]`` is
        the contribution of ``eps[..., j]`` to generation i.
    Assumes: A distance of the form sup_f |P f - Q f| (total variation, W1, MMD, loss discrepancy).
    Source: derived here, THEORY.md statement 2.
    """
    errors = nonnegative("eps", eps)
    shares = _mixture_weights(weights, errors.shape[-1] if errors.ndim else 0)
    terms = resolvent(shares) * errors[..., None, :]
    return Drift(terms.sum(axis=-1), terms, constants(provenance, eps=errors))


def _mixture_weights(weights: Num, generations: int) -> Floats:
    shares = nonnegative("weights", weights)
    if generations == 0:
        raise ValueError("eps has no generations: its admissible shape is [..., G+1] with G >= 0")
    if shares.shape != (generations, generations):
        raise ValueError(
            f"weights has shape {shares.shape}, outside the admissible shape "
            f"({generations}, {generations}) given by eps"
        )
    return earlier_shares(shares)


@to_infinity
def varying_share_weights(alphas: Num) -> Floats:
    r"""Weights of a loop that mixes real data with the last generation only: w_{i,i-1} = 1 - a_i.

    Args:
        alphas: real share of generations 1..G, alpha_i in [0, 1]; [G]. All 0 is the replace loop.
    Returns: weights [G+1, G+1] for `drift_recursion`.
    Source: derived here, THEORY.md statement 3.
    """
    return np.diag(1 - np.atleast_1d(checked(alphas=alphas)[0]), k=-1)


@to_infinity
def accumulate_weights(generations: int) -> Floats:
    r"""Weights of a loop that keeps all data, one equal batch a generation: w_ij = 1/(i+1).

    Returns: weights [G+1, G+1] for `drift_recursion`; the real law has share 1/(i+1) too.
    Source: derived here, THEORY.md statement 4.
    """
    i = _all_generations(generations)
    return np.tril(np.broadcast_to(1 / (i + 1), (len(i), len(i))), k=-1)


@to_infinity
def anchored_weights(alpha: float, generations: int) -> Floats:
    r"""Weights of a loop that keeps all synthetic data but fixes the real share: (1 - alpha)/i.

    Returns: weights [G+1, G+1] for `drift_recursion`.
    Source: derived here, THEORY.md statement 5.
    """
    i = _all_generations(generations)
    rows = (1 - checked(alpha=alpha)[0]) / np.maximum(i, 1)
    return np.tril(np.broadcast_to(rows, (len(i), len(i))), k=-1)


def _all_generations(last: int) -> Floats:
    end = generation_index("generations", last)
    if not (end <= _MOST).all():  # the square of them must fit in memory
        raise ValueError(f"generations = {last!r} is outside the admissible range [0, {_MOST}]")
    return np.arange(int(end) + 1, dtype=np.float64)[:, None]


@to_infinity
def drift_constant_share(
    eps0: Num, eps: Num, alpha: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> Drift:
    r"""Drift with a constant real share, equal errors after generation 0 (alpha = 0: replace).

    T_i <= (1-alpha)^i eps_0 + eps (1 - (1-alpha)^i)/alpha; i eps instead at alpha = 0.

    Returns: Drift in the broadcast shape [...]; ``terms`` [..., 2]: generation 0, all later ones.
    Assumes: A distance of the form sup_f |P f - Q f|; the same recursion holds for a fixed real set
        and for fresh real data.
    Source: derived here, THEORY.md statement 3.
    """
    first, later, real_share, i = checked(eps0=eps0, eps=eps, alpha=alpha, generation=generation)
    series = geometric(1 - real_share, real_share, i)
    return _two_terms(
        times(first, series.power), times(later, series.total), provenance, eps0=first, eps=later
    )


def _two_terms(first: Floats, later: Floats, provenance: Provenance, **errors: Floats) -> Drift:
    terms = np.stack(np.broadcast_arrays(first, later), axis=-1)
    return Drift(terms.sum(axis=-1), terms, constants(provenance, **errors))


@to_infinity
def drift_varying_share(eps: Num, alphas: Num, *, provenance: Provenance = "measured") -> Drift:
    r"""Drift of every generation when the real share changes from one to the next.

    T_i <= sum_j eps_j prod_{l=j+1}^{i} (1 - alpha_l).

    Returns: Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, G+1] as in `drift_recursion`.
    Assumes: A distance of the form sup_f |P f - Q f|.
    Source: derived here, THEORY.md statement 3.
    """
    errors = np.atleast_1d(nonnegative("eps", eps))
    synthetic = 1 - np.atleast_1d(checked(alphas=alphas)[0])
    last = errors.shape[-1] - 1
    if synthetic.shape[-1] != last:
        raise ValueError(
            f"alphas has {synthetic.shape[-1]} generations, outside the admissible range: "
            f"one for each of the {last} generations after the first"
        )
    batch = np.broadcast_shapes(errors.shape[:-1], synthetic.shape[:-1])
    terms = np.zeros((*batch, last + 1, last + 1))
    for i in range(last + 1):
        if i:
            terms[..., i, :] = synthetic[..., i - 1, None] * terms[..., i - 1, :]
        terms[..., i, i] = errors[..., i]
    return Drift(terms.sum(axis=-1), terms, constants(provenance, eps=errors))


@to_infinity
def drift_replace(eps: Num, *, provenance: Provenance = "measured") -> Drift:
    r"""Drift when every generation sees the last one only: errors add up, T_i <= sum_j eps_j.

    Returns: Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, G+1] as in `drift_recursion`.
    Assumes: Any metric: this is the triangle inequality.
    Source: derived here, THEORY.md statement 3.
    """
    errors = np.atleast_1d(nonnegative("eps", eps))
    terms = np.tril(np.ones((errors.shape[-1],) * 2)) * errors[..., None, :]
    return Drift(terms.sum(axis=-1), terms, constants(provenance, eps=errors))


@to_infinity
def drift_accumulate(eps: Num, *, provenance: Provenance = "measured") -> Drift:
    r"""Drift when all data are kept, one equal batch a generation.

    T_i <= eps_i + sum_{j<i} eps_j/(j+2).

    Returns: Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, G+1] as in `drift_recursion`.
    Assumes: A distance of the form sup_f |P f - Q f|.
    Source: derived here, THEORY.md statement 4.
    """
    errors = np.atleast_1d(nonnegative("eps", eps))
    count = errors.shape[-1]
    weights = np.tril(np.ones((count, count)), k=-1) / (np.arange(count) + 2.0) + np.eye(count)
    terms = weights * errors[..., None, :]
    return Drift(terms.sum(axis=-1), terms, constants(provenance, eps=errors))


@to_infinity
def drift_accumulate_constant(
    eps: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> Drift:
    r"""Drift when all data are kept and every generation errs alike: T_i <= eps H_{i+1}.

    Returns: Drift in the broadcast shape; ``terms`` [..., 2]: earlier generations, the last one.
    Assumes: A distance of the form sup_f |P f - Q f|.
    Source: derived here, THEORY.md statement 4.
    """
    error, i = checked(eps=eps, generation=generation)
    earlier = times(error, harmonic(i + 1) - 1)
    return _two_terms(earlier, error, provenance, eps=error)


@to_infinity
def drift_accumulate_growing(
    eps0: Num, rate: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> Drift:
    r"""Drift when all data are kept and errors fall with the data, eps_j <= eps_0 (j+1)^{-a}.

    T_i <= eps_0 [(i+1)^{-a} + sum_{k=1}^{i} k^{-a}/(k+1)], below sigma_a eps_0 for every i.

    Args:
        rate: a > 0, the learner's rate; at a = 1 the bound is eps_0 for every generation.
    Returns: Drift in the broadcast shape; ``terms`` [..., 2]: earlier generations, the last one.
    Assumes: A distance of the form sup_f |P f - Q f|.
    Source: derived here, THEORY.md statement 4.
    """
    error, a, i = checked(eps0=eps0, rate=rate, generation=generation)
    own = error * (i + 1) ** -a
    return _two_terms(error * growing_sum(a, i), own, provenance, eps0=error, rate=a)


@to_infinity
def drift_anchored(
    eps0: Num, eps: Num, alpha: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> Drift:
    r"""Drift when all synthetic data are kept, equally weighted, beside a fixed real share.

    T_i <= (1-alpha) P_i eps_0 + eps (1 - (1-alpha) P_i)/alpha, P_i = prod_{k=2}^{i} (1 - alpha/k);
    never above max(eps_0, eps/alpha). At alpha = 0: eps_0 + eps H_i.

    Returns: Drift in the broadcast shape; ``terms`` [..., 2]: generation 0, all later ones.
    Assumes: A distance of the form sup_f |P f - Q f|.
    Source: derived here, THEORY.md statement 5.
    """
    first, later, real_share, i = checked(eps0=eps0, eps=eps, alpha=alpha, generation=generation)
    exponent = np.log1p(-real_share) + log_product(-real_share, i)
    forgotten = np.where(real_share == 0, harmonic(i), -np.expm1(exponent) / real_share)
    kept = np.where(i == 0, 1.0, np.exp(exponent))
    return _two_terms(
        times(first, kept),
        times(later, np.where(i == 0, 0.0, forgotten)),
        provenance,
        eps0=first,
        eps=later,
    )


@to_infinity
def drift_root_share(
    eps0: Num, eps: Num, alpha: Num, generation: Num, *, provenance: Provenance = "assumed"
) -> Drift:
    r"""Drift in Hellinger or W2 distance with a constant real share.

    T_i <= q^i eps_0 + eps (1 - q^i)/(1 - q), q = sqrt(1 - alpha). The factor 1 - alpha of the total
    variation is false here.

    Args:
        eps0: error of generation 0, >= 0, in Hellinger distance (h^2 = 1 - int sqrt(pq)) or W2.
    Returns: Drift in the broadcast shape; ``terms`` [..., 2]: generation 0, all later ones.
    Assumes: A metric whose square is convex in each argument, as Hellinger's and W2's are.
    Source: derived here, THEORY.md statement 6.
    """
    first, later, real_share, i = checked(eps0=eps0, eps=eps, alpha=alpha, generation=generation)
    factor = np.sqrt(1 - real_share)
    series = geometric(factor, real_share / (1 + factor), i)
    return _two_terms(
        times(first, series.power), times(later, series.total), provenance, eps0=first, eps=later
    )


@to_infinity
def drift_convex_square(eps: Num, weights: Num, *, provenance: Provenance = "measured") -> Drift:
    r"""Drift in Hellinger or W2 distance of every generation, for any mixture of earlier ones.

    T_i <= eps_i + sqrt(sum_{j<i} w_ij T_j^2).

    Returns: Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, 2]: inherited, own error.
    Assumes: A metric whose square is convex in each argument, as Hellinger's and W2's are.
    Source: derived here, THEORY.md statement 6.
    """
    errors = nonnegative("eps", eps)
    shares = _mixture_weights(weights, errors.shape[-1] if errors.ndim else 0)
    total, inherited = np.zeros(errors.shape), np.zeros(errors.shape)
    for i in range(errors.shape[-1]):
        scaled = np.sqrt(shares[i, :i]) * total[..., :i]
        inherited[..., i] = np.linalg.norm(scaled, axis=-1)
        total[..., i] = inherited[..., i] + errors[..., i]
    terms = np.stack([inherited, errors], axis=-1)
    return Drift(total, terms, constants(provenance, eps=errors))


@to_infinity
def drift_kl(eta: Num, weights: Num, *, provenance: Provenance = "measured") -> Drift:
    r"""Drift in KL divergence KL(D_0 || D_i) of every generation, for any mixture of earlier ones.

    KL_i <= min(sum_{j<i} w_ij KL_j, ln 1/w_i) + eta_i, with w_i the real law's share and
    eta_i = E_{D_0} ln(training density / generated density), so that equality holds with
    KL(D_0 || training law) in place of the minimum.

    Args:
        eta: eta_i of generations 0..G, any sign, [..., G+1], nats.
    Returns: Drift with ``total`` [..., G+1] and ``terms`` [..., G+1, 2]: inherited, own.
    Assumes: Densities with respect to one measure; there is no KL recursion in one-step KL alone.
    Source: derived here, THEORY.md statement 7.
    """
    own = real("eta", eta, open_low=True, open_high=True)
    shares = _mixture_weights(weights, own.shape[-1] if own.ndim else 0)
    cap = -np.log(np.maximum(1 - shares.sum(axis=1), 0.0))
    cap[0] = 0.0
    total, inherited = np.zeros(own.shape), np.zeros(own.shape)
    for i in range(own.shape[-1]):
        inherited[..., i] = np.minimum(total[..., :i] @ shares[i, :i], cap[i])
        total[..., i] = inherited[..., i] + own[..., i]
    terms = np.stack([inherited, own], axis=-1)
    return Drift(total, terms, constants(provenance, eta=own))


@to_infinity
def kl_eta_bound(excess: Num, real_share: Num) -> Floats:
    r"""Bound on eta_i of `drift_kl` from the one-step excess log-loss: (K + sqrt(K/2))/w.

    Args:
        excess: K = KL(training law || generated law), >= 0, nats.
        real_share: w in (0, 1], the real law's share of the training law (1 at generation 0).
    Returns: the bound, in the broadcast shape.
    Source: derived here, THEORY.md statement 7.
    """
    k = nonnegative("excess", excess)
    w = real("real_share", real_share, 0, 1, open_low=True)
    return ((k + np.sqrt(k / 2)) / w)[()]


@to_infinity
def total_variation_from_kl(kl: Num) -> Floats:
    r"""Total variation allowed by a KL divergence: min(sqrt(K/2), sqrt(1 - exp(-K))).

    Args:
        kl: K >= 0, nats, also inf.
    Returns: a bound in [0, 1].
    Source: published: Pinsker 1964 (with the constant of Csiszar and Kullback); Bretagnolle and
        Huber 1979.
    """
    k = real("kl", kl, 0, np.inf)
    return np.minimum(np.sqrt(k / 2), np.sqrt(-np.expm1(-k)))[()]
