"""How far generated rows are from real ones, from the rows alone, whatever generated them.

==================  ==============================================================  =============
``tv_lower``        a lower bound on the total variation between the two laws       **certified**
``one_step``        the same between a generation and the law it was trained on     **certified**
``energy``          energy distance, which sees every difference of two laws        measured
``compare``         all that is below, with intervals and p-values                  measured
==================  ==============================================================  =============

Certified needs nothing of the laws, but that the rows of each sample are independent draws of one
law: real rows that the model was trained on are none, only rows that were held out. Measured
values have errors that are about normal.

Rows are arrays `[n, c]` of finite numbers, one column a quantity (a flat array is one column).
Pairwise distances are Euclidean, with each column divided by its deviation among the real rows. Of
more than `PAIRED` rows of a sample, `MOST` for the total variation, as many are drawn without
replacement, by the seed. Needs NumPy and SciPy alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icl_stl.bounds._check import numbers, probability, share
from icl_stl.config import require
from icl_stl.intervals import binomial_interval
from icl_stl.lazily import stats

Floats = NDArray[np.float64]
Report = Callable[[str, int, int], None]

PAIRED, MOST = 2_000, 10_000
"""Rows of each sample, at most: where all pairs are looked at, and for classifiers."""
FEWEST = 8
"""Rows of each sample, at least."""
PERMUTATIONS, COLUMN_PERMUTATIONS = 499, 99
"""Of the rows, for a p-value: for all columns together, and for each."""
NEIGHBOURS = 5
"""The ball around a row reaches to this neighbour in its own sample: precision, coverage."""
CROSSED = 20
"""Columns up to which the quadratic classifier has their products; with more, their squares."""


def rows_of(name: str, rows: ArrayLike) -> Floats:
    """Rows as float64 `[n, c]`, or a `ValueError` that names them."""
    try:
        array = numbers(name, rows)
    except ValueError:
        raise ValueError(f"{name} must be rows of numbers, but it is {rows!r:.60}") from None
    array = array[:, None] if array.ndim == 1 else array
    fine = array.ndim == 2 and array.shape[1] > 0
    require(fine, f"the shape of {name}", array.shape, "rows and columns")
    require(len(array) >= FEWEST, f"rows of {name}", len(array), f"at least {FEWEST}")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        value = float(array[row, column])
        raise ValueError(f"{name}[{row}, {column}] must be a finite number, but it is {value}")
    return array


def _both(real: ArrayLike, generated: ArrayLike) -> tuple[Floats, Floats]:
    first, second = rows_of("real", real), rows_of("generated", generated)
    c = first.shape[1]
    require(second.shape[1] == c, "columns of generated", second.shape[1], f"{c}, as those of real")
    return first, second


def _some(rows: Floats, most: int, rng: np.random.Generator) -> Floats:
    """The rows, in an order by chance; at most so many."""
    return rows[rng.permutation(len(rows))[:most]]


# --- total variation -----------------------------------------------------------------------------


class TvLower(NamedTuple):
    """A lower bound on a total variation."""

    value: float
    """2 a - 1, a the held-out accuracy of the best classifier: an estimate of the bound without a
    level, somewhat above it since the best is chosen by it."""
    low: float
    """The total variation is at least this, except with chance 1 - level."""
    level: float
    classifier: str
    """Which of the classifiers decided."""


def tv_lower(
    real: ArrayLike, generated: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> TvLower:
    """TV(P, Q) >= 2 L - 1 with L the Clopper-Pearson limit of a classifier's held-out accuracy.

    Both samples are cut to the same number of rows, at most `MOST`. A third of them trains, k rows
    of each are classified. A classifier that says "generated" on a set A is right with the mean
    chance (P(not A) + Q(A))/2 <= (1 + TV)/2, in 2 k independent trials; L is their limit at a fifth
    of 1 - level, for there are five: the nearest neighbour among N training rows (which sees
    copies), the majorities of about N^(1/3) and sqrt(N), and logistic regression on columns and on
    their products. Two of the first are one for few rows: the level is shared by those there are.

    Assumes: rows are independent draws of P and of Q.
    Source: derived here, THEORY.md statement 93; the limit: Clopper and Pearson (1934), for trials
        of unequal chances by Hoeffding (1956).
    """
    first, second = _both(real, generated)
    missing = 1 - float(probability("level", level))
    rng = np.random.default_rng(seed)
    count = min(len(first), len(second), MOST)
    samples = [_some(rows, count, rng) for rows in (first, second)]
    third = count // 3
    train = np.concatenate([rows[:third] for rows in samples])
    test = np.concatenate([rows[third:] for rows in samples])
    is_generated = np.repeat([False, True], count - third)
    said = _predictions(train, np.repeat([False, True], third), test)
    right = {name: guess == is_generated for name, guess in said.items()}
    best = max(right, key=lambda name: int(right[name].sum()))
    low, _ = binomial_interval(right[best], missing / len(right))
    accuracy = float(right[best].mean())
    return TvLower(max(2 * accuracy - 1, 0.0), max(2 * low - 1, 0.0), 1 - missing, best)


def one_step(
    held_out: ArrayLike,
    previous: ArrayLike,
    generated: ArrayLike,
    real_share: float,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> TvLower:
    """The one-step error at least: TV between a generation and the law that it was trained on.

    That law is `real_share` times the real one and the rest the generation's before: a row of it is
    a held-out row with that chance, else one of `previous`, rows that no generation was trained on.
    Which rows are real is drawn anew for other rows: drawn by the seed alone, their share would be
    off by as much in every set of so many rows, and the level would not be kept.
    """
    first, second = _both(held_out, previous)
    rows = crc32(first.tobytes()), crc32(second.tobytes())
    chance, rng = float(share("real_share", real_share)), np.random.default_rng([seed, *rows])
    count = min(len(first), len(second))
    is_real = rng.random(count) < chance
    law = np.where(is_real[:, None], _some(first, count, rng), _some(second, count, rng))
    return tv_lower(law, generated, level=level, seed=seed)


def _predictions(train: Floats, labels: NDArray[np.bool_], test: Floats) -> dict[str, Any]:
    """Whether each row of a test set is generated, by each classifier."""
    from scipy.spatial import cKDTree  # noqa: PLC0415  (descriptions need not wait)

    centre, spread = train.mean(0), _spread(train)
    train, test = (np.clip((rows - centre) / spread, -5, 5) for rows in (train, test))
    odd = [2 * int(len(train) ** power / 2) + 1 for power in (0, 1 / 3, 1 / 2)]
    _, found = cKDTree(train).query(test, k=range(1, odd[-1] + 1))
    said = {f"{k} nearest": labels[found[:, :k]].mean(1) > 0.5 for k in odd}
    for name, features in (("linear", lambda z: z), ("quadratic", _with_products)):
        weights = _logistic(_with_one(features(train)), labels)
        said[name] = _with_one(features(test)) @ weights > 0
    return said


def _spread(rows: Floats) -> Floats:
    """Deviations of columns; 1 where there is none."""
    spread = rows.std(0)
    return np.where(spread > 1e-12 * np.abs(rows).max(0), spread, 1.0)


def _with_one(z: Floats) -> Floats:
    return np.column_stack([z, np.ones(len(z))])


def _with_products(z: Floats) -> Floats:
    columns = z.shape[1]
    i, j = np.triu_indices(columns) if columns <= CROSSED else 2 * (np.arange(columns),)
    return np.column_stack([z, z[:, i] * z[:, j]])


def _logistic(features: Floats, labels: NDArray[np.bool_]) -> Floats:
    """Weights of a logistic regression, with half their squared length as a penalty."""
    from scipy.optimize import minimize  # noqa: PLC0415
    from scipy.special import expit  # noqa: PLC0415

    signed = features * np.where(labels, 1.0, -1.0)[:, None]

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = signed @ weights
        value = np.logaddexp(0, -margin).sum() + weights @ weights / 2
        return float(value), weights - expit(-margin) @ signed

    start = np.zeros(features.shape[1])
    options = {"maxiter": 100}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    weights: Floats = found.x
    return weights


# --- distances by pairs --------------------------------------------------------------------------


class Estimate(NamedTuple):
    """A distance, unbiased, so that it may be slightly below 0, and its standard error."""

    value: float
    stderr: float


def energy(real: ArrayLike, generated: ArrayLike, *, seed: int = 0) -> float:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased; X real, Y generated.

    In deviations of the real columns; 0 for equal laws alone. In one column it is
    `scipy.stats.energy_distance` squared, but for its bias.
    Source: published (Székely and Rizzo 2013).
    """
    return energy_estimate(real, generated, seed=seed).value


def energy_estimate(real: ArrayLike, generated: ArrayLike, *, seed: int = 0) -> Estimate:
    """`energy` with its standard error."""
    distances, n = _distances(*_both(real, generated), np.random.default_rng(seed))
    return _estimate(-distances, n)


def _distances(real: Floats, generated: Floats, rng: np.random.Generator) -> tuple[Floats, int]:
    """Distances of all pairs of rows, real ones first, and how many of these there are."""
    from scipy.spatial.distance import cdist  # noqa: PLC0415

    scale = _spread(real)
    first, second = _some(real, PAIRED, rng), _some(generated, PAIRED, rng)
    pooled = np.concatenate([first, second]) / scale
    distances: Floats = cdist(pooled, pooled)
    return distances, len(first)


def _estimate(kernel: Floats, n: int) -> Estimate:
    """E k(X, X') + E k(Y, Y') - 2 E k(X, Y), the first n rows X, the m others Y.

    The variance of such a statistic has a part of single rows, 4 (Var a/n + Var b/m) with
    a(x) = E k(x, X') - E k(x, Y), and one of pairs, v = 2 (1/n + 1/m)² E k̃², k̃ the kernel with rows
    and columns centred, which alone is left where the laws are equal. Means over the rows at hand
    in place of E in a and b add 2 v to the first: v is taken from it, and the whole is at least v.
    Source: published (Hoeffding 1948; Gretton et al. 2012); derived here: the correction by 2 v.
    """
    m = len(kernel) - n
    own = kernel.diagonal()
    of_real, of_generated = kernel[:, :n].sum(1), kernel[:, n:].sum(1)
    a = (of_real - own)[:n] / (n - 1) - of_generated[:n] / m
    b = (of_generated - own)[n:] / (m - 1) - of_real[n:] / n
    means = kernel.mean(1)
    centred = np.vdot(kernel, kernel) / kernel.size - 2 * np.mean(means**2) + means.mean() ** 2
    pairs = 2 * (1 / n + 1 / m) ** 2 * centred
    variance = 4 * (a.var(ddof=1) / n + b.var(ddof=1) / m) - pairs
    return Estimate(float(a.mean() + b.mean()), float(np.sqrt(max(variance, pairs))))


class Distance(NamedTuple):
    """A measured distance."""

    value: float
    low: float
    """Ends of the interval, by the normal law, cut at 0."""
    high: float
    p: float
    """P-value against equal laws, by `PERMUTATIONS` of the rows: the least is 0.002."""


def _distance(kernel: Floats, n: int, level: float, rng: np.random.Generator) -> Distance:
    value, stderr = _estimate(kernel, n)
    half = float(stats.norm.isf((1 - level) / 2)) * stderr
    total, m = len(kernel), len(kernel) - n
    chosen = np.zeros((total, PERMUTATIONS + 1))
    chosen[:n, 0] = 1
    for column in chosen.T[1:]:
        column[rng.permutation(total)[:n]] = 1
    zeroed = kernel - np.diag(kernel.diagonal())
    within = np.einsum("ib,ib->b", zeroed @ chosen, chosen)
    across = zeroed.sum(1) @ chosen - within
    others = zeroed.sum() - within - 2 * across
    shuffled = within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)
    return Distance(value, max(value - half, 0.0), max(value + half, 0.0), _p_value(shuffled))


def _p_value(statistics: Floats) -> float:
    """How rare the first statistic is among those of permutations, which follow it."""
    rounding = 1e-12 * float(np.abs(statistics).max())
    return float(np.mean(statistics >= statistics[0] - rounding))


class W1(NamedTuple):
    """1-Wasserstein distance of one column, in its own units."""

    value: float
    """Of the samples, as in `scipy.stats.wasserstein_distance`: above 0 for equal laws too."""
    deviations: float
    """The same in deviations of the real column."""
    p: float
    """P-value against equal laws of this column, by permutations: the least is 0.01."""


def _w1(first: Floats, second: Floats, rng: np.random.Generator) -> W1:
    n, m = len(first), len(second)
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")
    gaps = np.diff(pooled[order])
    weights = np.repeat([1 / n, -1 / m], [n, m])
    orders = [order, *(rng.permutation(n + m) for _ in range(COLUMN_PERMUTATIONS))]
    found = np.array([np.abs(np.cumsum(weights[one])[:-1]) @ gaps for one in orders])
    deviation = float(_spread(first[:, None])[0])
    return W1(float(found[0]), float(found[0]) / deviation, _p_value(found))


class Comparison(NamedTuple):
    """All distances between real and generated rows; certified is `tv_lower` alone."""

    tv_lower: TvLower
    energy: Distance
    mmd: Distance
    """Squared maximum mean discrepancy, E k(X, X') + E k(Y, Y') - 2 E k(X, Y), in [0, 2];
    k = exp(-|x - y|²/(2 h²)), h the median distance."""
    w1: dict[str, W1]
    """By column."""
    precision: float
    """Share of generated rows within the ball of a real row: are they plausible?"""
    coverage: float
    """Share of real rows whose ball has a generated row: is all of the real law there?"""
    rows: dict[str, int]
    """Rows that were compared by pairs: `real`, `generated`."""


def compare(
    real: ArrayLike,
    generated: ArrayLike,
    columns: tuple[str, ...] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    report: Report = lambda text, done, total: None,
) -> Comparison:
    """All distances.

    Args:
        columns: Names of the columns; 0, 1, ... if not given.
        level: Of the bound and of each interval, each by itself.
        report: Called with what is finished.
    Source: published: Gretton et al. (2012), Kynkäänniemi et al. (2019), precision, and Naeem et
        al. (2020), coverage.
    """
    first, second = _both(real, generated)
    names = columns or tuple(map(str, range(first.shape[1])))
    require(len(names) == first.shape[1], "columns", names, f"{first.shape[1]} names")
    bound = tv_lower(first, second, level=level, seed=seed)
    report("total variation", 1, 4)
    rng = np.random.default_rng(seed)
    distances, n = _distances(first, second, rng)
    by_energy = _distance(-distances, n, level, rng)
    report("energy", 2, 4)
    width = float(np.median(distances[np.triu_indices(len(distances), 1)])) or 1.0
    by_kernel = _distance(np.exp(-((distances / width) ** 2) / 2), n, level, rng)
    report("MMD", 3, 4)
    balls = np.sort(distances[:n, :n], axis=1)[:, NEIGHBOURS]
    inside = distances[:n, n:] <= balls[:, None]
    a, b = _some(first, PAIRED, rng), _some(second, PAIRED, rng)
    w1 = {name: _w1(a[:, i], b[:, i], rng) for i, name in enumerate(names)}
    report("columns", 4, 4)
    count = {"real": n, "generated": len(distances) - n}
    shares = float(inside.any(0).mean()), float(inside.any(1).mean())
    return Comparison(bound, by_energy, by_kernel, w1, *shares, count)
