"""Loops whose synthetic rows pass a verifier: a region, an oracle, a part, the model's confidence.

m = ``n_syn`` rows are generated, some are kept. Averages are over loops in which every generation
keeps at least one, where real rows have no weight.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import (
    bdtr,
    betainc,
    betaincinv,
    gammainc,
    gammainccinv,
    gammaincinv,
    gammaln,
    ndtr,
    roots_hermitenorm,
    xlog1py,
    xlogy,
)

from icl_stl.bounds._check import flag, generation_index, numbers, one, positive, real, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, rows, sampling_bias, variance
from icl_stl.references.discrete import _law
from icl_stl.references.gaussian import MeanVariance
from icl_stl.references.moments import Mixing

NODES = 200
"""Of a Gauss quadrature."""
TAIL = 1e-18
"""Chance that an order statistic lies outside of where it is integrated."""


def _chances(count: Any, of: Any, chance: Any) -> Floats:
    """P(Bin(of, chance) = count)."""
    choices = gammaln(of + 1) - gammaln(count + 1) - gammaln(of - count + 1)
    logs = xlogy(count, chance) + xlog1py(of - count, -np.asarray(chance))
    return np.asarray(np.exp(choices + logs))


class OracleFit(NamedTuple):
    """The share of wrong rows that generation 1 was fitted on, theta_1."""

    mean: float
    """E theta_1."""
    error: float
    """E (theta_1 - p)^2."""
    learned: float
    """P(theta_1 < 1/2): most of what is kept is right."""


def _rate(rate: float) -> float:
    return one("rate", real("rate", rate, 0.0, 1.0, open_low=True))


def _kept(rate: float, count: int) -> int:
    """round(q m), at least one, in the precision of a loop."""
    return max(1, int(np.round(np.float32(_rate(rate)) * np.float32(count))))


def region_factor(radius: Num, noise: float) -> Floats:
    r"""The variance of N(0, sigma^2) within r of its mean, over sigma^2: in (0, 1).

    kappa = P(chi^2_3 <= (r/sigma)^2)/P(chi^2_1 <= (r/sigma)^2) = 1 - 2 z phi(z)/(2 Phi(z) - 1),
    z = r/sigma; the factor at which what a verifier keeps goes to its centre.

    Args:
        radius: r > 0.
    Returns: kappa in the shape of ``radius``.
    Source: derived here, setting of Yi et al. 2025: THEORY.md statement 123.
    """
    half = positive("radius", radius) ** 2 / (2 * variance(noise))
    few = half < 1e-8
    plain = np.where(few, 1.0, half)
    return np.asarray(np.where(few, half / 1.5, gammainc(1.5, plain) / gammainc(0.5, plain)))


def ols_region(distance: Num, noise: float, radius: float, generations: int) -> Floats:
    r"""How far least squares on infinitely many kept rows is from the verifier's centre.

    Rows x ~ N(0, I), y = <w_{i-1}, x> + sigma eta are kept if |y - <c, x>| <= r. With D = |w - c|,
    tau^2 = D^2 + sigma^2 and kappa of r/tau, D_i = D_{i-1} kappa tau^2/(sigma^2 + kappa D^2); the
    direction stays. The factor is below 1, and goes to `region_factor`: the limit is c.

    Args:
        distance: |w_0 - c| >= 0, of any shape.
        radius: r > 0.
    Returns: D_i, [G+1, ...].
    Source: derived here, setting of Yi et al. 2025: THEORY.md statement 123.
    """
    r, square = one("radius", positive("radius", radius)), variance(noise)
    path = [real("distance", distance, 0.0, 1e150)]
    for _ in range(last_generation(generations)):
        total = path[-1] ** 2 + square
        kappa = region_factor(r / total**0.5, 1.0)
        path.append(path[-1] * kappa * total / (square + kappa * path[-1] ** 2))
    return np.array(path)


def region_path(
    samples: int, n_syn: int, dim: int, noise: float, radius: float, away: float, generations: int
) -> Floats:
    r"""E |theta_i - theta|^2 of least squares or a mean, to first order in 1/n, |c - theta|^2.

    (1 - kappa^i)^2 |c - theta|^2 + d sigma^2 [kappa^{2i}/n + kappa (1 - kappa^{2i})/(Z m
    (1 - kappa^2))], Z = P(|N(0, 1)| <= r/sigma): what a verifier gains in variance, and its bias.

    Args:
        radius: r > 0.
        away: |c - theta|, of the order n^{-1/2}.
    Returns: [G+1].
    Source: derived here, setting of Yi et al. 2025: THEORY.md statement 124.
    """
    n, m, d = rows("samples", samples), rows("n_syn", n_syn), rows("dim", dim)
    r, square = one("radius", positive("radius", radius)), variance(noise)
    kappa, kept = float(region_factor(r, noise)), gammainc(0.5, r**2 / (2 * square))
    off = one("away", real("away", away, 0.0, 1e150))
    part = kappa ** np.arange(last_generation(generations) + 1.0)
    own = part**2 / n + kappa * (1 - part**2) / (kept * m * (1 - kappa**2))
    return np.asarray((1 - part) ** 2 * off**2 + d * square * own)


def mean_region(samples: int, n_syn: int, noise: float, radius: float, away: float) -> Floats:
    r"""E (theta_i - theta)^2 of generations 0 and 1 of a Gaussian mean; those within r of c kept.

    Given theta_0 the k kept rows are of N(theta_0, sigma^2) within r of c, of mean T and variance
    v: E (T - theta)^2 + E v/k, k ~ Bin(m, Z) at least 1.

    Args:
        radius: r > 0.
        away: |c - theta|.
    Returns: [2]; nan of generation 1 where fewer than one loop in a thousand keeps any row.
    Source: derived here, setting of Yi et al. 2025: THEORY.md statement 124.
    """
    n, m, square = rows("samples", samples), rows("n_syn", n_syn), variance(noise)
    r, off = one("radius", positive("radius", radius)), one("away", real("away", away, 0.0, 1e150))
    nodes, weights = roots_hermitenorm(60)
    first = nodes * (square / n) ** 0.5
    low, high = (off - r - first) / noise, (off + r - first) / noise
    left, right = (np.exp(-(end**2) / 2) / (2 * np.pi) ** 0.5 for end in (low, high))
    inside = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    inside = np.maximum(inside, np.finfo(float).tiny)
    apart = (left - right) / inside
    spread = 1 + (low * left - high * right) / inside - apart**2
    counts = np.arange(1, m + 1)
    chances = _chances(counts, m, inside[:, None])
    some, inverse = chances.sum(1), (chances / counts).sum(1)
    error = (first + noise * apart) ** 2 * some + square * spread * inverse
    seldom = weights @ some <= 1e-3 * weights.sum()
    later = np.nan if seldom else (weights @ error) / (weights @ some)
    return np.array([square / n, later])


def oracle_wrong(
    wrong: Num, kept_right: float, kept_wrong: float, generations: int, alpha: float = 0.0
) -> Floats:
    r"""The share of wrong rows of infinitely many, an oracle between generations.

    x_i = alpha p + (1 - alpha) x psi/(x psi + (1 - x) phi), x = x_{i-1}: for alpha = 0 the odds are
    (psi/phi)^i those of p. What is kept is mostly right if and only if x psi < (1 - x) phi.

    Args:
        wrong: p in [0, 1], of any shape.
        kept_right: phi in (0, 1], the chance that what is right is kept.
        kept_wrong: psi in [0, 1], that of what is wrong.
    Returns: x_i, [G+1, ...].
    Source: derived here, setting of Feng et al. 2024: THEORY.md statement 125.
    """
    p, phi, psi = share("wrong", wrong), *_oracle(kept_right, kept_wrong)
    a, path = one("alpha", share("alpha", alpha)), [p]
    for _ in range(last_generation(generations)):
        made = path[-1] * psi
        some = made + (1 - path[-1]) * phi
        path.append(a * p + (1 - a) * np.where(some > 0, made / np.where(some > 0, some, 1), 1.0))
    return np.array(path)


def _oracle(kept_right: float, kept_wrong: float) -> tuple[float, float]:
    phi = one("kept_right", real("kept_right", kept_right, 0.0, 1.0, open_low=True))
    return phi, one("kept_wrong", share("kept_wrong", kept_wrong))


def oracle_fit(
    wrong: float, samples: int, n_syn: int, kept_right: float, kept_wrong: float
) -> OracleFit:
    r"""Generation 1 on kept rows alone, of the law that n real rows with wrong ones gave.

    With x = Bin(n, p)/n and q = x psi/(x psi + (1-x) phi), k ~ Bin(m, x psi + (1-x) phi) rows are
    kept and k theta_1 ~ Bin(k, q) of them are wrong; k >= 1.

    Args:
        wrong: p in [0, 1].
        kept_right: phi in (0, 1].
        kept_wrong: psi in [0, 1].
    Returns: OracleFit. As n and m grow, learned goes to 1 if p psi < (1 - p) phi, to 0 if above.
    Source: derived here, setting of Feng et al. 2024: THEORY.md statement 125.
    """
    p, n, m = one("wrong", share("wrong", wrong)), rows("samples", samples), rows("n_syn", n_syn)
    phi, psi = _oracle(kept_right, kept_wrong)
    x = np.arange(n + 1) / n
    some = x * psi + (1 - x) * phi
    q = np.where(some > 0, x * psi / np.where(some > 0, some, 1), 0.0)[:, None]
    counts = np.arange(1, m + 1)
    chances = _chances(np.arange(n + 1), n, p)[:, None] * _chances(counts, m, some[:, None])
    if not chances.sum() > 0:
        raise ValueError(
            f"kept_wrong = {psi:g} is outside the admissible range: above 0 where wrong = {p:g}, "
            "or nothing is kept"
        )
    chances = chances / chances.sum()
    error = (q - p) ** 2 + q * (1 - q) / counts
    most = bdtr((counts + 1) // 2 - 1, counts, q)
    return OracleFit(*(float((chances * part).sum()) for part in (q, error, most)))


def law_part(law: Num, seen: Num, alphas: Num) -> Floats:
    r"""E theta_i of a law on symbols whose verifier sees some of them and drops the others.

    alpha_i p + (1 - alpha_i) p(. | seen) in generation i >= 1, up to the chance that no real row is
    seen, or none is kept, which matters for few rows beside real ones alone. What is not seen keeps
    the share alpha_i of its mass. Kept rows of all generations, alpha_i = 1/(1 + i lam), lose it as
    a power of i; without real rows it is lost at once.

    Args:
        seen: which symbols are, [K], zeros and ones.
        alphas: real shares of generations 1..G, [G].
    Returns: [G+1, K].
    Source: derived here, THEORY.md statement 129.
    """
    p, known = _law(law), numbers("seen", seen)
    fine = known.shape == p.shape and np.isin(known, (0, 1)).all() and known @ p > 0
    if not fine:
        raise ValueError(
            f"seen = {seen!r} is outside the admissible range: a zero or one for each of {len(p)} "
            "symbols, one of a positive share among them"
        )
    shares = np.concatenate([[1.0], np.atleast_1d(share("alphas", alphas))])[:, None]
    return np.asarray(shares * p + (1 - shares) * known * p / (known @ p))


def law_surest(law: Num, rate: float, generations: int, alpha: float = 0.0) -> Floats:
    r"""A law on symbols of which each generation keeps the share q that it calls most likely.

    K_q(p) is p cut at mass q from the most likely symbol on, over q; equal symbols are cut alike.
    p_i = alpha p + (1 - alpha) K_q(p_{i-1}) of infinitely many rows: for alpha = 0 and no two equal
    symbols p_i = K_{q^i}(p), which is the most likely symbol alone from ln max p/ln q on.

    Args:
        rate: q in (0, 1].
    Returns: p_i, [G+1, K].
    Source: derived here, setting of Fu, Wang, Chen, Shen and Tao 2025: THEORY.md statement 126.
    """
    p, q, w = _law(law), _rate(rate), one("alpha", share("alpha", alpha))
    path = [p]
    for _ in range(last_generation(generations)):
        values, group = np.unique(-path[-1], return_inverse=True)
        mass = -values * np.bincount(group)
        kept = np.clip(q - (np.cumsum(mass) - mass), 0, mass) / np.where(mass > 0, mass, 1)
        path.append(w * p + (1 - w) * path[-1] * kept[group] / q)
    return np.array(path)


def surest_moment(n_syn: int, kept: int, labels: int = 1) -> float:
    r"""The mean square of the k of m standard normal numbers, or vectors, that are nearest to 0.

    (m/k) E[|eps|^2/N P(Bin(m - 1, P(|eta| < |eps|)) < k)], eps of N coordinates; for one of them
    `region_factor` at P(|eps| <= z) = k/m as m grows.

    Args:
        kept: k in 1..m.
        labels: N, coordinates.
    Returns: the number, in (0, 1].
    Source: derived here, THEORY.md statement 127; of vectors: statement 156.
    """
    m = rows("n_syn", n_syn)
    k = rows("kept", kept, 1)
    if k > m:
        raise ValueError(f"kept = {kept} is outside the admissible range: at most n_syn = {m}")
    if k == m:
        return 1.0
    # The chance is 1 below `low` and 0 above `high`.
    half = rows("labels", labels) / 2
    low = gammaincinv(half, betaincinv(k, m - k, TAIL))
    high = gammainccinv(half, betaincinv(m - k, k, TAIL))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    below = np.sqrt(2 * low) + (nodes + 1) / 2 * (np.sqrt(2 * high) - np.sqrt(2 * low))
    logs = (2 * half + 1) * np.log(below) - below**2 / 2 - gammaln(half) - (half - 1) * np.log(2)
    density = np.exp(logs) / (2 * half)
    chance = betainc(k, m - k, gammainc(half, below**2 / 2))
    between = (np.sqrt(2 * high) - np.sqrt(2 * low)) / 2 * (weights @ (density * (1 - chance)))
    return float(m / k * (gammainc(half + 1, low) + between))


def mean_variance_surest(
    mixing: Mixing, noise: float, rate: float, unbiased: bool = False, bias: float = 1.0
) -> MeanVariance:
    r"""Mean and variance of a normal law, fitted to real rows and the surest synthetic ones.

    Of m rows the k = round(q m), at least one, nearest to mu_{i-1} are kept. With M their mean
    square for N(0, 1), `surest_moment`, g = s E v_{i-1}, A_i = E mu_i^2 and u = 1 - w, real rows
    kept: A_i - sigma^2/n = u^2 (A_{i-1} - sigma^2/n + M g/k), E v_i = c [w sigma^2 (1 - 1/n) +
    u (1 - 1/k) M g + w u (A_{i-1} - sigma^2/n + M g/k)]; new ones: as in `mean_variance_biased`.
    Without real rows E v_i = ((1 - 1/k) M)^i E v_0: collapse at a geometric rate.

    Args:
        mixing: of the last generation's rows, not of all.
        rate: q in (0, 1].
        unbiased: variances are multiplied by c = N/(N - 1), N the rows with a weight.
        bias: s in (0, 1].
    Returns: MeanVariance, [G+1] each.
    Source: derived here, setting of Fu, Wang, Chen, Shen and Tao 2025: THEORY.md statement 127.
    """
    if mixing.history or mixing.drawn:
        raise ValueError(f"mixing = {mixing!r} must be of the rows of the last generation alone")
    n, m, square, s = mixing.samples, mixing.n_syn, variance(noise), sampling_bias(bias)
    k = _kept(rate, m)
    if flag("unbiased", unbiased) and n < 2:
        raise ValueError(f"samples = {n} is outside the admissible range: at least 2 if unbiased")
    moment, known, own = surest_moment(m, k), square / n, (1 - 1 / n) * square
    error, fitted = [known], [own * n / (n - 1) if flag("unbiased", unbiased) else own]
    for w in mixing.shares[1:]:
        u, made = 1 - w, s * moment * fitted[-1]
        apart = error[-1] + (known if mixing.fresh else -known) + made / k
        still = w**2 * known + u**2 * (error[-1] + made / k)
        error.append(still if mixing.fresh else known + u**2 * apart)
        total = n * (w > 0) + k * (w < 1)
        scale = total / (total - 1) if unbiased else 1.0
        fitted.append(scale * (w * own + u * (1 - 1 / k) * made + w * u * apart))
    return MeanVariance(np.array(error), np.array(fitted))


def variance_surest(alpha: Num, noise: float, rate: float, generation: float = np.inf) -> Floats:
    r"""v_i of a normal law fitted to infinitely many rows, of which the surest share q is kept.

    With kappa of the central mass q (`region_factor`), v_i = alpha sigma^2 + (1 - alpha) kappa
    v_{i-1}: alpha sigma^2/(1 - (1 - alpha) kappa) in the limit, 0 without real rows.

    Args:
        alpha: real share, of any shape.
        rate: q in (0, 1].
        generation: i, or inf.
    Returns: v_i in the shape of ``alpha``.
    Source: derived here, setting of Fu, Wang, Chen, Shen and Tao 2025: THEORY.md statement 128.
    """
    a, square, q = share("alpha", alpha), variance(noise), _rate(rate)
    i = one("generation", generation_index("generation", generation))
    kappa = 1.0 if q == 1 else float(gammainc(1.5, gammaincinv(0.5, q)) / q)
    fade = (1 - a) * kappa
    limit = np.where(fade < 1, a / np.where(fade < 1, 1 - fade, 1), 1.0)
    part = fade**i if i < np.inf else 1.0 * (fade == 1)
    return np.asarray(square * (limit + (1 - limit) * part))


def task_variance_surest(
    prior_scale: float,
    dim: int,
    repeats: int,
    noise: float,
    n_syn: int,
    rate: float,
    generations: int,
    weight: float = 0.0,
) -> Floats:
    r"""Task variance fitted in a loop that keeps the prompts that its own model calls likeliest.

    V_i + s = w (tau^2 + s) + (1 - w) M (V_{i-1} + s): s = sigma^2/(n d) is what noise adds to the
    variance of a least-squares task, M = `surest_moment` of n d labels. Without real prompts it
    falls below 0, where a fit is cut off; beside them it goes to w (tau^2 + s)/(1 - (1 - w) M) - s.

    Args:
        dim: d.
        repeats: n.
        n_syn: m, prompts of a generation, of which round(q m), at least one, are kept.
        rate: q in (0, 1].
        weight: w in [0, 1], share of real prompts.
    Returns: E V_i of the prompts that generation i is fitted to, [G+1].
    Assumes: The learner is empirical Bayes in the orthogonal design, it writes with predictive
        deviations, and no fit is cut off.
    Source: derived here, setting of Fu, Wang, Chen, Shen and Tao 2025: THEORY.md statement 156.
    """
    d, n, m = rows("dim", dim), rows("repeats", repeats), rows("n_syn", n_syn)
    added = variance(noise) / (n * d)
    whole = float(positive("prior_scale", prior_scale)) ** 2 + added
    w = float(share("weight", weight))
    factor = (1 - w) * surest_moment(m, _kept(rate, m), n * d)
    path = [whole]
    for _ in range(last_generation(generations)):
        path.append(w * whole + factor * path[-1])
    return np.array(path) - added
