"""Loops of a normal law that is sampled with bias: rows are drawn from N(mu, s v), s <= 1.

Mean and variance are fitted to n = ``samples`` real rows and m = ``n_syn`` rows of the generation
before; real rows are N(0, sigma^2), kept or new in every generation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

from icl_stl.bounds._check import flag, numbers, share
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, real_weight, rows, sampling_bias, variance
from icl_stl.references.discrete import _law
from icl_stl.references.gaussian import MeanVariance
from icl_stl.references.moments import Mixing, mean_variance_mixed

SHOWN = 4000
"""Amounts of synthetic rows that are looked at together for the best, or the most admissible."""


class SquaredW2(NamedTuple):
    """E W2^2 of the fitted law N(mu_i, v_i) from the real one, between two certain bounds."""

    low: Floats
    """E mu_i^2 + (sigma - sqrt(E v_i))^2, at most E W2^2."""
    value: Floats
    """The same and sigma Var(v_i)/(4 (E v_i)^{3/2}): to second order in v_i - E v_i."""
    high: Floats
    """The same with four times that last term, at least E W2^2."""


class Admissible(NamedTuple):
    """How many synthetic rows a generation improve or harm the limit of E W2^2."""

    best: int
    """n_syn of the least E W2^2, to second order."""
    most: int
    """Largest n_syn that does not harm, to second order; 0 where one synthetic row does."""
    harmful: int
    """From this n_syn on E W2^2 is certainly above that of the real rows alone."""


def _numbers(samples: int, n_syn: int, noise: float, bias: float) -> tuple[int, int, float, float]:
    """n, m, sigma^2, s."""
    return rows("samples", samples), rows("n_syn", n_syn), variance(noise), sampling_bias(bias)


def _factors(n: int, m: int, w: float, *, unbiased: bool) -> tuple[float, float]:
    """What the variances of generation 0 and of the later ones are multiplied by."""
    total = m if w == 0 else n if w == 1 else n + m
    if not flag("unbiased", unbiased):
        return 1.0, 1.0
    if min(n, total) < 2:
        name, value = ("samples", n) if n < 2 else ("n_syn", m)
        raise ValueError(
            f"{name} = {value} is outside the admissible range: at least 2 if unbiased"
        )
    return n / (n - 1), total / (total - 1)


def mean_variance_biased(
    samples: int,
    n_syn: int,
    noise: float,
    generations: int,
    bias: float,
    weight: float | None = None,
    *,
    fresh: bool = True,
    unbiased: bool = False,
) -> MeanVariance:
    r"""Mean and variance fitted in a loop that is sampled with bias s.

    With q_i = s e_{i-1}/n_syn, M_i = E mu_i^2, e_i = E v_i and u = 1 - w, new real rows:
    M_i = w^2 sigma^2/n + u^2 (M_{i-1} + q_i),
    e_i = c [w sigma^2 (1-1/n) + u s (1-1/n_syn) e_{i-1} + w u (sigma^2/n + M_{i-1} + q_i)]; kept
    ones: the same for M_i - sigma^2/n in place of M_i, sigma^2/n itself left out. c = N/(N-1) if
    unbiased, N the rows with a weight, else 1. With w = 0 and unbiased e_i = s^i sigma^2.

    Args:
        bias: s in (0, 1], the variance of generated rows over that of the fit.
        weight: w in [0, 1]; n/(n + n_syn) by default. 0 is the fully synthetic loop.
        fresh: new real rows in every generation; else the same.
        unbiased: sums of squares are divided by N - 1 if all rows count alike, else by N.
    Returns: MeanVariance, [G+1] each.
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statement 116.
    """
    n, m, _, s = _numbers(samples, n_syn, noise, bias)
    w, last = real_weight(weight, n, m), last_generation(generations)
    shares = np.array([1.0] + [w] * last)
    return mean_variance_mixed(Mixing(shares, n, m, fresh=flag("fresh", fresh)), noise, unbiased, s)


def mean_variance_biased_limit(
    samples: int, n_syn: int, noise: float, bias: float, *, fresh: bool = True
) -> MeanVariance:
    r"""Limit of `mean_variance_biased` where every row counts alike and the fit is unbiased.

    New real rows, n = n_r + n_s rows, k = 1 + n_s/((n-1)(n+n_s)):
    e = (k n_r sigma^2/n)/(1 - k s n_s/n), M = (n_r sigma^2 + n_s s e)/(n^2 - n_s^2). Kept ones:
    e = (n_r - 1) sigma^2/(n - 1 - s (n_s - 1) - s n_r (1 + a)/n), M = sigma^2/n_r + s a e/n_s,
    a = n_s^2/(n^2 - n_s^2).

    Args:
        fresh: whether every generation has new real rows; else the first ones are kept.
    Returns: MeanVariance of scalars.
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statement 116.
    """
    n, m, square, s = _numbers(samples, n_syn, noise, bias)
    total = n + m
    if flag("fresh", fresh):
        k = 1 + m / ((total - 1) * (total + m))
        fitted = k * n * square / (total - k * s * m)
        error = (n * square + m * s * fitted) / (n * (total + m))
    else:
        more = m**2 / (n * (total + m))
        fitted = (n - 1) * square / (total - 1 - s * (m - 1) - s * n * (1 + more) / total)
        error = square / n + s * more * fitted / m
    return MeanVariance(np.asarray(error), np.asarray(fitted))


def _step(moments: Floats, n: int, m: Floats, s: float, w: Floats, factor: Floats) -> Floats:
    """Moments of (1, mu^2, v) times itself, `[3, 3, K]`, one generation on; sigma = 1.

    Everything is a sum of products of forms a_0 + a_1 mu^2 + a_2 v of the generation before.
    """
    one, square, own = (np.eye(3)[k][:, None] * np.ones_like(w) for k in range(3))
    u, p, q = 1 - w, one / n, s / m * own

    def mean(a: Floats, b: Floats) -> Floats:
        return np.asarray(np.einsum("ik,ijk,jk->k", a, moments, b))

    g, h, c = w**2 * p + u**2 * q, p + q, u * q - w * p
    within = w * (1 - 1 / n) * one + u * (1 - 1 / m) * s * own
    apart, moved = square + h, u**2 * square + g
    both = mean(moved, apart) + 2 * mean(c, c) + 4 * u * mean(square, c)
    found = np.zeros_like(moments)
    found[0, 0] = 1
    found[0, 1] = mean(one, moved)
    found[0, 2] = factor * mean(one, within + w * u * apart)
    found[1, 1] = mean(moved, moved) + 4 * u**2 * mean(square, g) + 2 * mean(g, g)
    found[1, 2] = factor * (mean(within, moved) + w * u * both)
    of_real, of_made = 2 * w**2 * (n - 1) / n**2, 2 * (u * s) ** 2 * (m - 1) / m**2
    fourth = mean(square, square) + 6 * mean(square, h) + 3 * mean(h, h)
    squares = of_real + of_made * mean(own, own) + mean(within, within)
    squares += 2 * w * u * mean(within, apart) + (w * u) ** 2 * fourth
    found[2, 2] = factor**2 * squares
    for i, j in ((0, 1), (0, 2), (1, 2)):
        found[j, i] = found[i, j]
    return found


def _first(n: int, factor: float) -> Floats:
    """The same of one fit to n real rows, `[3, 3, 1]`."""
    fitted = factor * (1 - 1 / n)
    diagonal = 1.0, 3 / n**2, fitted**2 * (1 + 2 / max(n - 1, 1)) if n > 1 else 0.0
    found = np.outer((1, 1 / n, fitted), (1, 1 / n, fitted))
    np.fill_diagonal(found, diagonal)
    return found[..., None]


def _w2(moments: Floats, square: float) -> SquaredW2:
    fitted = np.maximum(moments[0, 2], 0.0)
    root = np.sqrt(fitted)
    low = moments[0, 1] + (1 - root) ** 2
    spread = np.maximum(moments[2, 2] - fitted**2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        more = np.where(fitted > 0, spread / (4 * fitted * root), 0.0)
    high = np.minimum(low + 4 * more, moments[0, 1] + 1 + fitted)
    return SquaredW2(*(square * part for part in (low, np.minimum(low + more, high), high)))


def biased_distance(
    samples: int,
    n_syn: int,
    noise: float,
    generations: int,
    bias: float,
    weight: float | None = None,
    *,
    unbiased: bool = False,
) -> SquaredW2:
    r"""E W2^2 of the fitted from the real law with new real rows, between certain bounds.

    W2^2 = mu_i^2 + (sqrt(v_i) - sigma)^2. E mu_i^2, E v_i and Var v_i are exact, by the recursion
    of E mu_i^4, E mu_i^2 v_i, E v_i^2, which is linear; E sqrt(v_i) lies between
    sqrt(e) (1 - Var(v_i)/(2 e^2)) and sqrt(e), e = E v_i.

    Args:
        bias: s in (0, 1].
        weight: w in [0, 1]; n/(n + n_syn) by default. 0 is the fully synthetic loop.
        unbiased: see `mean_variance_biased`.
    Returns: SquaredW2, [G+1] each; squared unit of the data.
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statement 117.
    """
    n, m, square, s = _numbers(samples, n_syn, noise, bias)
    w, last = real_weight(weight, n, m), last_generation(generations)
    first, factor = _factors(n, m, w, unbiased=unbiased)
    path = [_first(n, first)]
    for _ in range(last):
        path.append(_step(path[-1], n, np.array([m]), s, np.array([w]), np.array([factor])))
    return _w2(np.concatenate(path, axis=2), square)


def biased_distance_limit(samples: int, n_syn: Any, noise: float, bias: float) -> SquaredW2:
    r"""Limit of `biased_distance` where every row counts alike and the fit is unbiased.

    Args:
        samples: n_r, new real rows of a generation, >= 2.
        n_syn: n_s of each loop, one or several; 0 for the real rows alone.
        bias: s in (0, 1].
    Returns: SquaredW2 in the shape of ``n_syn``.
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statement 117.
    """
    n, square, s = rows("samples", samples, 2), variance(noise), sampling_bias(bias)
    counts = np.atleast_1d(numbers("n_syn", n_syn))
    whole = (counts >= 0) & (counts == np.floor(counts))
    rows("n_syn", (counts.max() if whole.all() else counts[~whole][0]).item(), 0)
    m: Floats = np.maximum(counts, 1).astype(np.float64)
    total = n + m
    args = n, m, s, n / total, total / (total - 1)
    places = ((0, 1), (0, 2), (1, 1), (1, 2), (2, 2))

    def moments(values: Any) -> Floats:
        found = np.zeros((3, 3, len(m)))
        found[0, 0] = 1
        for (i, j), value in zip(places, values, strict=True):
            found[i, j] = found[j, i] = value
        return found

    def stepped(values: Floats) -> Floats:
        after = _step(moments(values), *args)
        return np.array([after[i, j] for i, j in places])

    still = stepped(np.zeros((5, len(m))))
    columns = [stepped(np.eye(5)[k][:, None] * np.ones(len(m))) - still for k in range(5)]
    system = np.eye(5)[None] - np.moveaxis(np.array(columns), (0, 1, 2), (2, 1, 0))
    solved = np.linalg.solve(system, still.T[..., None])[..., 0].T
    alone = _first(n, n / (n - 1)) * np.ones(len(m))
    found = _w2(np.where(counts == 0, alone, moments(solved)), square)
    return SquaredW2(*(np.asarray(part.reshape(np.shape(n_syn))) for part in found))


def one_fit_distance(samples: int, noise: float) -> float:
    r"""E W2^2 of one unbiased fit to n real rows, exactly: sigma^2 [1/n + 2 (1 - c_4(n))].

    c_4(n) = sqrt(2/(n-1)) Gamma(n/2)/Gamma((n-1)/2) = E sqrt(v)/sigma.
    Returns: the number, below sigma^2.
    Source: derived here, THEORY.md statement 117.
    """
    n, square = rows("samples", samples, 2), variance(noise)
    root = np.sqrt(2 / (n - 1)) * np.exp(gammaln(n / 2) - gammaln((n - 1) / 2))
    return float(square * (1 / n + 2 * (1 - root)))


def law_powered(law: Num, bias: float, generations: int, weight: float = 0.0) -> Floats:
    r"""A law on symbols drawn with probabilities as p^(1/s), each generation fitted without error.

    p_i = w p + (1 - w) p_{i-1}^{1/s}/sum: for w = 0 every log odds is s^{-i} times that of p, so
    that p_i goes to the uniform law on the likeliest symbols, its entropy falls strictly unless p
    is uniform on those it has, and a symbol that is no likeliest one vanishes.

    Args:
        bias: s in (0, 1].
        weight: w in [0, 1], share of real rows.
    Returns: p_i, [G+1, K].
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statement 119.
    """
    p, s, w = _law(law), sampling_bias(bias), float(share("weight", weight))
    path = [p]
    for _ in range(last_generation(generations)):
        powered = (path[-1] / path[-1].max()) ** (1 / s)
        path.append(w * p + (1 - w) * powered / powered.sum())
    return np.array(path)


def admissible_synthetic(samples: int, bias: float) -> Admissible:
    r"""How many synthetic rows beside n_r new real ones improve, or harm, the limit of E W2^2.

    ``harmful``: the first N with N (1 - k s) >= n_r (k/t - 1), k = 1 + 1/(2 (n_r + N - 1)),
    t = (1 - sqrt(E W2^2 of one fit)/sigma)^2; of every n_s >= N E W2^2 is above that of one fit.
    ``best`` and ``most`` are of `biased_distance_limit`, to second order. For the error of the mean
    alone there is no threshold: it falls in n_s, statement 115.

    Args:
        samples: n_r, new real rows of a generation, >= 2.
        bias: s in (0, 1).
    Returns: Admissible.
    Source: derived here, setting of Alemohammad et al. 2023: THEORY.md statement 118.
    """
    n, s = rows("samples", samples, 2), sampling_bias(bias, below_one=True)
    t = (1 - one_fit_distance(n, 1.0) ** 0.5) ** 2

    def harms(count: int) -> bool:
        k = 1 + 1 / (2 * (n + count - 1))
        return bool(count * (1 - k * s) >= n * (k / t - 1))

    high = 1
    while not harms(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if harms(middle) else (middle, high)

    def value(counts: Any) -> Floats:
        return biased_distance_limit(n, counts, 1.0, s).value

    def found(chosen: Callable[[Floats], Any]) -> int:
        """What is chosen among ever fewer amounts."""
        first, last = 1, high
        while True:
            grid = np.unique(np.round(np.geomspace(first, last, SHOWN)).astype(int))
            grid = np.arange(first, last + 1) if last - first < SHOWN else grid
            at = int(chosen(value(grid)))
            if last - first < SHOWN:
                return int(grid[at])
            first, last = int(grid[max(at - 1, 0)]), int(grid[min(at + 1, len(grid) - 1)])

    alone = float(value(np.array([0]))[0])
    best = found(np.argmin)
    most = found(lambda seen: np.flatnonzero(seen <= alone).max(initial=0))
    most = min(most, high - 1) if value(np.array([most]))[0] <= alone else 0
    return Admissible(best, most, high)
