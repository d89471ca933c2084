"""Sampling bias: every generator draws with it, and every problem says so of what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from icl_stl import references
from icl_stl.config import Architecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal
from icl_stl.learners import GENERATIVE, adam_transformer, bayes_learner, laws, ols, tempered
from icl_stl.learners.orthogonal import empirical_bayes
from icl_stl.problems import (
    Categorical,
    EmpiricalBayes,
    Gaussian,
    GaussianMean,
    expected_excess,
    expected_quality,
)
from icl_stl.problems.table import Table
from icl_stl.regimes import Augment, FreshReal, Replace

KEY, S = jax.random.key(1), 0.25
TASK = LinearRegression(1, 3, 0.5)
CHEAP = {
    "flow": {"layers": 2, "width": 8, "steps": 100},
    "diffusion": {"width": 8, "depth": 1, "steps": 100, "levels": 10},
}


def fitted(learner, rows):
    count = len(jax.tree.leaves(rows)[0])
    return jax.jit(learner.fit)(KEY, rows, jnp.full(count, 1 / count))


def affine(name):
    """A learner whose rows are affine in the root of the bias, and a fit."""
    if name == "gaussian":
        return laws.gaussian(), Normal(jnp.float32(2), jnp.float32(3))
    if name == "gaussian mean":
        return laws.gaussian_mean(2.0), jnp.float32(1)
    if name == "prompts":
        learner = empirical_bayes(2, 3, 0.5, plug_in=False)
        return learner, fitted(learner, jax.random.normal(KEY, (50, 3, 2)))
    learner = GENERATIVE[name]().make(2)
    rows = jax.random.normal(KEY, (60, 2)) @ jnp.array([[1.0, 0.5], [0.0, 2.0]]) + 3
    return learner, fitted(learner, rows)


@pytest.mark.parametrize(
    "name", ["normal", "mixture", "kde", "gaussian", "gaussian mean", "prompts"]
)
def test_rows_are_affine_in_the_root_of_the_bias(name):
    learner, law = affine(name)
    none, some, whole = (learner.generate(KEY, law, 40, bias=s) for s in (0.0, S, 1.0))
    np.testing.assert_allclose(some, (none + whole) / 2, rtol=1e-4, atol=1e-4)
    assert np.abs(whole - none).max() > 0.1
    np.testing.assert_array_equal(whole, learner.generate(KEY, law, 40))
    if hasattr(law, "covariance"):
        many = tempered(learner, S).generate(KEY, law, 40_000)
        np.testing.assert_allclose(np.cov(many.T), S * law.covariance, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_networks_draw_less_far_from_their_middle(name):
    learner = GENERATIVE[name](**CHEAP[name]).make(2)
    law = fitted(learner, jax.random.normal(KEY, (60, 2)))
    spreads = [
        float(jnp.var(tempered(learner, s).generate(KEY, law, 2000), axis=0).mean())
        for s in (1.0, 0.5, 0.1)
    ]
    assert spreads[0] > spreads[1] > spreads[2]
    assert spreads[2] < 0.8 * spreads[0]


def test_symbols_have_powers_of_their_probabilities():
    law = jnp.array([0.5, 0.3, 0.2, 0.0])
    exact = np.array([0.5, 0.3, 0.2, 0.0]) ** 4
    np.testing.assert_allclose(laws.powered(law, S), exact / exact.sum(), rtol=1e-5)
    np.testing.assert_allclose(laws.powered(law, 1e-30), [1, 0, 0, 0], atol=1e-7)
    learner = tempered(laws.categorical(4), S)
    plain = laws.categorical(4).generate(KEY, laws.powered(law, S), 500)
    np.testing.assert_array_equal(learner.generate(KEY, law, 500), plain)
    markov = GENERATIVE["markov"](symbols=3, order=1).make(4)
    rows = jax.random.randint(KEY, (50, 4), 0, 3)
    fit = fitted(markov, rows)
    powered = markov.generate(KEY, laws.powered(fit, S), 50)
    np.testing.assert_array_equal(tempered(markov, S).generate(KEY, fit, 50), powered)
    pairs = (laws.categorical(4), law, jnp.arange(400) % 4), (markov, fit, rows)
    for own, found, some in pairs:
        redrawn = tempered(own, S).redraw(KEY, found, some)
        plain = own.redraw(KEY, laws.powered(found, S), some)
        np.testing.assert_array_equal(redrawn[0], plain[0])
        np.testing.assert_allclose(redrawn[1], plain[1], rtol=1e-5)


def test_a_transformer_writes_with_less_deviation():
    network, training = Architecture(depth=1, width=8, heads=2), Training(5, 8)
    for learner in (bayes_learner(TASK), adam_transformer(TASK, network, training)):
        rows = bayes_learner(TASK).generate(KEY, (), 32)
        params = fitted(learner, rows)
        biased = tempered(learner, S)
        whole, law = learner.predict(params, rows), biased.predict(params, rows)
        np.testing.assert_allclose(law.std, whole.std / 2, rtol=1e-5)
        np.testing.assert_allclose(law.mean, whole.mean, rtol=1e-5)
        one, other = (own.relabel(KEY, params, rows) for own in (learner, biased))
        first = whole.mean[:, 0]
        np.testing.assert_allclose(other.ys[:, 0] - first, (one.ys[:, 0] - first) / 2, atol=1e-4)
        drawn, plain = (own.redraw(KEY, params, rows)[0].ys for own in (biased, learner))
        np.testing.assert_allclose(drawn - whole.mean, (plain - whole.mean) / 2, atol=1e-4)
        many = biased.generate(KEY, params, 2000)
        law = learner.predict(params, many)
        assert float(((many.ys - law.mean) / law.std).std()) == pytest.approx(0.5, rel=0.03)


def test_all_that_draws_is_biased():
    learner = tempered(laws.gaussian_mean(1.0), S)
    rows, again = (
        jnp.asarray(learner.generate(KEY, jnp.float32(0), 400)),
        jnp.asarray(learner.relabel(KEY, jnp.float32(0), jnp.zeros(400))),
    )
    np.testing.assert_array_equal(rows, again)
    assert float(rows.std()) == pytest.approx(0.5, rel=0.1)
    same = laws.gaussian()
    assert tempered(same, 1.0) is same


PROBLEMS = [
    Gaussian(2.0, sampling_bias=S),
    GaussianMean(2.0, sampling_bias=S),
    Categorical((0.7, 0.3), sampling_bias=S),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda one: one.name)
def test_a_problem_is_sampled_with_its_bias(problem):
    """Its real rows are not; its closed forms know."""
    truth = problem.truth(KEY)
    real, made = problem.draw(KEY, truth, 4000), problem.learner.generate(KEY, truth, 4000)
    if isinstance(problem, Categorical):
        expected = 0.7**4 / (0.7**4 + 0.3**4)
        assert [(rows == 0).mean() for rows in (real, made)] == pytest.approx(
            [0.7, expected], abs=0.03
        )
        assert np.isnan(expected_excess(problem, Replace(), 10, 2)[1:]).all()
        return
    assert [float(rows.std()) for rows in (real, made)] == pytest.approx([2.0, 1.0], rel=0.05)
    law = expected_excess(problem, Replace(), 10, 1)
    first = 1.0 if isinstance(problem, GaussianMean) else 0.9  # of the variance that is drawn
    np.testing.assert_allclose(law, [0.4, 0.4 + 0.4 * S * first], rtol=1e-12)


def test_a_fitted_variance_has_a_closed_form_beside_the_measured_one():
    problem = Gaussian(unbiased=True, sampling_bias=S)
    known = references.mean_variance_biased(10, 10, 1.0, 3, S, unbiased=True)
    found = expected_quality(problem, FreshReal(), 10, 3)
    np.testing.assert_array_equal(found["variance"], known.variance)
    weighted = references.mean_variance_biased(10, 10, 1.0, 3, S, 0.3, fresh=False, unbiased=True)
    found = expected_quality(problem, Augment(0.5, 0.3), 10, 3)
    np.testing.assert_array_equal(found["variance"], weighted.variance)


def test_total_variations_are_of_what_is_drawn():
    keys = jax.random.split(KEY, 3000)
    narrow = quad(lambda x: abs(norm.pdf(x) - norm.pdf(x, 0, S**0.5)), -9, 9, limit=200)[0] / 2
    for problem, law in (
        (Gaussian(sampling_bias=S), Normal(jnp.float32(0), jnp.float32(1))),
        (GaussianMean(sampling_bias=S), jnp.float32(0)),
    ):
        truth = problem.truth(KEY)
        drift = jax.vmap(lambda key, p=problem, t=truth, law=law: p.drift(key, t, law))(keys)
        assert float(drift.mean()) == pytest.approx(narrow, rel=0.02)
        share = jax.vmap(lambda key, p=problem, t=truth, law=law: p.eps(key, t, law, law, 0.5))(
            keys
        )
        assert float(share.mean()) == pytest.approx(narrow / 2, rel=0.03)
    symbols = Categorical((0.7, 0.3), sampling_bias=S)
    truth = symbols.truth(KEY)
    apart = 0.7**4 / (0.7**4 + 0.3**4) - 0.7
    assert float(symbols.drift(KEY, truth, truth)) == pytest.approx(apart, rel=1e-5)
    assert float(symbols.eps(KEY, truth, truth, truth, 0.25)) == pytest.approx(apart / 4, rel=1e-5)
    prompts = EmpiricalBayes(sampling_bias=S, plug_in=False)
    best = prompts.best(())
    rows = prompts.draw(KEY, (), 5)
    whole = prompts.real_log_density((), rows)
    assert float(jnp.abs(prompts.log_density(best, rows) - whole).min()) > 0.1


@pytest.mark.parametrize("s", [1.0, S])
def test_quality_of_a_normal_law(s):
    law = Normal(jnp.float32(0.5), jnp.float32(2))
    problem = Gaussian(sampling_bias=s)
    seen = problem.quality(problem.truth(KEY), law)
    std = 2 * s**0.5
    inside = norm.cdf(1.96, 0.5, std) - norm.cdf(-1.96, 0.5, std)
    assert float(seen["variance"]) == 4
    assert float(seen["w2"]) == pytest.approx(0.25 + 1)
    assert float(seen["precision"]) == pytest.approx(inside / 0.95, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tempered(ols(), 0.5), "bias must be 1 for this learner"),
        (lambda: tempered(laws.gaussian(), 0.0), r"bias must be in \(0, 1\], but it is 0.0"),
        (lambda: Gaussian(sampling_bias=1.5), r"sampling_bias must be in \(0, 1\], but it is 1.5"),
        (lambda: GaussianMean(sampling_bias=float("nan")), r"sampling_bias must be in \(0, 1\]"),
        (lambda: Categorical(sampling_bias=-0.5), r"sampling_bias must be in \(0, 1\]"),
        (
            lambda: Table("wine", GENERATIVE["kde"](bandwidth=0.0), sampling_bias=0.5),
            "sampling_bias must be 1 for a model whose rows are drawn in one way only",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
