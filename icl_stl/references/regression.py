"""Loops of linear regression by ordinary least squares, in closed form.

Real rows are y = <theta, x> + sigma eps with inputs x ~ N(0, I_d) and Gaussian noise eps; the
generator labels inputs by the last fit with the same sigma. What is returned is the excess risk
E |theta_i - theta|^2. It starts at s_n = sigma^2 d/(n - d - 1), finite for n > d + 1: there are
at least dim + 2 real rows, and as many synthetic ones where a batch is fitted alone. Batches that
repeat the real inputs have n_syn = lam n rows, lam whole.
"""

import numpy as np

from icl_stl.bounds._check import nonnegative, positive, real, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, mixing, real_weight, rows, variance
from icl_stl.references._gains import (
    accumulate_gain,
    augment_gain,
    batch_gain,
    best_fresh_weight,
    fresh_limit,
    fresh_path,
    pooled_factor,
)
from icl_stl.references.gaussian import BestWeight


def ols_single_fit(samples: int, dim: int, noise: float) -> float:
    r"""Excess risk of least squares on n rows: s_n = sigma^2 d/(n - d - 1).

    Returns: E |theta_0 - theta|^2.
    Source: derived here, THEORY.md statement 43.
    """
    d = rows("dim", dim)
    return variance(noise) * d / (_enough("samples", samples, d) - d - 1)


def ols_replace(samples: int, n_syn: int, dim: int, noise: float, generations: int) -> Floats:
    r"""Excess risk if only the last batch is seen, with fresh inputs: s_n + i s_{n_syn}.

    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 43.
    """
    first = ols_single_fit(samples, dim, noise)
    i = np.arange(last_generation(generations) + 1.0)
    return first + i * ols_single_fit(_enough("n_syn", n_syn, rows("dim", dim)), dim, noise)


def ols_loop_same_inputs(weights: Num, samples: int, n_syn: int, dim: int, noise: float) -> Floats:
    r"""Excess risk for any mixing weights if synthetic rows repeat the real inputs.

    s_n [1 + (1/lam) sum_j B_ij^2], B = (I - W)^{-1} W: the loop of a Gaussian mean.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 43.
    """
    gain = batch_gain(mixing(weights))
    return ols_single_fit(samples, dim, noise) * (1 + gain / _repeats(samples, n_syn))


def ols_augment_same_inputs(
    samples: int, n_syn: int, dim: int, noise: float, generations: int, weight: float | None = None
) -> Floats:
    r"""Excess risk beside a fixed real set if synthetic rows repeat its inputs lam times.

    s_n [1 + (1/lam) sum_{j=1}^{i} (1-w)^{2j}], at most 3 s_n/2 for w = n/N.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 43.
    """
    first, lam = ols_single_fit(samples, dim, noise), _repeats(samples, n_syn)
    w = real_weight(weight, samples, n_syn)
    return first * (1 + augment_gain(w, last_generation(generations)) / lam)


def ols_accumulate_same_inputs(
    samples: int, n_syn: int, dim: int, noise: float, generations: int
) -> Floats:
    r"""Excess risk if all batches are kept and every batch repeats the real inputs lam times.

    s_n [1 + sum_{j=1}^{i} lam/(1 + j lam)^2], below 2 s_n, and below (pi^2/6) s_n for lam = 1.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 43.
    """
    first, lam = ols_single_fit(samples, dim, noise), _repeats(samples, n_syn)
    return first * (1 + accumulate_gain(samples, n_syn, last_generation(generations)) / lam)


def ols_accumulate_fresh_inputs(
    samples: int, n_syn: int, dim: int, noise: float, generations: int
) -> Floats:
    r"""Excess risk if all batches are kept and every batch has fresh inputs.

    sigma^2 d [1/(n-d-1) + sum_{j=1}^{i} n_syn/(N_j (N_j-d-1))], N_j = n + j n_syn; at most that of
    the same inputs, hence below 2 s_n, and below (pi^2/6) s_n for n_syn = n.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 43.
    """
    first, m, d = ols_single_fit(samples, dim, noise), rows("n_syn", n_syn), rows("dim", dim)
    pool = samples + m * np.arange(1.0, last_generation(generations) + 1)
    added = np.cumsum(m / (pool * (pool - d - 1)))
    return first + variance(noise) * d * np.concatenate([[0.0], added])


def ols_augment_fresh_inputs(
    samples: int, n_syn: int, dim: int, noise: float, generations: int
) -> Floats:
    r"""Excess risk beside a fixed real set, with fresh synthetic inputs: generations 0 and 1.

    sigma^2 d [1/(n-d-1) + (n_syn/N)/(N-d-1)] for i = 1, N = n + n_syn.
    Returns: E |theta_i - theta|^2, [G+1]; nan from generation 2 on, where no closed form is known.
    Source: derived here, THEORY.md statement 44.
    """
    last = last_generation(generations)
    known = ols_accumulate_fresh_inputs(samples, n_syn, dim, noise, min(last, 1))
    return np.concatenate([known, np.full(last + 1 - len(known), np.nan)])


def ols_augment_upper_bound(
    samples: int, n_syn: int, dim: int, noise: float, generations: int, weight: float | None = None
) -> Floats:
    r"""Upper bound on the excess risk beside a fixed real set, for any synthetic inputs.

    s_n (1 + (1-w) n/(2 w n_syn)): 3 s_n/2 if every row weighs the same, whatever lam.

    Args:
        weight: w in (0, 1], weight of the real empirical risk; n/(n + n_syn) by default.
    Returns: the bound on E |theta_i - theta|^2, [G+1]; s_n itself for i = 0.
    Assumes: Synthetic inputs that do not depend on any label noise; nothing else about them.
    Source: derived here, THEORY.md statement 44.
    """
    first, m = ols_single_fit(samples, dim, noise), rows("n_syn", n_syn)
    w = real_weight(weight, samples, m)
    real("weight", w, 0, 1, open_low=True)
    bound = np.full(last_generation(generations) + 1, first)
    bound[1:] *= 1 + (1 - w) * samples / (2 * w * m)
    return bound


def ols_fresh_real(samples: int, n_syn: int, dim: int, noise: float, generations: int) -> Floats:
    r"""Excess risk if every generation sees n new real rows and n_syn rows of the last one.

    Pooled least squares, every row alike, all inputs fresh: V_0 = s_n and, with N = n + n_syn,
    V_{i+1} = rho_2 V_i + sigma^2 d/(N-d-1), rho_2 = a + b (N d - 2)/(N-d-1),
    b = n_syn n/(N (N-1)(N+2)), a = n_syn (n_syn + 2)/(N (N+2)) - b.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 45.
    """
    path = np.full(last_generation(generations) + 1, ols_single_fit(samples, dim, noise))
    factor, added = _fresh_step(samples, n_syn, dim, noise)
    for i in range(1, len(path)):
        path[i] = factor * path[i - 1] + added
    return path


def ols_fresh_real_limit(samples: int, n_syn: int, dim: int, noise: float) -> float:
    r"""Limit of `ols_fresh_real`: sigma^2 d/((1 - rho_2)(N-d-1)).

    Returns: the limit of E |theta_i - theta|^2; finite, since rho_2 is below 1 for n > d + 1.
    Source: derived here, THEORY.md statement 45.
    """
    factor, added = _fresh_step(samples, n_syn, dim, noise)
    return added / (1 - factor)


def ols_fresh_combined(
    samples: int, n_syn: int, dim: int, noise: float, generations: int, weight: float
) -> Floats:
    r"""Excess risk of a weighted mean of two fits: new real rows and the last batch, inputs fresh.

    theta_i = w OLS(real) + (1-w) OLS(batch): V_i = w^2 s_n + (1-w)^2 (V_{i-1} + s_{n_syn}),
    V_0 = s_n.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 45.
    """
    pair = _two_fits(samples, n_syn, dim, noise)
    return fresh_path(*pair, float(share("weight", weight)), last_generation(generations))


def ols_fresh_combined_limit(
    samples: int, n_syn: int, dim: int, noise: float, weight: float
) -> float:
    r"""Limit of `ols_fresh_combined`: (w^2 s_n + (1-w)^2 s_{n_syn})/(1 - (1-w)^2).

    Returns: the limit of E |theta_i - theta|^2; infinite for w = 0.
    Source: derived here, THEORY.md statement 45.
    """
    return fresh_limit(*_two_fits(samples, n_syn, dim, noise), float(share("weight", weight)))


def ols_fresh_combined_best(samples: int, n_syn: int, dim: int, noise: float) -> BestWeight:
    r"""The weight with the least limit of `ols_fresh_combined`: w^2 = (s_{n_syn}/s_n)(1-w).

    Returns: BestWeight: w* and the limit there, w* s_n.
    Source: derived here, THEORY.md statement 45.
    """
    first, later = _two_fits(samples, n_syn, dim, noise)
    best = best_fresh_weight(first, later)
    return BestWeight(best, best * first)


def ols_min_norm_replace(
    samples: int, n_syn: int, dim: int, noise: float, generations: int, signal: float | None = None
) -> Floats:
    r"""`ols_replace` where fits may have too few rows: least squares of minimum norm.

    One fit to k new rows of a task w' keeps f V' of the error V' of w' and adds a: f = 1, a = s_k
    for k >= d + 2; f = k/d, a = (1 - k/d) E |w|^2 + sigma^2 k/(d-k-1) for k <= d - 2. Hence
    V_0 = a_n, V_i = f_m V_{i-1} + a_m.

    Args:
        samples: n; not d - 1, d or d + 1, where no mean is finite.
        n_syn: m, likewise.
        signal: E |w|^2 of the real task; d, of w ~ N(0, I_d), if not given.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 103.
    """
    path = np.full(
        last_generation(generations) + 1, _step("samples", samples, dim, noise, signal)[1]
    )
    kept, added = _step("n_syn", n_syn, dim, noise, signal)
    for i in range(1, len(path)):
        path[i] = kept * path[i - 1] + added
    return path


def ols_min_norm_fresh(
    samples: int, n_syn: int, dim: int, noise: float, generations: int, signal: float | None = None
) -> Floats:
    r"""`ols_fresh_real` where fits may have too few rows: least squares of minimum norm.

    For N = n + m <= d - 2, V_i = rho V_{i-1} + (1 - N/d) E |w|^2 + sigma^2 N/(d-N-1) with
    rho = (m/(d (N+2))) [m + 2 + n (d+1)/(d-N-1)]; for N >= d + 2 the step is that of
    `ols_fresh_real`, whatever n.

    Args:
        samples: n; neither it nor N is d - 1, d or d + 1.
        signal: E |w|^2 of the real task; d, of w ~ N(0, I_d), if not given.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 103.
    """
    n, m, d = rows("samples", samples), rows("n_syn", n_syn), rows("dim", dim)
    path = np.full(last_generation(generations) + 1, _step("samples", n, d, noise, signal)[1])
    _, added = _step("samples + n_syn", n + m, d, noise, signal)
    if n + m > d:
        kept = pooled_factor(n, m, d)
    else:
        kept = m / (d * (n + m + 2)) * (m + 2 + n * (d + 1) / (d - n - m - 1))
    for i in range(1, len(path)):
        path[i] = kept * path[i - 1] + added
    return path


def ols_min_norm_same_inputs(
    weights: Num, samples: int, n_syn: int, dim: int, noise: float, signal: float | None = None
) -> Floats:
    r"""`ols_loop_same_inputs` with too few rows, n <= d - 2: least squares of minimum norm.

    (1 - n/d) E |w|^2 + (sigma^2 n/(d-n-1)) [1 + (1/lam) sum_j B_ij^2]: what no row shows is lost
    once, and only noise adds up.

    Args:
        signal: E |w|^2 of the real task; d, of w ~ N(0, I_d), if not given.
    Returns: E |theta_i - theta|^2, [G+1].
    Source: derived here, THEORY.md statement 103.
    """
    n, d = rows("samples", samples), rows("dim", dim)
    kept, added = _step("samples", n, d, noise, signal)
    lost = (1 - kept) * _signal(signal, d)
    gain = batch_gain(mixing(weights)) / _repeats(n, n_syn)
    return lost + (added - lost) * (1 + gain)


def ols_total_variation(distance: Num, noise: float) -> Floats:
    r"""Total variation between the laws of a row (x, y) under two tasks.

    E_x [2 Phi(|<x, D>|/(2 sigma)) - 1] = (2/pi) arctan(|D|/(2 sigma)) for x ~ N(0, I).

    Args:
        distance: |D|, Euclidean distance of the tasks, >= 0.
    Returns: the total variation in the shape of ``distance``.
    Source: derived here, THEORY.md statement 41.
    """
    return 2 / np.pi * np.arctan(nonnegative("distance", distance) / (2 * positive("noise", noise)))


def ols_gap_single_fit(samples: int, dim: int, noise: float) -> float:
    r"""Mean gap of the squared loss of one fit: sigma^2 d [1/(n-d-1) + 1/n].

    Returns: E [risk on a new row less mean squared residual].
    Source: derived here, THEORY.md statement 43.
    """
    return ols_single_fit(samples, dim, noise) + variance(noise) * dim / samples


def ols_gap_augment_same_inputs(
    samples: int, n_syn: int, dim: int, noise: float, generations: int, weight: float | None = None
) -> Floats:
    r"""Mean gap of the squared loss in the loop of `ols_augment_same_inputs`.

    With c_i = (1/lam) sum_{j=1}^{i} (1-w)^{2j} and u_i = c_{i-1} + 1/lam, for i >= 1
    s_n (1 + c_i) + (sigma^2 d/n) [w (1 - c_i) + (1-w)(1/lam - w^2 u_i)].
    Returns: E [risk on a new real row less (weighted) empirical risk], [G+1].
    Source: derived here, THEORY.md statement 43.
    """
    first, lam = ols_single_fit(samples, dim, noise), _repeats(samples, n_syn)
    w, last = real_weight(weight, samples, n_syn), last_generation(generations)
    gap = np.full(last + 1, ols_gap_single_fit(samples, dim, noise))
    gain = augment_gain(w, last) / lam
    apart = gain[:-1] + 1 / lam
    empirical = w * (1 - gain[1:]) + (1 - w) * (1 / lam - w**2 * apart)
    gap[1:] = first * (1 + gain[1:]) + variance(noise) * dim / samples * empirical
    return gap


def _enough(name: str, value: int, dim: int) -> int:
    why = ", dim + 2: with fewer rows least squares has no finite mean error"
    return rows(name, value, dim + 2, why)


def _signal(signal: float | None, dim: int) -> float:
    return float(dim if signal is None else nonnegative("signal", signal))


def _step(
    name: str, count: int, dim: int, noise: float, signal: float | None
) -> tuple[float, float]:
    """What a fit to so many new rows of a task keeps of its error, and what it adds."""
    k, d = rows(name, count), rows("dim", dim)
    if k > d - 2:
        why = f", or at most {d - 2}, dim - 2: between, least squares has no finite mean error"
        return 1.0, variance(noise) * d / (rows(name, k, d + 2, why) - d - 1)
    return k / d, (1 - k / d) * _signal(signal, d) + variance(noise) * k / (d - k - 1)


def _repeats(samples: int, n_syn: int) -> int:
    if not rows("n_syn", n_syn) >= rows("samples", samples) or n_syn % samples:
        raise ValueError(
            f"n_syn = {n_syn!r} is outside the admissible range: whole multiples of "
            f"samples = {samples!r}, since every batch repeats the real inputs"
        )
    return int(n_syn // samples)


def _two_fits(samples: int, n_syn: int, dim: int, noise: float) -> tuple[float, float]:
    later = ols_single_fit(_enough("n_syn", n_syn, rows("dim", dim)), dim, noise)
    return ols_single_fit(samples, dim, noise), later


def _fresh_step(samples: int, n_syn: int, dim: int, noise: float) -> tuple[float, float]:
    """rho_2 and what one generation adds."""
    d = rows("dim", dim)
    n, m = _enough("samples", samples, d), rows("n_syn", n_syn)
    return pooled_factor(n, m, d), variance(noise) * d / (n + m - d - 1)
