import itertools

import numpy as np
import pytest
from scipy import stats

from icl_stl.references import bernoulli as exact
from icl_stl.references.bernoulli import BernoulliLoop

LOOPS = [
    BernoulliLoop(2, 3, 0.3),
    BernoulliLoop(3, 2, 0.6, kappa=0.5, error=0.05),
    BernoulliLoop(2, 2, 0.2, kappa=1.7, weight=0.25),
    BernoulliLoop(3, 1, 0.45, kappa=0.8, centre=0.1, weight=0.9),
    BernoulliLoop(2, 3, 0.7, kappa=1.3, replace=True),
]
# Sums of at most 10^5 products of a few float64 factors.
CLOSE = {"rel": 1e-12, "abs": 1e-14}


def log_loss(theta, z):
    return -np.log(0.05 + 0.9 * (theta if z else 1 - theta))


def chance(points, p):
    return p ** sum(points) * (1 - p) ** (len(points) - sum(points))


def fit(loop, real, batch):
    """The learner, written out for lists of points."""
    share = np.mean(real)
    if batch is not None:
        w = loop.n / (loop.n + loop.m) if loop.weight is None else loop.weight
        w = 0.0 if loop.replace else w
        share = w * share + (1 - w) * np.mean(batch)
    return min(1.0, max(0.0, loop.centre + loop.kappa * (share - loop.centre) + loop.error))


def runs(loop, real, generation):
    """Every run from one real set: probability, models up to ``generation``, last batch."""
    first = [(1.0, [fit(loop, real, None)], None)]
    for _ in range(generation):
        first = [
            (q * chance(batch, models[-1]), [*models, fit(loop, real, batch)], batch)
            for q, models, _ in first
            for batch in itertools.product((0, 1), repeat=loop.m)
        ]
    return first


def everything(loop, generation):
    for real in itertools.product((0, 1), repeat=loop.n):
        for q, models, batch in runs(loop, real, generation):
            yield chance(real, loop.p) * q, real, models, batch


def weights(loop, generation):
    if generation == 0:
        return 1.0
    w = loop.n / (loop.n + loop.m) if loop.weight is None else loop.weight
    return 0.0 if loop.replace else w


def risk(loss, theta, p):
    values = [float(loss(np.asarray(theta), z)) for z in (0, 1)]
    return p * values[1] + (1 - p) * values[0]


def gap(loop, loss, theta, real, batch, generation):
    w = weights(loop, generation)
    empirical = w * risk(loss, theta, np.mean(real))
    if batch is not None:
        empirical += (1 - w) * risk(loss, theta, np.mean(batch))
    return risk(loss, theta, loop.p) - empirical


@pytest.mark.parametrize("loop", LOOPS)
def test_drift_equals_enumeration_of_points(loop) -> None:
    result = exact.drift(loop, 2)
    for i in (0, 1, 2):
        distance = square = error = 0.0
        for q, _, models, _ in everything(loop, i):
            w = weights(loop, i)
            trained = loop.p if i == 0 else w * loop.p + (1 - w) * models[-2]
            distance += q * abs(models[-1] - loop.p)
            square += q * (models[-1] - loop.p) ** 2
            error += q * abs(models[-1] - trained)
        assert result.distance[i] == pytest.approx(distance, **CLOSE)
        assert result.square[i] == pytest.approx(square, **CLOSE)
        assert result.error[i] == pytest.approx(error, **CLOSE)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("loss", [exact.squared_loss, exact.value_loss, log_loss])
def test_gap_parts_equal_enumeration_of_points(loop, loss) -> None:
    """Every part from its definition: swap a point, refit or run again, and compare the loss."""
    result = exact.gap_parts(loop, 2, loss)

    def at(theta, z):
        return float(loss(np.asarray(theta), z))

    for i in (0, 1, 2):
        parts = dict.fromkeys(result._fields, 0.0)
        for q, real, models, batch in everything(loop, i):
            theta = models[-1]
            parts["gap"] += q * gap(loop, loss, theta, real, batch, i)
            for k, new in itertools.product(range(loop.n), (0, 1)):
                swapped = list(real)
                swapped[k] = new
                weight = q * (loop.p if new else 1 - loop.p) / loop.n
                kept = at(fit(loop, swapped, batch), real[k])
                parts["direct"] += weight * (kept - at(theta, real[k]))
                parts["indirect"] -= weight * kept
            if i == 0:
                continue
            drawn = models[-2]
            for k, new in itertools.product(range(loop.m), (0, 1)):
                other = list(batch)
                other[k] = new
                weight = q * (drawn if new else 1 - drawn) / loop.m
                change = at(fit(loop, real, other), batch[k]) - at(theta, batch[k])
                parts["synthetic"] += weight * change
            parts["shift"] += q * (risk(loss, theta, loop.p) - risk(loss, theta, drawn))
        # The re-run loop sees the swapped real set and nothing else of the first run.
        for real in itertools.product((0, 1), repeat=loop.n):
            for k, new in itertools.product(range(loop.n), (0, 1)):
                swapped = [*real[:k], new, *real[k + 1 :]]
                weight = chance(real, loop.p) * (loop.p if new else 1 - loop.p) / loop.n
                again = sum(q * at(path[-1], real[k]) for q, path, _ in runs(loop, swapped, i))
                parts["indirect"] += weight * again
        for name, value in parts.items():
            assert getattr(result, name)[i] == pytest.approx(value, **CLOSE), (name, i)


@pytest.mark.parametrize(
    "loop",
    [
        BernoulliLoop(60, 90, 0.3),
        BernoulliLoop(40, 25, 0.8, kappa=1.4, weight=0.3, centre=0.4, error=-0.03),
        BernoulliLoop(30, 50, 0.2, kappa=0.7, replace=True),
    ],
)
@pytest.mark.parametrize("loss", [exact.squared_loss, log_loss])
def test_gap_identity_of_larger_loops(loop, loss) -> None:
    parts = exact.gap_parts(loop, 6, loss)
    w = np.array([weights(loop, i) for i in range(7)])
    sides = w * (parts.direct + parts.indirect) + (1 - w) * (parts.synthetic + parts.shift)
    assert sides == pytest.approx(parts.gap, rel=1e-10, abs=1e-13)
    assert np.abs(parts.shift[1:]).min() > 1e-4
    if not loop.replace:
        assert np.abs(parts.indirect[1:]).min() > 1e-6


@pytest.mark.parametrize("loop", LOOPS)
def test_gap_law_equals_enumeration_of_points(loop) -> None:
    for i, loss in itertools.product((0, 2), (exact.squared_loss, log_loss)):
        law = exact.gap_law(loop, i, loss)
        runs_of = list(everything(loop, i))
        values = np.array([gap(loop, loss, path[-1], z, s, i) for _, z, path, s in runs_of])
        mass = np.array([q for q, *_ in runs_of])
        assert law.probability.sum() == pytest.approx(1, rel=1e-12)
        assert np.all(np.diff(law.support) > 0)
        for moment in (1, 2, 3):
            literal = mass @ values**moment
            assert law.probability @ law.support**moment == pytest.approx(literal, **CLOSE)
        for t in np.quantile(values, [0.1, 0.5, 0.9]) + 1e-9:
            literal = mass[values > t].sum()
            assert exact.exceedance(law, t) == pytest.approx(literal, **CLOSE)


def test_quantile_is_the_least_value_that_is_rarely_exceeded() -> None:
    law = exact.gap_law(BernoulliLoop(12, 20, 0.4, kappa=0.9), 3)
    for delta in (0.5, 0.1, 0.05, 0.01):
        value = exact.quantile(law, 1 - delta)
        assert exact.exceedance(law, value) <= delta + 1e-12
        below = law.support[law.support < value][-1]
        assert exact.exceedance(law, below) > delta
    assert exact.quantile(law, 1.0) <= law.support[-1]
    # 0.7 + 0.1 is a little less than 0.8 in float64.
    tied = exact.Law(np.array([1.0, 2.0, 3.0]), np.array([0.7, 0.1, 0.2]))
    assert exact.quantile(tied, 0.8) == 2.0
    assert exact.exceedance(exact.Law(np.array([0.1 + 0.2]), np.ones(1)), 0.3) == 0.0


@pytest.mark.parametrize(("n", "m", "p"), [(200, 300, 0.3), (100, 20, 0.9), (7, 150, 0.5)])
def test_mean_square_of_the_copying_loop(n, m, p) -> None:
    """kappa = 1 conserves the mean, and the variance has a closed form."""
    result = exact.drift(BernoulliLoop(n, m, p), 8)
    rho = m / (n + m)
    s = rho**2 * (1 - 1 / m)
    i = np.arange(9)
    variance = p * (1 - p) * (1 / n + rho**2 / m * (1 - 1 / n) * (1 - s**i) / (1 - s))
    assert result.square == pytest.approx(variance, rel=1e-11)


def coupled(loop, common, generation):
    """Common uniforms, written out: the law of (ones of the first loop, extra ones of the second).

    Returns E share and E |theta - theta'| for real sets with ``common`` and common + 1 ones.
    """
    w = weights(loop, 1)

    def model(ones, extra):
        share = ones / loop.n if extra is None else w * ones / loop.n + (1 - w) * extra / loop.m
        return float(exact.model(loop, np.asarray(share)))

    low, high = model(common, None), model(common + 1, None)
    states, share = {(low, high): 1.0}, 1 / loop.n
    for _ in range(generation):
        after, share = {}, 0.0
        for (low, high), q in states.items():
            assert low <= high
            for k in range(loop.m + 1):
                for extra in range(loop.m - k + 1):
                    mass = q * stats.multinomial.pmf(
                        [k, extra, loop.m - k - extra], loop.m, [low, high - low, 1 - high]
                    )
                    share += mass * (w / loop.n + (1 - w) * extra / loop.m)
                    pair = (model(common, k), model(common + 1, k + extra))
                    after[pair] = after.get(pair, 0.0) + mass
        states = after
    return share, sum(q * (high - low) for (low, high), q in states.items())


@pytest.mark.parametrize(
    "loop",
    [
        BernoulliLoop(3, 4, 0.3, kappa=0.7),
        BernoulliLoop(2, 3, 0.5, kappa=1.8),
        BernoulliLoop(3, 3, 0.3, kappa=1.5, replace=True),
    ],
)
def test_influence_equals_the_coupled_loops(loop) -> None:
    result = exact.influence(loop, 2)
    for i, common in itertools.product((0, 1, 2), range(loop.n)):
        share, gamma = coupled(loop, common, i)
        # scipy's multinomial law is good to 1e-12.
        assert result.share[i, common] == pytest.approx(share, rel=1e-10)
        assert result.gamma[i, common] == pytest.approx(gamma, rel=1e-10)


@pytest.mark.parametrize(
    "loop",
    [
        BernoulliLoop(3, 4, 0.3, kappa=0.7),
        BernoulliLoop(3, 4, 0.3),
        BernoulliLoop(3, 4, 0.3, kappa=1.6),
        BernoulliLoop(3, 4, 0.3, kappa=0.5, centre=0.2, error=0.1),
    ],
)
def test_constants_are_the_least_ones(loop) -> None:
    shares = np.linspace(0, 1, 4001)
    theta = np.clip(loop.centre + loop.kappa * (shares - loop.centre) + loop.error, 0, 1)
    losses = np.array([(z - theta) ** 2 for z in (0, 1)])
    slope = np.abs(np.diff(losses, axis=1)).max() * 4000
    known = exact.constants(loop)
    largest, b, follow, effect = known
    assert largest == pytest.approx(losses.max(), rel=1e-12)
    assert slope <= b * (1 + 1e-9)  # differences of numbers near 1, times 4000
    assert slope == pytest.approx(b, rel=2e-3)
    assert effect == pytest.approx(np.abs(losses[1] - losses[0]).max(), rel=1e-12)
    assert follow == loop.kappa


def test_constants_of_the_plain_amplifier() -> None:
    known = exact.constants(BernoulliLoop(5, 5, 0.5, kappa=0.6))
    assert known == pytest.approx((0.64, 0.96, 0.6, 0.6), rel=1e-12)
    assert exact.constants(BernoulliLoop(5, 5, 0.5), exact.value_loss) == (1.0, 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="neither"):
        exact.constants(BernoulliLoop(5, 5, 0.5), log_loss)


def test_discrepancy_is_the_supremum_over_models() -> None:
    loop = BernoulliLoop(4, 6, 0.3, kappa=0.8)
    grid = exact.model(loop, np.linspace(0, 1, 201))
    literal = 0.0
    for q, _, models, _ in everything(loop, 1):
        at = np.abs((loop.p - models[-1]) * ((1 - grid) ** 2 - grid**2))
        literal += q * at.max()
    assert exact.discrepancy(loop, 1)[1] == pytest.approx(literal, **CLOSE)


def test_binomial_laws() -> None:
    p = np.array([0.0, 1e-9, 0.3, 0.999, 1.0])
    for count in (1, 30, 400):
        law = exact.binomial_law(count, p)
        literal = stats.binom.pmf(np.arange(count + 1), count, p[:, None])
        # The logarithm of the number of ways is at most 280, and so is its rounding in ulps.
        assert law == pytest.approx(literal, rel=1e-12, abs=1e-300)


def test_generation_zero_alone() -> None:
    loop = BernoulliLoop(5, 4, 0.3)
    parts = exact.gap_parts(loop, 0)
    # Mean of 5 points, squared loss: the gap is 2 p (1 - p)/5.
    assert parts.gap == pytest.approx([2 * 0.21 / 5], rel=1e-12)
    assert parts.direct == pytest.approx(parts.gap, rel=1e-12)
    assert parts[2:] == (0.0, 0.0, 0.0)
    assert exact.influence(loop, 0).share == pytest.approx(np.full((1, 5), 0.2))
