"""Synthetic rows that are selected: how weights are spread, which rows a rule keeps, exact laws."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import learners, members, references
from icl_stl.descriptions import describe
from icl_stl.lab.results import regime_from
from icl_stl.lab.sweeps.grids import grid_settings
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Rows, sample_prompts
from icl_stl.learners.learner import row_log_density
from icl_stl.loops import self_consume
from icl_stl.problems import (
    Categorical,
    Gaussian,
    GaussianMean,
    Ols,
    expected_excess,
    expected_quality,
)
from icl_stl.regimes import (
    REGIMES,
    Accumulate,
    AccumulateSubsample,
    Anchored,
    Augment,
    Edit,
    FreshReal,
    Hidden,
    RealOnly,
    Replace,
    Selecting,
    Step,
    Varying,
    Verified,
)

KEY = jax.random.key(11)
INNER = (
    *(Replace(2.0), Augment(0.25), FreshReal(2.0), Anchored(0.3), Accumulate(), Hidden(0.4)),
    *(Varying(0.5, growth=0.5), AccumulateSubsample()),
)
REAL = jax.random.normal(KEY, (12,)) + 5


@dataclass(frozen=True)
class Squared(Selecting):
    """Rows weigh as their squares."""

    name: ClassVar[str] = "squared"

    def weigh(self, step, rows, there):
        return jnp.where(there, rows**2, jnp.nan)  # of others nothing is looked at


def generations(regime, real=REAL, learner=None, last=3):
    """What every generation was trained on, its weights, θ and θ before."""
    learner = learner or learners.gaussian()
    draw = lambda key, count: jax.random.normal(key, (count,)) + 5  # noqa: E731
    see = lambda _, g: (g.training_set, g.row_weights, g.params, g.previous)  # noqa: E731
    return self_consume(KEY, learner, real, last, regime=regime, observe=see, draw_real=draw)


@pytest.mark.parametrize("inner", INNER, ids=lambda regime: regime.name)
def test_the_synthetic_share_is_spread_over_what_is_kept(inner):
    """In proportion to the rule's weights; generation 1 is otherwise that of the other regime."""
    rows, plain = (np.asarray(a[1]) for a in generations(inner)[:2])
    own, weights = (np.asarray(a[1]) for a in generations(Squared(inner))[:2])
    np.testing.assert_array_equal(own, rows)
    real = np.isin(rows, np.asarray(REAL))
    if inner.fresh_real:  # new ones: those that a regime without any synthetic row sees
        others = Squared(inner)
        assert others.fresh_real
        real = weights == plain
    if inner.share(1) == 0:
        real = np.zeros(len(rows), bool)
    made = ~real & (plain > 0)
    np.testing.assert_allclose(weights[real], plain[real], rtol=1e-6)
    part = plain * np.where(made, rows**2, 0)
    np.testing.assert_allclose(weights[made], (part / part.sum() * plain[made].sum())[made], 1e-5)
    assert weights.sum() == pytest.approx(1, rel=1e-5)


def test_where_nothing_is_kept_real_rows_have_all_or_there_is_no_generation():
    none = {"keep": "region", "keep_radius": 1e-6, "keep_centre": (99.0,)}
    weights = np.asarray(generations(Verified(Augment(0.5), **none))[1])
    np.testing.assert_allclose(weights[1:, :12], 1 / 12, rtol=1e-6)
    assert not weights[1:, 12:].any()
    alone = jax.jit(lambda: generations(Verified(Replace(), **none))[1])()
    assert np.isnan(np.asarray(alone)[1:]).all()
    even = generations(Verified(RealOnly()))[1]
    np.testing.assert_allclose(even, 1 / 12, rtol=1e-6)


@pytest.mark.parametrize("inner", INNER, ids=lambda regime: regime.name)
def test_the_surest_rows_are_kept_and_no_others(inner):
    """Exactly a share of those that are there; of a normal law the nearest to the last mean."""
    rows, weights, _, before = generations(Verified(inner, "confidence", 0.4))
    plain = np.asarray(generations(inner)[1])
    for i in (1, 2):
        kept, x = np.asarray(weights[i]) > 0, np.asarray(rows[i])
        if i == 1 and not inner.fresh_real:
            made = (plain[i] > 0) & ~(np.isin(x, np.asarray(REAL)) & (inner.share(1) > 0))
            assert (kept & made).sum() == max(round(0.4 * made.sum()), 1)
            apart = np.abs(x - np.asarray(before.mean[i]))
            assert apart[kept & made].max() < apart[made & ~kept].min()
        assert kept.sum() < (plain[i] > 0).sum()


def test_equal_rows_are_kept_by_lot():
    """Of equally likely symbols as many as there is room for, not the first ones."""
    real = jnp.arange(40) % 2
    regime = Verified(keep="confidence", keep_rate=0.25)
    rows, weights = generations(regime, real, learners.categorical(4), 1)[:2]
    kept = np.asarray(weights[1])[40:] > 0
    assert kept.sum() == 10
    assert kept.argmin() < 10
    made = np.asarray(rows[1])[40:]
    assert {*made[kept]} == {0, 1}


def weighed(rows, learner=None, params=(), **rule):
    """v of every row."""
    density = None if learner is None else lambda some: row_log_density(learner, params, some)
    count = len(jax.tree.leaves(rows)[0])
    step = Step(KEY, 1, params, rows, rows, (), 0.5, count, count, None, density)
    return np.asarray(Verified(**rule).weigh(step, rows, jnp.ones(count, bool)))


def test_rules_keep_what_they_say():
    xs = jnp.array([[1.0, 0.0], [0.0, 1.0], [-2.0, 1.0]])
    pairs = Rows(xs, jnp.array([1.2, 1.2, 0.0]))
    region = {"keep": "region", "keep_radius": 0.5}
    assert weighed(pairs, **region, keep_centre=(1.0, 2.0)).tolist() == [True, False, True]
    assert weighed(pairs, **region, keep_centre=(1.0,)).tolist() == [True, True, False]
    assert weighed(pairs, keep="part", keep_from=0.0).tolist() == [True, True, False]
    numbers = jnp.array([-1.0, 0.6, 2.0])
    assert weighed(numbers, **region, keep_centre=(0.2,)).tolist() == [False, True, False]
    assert weighed(numbers, keep="part", keep_from=1.0).tolist() == [False, False, True]
    symbols = jnp.array([0, 1, 2])
    for keep in ("region", "part"):
        assert weighed(symbols, keep=keep, keep_symbols=(0, 2)).tolist() == [True, False, True]
    table = jnp.array([[0.0, 1.0], [0.0, 3.0]])
    assert weighed(table, **region, keep_centre=(0.0, 1.0)).tolist() == [True, False]
    for wrong, message in (
        ({"keep_centre": (1.0, 2.0, 3.0)}, r"^keep_centre must be one number, or 2 of them.*3.0"),
        ({"keep_symbols": ()}, r"^keep_symbols must be some of the symbols, but it is \(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            weighed(symbols if "keep_symbols" in wrong else pairs, **region, **wrong)
    many = jnp.arange(20_000) % 2
    errs = {"keep": "oracle", "keep_symbols": (0,), "keep_right": 0.9, "keep_wrong": 0.3}
    kept = weighed(many, **errs)
    assert kept[::2].mean() == pytest.approx(0.9, abs=4 * 0.003)
    assert kept[1::2].mean() == pytest.approx(0.3, abs=4 * 0.0046)


def test_a_learner_says_how_likely_it_calls_rows():
    """By its density or its predictions; one with neither is refused."""
    x = jnp.array([0.5, -1.0])
    own = Normal(jnp.float32(1.0), jnp.float32(2.0))
    np.testing.assert_allclose(
        row_log_density(learners.gaussian(), own, x), own.log_density(x), rtol=1e-6
    )
    mean = learners.gaussian_mean(2.0)
    np.testing.assert_allclose(
        row_log_density(mean, jnp.ones(()), x), own.log_density(x), rtol=1e-6
    )
    law = jnp.array([0.2, 0.8])
    for learner, params, rows in (
        (learners.categorical(2), law, jnp.array([0, 1])),
        (learners.bernoulli(), law[1], jnp.array([0.0, 1.0])),
    ):
        np.testing.assert_allclose(row_log_density(learner, params, rows), np.log(law), rtol=1e-6)
    pairs = Rows(jnp.array([[1.0, 2.0]]), jnp.array([0.5]))
    found = row_log_density(learners.ols(0.5), jnp.array([1.0, -1.0]), pairs)
    np.testing.assert_allclose(
        found, Normal(jnp.float32(-1.0), jnp.float32(0.5)).log_density(pairs.ys), rtol=1e-6
    )
    collapsed = row_log_density(learners.gaussian(), Normal(jnp.zeros(()), jnp.zeros(())), x * 0)
    assert np.isfinite(collapsed).all()
    task = LinearRegression(2, 4, 0.5)
    bayes, prompts = learners.bayes_learner(task), sample_prompts(task, KEY, 3)
    assert bayes.predict is not None
    each = bayes.predict((), prompts).log_density(prompts.ys)
    np.testing.assert_allclose(row_log_density(bayes, (), prompts), each.sum(1), rtol=1e-5)
    with pytest.raises(ValueError, match=r"^learner must be one with log_density or predict"):
        row_log_density(learners.linear_attention(task, std=0.5), (), prompts)


def test_it_is_named_with_the_options_of_both():
    found = members.regime("verified", "augment")
    assert {"keep", "keep_rate", "of", "alpha", "lam", "weight"} <= {*found.options}
    given = {"keep": "part", "of": "augment", "lam": 3.0}
    assert found.made(given) == Verified(Augment(0.25), "part")
    assert members.regime("verified").made({}) == Verified()
    content = {"learner": "gaussian", "regime": "verified", "of": ["replace", "augment", "hidden"]}
    cells = grid_settings({**content, "keep_rate": [0.5, 0.8], "samples": 20})
    assert len(cells) == 6
    assert {cell.regime.inner for cell in cells} == {Replace(), Augment(), Hidden()}
    for regime in (Verified(Augment(0.2), "region", keep_centre=(1.0, 2.0)), Verified()):
        assert regime_from(describe(regime)) == regime
    assert REGIMES["verified"] is Verified
    assert Selecting not in REGIMES.values()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Verified(Edit()), "^of must be a regime that makes whole rows .* 'edit'"),
        (lambda: Verified(Verified()), "^of must be .* selects none itself, .* 'verified'"),
        (lambda: Verified(None), "^of must be a regime .*None"),
        (lambda: Verified(keep="best"), "^keep must be 'region' or .*'best'"),
        (lambda: Verified(keep_rate=0.0), r"^keep_rate must be in \(0, 1\], but it is 0.0"),
        (lambda: Verified(keep_rate=1.5), r"^keep_rate must be in .*1.5"),
        (lambda: Verified(keep_wrong=-0.1), r"^keep_wrong must be in \[0, 1\], but it is -0.1"),
        (lambda: Verified(keep_right=float("nan")), r"^keep_right must be in \[0, 1\].*nan"),
        (lambda: Verified(keep_centre=(float("inf"),)), "^keep_centre must be of finite .*inf"),
        (lambda: Verified(keep_from=float("nan")), "^keep_from must be of finite .*nan"),
        (lambda: Verified(keep_centre=()), r"^keep_centre must be one number .*\(\)"),
        (lambda: Verified(keep_radius=0.0), "^keep_radius must be a positive number.* 0.0"),
        (lambda: members.regime("verified", "augmnt"), "^of must be .*'augment'"),
        (lambda: members.regime("verified", "verified"), "^of must be .*'verified'"),
        (lambda: members.chosen({"regime": "verified", "of": 3}), "^of must be a name, .* 3"),
    ],
)
def test_what_cannot_be_selected_from_is_refused(made, message):
    with pytest.raises(ValueError, match=message):
        made()


# --- exact laws ----------------------------------------------------------------------------------


def test_a_closed_form_is_known_where_there_is_one():
    """Of generation 1 and later; elsewhere nothing is said, whatever the problem."""
    known = set()
    for word in members.LEARNERS:
        named = members.learner(word)
        problem = named.made({name: one.default for name, one in named.options.items()})
        for inner in INNER:
            for keep in ("confidence", "region", "oracle", "part"):
                regime = Verified(inner, keep)
                if np.isfinite(expected_excess(problem, regime, 32, 2)[1:]).any():
                    known.add((word, inner.name, keep))
                assert bool(expected_quality(problem, regime, 32, 2)) <= (word[:8] == "gaussian")
    sure = {("gaussian-variance", one, "confidence") for one in ("replace", "augment", "fresh")}
    assert known == {*sure, ("gaussian", "replace", "region")}
    assert np.isnan(expected_excess(Ols(), Verified(keep="region"), 32, 2)[1:]).all()
    assert np.isnan(expected_excess(Categorical(), Verified(keep="part"), 32, 2)[1:]).all()
    of = Verified(keep="region", keep_centre=(0.2,)), 32, 3
    path = expected_excess(GaussianMean(), *of)
    assert path[1] == references.mean_region(32, 32, 1.0, 1.0, 0.2)[1]
    assert np.isnan(path[2:]).all()
    plain = expected_excess(Gaussian(), Replace(), 32, 3)
    np.testing.assert_allclose(  # all rows kept
        expected_excess(Gaussian(), Verified(keep_rate=1.0), 32, 3), plain, rtol=1e-12
    )


def test_the_nearest_numbers_by_enumeration():
    """Two by hand, all of them, and k of m in parts: their sums are means of order statistics."""
    assert references.surest_moment(2, 1) == pytest.approx(1 - 2 / np.pi, rel=1e-10)
    assert references.surest_moment(7, 7) == 1
    sums = [k * references.surest_moment(6, k) for k in range(1, 7)]
    orders = np.diff([0, *sums])
    assert all(a < b for a, b in pairwise(orders))
    assert sums[-1] == 6
    more = [k * references.surest_moment(7, k) for k in range(1, 8)]
    others = np.diff([0, *more])
    for j in range(6):  # m E X_(j:m-1) = (m - j) E X_(j:m) + j E X_(j+1:m)
        whole = (6 - j) * others[j] + (j + 1) * others[j + 1]
        assert 7 * orders[j] == pytest.approx(whole, rel=1e-8)
    central = references.region_factor(1.2815515655446004, 1.0)
    assert references.surest_moment(10**6, 800_000) == pytest.approx(float(central), rel=1e-5)


def test_limits_of_the_variance():
    path = [float(references.variance_surest(0.3, 2.0, 0.8, i)) for i in range(40)]
    kappa = float(references.region_factor(1.2815515655446004, 1.0))
    assert path[1] == pytest.approx(0.3 * 4 + 0.7 * kappa * 4)
    assert references.variance_surest(0.3, 2.0, 0.8) == pytest.approx(path[-1])
    assert references.variance_surest(0.0, 2.0, 0.8, 3) == pytest.approx(4 * kappa**3)
    assert references.variance_surest([0.0, 1.0], 2.0, 0.8).tolist() == [0, 4]
    assert references.variance_surest(0.0, 2.0, 1.0) == 4
    mixing = references.Mixing(np.array([1.0] + [0.3] * 60), 10**6, 10**6)
    many = references.mean_variance_surest(mixing, 2.0, 0.8).variance[-1]
    assert many == pytest.approx(path[-1], rel=1e-4)


def test_factors_of_a_region():
    """Against quadrature; least squares keeps its fixed point and ends with the central factor."""
    z, weights = np.polynomial.legendre.leggauss(80)
    for r in (0.3, 1.0, 2.5):
        density = weights * np.exp(-((r * z) ** 2) / 2)
        wanted = density @ (r * z) ** 2 / density.sum()
        assert references.region_factor(2 * r, 2.0) == pytest.approx(wanted, rel=1e-12)
    s, chances = np.polynomial.hermite_e.hermegauss(80)
    joint = chances[:, None] * weights * np.exp(-(((z - 0.6 * s[:, None]) / 0.8) ** 2) / 2)
    wanted = 0.6 * (s @ joint @ z) / (0.6 * (s**2 @ joint).sum())
    assert references.ols_region(0.6, 0.8, 1.0, 1)[1] == pytest.approx(wanted, rel=1e-9)
    path = references.ols_region([0.0, 2.0], 0.5, 0.7, 40)
    assert not path[:, 0].any()
    factor = float(references.region_factor(0.7, 0.5))
    assert path[-1, 1] / path[-2, 1] == pytest.approx(factor, rel=1e-9)
    assert (path[1:, 1] < path[:-1, 1]).all()
    near = references.region_path(10**6, 10**6, 3, 0.5, 0.7, 0.001, 2)
    assert near[0] == pytest.approx(3 * 0.25 / 10**6)
    exact = references.mean_region(4000, 4000, 0.5, 0.7, 0.005)
    first = references.region_path(4000, 4000, 1, 0.5, 0.7, 0.005, 1)
    np.testing.assert_allclose(exact, first, rtol=2e-3)


def test_an_oracle_has_a_threshold():
    x = references.oracle_wrong(0.7, 0.8, 0.4, 3)
    np.testing.assert_allclose(x / (1 - x), 7 / 3 * 0.5 ** np.arange(4))
    assert references.oracle_wrong(1.0, 0.8, 0.0, 1).tolist() == [1, 1]
    assert references.oracle_wrong(0.7, 1.0, 0.0, 9, 0.5)[-1] == pytest.approx(0.35)
    below, above = (references.oracle_fit(p, 400, 400, 0.9, 0.5).learned for p in (0.55, 0.75))
    assert below > 0.97
    assert above < 0.02
    one = references.oracle_fit(0.3, 1, 1, 1.0, 1.0)  # one row, copied
    assert one == pytest.approx((0.3, 0.21, 0.7))
    assert references.oracle_fit(0.5, 2, 2, 1.0, 1.0).learned == pytest.approx(0.375)  # no ties


def test_cuts_of_symbols_multiply():
    law = [0.1, 0.4, 0.2, 0.3]
    path = references.law_surest(law, 0.8, 5)
    for i in range(1, 6):
        np.testing.assert_allclose(path[i], references.law_surest(law, 0.8**i, 1)[1], atol=1e-15)
    assert path[5].tolist() == [0, 1, 0, 0]  # 0.8^5 < 0.4
    assert path[4][3] > 0
    np.testing.assert_allclose(references.law_surest([0.25] * 4, 0.5, 2), 0.25)
    mixed = references.law_surest(law, 0.8, 1, 0.25)[1]
    np.testing.assert_allclose(mixed, 0.25 * np.array(law) + 0.75 * path[1])


def test_what_is_not_seen_keeps_the_real_share():
    path = references.law_part([0.5, 0.3, 0.2], [1, 0, 1], [0.5, 0.25])
    np.testing.assert_allclose(path[:, 1], [0.3, 0.15, 0.075])
    np.testing.assert_allclose(path.sum(1), 1)
    np.testing.assert_allclose(path[:, 0] / path[:, 2], 2.5)
    for wrong in ([0, 0, 0], [1, 0], [0.5, 1, 1]):
        with pytest.raises(ValueError, match=r"^seen = .* a zero or one for each of 3"):
            references.law_part([0.5, 0.3, 0.2], wrong, [0.5])


def test_edges_are_answered_or_named():
    """Of what an adversary tried: numbers so small, so few rows, nothing kept."""
    assert references.region_factor(1e-30, 1.0) == pytest.approx(1e-60 / 3)
    assert references.region_factor(1e-4, 1.0) == pytest.approx(1e-8 / 3, rel=1e-6)
    assert np.isnan(references.mean_region(5, 50, 1.0, 1.0, 50.0)[1])
    mixing = references.Mixing.of(Replace(), 1, 2)
    with pytest.raises(ValueError, match=r"samples = 1 is outside .* at least 2"):
        references.mean_variance_surest(mixing, 1.0, 0.5, unbiased=True)
    with pytest.raises(ValueError, match="kept_wrong = 0 is outside"):
        references.oracle_fit(1.0, 5, 5, 0.5, 0.0)


def test_rows_are_counted_as_loops_count_them():
    """0.7 of 45 is 31.5 in double precision and less in a loop's single one."""
    z = jnp.arange(45.0)
    step = Step(
        jax.random.key(0), 1, None, z, z, (), 0.0, 45, 45, log_density=lambda rows: -(rows**2)
    )
    regime = Verified(Replace(), "confidence", 0.7)
    kept = int(regime.weigh(step, z, jnp.ones(45, bool)).sum())
    mixing = references.Mixing.of(Replace(), 45, 1)
    law = references.mean_variance_surest(mixing, 1.0, 0.7).variance
    moment = references.surest_moment(45, kept)
    assert law[1] == pytest.approx((1 - 1 / kept) * moment * law[0])
