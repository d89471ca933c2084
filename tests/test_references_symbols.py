"""Laws on symbols with new and repeated rows, absorption, few rows: against enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from icl_stl import problems, references
from icl_stl.references import bernoulli
from icl_stl.regimes import (
    REGIMES,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    Edit,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
)

LAW = np.array([0.5, 0.2, 0.3])


def mixing(regime, n, last):
    found = references.Mixing.of(regime, n, last)
    assert found is not None
    return found


def draws(law, size):
    """All counts of so many draws, with their probabilities."""
    for counts in itertools.product(range(size + 1), repeat=len(law)):
        if sum(counts) == size:
            chance = stats.multinomial.pmf(counts, size, law)
            if chance > 0:
                yield np.array(counts), chance


def enumerated(regime, n, last, refit):
    """E p_i, E |p_i - p|^2 and how many symbols are left, over every history of counts."""
    m = max(regime.synthetic_size(n), 1)
    mean, error, left = np.zeros((last + 1, 3)), np.zeros(last + 1), np.zeros(last + 1)

    def fitted(i, real, past):
        """(law, chance) of generation i."""
        w = regime.share(i) if i else 1.0
        if isinstance(regime, AccumulateSubsample) and i:
            pool = real + sum(past)
            for drawn in itertools.product(*(range(k + 1) for k in pool)):
                if sum(drawn) == n:
                    ways = math.prod(map(math.comb, pool, drawn)) / math.comb(sum(pool), n)
                    yield refit(np.array(drawn) / n, n, i), ways
            return
        seen = past if regime.keeps_history else past[-1:]
        rows = n * (w > 0) + m * len(seen) * (w < 1)
        share = w * real / n + ((1 - w) * sum(seen) / (m * len(seen)) if i else 0)
        yield refit(share, rows, i), 1.0

    def grow(i, real, past, chance):
        reals = draws(LAW, n) if regime.fresh_real and i else [(real, 1.0)]
        for own, of_real in reals:
            for now, of_fit in fitted(i, own, past):
                mass = chance * of_real * of_fit
                mean[i] += mass * now
                error[i] += mass * ((now - LAW) ** 2).sum()
                left[i] += mass * (now > 0).sum()
                if i < last:
                    for batch, of_batch in draws(now, m):
                        grow(i + 1, own, [*past, batch], mass * of_batch)

    for real, chance in draws(LAW, n):
        grow(0, real, [], chance)
    return mean, error, left


def plain(share, rows, i):
    return share


def smoothed(share, rows, i):
    return (rows * share + 0.7) / (rows + 2.1)


MIXES = [
    (Replace(1.5), 2, 3),
    (Augment.from_lam(1.0, 0.3), 2, 3),
    (AccumulateFresh(0.5), 2, 3),
    (Anchored(0.3, 0.5), 2, 3),
    (AccumulateSubsample(0.5), 2, 2),
    (FreshReal(1.0, 0.3), 1, 3),
    (FreshReal(1.0), 2, 2),
    (RealOnly(), 3, 2),
]


@pytest.mark.parametrize("refit", [plain, smoothed])
@pytest.mark.parametrize(("regime", "n", "last"), MIXES)
def test_any_mixing_equals_enumeration(regime, n, last, refit) -> None:
    of = problems.Categorical(tuple(LAW), 0.7 if refit is smoothed else 0.0)
    mean, error, _ = enumerated(regime, n, last, refit)
    how = mixing(regime, n, last)
    a = of.pseudo_count
    size = how.rows + 3 * a
    path = references.law_affine(how, LAW, how.rows / size, (a / size)[:, None])
    np.testing.assert_allclose(path.mean, mean, rtol=1e-11)
    np.testing.assert_allclose(path.error, error, rtol=1e-11)
    np.testing.assert_allclose(problems.expected_excess(of, regime, n, last), error, rtol=1e-11)
    np.testing.assert_allclose(
        path.diversity, 1 - path.error + LAW @ LAW - 2 * path.mean @ LAW, atol=1e-13
    )


def test_every_mixing_is_its_closed_form() -> None:
    n, last = 7, 12
    pairs = [
        (Replace(2), references.law_replace(LAW, n, 14, last)),
        (Augment(0.5, 0.35), references.law_augment(LAW, n, n, last, 0.35)),
        (AccumulateFresh(3), references.law_accumulate(LAW, n, 21, last)),
        (Anchored(0.3), references.law_anchored(LAW, n, n, last, 0.3)),
        (FreshReal(2), references.law_fresh(LAW, n, 14, last)),
    ]
    for regime, closed in pairs:
        for value, known in zip(
            references.law_affine(mixing(regime, n, last), LAW), closed, strict=True
        ):
            np.testing.assert_allclose(value, known, rtol=1e-11)
    for regime, known in (
        (Replace(2), references.mean_variance_replace(n, 14, 1.5, last)),
        (Augment(0.5, 0.35), references.mean_variance_augment(n, n, 1.5, last, 0.35)),
    ):
        found = references.mean_variance_mixed(mixing(regime, n, last), 1.5)
        for value, own in zip(found, known, strict=True):
            np.testing.assert_allclose(value, own, rtol=1e-11)
    h = 1 - LAW @ LAW  # by maximum likelihood a normal law is a law on symbols
    for regime in (AccumulateSubsample(), AccumulateFresh(), FreshReal(weight=0.2)):
        how = mixing(regime, n, last)
        found = references.mean_variance_mixed(how, 1.5)
        error = references.law_affine(how, LAW).error
        np.testing.assert_allclose(found.mean_error, error * 1.5**2 / h, rtol=1e-11)
        np.testing.assert_allclose(found.mean_error + found.variance, 1.5**2, rtol=1e-11)
    assert references.Mixing.of(_Own(), n, last) is None


class _Own(Regime):
    """A regime that mixes in a way of its own."""

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return 0.5

    def mix(self, step):
        raise NotImplementedError


def test_variances_of_one_generation_by_quadrature() -> None:
    """Two real rows, two synthetic: E of an unbiased variance of the four rows, and its error."""

    def over_real(function):
        """Mean over the mean and the deviation of two standard normal rows."""
        density = lambda d: 2 * stats.norm.pdf(d, scale=0.5**0.5)  # noqa: E731  (half a difference)
        return integrate.quad(lambda d: function(d) * density(d), 0, 9, epsabs=1e-12)[0]

    how = mixing(AccumulateFresh(), 2, 1)
    for unbiased in (False, True):
        found = references.mean_variance_mixed(how, 1.0, unbiased)
        # Given the real rows' mean a and half difference d: v_0 = k d², batch mean a + N(0, v_0/2).
        first = lambda d, k=1 + unbiased: k * d**2  # noqa: E731
        np.testing.assert_allclose(found.variance[0], over_real(first), rtol=1e-9)
        apart = over_real(first) / 2  # mean square of batch mean less real mean
        np.testing.assert_allclose(found.mean_error[1], 0.5 + apart / 4, rtol=1e-9)
        squares = over_real(lambda d: 2 * d**2) + over_real(first) * (2 - 1) + apart
        known = squares / (4 - unbiased)
        np.testing.assert_allclose(found.variance[1], known, rtol=1e-9)
    assert np.isnan(references.mean_variance_mixed(mixing(Replace(), 1, 1), 1.0, True).variance[0])


@pytest.mark.parametrize(("n", "m", "w"), [(2, 48, None), (1, 10, 0.3), (40, 7, 0.6), (5, 5, 0.0)])
def test_limits_are_those_of_their_loops(n, m, w) -> None:
    law = [0.1] * 10
    fresh, same = references.law_fresh, references.law_augment
    limits = references.law_fresh_limit, references.law_augment_limit
    for path, limit in zip((fresh, same), limits, strict=True):
        far = path(law, n, m, 4000, w).error[-1]
        np.testing.assert_allclose(far, limit(law, n, m, w), rtol=1e-9)
    if w is None:  # two real rows beside 48: new ones are worth far more
        assert fresh(law, n, m, 60).error[-1] == pytest.approx(0.1850, abs=5e-5)
        assert same(law, n, m, 60).error[-1] == pytest.approx(0.5383, abs=5e-5)


@pytest.mark.parametrize("kappa", [1.0, 0.7, 1.8])
def test_chains_equal_affine_moments(kappa) -> None:
    """The chains against moments where nothing is clipped, against enumeration where it is."""
    p, c, last = 0.3, 0.4, 4
    loop = bernoulli.BernoulliLoop(4, 6, p, kappa, centre=c)
    chains = {
        FreshReal(1.5): bernoulli.last_laws(loop, last),
        FreshReal(1.5, 0.2): bernoulli.last_laws(loop._replace(weight=0.2), last),
        AccumulateFresh(1.5): bernoulli.pooled_laws(loop, last),
        AccumulateSubsample(1.5): bernoulli.pooled_laws(loop, last, drawn=True),
    }
    for regime, laws in chains.items():
        squares = [one.probability @ (one.support - p) ** 2 for one in laws]
        assert all(one.probability.sum() == pytest.approx(1, rel=1e-12) for one in laws)
        of = problems.Bernoulli(kappa, p, c)
        np.testing.assert_allclose(
            problems.expected_excess(of, regime, 4, last), squares, rtol=1e-10
        )
        if kappa <= 1:
            offset = np.array([(1 - c) * (1 - kappa), c * (1 - kappa)])
            how = mixing(regime, 4, last)
            moments = references.law_affine(how, np.array([1 - p, p]), kappa, offset).error / 2
            np.testing.assert_allclose(moments, squares, rtol=1e-10)
    replaced = bernoulli.drift(loop._replace(replace=True), last).square
    laws = bernoulli.last_laws(loop._replace(weight=0.0), last)
    squares = [one.probability @ (one.support - p) ** 2 for one in laws]
    np.testing.assert_allclose(squares, replaced, rtol=1e-10)


@pytest.mark.parametrize(
    ("regime", "n", "last"),
    [(Replace(1.5), 2, 3), (FreshReal(2.0, 0.3), 1, 3), (FreshReal(), 2, 2), (Augment(), 2, 2)],
)
def test_symbols_left_equal_enumeration(regime, n, last) -> None:
    left = enumerated(regime, n, last, plain)[2]
    known = problems.Categorical(tuple(LAW)).symbols_left(regime, n, last)
    np.testing.assert_allclose(known, left, rtol=1e-11)


def test_symbols_left_are_fixation_for_two_symbols() -> None:
    law = [0.8, 0.2]
    left = references.law_symbols(law, 5, 7, 9, 0.0)
    fixed = references.law_fixation(law, 5, 7, 9).sum(axis=1)
    np.testing.assert_allclose(left, 2 - fixed, rtol=1e-11)
    assert references.law_symbols([1.0, 0.0], 5, 7, 3, fresh=True) == pytest.approx(1.0)


def test_how_many_are_left_is_known_of_every_regime_or_said_not_to_be() -> None:
    of = problems.Categorical((0.4, 0.3, 0.3))
    start = 3 - 2 * 0.7**4 - 0.6**4
    for kind in REGIMES.values():
        known = of.symbols_left(kind(), 4, 3)
        assert known[0] == pytest.approx(start)
        how = references.Mixing.of(kind(), 4, 3)
        unknown = how is None or how.drawn
        assert np.isnan(known[1:]).all() == unknown
    assert (problems.Categorical(pseudo_count=1.0).symbols_left(Replace(), 4, 3) == 10).all()
    assert np.isnan(of.symbols_left(Replace(), 10**5, 3)[1:]).all()


def test_factors_of_absorption_by_hand() -> None:
    found = references.absorption_factor(300)
    assert found[:3] == pytest.approx([1, 1 - np.exp(-1), 1 - np.exp(np.exp(-1) - 1)])
    k = np.arange(1, 302)
    assert (found >= 1 / k).all()
    assert (found <= 3 / (k + 2)).all()
    low, high = references.symbol_survival([0.01, 0.5], 20, 2)
    gone = np.exp(-20 * 0.01 * found[:3])
    np.testing.assert_allclose(low[0], 1 - gone)
    np.testing.assert_allclose(high[0], 1 - (1 - 0.006 - 0.03 * k[:3]) * gone)
    assert (high[1] == 1).all()


@pytest.mark.parametrize(("p", "n"), [(0.002, 300), (0.01, 40), (0.05, 15), (0.3, 3), (0.9, 4)])
def test_survival_lies_between_its_bounds(p, n) -> None:
    low, high = references.symbol_survival(p, n, 30)
    chance = np.array(
        [
            one.probability[one.support > 0].sum()
            for one in bernoulli.last_laws(bernoulli.BernoulliLoop(n, n, p, weight=0.0), 30)
        ]
    )
    assert (low <= chance + 1e-12).all()
    assert (chance <= high + 1e-12).all()
    early = np.append(1.0, low[:-1])  # a fit too few
    assert (early[1:] > chance[1:]).any() == (p < 0.5)


def test_poisson_counts_by_enumeration() -> None:
    rate, n, most = 0.4, 2, 60
    totals = np.arange(most + 1)
    law = stats.poisson.pmf(totals, n * rate)
    step = stats.poisson.pmf(totals[None], totals[:, None])
    known = []
    for _ in range(5):
        known.append(1 - law[0])
        law = law @ step
    np.testing.assert_allclose(references.poisson_survival(rate, n, 4), known, rtol=1e-9)
    assert references.poisson_survival([0.0, 1.0], 3, 2).shape == (2, 3)


def test_the_bound_on_a_deviation_by_hand() -> None:
    found = references.deviation_tail(2.0, 3.0, 5, 3)
    np.testing.assert_allclose(found, 2 / 3 * np.exp(-np.arange(1, 5) / 19))
    assert (references.deviation_tail(3.0, 1.0, 5, 3) == 1).all()


@pytest.mark.parametrize("n", [2, 3, 10, 300])
def test_a_deviation_stays_below_its_bound(n) -> None:
    """The mean of a fitted deviation falls by c(n) a fit; and its tail in a loop of products."""
    assert stats.chi(n - 1).mean() / (n - 1) ** 0.5 <= np.exp(-1 / (4 * n - 1))
    if n < 100:
        rows = np.random.default_rng(n).chisquare(n - 1, (20_000, 30)) / (n - 1)
        seen = (np.sqrt(rows.cumprod(axis=1)) > 0.8).mean(axis=0)
        bound = references.deviation_tail(1.0, 0.8, n, 29)
        assert (seen <= bound + 4 * np.sqrt(seen * (1 - seen) / 20_000)).all()


def simulated(n, m, d, last, fresh, noise, runs=3000):
    """E |theta_i - theta|^2 of least squares of minimum norm, and its standard error."""
    rng = np.random.default_rng([n, m, d])
    error = np.zeros((runs, last + 1))
    of = lambda xs, w: xs @ w + noise * rng.normal(size=len(xs))  # noqa: E731
    for run in range(runs):
        w, real = rng.normal(size=d), rng.normal(size=(n, d))
        fit = np.linalg.lstsq(real, of(real, w))[0]
        error[run, 0] = ((fit - w) ** 2).sum()
        for i in range(1, last + 1):
            xs = rng.normal(size=(m, d))
            ys = of(xs, fit)
            if fresh:
                real = rng.normal(size=(n, d))
                xs, ys = np.concatenate([real, xs]), np.concatenate([of(real, w), ys])
            fit = np.linalg.lstsq(xs, ys)[0]
            error[run, i] = ((fit - w) ** 2).sum()
    return error.mean(0), error.std(0) / runs**0.5


@pytest.mark.parametrize(
    ("n", "m", "d", "fresh"),
    [(3, 4, 16, True), (3, 13, 8, True), (3, 5, 12, False), (3, 20, 8, False), (14, 4, 9, False)],
)
def test_few_rows_in_simulation(n, m, d, fresh) -> None:
    of = references.ols_min_norm_fresh if fresh else references.ols_min_norm_replace
    mean, stderr = simulated(n, m, d, 2, fresh, 0.7)
    known = of(n, m, d, 0.7, 2)
    assert (np.abs(mean - known) < 4 * stderr).all()
    assert (stderr < 0.03 * known).all()
    regime = FreshReal(m / n) if fresh else Replace(m / n)
    excess = problems.expected_excess(problems.Ols(d, 0.7), regime, n, 2)
    np.testing.assert_allclose(excess, known, rtol=1e-12)


def test_inputs_that_are_repeated_count_once_among_few_rows() -> None:
    """Of 10 rows in 10 dimensions least squares has no mean error, of 5 inputs twice it has."""
    ols, twice = problems.Ols(10), AugmentSameInputs.from_lam(2.0, weight=0.0)
    ols.check(twice, 5, 2)
    assert np.isfinite(problems.expected_excess(ols, twice, 5, 2)).all()
    ols.check(Edit((1.0,), "additive"), 5, 2)
    for regime, n in ((Replace(2.0), 5), (AugmentSameInputs.from_lam(0.5, weight=0.0), 20)):
        with pytest.raises(ValueError, match=r"^lam must be at most 8, or at least 12"):
            ols.check(regime, n, 2)


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 7), (3, 1, 12), (2, 5, 14)])
def test_what_a_fit_to_few_rows_keeps(n, m, d) -> None:
    """rho = E |X^+ D X v|^2 of a unit v, D choosing the synthetic rows."""
    xs = np.random.default_rng(d).normal(size=(100_000, n + m, d))
    chosen = xs[..., 0] * (np.arange(n + m) >= n)
    kept = (np.einsum("rdk,rk->rd", np.linalg.pinv(xs), chosen) ** 2).sum(axis=1)
    path = references.ols_min_norm_fresh(n, m, d, 1e-6, 1, 1.0)
    known = (path[1] - (1 - (n + m) / d)) / path[0]
    stderr = kept.std() / len(kept) ** 0.5
    assert abs(kept.mean() - known) < 4 * stderr
    assert stderr < 0.007 * known


def test_enough_rows_are_least_squares() -> None:
    size = (14, 20, 5, 0.7, 6)
    np.testing.assert_allclose(
        references.ols_min_norm_replace(*size), references.ols_replace(*size)
    )
    np.testing.assert_allclose(
        references.ols_min_norm_fresh(*size), references.ols_fresh_real(*size)
    )
    weights = np.diag(np.full(6, 0.5), -1)
    same = references.ols_min_norm_same_inputs(weights, 14, 28, 5, 0.7)
    np.testing.assert_allclose(same, references.ols_loop_same_inputs(weights, 14, 28, 5, 0.7))
    few = references.ols_min_norm_same_inputs(weights, 3, 6, 8, 0.7, 2.0)
    gain = (few - few[0]) / (0.49 * 3 / 4)
    assert few[0] == pytest.approx(5 / 8 * 2.0 + 0.49 * 3 / 4)
    np.testing.assert_allclose(gain, np.append(0, np.cumsum(0.25 ** np.arange(1.0, 7))) / 2)


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (references.ols_min_norm_replace, (8, 20, 8, 1.0, 1), "samples"),
        (references.ols_min_norm_replace, (3, 9, 8, 1.0, 1), "n_syn"),
        (references.ols_min_norm_fresh, (3, 5, 8, 1.0, 1), "n_syn"),
        (references.symbol_survival, (1.2, 3, 1), "chance"),
        (references.poisson_survival, (-1.0, 3, 1), "intensity"),
        (references.deviation_tail, (1.0, 0.0, 3, 1), "threshold"),
        (references.deviation_tail, (1.0, 1.0, 1, 1), "samples"),
        (references.law_symbols, ([0.5, 0.2], 3, 3, 1), "law"),
        (references.law_fresh, (LAW, 3, 3, 1, 1.5), "weight"),
    ],
)
def test_what_cannot_be_is_refused(function, arguments, name) -> None:
    with pytest.raises(ValueError, match=name):
        function(*arguments)
