"""Hidden sources and shares that change: exact laws, estimators, loops, claims."""

import dataclasses
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import PRESET, scattered

from icl_stl import bounds, references
from icl_stl.lab import solvable
from icl_stl.lab.experiments import Loops, SizedLoops
from icl_stl.lab.sweeps import grids
from icl_stl.learners import Learner, hidden_sources
from icl_stl.learners.sources import Estimate, Marked, projected
from icl_stl.loops import next_generation, self_consume
from icl_stl.problems import GaussianMean, Sources, expected_excess
from icl_stl.regimes import Augment, FreshReal, Hidden, Regime, Varying, real_shares
from icl_stl.studies import Evidence, judge
from icl_stl.studies.sources import claims

CLAIMS = {claim.name: claim for claim in claims.CLAIMS}
SIZES, ALPHAS = [3, 2, 4], [0.5, 0.7]


def binomial(n, p):
    return [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def enumerated(step, p, sizes=None, alphas=None, by_lot=True):
    """E |P_t - p|² of bits: `step` gives the estimate of a stage from all that was seen."""
    sizes, alphas = sizes or SIZES, alphas or ALPHAS
    paths, errors = {(): 1.0}, []
    for t, n in enumerate(sizes):
        ahead = {}
        for seen, chance in paths.items():
            share = alphas[t - 1] if t else 1.0
            q = step(seen) if t else p
            if by_lot:
                law = binomial(n, share * p + (1 - share) * q)
            else:
                real = round(share * n)
                law = np.convolve(binomial(real, p), binomial(n - real, q))
            for ones, likely in enumerate(law):
                ahead[(*seen, ones)] = ahead.get((*seen, ones), 0) + chance * likely
        paths = ahead
        errors.append(sum(chance * 2 * (step(seen) - p) ** 2 for seen, chance in paths.items()))
    return errors


def last(seen):
    return seen[-1] / SIZES[len(seen) - 1]


def pooled(seen):
    return sum(seen) / sum(SIZES[: len(seen)])


def interpolating(seen):
    raw, worth = seen[0] / SIZES[0], SIZES[0]
    for ones, n, alpha in zip(seen[1:], SIZES[1:], ALPHAS, strict=False):
        new = (ones / n - (1 - alpha) * raw) / alpha
        raw, worth = (
            (worth * raw + n * alpha**2 * new) / (worth + n * alpha**2),
            worth + n * alpha**2,
        )
    return raw


def test_loops_by_lot_equal_enumeration():
    found = references.law_hidden([0.3, 0.7], SIZES, ALPHAS)
    np.testing.assert_allclose(found, enumerated(last, 0.3), rtol=1e-12)
    error, sigma = 1.5**2 / SIZES[0], 1.5
    means = [error]
    for n, alpha in zip(SIZES[1:], ALPHAS, strict=True):
        shares = np.arange(n + 1) / n
        error = sigma**2 / n + binomial(n, alpha) @ (1 - shares) ** 2 * error
        means.append(error)
    np.testing.assert_allclose(references.mean_hidden(sigma, SIZES, ALPHAS), means, rtol=1e-12)


@pytest.mark.parametrize("by_lot", [True, False])
@pytest.mark.parametrize(("name", "step"), [("pooled", pooled), ("interpolating", interpolating)])
def test_estimators_equal_enumeration(name, step, by_lot, monkeypatch):
    if not by_lot:
        monkeypatch.setattr("test_sources.ALPHAS", [0.5, 0.75])
    alphas = ALPHAS
    found = references.sources_error(name, [0.4, 0.6], SIZES, alphas, by_lot)
    expected = enumerated(step, 0.4, alphas=alphas, by_lot=by_lot)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("rows", [4, 8])
def test_interpolation_is_known_as_long_as_no_estimate_leaves_the_laws(rows, monkeypatch):
    """One real row, then 4: 4 · 0.3 · 0.7 < 1, or 8: their estimates may be negative."""
    monkeypatch.setattr("test_sources.SIZES", [1, rows])
    monkeypatch.setattr("test_sources.ALPHAS", [0.3])
    published = enumerated(lambda seen: min(max(interpolating(seen), 0), 1), 0.4)
    raw = enumerated(interpolating, 0.4)
    found = references.sources_error("interpolating", [0.4, 0.6], SIZES, ALPHAS)
    assert (abs(published[1] - raw[1]) > 1e-6) == np.isnan(found[1]) == (rows == 8)
    if rows == 4:
        np.testing.assert_allclose(found, published, rtol=1e-12)
    later = references.sources_error("interpolating", [0.4, 0.6], [1, 8, 1], [0.3, 0.3])
    assert np.isnan(later[1:]).all()


def test_probabilities_that_round_have_a_closed_form():
    known = expected_excess(Sources((0.333333,) * 3), Hidden(0.2), 20, 2)
    exact = expected_excess(Sources((1 / 3,) * 3), Hidden(0.2), 20, 2)
    np.testing.assert_allclose(known, exact, rtol=1e-9)


def test_the_oracle_equals_enumeration():
    found = references.sources_error("oracle", [0.4, 0.6], SIZES, ALPHAS)
    first, second = (binomial(n, a) for n, a in zip(SIZES[1:], ALPHAS, strict=True))
    every = [(a * b, SIZES[0] + i + j) for i, a in enumerate(first) for j, b in enumerate(second)]
    assert found[2] == pytest.approx(0.48 * sum(chance / count for chance, count in every))
    known = references.sources_error("oracle", [0.4, 0.6], SIZES, ALPHAS, by_lot=False)
    np.testing.assert_allclose(known, 0.48 / np.array([3, 4, 6.8]), rtol=1e-14)


def linear_algebra(counts, real, kept):
    """E (mu_t - mu)² by the coefficients of every single row; `kept`: all rows, or the last."""
    rows = sum(counts)
    error, every, errors = np.zeros(rows), np.zeros(rows), []
    first = 0
    for t, n in enumerate(counts):
        here = np.arange(first, first + n)
        new = np.zeros((n, rows))
        new[np.arange(n), here] = 1
        if t:
            new[round(real[t - 1] * n) :] += error
        first += n
        every = every + new.sum(0) if kept else new.sum(0)
        error = every / (first if kept else n)
        errors.append(error @ error)
    return errors


def test_everything_kept_equals_linear_algebra():
    sizes, alphas = [3, 4, 8, 4], [0.5, 0.25, 0.75]
    found = references.mean_kept(2.0, sizes, alphas)
    np.testing.assert_allclose(found, 4 * np.array(linear_algebra(sizes, alphas, True)), rtol=1e-12)


def test_changing_weights_equal_enumeration():
    n, sizes, alphas, p = 3, [2, 4], [0.6, 0.3], 0.3
    errors = [2 * p * (1 - p) / n]
    paths = {(k / n, k / n): c for k, c in enumerate(binomial(n, p))}
    for m, w in zip(sizes, alphas, strict=True):
        ahead = {}
        for (real, before), chance in paths.items():
            for ones, likely in enumerate(binomial(m, before)):
                now = real, w * real + (1 - w) * ones / m
                ahead[now] = ahead.get(now, 0) + chance * likely
        paths = ahead
        errors.append(sum(c * 2 * (q - p) ** 2 for (_, q), c in paths.items()))
    np.testing.assert_allclose(references.law_varying([p, 1 - p], n, sizes, alphas), errors)
    means = references.mean_varying(2.0, n, sizes, alphas)
    first = 0.4**2 * 4 / 2
    np.testing.assert_allclose(means, 4 / 3 + np.array([0, first, 0.7**2 * (first + 1)]))


def test_recovery_on_both_sides_of_the_threshold():
    t = np.arange(1, 20_001.0)
    for q, r, recovers in ((0.5, 1, True), (1, 1.5, True), (0.5, 0.4, False), (1.5, 2, False)):
        sizes = np.concatenate([[4], np.round(4 * t**r)])
        error = references.law_hidden([0.5, 0.5], sizes, 0.9 * (t + 1) ** -q)
        assert (error[-1] < 0.1 * error[0]) == recovers
    assert references.law_hidden([0.5, 0.5], [4, 4], [1.0])[1] == 0.125


def test_rates_are_in_order_and_attained():
    sizes, alphas = np.full(31, 500), np.full(30, 0.2)
    found = bounds.sources_rates(sizes, alphas, 10)
    assert found.upper[-1] == pytest.approx(0.9 / 1100)
    assert found.oracle[-1] == pytest.approx(0.9 / 3500)
    assert found.price[-1] == pytest.approx(3500 / 1100)
    two = bounds.sources_rates(sizes, alphas)
    assert two.lower[-1] == pytest.approx(1 / (2 * (1100**0.5 + np.pi) ** 2))
    assert (found.published_lower < two.lower).all()
    assert ((two.lower < two.upper) & (found.upper < found.published_upper)).all()
    # the width for which the lower bound is derived is the best one
    h = np.linspace(0.01, 0.499, 2000)
    by_width = 2 / (1100 / (0.25 - h**2) + np.pi**2 / h**2)
    assert by_width.max() == pytest.approx(two.lower[-1], rel=1e-4)
    law = np.full(10, 0.1)
    one = references.sources_error("interpolating", law, sizes, alphas)
    assert (one <= found.upper * (1 + 1e-12)).all()
    assert one[-1] > 0.98 * found.upper[-1]
    assert np.isinf(bounds.sources_rates([4, 100], [0.1]).published_upper[-1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: references.law_hidden([0.5, 0.5], [3, 2.5], [0.1]), "sizes = .* whole numbers"),
        (lambda: references.law_hidden([0.5, 0.5], [3, 2], [0.1, 0.2]), "alphas has shape"),
        (lambda: references.sources_error("best", [1.0], [3], []), "estimator = 'best' is none"),
        (lambda: bounds.sources_rates([3, 2], [0.1, 0.2]), "alphas has 2 stages"),
        (lambda: bounds.sources_rates([3, 2], [0.1], 1), "symbols = 1 is outside"),
        (
            lambda: grids.setting({"learner": "sources", "estimator": "best"}),
            "estimator must be one of pooled, interpolating, oracle",
        ),
        (lambda: Sources((0.5, 0.6)), "probabilities must be"),
        (
            lambda: grids.setting({"learner": "sources", "regime": "accumulate"}),
            "regime must be one that keeps no rows",
        ),
        (lambda: grids.setting({"learner": "ols", "growth": 1.0}), "growth must be left out"),
    ],
)
def test_what_is_wrong_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- the learner and its loops -------------------------------------------------------------------


def test_a_point_is_projected_on_the_nearest_law():
    rng = np.random.default_rng(0)
    for point in rng.normal(0.3, 0.5, (20, 4)).astype(np.float32):
        law = np.asarray(projected(jnp.array(point)))
        assert law.min() >= 0
        assert law.sum() == pytest.approx(1, abs=1e-6)
        others = rng.dirichlet(np.ones(4), 500)
        assert ((others - law) @ (point - law) < 1e-5).all()  # no law is nearer
    np.testing.assert_allclose(projected(jnp.array([0.2, 0.5, 0.3])), [0.2, 0.5, 0.3], atol=1e-6)


def test_a_stage_is_added_to_what_was_known():
    before = Estimate(jnp.array([0.5, 0.5]), jnp.array([0.6, 0.4]), jnp.float32(8))
    rows = Marked(jnp.array([0, 0, 0, 1, 1]), jnp.array([True, False, True, True, True]))
    weights, key = jnp.array([0.25, 0.25, 0.25, 0.25, 0]), jax.random.key(0)
    expected = {
        "pooled": ((8 * 0.6 + 3) / 12, 12.0),
        "interpolating": ((8 * 0.6 + 4 * 0.5 * (0.75 - 0.25)) / 9, 9.0),
        "oracle": ((8 * 0.6 + 2) / 11, 11.0),
    }
    for name, (share, worth) in expected.items():
        found = hidden_sources(2, name).update(key, before, rows, weights, 0.5)
        assert float(found.raw[0]) == pytest.approx(share, rel=1e-6)
        assert float(found.information) == worth


def test_a_learner_may_go_on_from_the_generation_before():
    """Fits count 1, updates add 10 and the share: generation 0 is fitted, the others updated."""
    learner = Learner(
        fit=lambda key, rows, weights: jnp.sum(weights) * 1.0,
        generate=lambda key, params, count: jnp.zeros(count),
        update=lambda key, before, rows, weights, share: before + 10 * jnp.sum(weights) + share,
    )
    real, key = jnp.arange(4.0), jax.random.key(0)
    seen = self_consume(
        key, learner, real, 3, regime=Augment(0.25), observe=lambda key, g: g.params
    )
    np.testing.assert_allclose(seen, [1, 11.25, 21.5, 31.75])
    one = next_generation(key, learner, Augment(0.25), real, jnp.float32(1), 1)
    assert float(one.params) == 11.25


@dataclasses.dataclass(frozen=True)
class Few(Regime):
    """Two new real rows of twelve places, and nothing else; the set has five."""

    fresh_real = True

    def synthetic_size(self, samples):
        return 1

    def real_size(self, samples):
        return 12

    def share(self, generation):
        return 1.0

    def mix(self, step):
        return step.mixed((step.real, 2, 1.0))


@pytest.mark.parametrize("regime", [Few(), Hidden(1.0, growth=1.0, until=3)])
def test_there_may_be_more_new_real_rows_than_in_the_first_set(regime):
    learner = Learner(
        lambda key, rows, weights: weights @ rows, lambda key, params, count: jnp.full(count, -1.0)
    )

    def observe(key, generation):
        return generation.training_set, generation.row_weights, generation.params

    rows, weights, means = self_consume(
        jax.random.key(0),
        learner,
        jnp.arange(5.0),
        4,
        regime=regime,
        observe=observe,
        draw_real=lambda key, count: 100.0 + jnp.arange(count),
    )
    assert float(means[0]) == 2
    there = (weights > 0).sum(1).tolist()
    assert there == ([5, 2, 2, 2, 2] if isinstance(regime, Few) else [5, 5, 10, 15, 15])
    for i in range(1, 5):
        np.testing.assert_array_equal(rows[i][: there[i]], 100 + np.arange(there[i]))


def test_rows_are_real_by_lot_and_nothing_else_tells():
    regime, problem = Hidden(0.3, alpha_decay=0.5, growth=1.0, until=3), Sources((0.5, 0.5))

    def observe(truth, held_out, key, generation):
        rows, weights = generation.training_set, generation.row_weights
        return weights @ rows.real, jnp.sum(weights > 0), jnp.max(weights)

    keys = jax.random.split(jax.random.key(0), 200)
    share, count, weight = jax.vmap(lambda k: solvable.loop(problem, regime, 20, 4, k, observe))(
        keys
    )
    sizes = [20, 20, 40, 60, 60]
    np.testing.assert_array_equal(count, np.tile(sizes, (200, 1)))
    np.testing.assert_allclose(weight, np.tile(1 / np.array(sizes), (200, 1)), rtol=1e-6)
    np.testing.assert_array_equal(share[:, 0], 1)
    alphas = real_shares(regime, 20, 4)[1:]
    spread = np.sqrt(alphas * (1 - alphas) / np.array(sizes[1:]) / 200)
    assert (np.abs(share[:, 1:].mean(0) - alphas) < 4 * spread).all()


def test_settings_tell_schedules_apart_and_know_their_closed_forms():
    options = {"learner": "sources", "regime": "hidden", "samples": 20, "generations": 3}
    plain, falling = (grids.setting(options | {"alpha_decay": q}) for q in (0.0, 1.0))
    assert plain.identity != falling.identity
    assert (plain.columns["alpha_decay"], falling.columns["alpha_decay"]) == (0, 1)
    assert "alpha" not in plain.columns
    form = expected_excess(falling.problem, falling.regime, 20, 3)
    alphas = [0.2 / k for k in (2, 3, 4)]
    law = np.full(10, 0.1)
    expected = references.sources_error("interpolating", law, [20] * 4, alphas)
    np.testing.assert_allclose(form, expected, rtol=1e-12)
    kept = expected_excess(Sources(estimator="pooled"), FreshReal(3.0), 5, 2)
    expected = references.sources_error("pooled", law, [5, 20, 20], [0.25] * 2, by_lot=False)
    np.testing.assert_allclose(kept, expected, rtol=1e-12)
    assert np.isnan(expected_excess(Sources(), Augment(0.5), 5, 2)[1:]).all()
    varying = Varying(0.5, growth=1.0, until=2)
    expected = references.mean_varying(1.0, 5, [5, 10], [0.5, 0.5])
    np.testing.assert_allclose(expected_excess(GaussianMean(), varying, 5, 2), expected)


# --- the claims ----------------------------------------------------------------------------------

SMALL = dataclasses.replace(PRESET, solvable_runs=400)


def means(experiment):
    """What the loops of a claim show if it is right."""
    n, last = experiment.samples, experiment.generations
    if isinstance(experiment, SizedLoops):
        law = np.full(5, 0.2)
        curves = [
            references.sources_error("pooled", law, [4] + [size] * last, [4 / size] * last, False)
            for size in (20, 8)
        ]
        return {"excess": np.array(curves)}
    alphas = real_shares(experiment.regime, n, last)[1:]
    if not isinstance(experiment, Loops):
        chi = [1.0]
        for alpha in alphas:
            chi.append(alpha + (1 - alpha) * 1.1 * chi[-1])
        return {"tv": 1.1 * np.array(chi) / n}
    drift = [1.0]
    for alpha in alphas:
        drift.append(1 + (1 - alpha) * drift[-1])
    if experiment.problem.name == "bernoulli":
        return {"drift": 0.01 * np.array(drift)}
    form = expected_excess(experiment.problem, experiment.regime, n, last)
    return {"excess": form, "drift": form}


def judged(name, change=lambda experiment, arrays: None):
    found = scattered(CLAIMS[name].experiments(SMALL), means)
    for experiment, arrays in found.items():
        change(experiment, arrays)
    return judge(CLAIMS[name], Evidence(SMALL, experiments=found))


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_hold_where_they_are_right(name):
    entry = judged(name)
    assert [c for c in entry["cells"] if c["verdict"] != "holds"] == []
    assert entry["negative_control"]["rejected"]
    assert len(entry["negative_control"]["families"]) == {"hidden_sources": 5}.get(name, 4)


@pytest.mark.parametrize(
    ("name", "problem", "array", "wrong"),
    [
        ("hidden_sources", "sources", "excess", 3),
        ("varying_shares", "categorical", "excess", 2),
        ("varying_shares", "bernoulli", "drift", 1),
        ("varying_shares", "bernoulli", "tv", 1),
    ],
)
def test_one_generation_where_it_is_wrong_violates_a_claim(name, problem, array, wrong):
    def change(experiment, arrays):
        if experiment.problem.name == problem and array in arrays:
            arrays[array][..., 5] *= 1.3

    entry = judged(name, change)
    assert entry["verdict"] == "violated"
    bad = [c for c in entry["cells"] if c["verdict"] == "violated"]
    assert {c["generation"] for c in bad} == {5}
    assert len(bad) == wrong + 2 * (name == "hidden_sources")


def test_without_recovery_a_claim_about_it_does_not_hold():
    def change(experiment, arrays):
        if experiment.regime == claims.SIDES["recovers"]:
            arrays["excess"][:, -1] = arrays["excess"][:, 0] * 0.9

    entry = judged("varying_shares", change)
    assert "violated" in {c["verdict"] for c in entry["cells"] if c["kind"] == "change"}
