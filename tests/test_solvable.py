import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from icl_stl import devices, problems
from icl_stl.bounds import drift_recursion
from icl_stl.lab import solvable
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, sample_prompts
from icl_stl.learners.attention import features
from icl_stl.loops import self_consume
from icl_stl.regimes import (
    REAL,
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    FreshReal,
    RealOnly,
    Replace,
    mixing_weights,
    source_shares,
)

COUNT = 20_000
KEY = jax.random.key(5)
TASK = LinearRegression(dim=2, context=5, noise=0.5)
ROUND = LinearRegression(3, 6, 0.4, 3**-0.5, inputs="sphere", tasks="sphere", noise_law="uniform")
PROBABILITIES = (0.1, 0.2, 0.3, 0.4)


def number(value):
    return jnp.float32(value)


def law(mean, std):
    return Normal(number(mean), number(std))


# Each problem with the truth of a loop, the parameters of a generation and of the one before.
PROBLEMS = {
    "bernoulli": (problems.Bernoulli(probability=0.3), number(0.3), number(0.45), number(0.2)),
    "gaussian mean": (problems.GaussianMean(0.8), number(0.0), number(0.5), number(-0.3)),
    "gaussian": (problems.Gaussian(0.8), law(0.0, 0.8), law(0.5, 0.6), law(-0.2, 1.1)),
    "categorical": (
        problems.Categorical(PROBABILITIES),
        jnp.array(PROBABILITIES),
        jnp.array([0.25, 0.25, 0.5, 0.0]),
        jnp.array([0.0, 0.3, 0.1, 0.6]),
    ),
    "ols": (problems.Ols(3, 0.6), jnp.ones(3), jnp.array([1.0, 0.0, 1.5]), jnp.zeros(3)),
    "ridge": (problems.Ridge(2, 0.6), jnp.ones(2), jnp.array([1.0, 0.5]), jnp.zeros(2)),
    "attention": (
        problems.LinearAttention(2, 4, 0.5, law="gaussian"),
        (),
        jnp.array([[1.6, -0.2], [0.1, 1.3]]),
        jnp.eye(2) / 3,
    ),
    "round attention": (
        problems.LinearAttention(3, 5, 0.4, law="sphere"),
        (),
        0.5 * jnp.ones((3, 3)),
        jnp.eye(3),
    ),
}
WITH_DRIFT = {name: case for name, case in PROBLEMS.items() if case[0].drift is not None}

each_problem = pytest.mark.parametrize(
    ("problem", "truth", "params", "previous"), PROBLEMS.values(), ids=PROBLEMS.keys()
)
each_with_drift = pytest.mark.parametrize(
    ("problem", "truth", "params", "previous"), WITH_DRIFT.values(), ids=WITH_DRIFT.keys()
)


def best(problem, truth):
    """The parameters of least risk: the truth, or g I."""
    if not jax.tree.leaves(truth):
        task = TASK if problem is PROBLEMS["attention"][0] else ROUND
        return problems.attention_law(task).scale * jnp.eye(task.dim)
    return jax.tree.map(jnp.asarray, truth)


# Risks, by Monte Carlo.


@each_problem
def test_the_risk_is_the_mean_loss_of_fresh_real_rows(
    problem, truth, params, previous, assert_mean
):
    losses = jax.jit(lambda key: problem.loss(params, problem.draw(key, truth, COUNT)))(KEY)
    assert losses.shape == (COUNT,)
    assert_mean(losses, problem.risk(truth, params))
    with pytest.raises(AssertionError):
        assert_mean(losses, problem.risk(truth, previous))


@each_problem
def test_the_synthetic_risk_is_the_mean_loss_of_generated_rows(
    problem, truth, params, previous, assert_mean
):
    generate = problem.learner.generate
    losses = jax.jit(lambda key: problem.loss(params, generate(key, previous, COUNT)))(KEY)
    assert_mean(losses, problem.synthetic_risk(previous, params))
    with pytest.raises(AssertionError):
        assert_mean(losses, problem.risk(truth, params))


def test_the_risk_on_labels_written_one_after_the_other_is_not_known():
    problem = problems.LinearAttention(2, 4, 0.5, law="gaussian", generator="autoregressive")
    assert np.isnan(problem.synthetic_risk(jnp.eye(2), jnp.eye(2)))
    assert np.isfinite(problem.risk((), jnp.eye(2)))


@each_problem
def test_the_excess_is_the_risk_above_the_least(problem, truth, params, previous, assert_close):
    least = best(problem, truth)
    floor = problem.risk(truth, least)
    for theta in (params, previous):
        assert problem.excess(truth, theta) > 0
        assert_close(number(problem.excess(truth, theta)), problem.risk(truth, theta) - floor)
    assert_close(number(problem.excess(truth, least)), 0.0)


@each_problem
def test_nothing_near_the_best_is_better(problem, truth, params, previous):
    least = best(problem, truth)
    for seed in range(5):
        keys = iter(jax.random.split(jax.random.key(seed), 2))
        near = jax.tree.map(
            lambda a, keys=keys: a + 0.05 * jax.random.normal(next(keys), a.shape), least
        )
        assert problem.excess(truth, near) > 0


@each_problem
def test_the_truth_of_a_loop_has_the_law_that_real_rows_are_drawn_from(
    problem, truth, params, previous
):
    drawn = problem.truth(KEY)
    assert jax.tree.structure(drawn) == jax.tree.structure(truth)
    rows = jax.jit(problem.draw, static_argnums=2)(KEY, drawn, COUNT)
    fitted = jax.jit(problem.learner.fit)(KEY, rows, jnp.full(COUNT, 1 / COUNT))
    excess = problem.excess(drawn, fitted)
    assert excess < (0.05 if problem is PROBLEMS["ridge"][0] else 0.01)


def test_regression_loops_have_truths_of_their_own(assert_mean):
    truths = jax.vmap(problems.Ols(dim=4).truth)(jax.random.split(KEY, COUNT))
    assert_mean(truths, 0.0)
    assert_mean(truths**2, 1.0)


# Total variations.


def over_keys(estimate, count=4_000):
    """The estimates of many keys."""
    return jax.jit(jax.vmap(estimate))(jax.random.split(KEY, count))


def gaussian_tv(truth, params, previous, share):
    """TV of N(θ) and the mixture, by quadrature."""

    def half_gap(z):
        mixture = share * stats.norm.pdf(z, *truth) + (1 - share) * stats.norm.pdf(z, *previous)
        return abs(stats.norm.pdf(z, *params) - mixture) / 2

    return integrate.quad(half_gap, -12, 12, limit=500, epsabs=1e-9)[0]


def regression_tv(truth, params, previous, share, noise):
    """TV of laws of (x, y), one input, on a grid; the error of the grid is below 1e-5."""
    xs, ys = np.linspace(-7, 7, 701), np.linspace(-30, 30, 6001)
    pdf = lambda w: stats.norm.pdf(ys, xs[:, None] * w, noise)  # noqa: E731
    gaps = np.abs(pdf(params) - share * pdf(truth) - (1 - share) * pdf(previous)) / 2
    return (gaps.sum(axis=1) * (ys[1] - ys[0]) * stats.norm.pdf(xs)).sum() * (xs[1] - xs[0])


def log_densities(problem, params, rows):
    """Log-density of rows, up to what all laws of the problem share."""
    if isinstance(rows, tuple):
        return stats.norm.logpdf(rows.ys, np.asarray(rows.xs) @ np.asarray(params), 0.6)
    if isinstance(params, Normal):
        return stats.norm.logpdf(rows, *map(float, params))
    if jnp.ndim(params) == 1:
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(params)[rows])
    if problem is PROBLEMS["bernoulli"][0]:
        return stats.bernoulli.logpmf(np.asarray(rows, int), float(params))
    return stats.norm.logpdf(rows, float(params), 0.8)


@each_with_drift
def test_the_drift_is_a_total_variation(problem, truth, params, previous, assert_mean):
    # TV(D_θ, D_0) = E_{D_0} (1 - p_θ/p_0)_+, on rows of the real law.
    rows = problem.draw(KEY, truth, COUNT)
    ratio = np.exp(log_densities(problem, params, rows) - log_densities(problem, truth, rows))
    drifts = over_keys(lambda key: problem.drift(key, truth, params))
    drifts = np.asarray(drifts, np.float64)
    exact = drifts.std() < 1e-6
    assert exact == (problem is not PROBLEMS["gaussian"][0])
    if exact:
        assert_mean(np.maximum(1 - ratio, 0), drifts[0])
    else:
        assert_mean(drifts, gaussian_tv(truth, params, truth, 1.0))
    assert drifts.min() >= 0
    assert drifts.max() <= 1


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.1, 2.0, 30.0])
def test_the_drift_of_a_mean_is_that_of_shifted_normal_laws(shift):
    problem = problems.GaussianMean(0.8)
    drift = problem.drift(KEY, number(0.0), number(shift))
    expected = 2 * stats.norm.cdf(abs(shift) / 1.6) - 1
    np.testing.assert_allclose(drift, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shift", [0.0, 0.2, -1.5, 8.0])
def test_the_drift_of_a_regression_is_that_of_its_angle(shift):
    problem = problems.Ols(1, noise=0.7)
    drift = problem.drift(KEY, jnp.array([0.3]), jnp.array([0.3 + shift]))
    expected = regression_tv(0.3, 0.3 + shift, 0.0, 1.0, 0.7)
    np.testing.assert_allclose(drift, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_one_step_errors_of_numbers_are_exact_or_unbiased(share, assert_close, assert_mean):
    def errors(name, count=4_000):
        problem, truth, params, previous = PROBLEMS[name]
        return over_keys(lambda key: problem.eps(key, truth, previous, params, share), count)

    assert_close(errors("bernoulli", 2)[0], abs(0.45 - share * 0.3 - (1 - share) * 0.2))
    _, real, params, previous = PROBLEMS["categorical"]
    mixture = share * np.asarray(real) + (1 - share) * np.asarray(previous)
    assert_close(errors("categorical", 2)[0], np.abs(np.asarray(params) - mixture).sum() / 2)
    means = [(float(mean), 0.8) for mean in PROBLEMS["gaussian mean"][1:]]
    laws = [tuple(map(float, one)) for one in PROBLEMS["gaussian"][1:]]
    for name, three in (("gaussian mean", means), ("gaussian", laws)):
        assert_mean(errors(name), gaussian_tv(*three, share))
        assert errors(name).max() <= 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_one_step_errors_of_regression_are_unbiased(share, assert_mean):
    problem = problems.Ols(1, noise=0.7)
    real, params, previous = (jnp.array([w]) for w in (1.0, 0.4, -0.5))
    errors = over_keys(lambda key: problem.eps(key, real, previous, params, share))
    assert_mean(errors, regression_tv(1.0, 0.4, -0.5, share, 0.7))


@each_with_drift
def test_a_generation_of_the_same_law_errs_nowhere(problem, truth, params, previous, assert_close):
    assert_close(number(problem.drift(KEY, truth, best(problem, truth))), 0.0)
    assert_close(number(problem.eps(KEY, truth, params, params, 0.0)), 0.0)


def test_a_law_of_a_point_is_as_far_as_can_be():
    problem = problems.Gaussian()
    real, point = law(0.0, 1.0), law(0.3, 0.0)
    assert problem.drift(KEY, real, point) == 1
    assert problem.eps(KEY, real, law(0.2, 0.1), point, 0.5) == 1
    assert problem.eps(KEY, real, law(0.2, 0.0), point, 0.0) == 1
    assert problem.eps(KEY, real, point, point, 0.0) == 0


def test_a_loop_that_collapses_to_a_point_stays_measured():
    found = solvable.simulate(problems.Gaussian(), Replace(), samples=3, generations=80, runs=5)
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.mark.parametrize("probabilities", [(0.5, 0.6), (1.5, -0.5), (0.2, 0.2)])
def test_probabilities_must_sum_to_one(probabilities):
    with pytest.raises(
        ValueError, match=r"^probabilities must be at least 0 and sum to 1, but they are"
    ):
        problems.Categorical(probabilities)


# The optimum of linear self-attention.

LAWS = [
    TASK,
    LinearRegression(dim=1, context=2, noise=0.3, prior_scale=0.5),
    LinearRegression(dim=3, context=9, noise=1.0, prior_scale=2.0, inputs="sphere"),
    dataclasses.replace(TASK, tasks="sphere"),
    ROUND,
]
each_law = pytest.mark.parametrize("task", LAWS, ids=lambda t: f"{t.inputs}-{t.tasks}-d{t.dim}")


def features_and_labels(task, key):
    """What attention sees of many real prompts, and the labels of their queries."""

    def draw(key):
        prompts = sample_prompts(task, key, 200_000)
        return features(prompts), prompts.ys[:, -1]

    return (np.asarray(a, np.float64) for a in jax.jit(draw)(key))


@each_law
def test_the_best_attention_solves_the_normal_equations(task, assert_mean):
    optimum = problems.attention_law(task)
    f, ys = features_and_labels(task, KEY)
    gamma = optimum.scale * np.eye(task.dim).ravel()
    error = ys - f @ gamma
    assert_mean(f * error[:, None], 0.0)
    assert_mean(error**2, optimum.risk)
    assert_mean(np.einsum("na,nb->nab", f, f), optimum.curvature * np.eye(task.dim**2))
    with pytest.raises(AssertionError):
        assert_mean(f * (ys - 1.3 * f @ gamma)[:, None], 0.0)


@each_law
def test_least_squares_on_many_prompts_find_the_best_attention(task):
    optimum = problems.attention_law(task)
    f, ys = features_and_labels(task, jax.random.key(6))
    fitted = np.linalg.lstsq(f, ys)[0]
    # The deviation of least squares, with the errors' own variances.
    inverse = np.linalg.inv(f.T @ f)
    error = ys - f @ fitted
    deviations = np.sqrt(np.diag(inverse @ (f.T @ (f * error[:, None] ** 2)) @ inverse))
    distance = np.abs(fitted - optimum.scale * np.eye(task.dim).ravel())
    assert np.all(distance <= 5 * deviations)
    assert np.all(deviations < 0.02)


# Loops.

CLOSED = problems.GaussianMean()
REGIMES = [
    Augment(0.4),
    AugmentSameInputs(0.5, weight=0.8),
    Replace(0.5),
    RealOnly(),
    FreshReal(2.0, weight=0.3),
    AccumulateFresh(0.5),
    Accumulate(1.5),
    Anchored(0.3),
]


def variances(regime, samples, generations):
    """E excess of the mean of N(0, 1): every mean is a sum of independent means of rows."""
    n_syn = max(1, regime.synthetic_size(samples))
    # Columns: real rows of generation i, then rows made by generation j, in own deviations.
    noise = np.array([1 / samples] * (generations + 1) + [1 / n_syn] * generations)
    means = np.zeros((generations + 1, len(noise)))
    for i in range(generations + 1):
        for j, share in source_shares(regime, samples, i).items():
            if j == REAL:
                means[i, i if regime.fresh_real else 0] += share
            else:
                means[i] += share * means[j]
                means[i, generations + 1 + j] += share
    return means**2 @ noise


@pytest.mark.parametrize("regime", REGIMES, ids=repr)
def test_the_excess_of_a_mean_is_that_of_a_sum_of_independent_means(regime, assert_mean):
    found = solvable.simulate(CLOSED, regime, samples=6, generations=4, runs=3_000, seed=1)
    assert found["excess"].shape == (3_000, 5)
    expected = variances(regime, 6, 4)
    assert_mean(found["excess"], expected)
    if regime != RealOnly():
        with pytest.raises(AssertionError):
            assert_mean(found["excess"], expected * [1, 1, 1, 1, 1.25])


def test_variances_of_the_replace_loop_add_up():
    np.testing.assert_allclose(variances(Replace(0.5), 6, 4), 1 / 6 + np.arange(5) / 3)


@pytest.mark.parametrize(
    "regime",
    [Augment(0.4), Augment(0.5, weight=0.9), Replace(), RealOnly(), FreshReal(2.0)],
    ids=repr,
)
@pytest.mark.parametrize(
    "problem",
    [problems.Bernoulli(1.3, probability=0.4), problems.Categorical((0.2, 0.3, 0.5))],
    ids=["bernoulli", "categorical"],
)
def test_the_drift_of_every_loop_is_within_what_its_errors_allow(problem, regime):
    found = solvable.simulate(problem, regime, samples=8, generations=4, runs=50)
    more = {"symbols_left", "entropy"} if isinstance(problem, problems.Categorical) else set()
    assert set(found) == {"excess", "gap", "drift", "eps"} | more
    bound = drift_recursion(found["eps"].astype(float), mixing_weights(regime, 8, 4)).total
    assert np.all(found["drift"] <= bound + 1e-6)
    assert np.any(found["drift"] > 0.9 * bound)
    np.testing.assert_allclose(found["eps"][:, 0], found["drift"][:, 0], atol=1e-6)


def seen_of(problem, regime):
    """What is measured of a loop of two generations, by name and shape, without running it."""
    observe = solvable.measurements(problem, regime)
    seen = jax.eval_shape(lambda key: solvable.loop(problem, regime, 4, 2, key, observe), KEY)
    return {name: values.shape for name, values in seen.items()}


def test_errors_of_one_step_are_those_of_the_last_generation_alone():
    for regime in (AccumulateFresh(), Accumulate(), AccumulateSubsample(), Anchored(0.5)):
        assert seen_of(CLOSED, regime) == {"excess": (3,), "gap": (3,), "drift": (3,)}
    assert seen_of(CLOSED, Replace()) == dict.fromkeys(("excess", "gap", "drift", "eps"), (3,))
    attention = problems.LinearAttention(2, 4, 0.5, law="gaussian")
    assert seen_of(attention, Replace()) == {"excess": (3,), "gap": (3,)}


def looped(problem, regime, samples, generations, observe):
    """The loop of one key, compiled as a whole."""
    return jax.jit(lambda key: solvable.loop(problem, regime, samples, generations, key, observe))(
        KEY
    )


def test_a_loop_is_that_of_its_learner_on_rows_of_its_truth(assert_close):
    problem, regime = problems.Ols(2), AugmentSameInputs(0.5)
    key_truth, key_real, key_loop = jax.random.split(KEY, 3)
    truth = problem.truth(key_truth)
    real = problem.draw(key_real, truth, 6)
    expected = jax.jit(
        lambda key: self_consume(
            key, problem.learner, real, 3, regime=regime, observe=lambda key, g: g.params
        )
    )(key_loop)
    truths, params = looped(problem, regime, 6, 3, lambda truth, _, key, g: (truth, g.params))
    assert_close(params, expected)
    np.testing.assert_array_equal(truths, np.tile(truth, (4, 1)))


def test_fresh_real_rows_of_a_loop_are_of_its_own_truth():
    problem = problems.Ols(3, noise=1e-3)

    def errors(truth, held_out, key, generation):
        rows = jax.tree.map(lambda a: a[:6], generation.training_set)
        return rows.xs, rows.ys - rows.xs @ truth

    xs, seen = looped(problem, FreshReal(), 6, 3, errors)
    assert np.abs(seen).max() < 6e-3
    assert len(np.unique(xs)) == xs.size


@pytest.mark.parametrize(
    "regime", [Augment(0.4, weight=0.9), Accumulate(), AccumulateSubsample()], ids=repr
)
def test_the_gap_is_the_risk_less_the_weighted_training_loss(regime, assert_close):
    problem = problems.Ridge(2)
    inner = solvable.measurements(problem, regime)

    def observe(truth, held_out, key, generation):
        rows, weights = generation.training_set, generation.row_weights
        padded = Accumulate().synthetic_size(6) * 3 + 6  # generation 0 has fewer rows
        room = lambda a: jnp.zeros((padded, *a.shape[1:])).at[: len(a)].set(a)  # noqa: E731
        kept = jax.tree.map(room, (rows, weights))
        return inner(truth, (), key, generation), truth, generation.params, *kept

    measured, truth, params, rows, weights = jax.tree.map(
        lambda a: np.asarray(a, np.float64), looped(problem, regime, 6, 3, observe)
    )
    for i in range(4):
        losses = (rows.ys[i] - rows.xs[i] @ params[i]) ** 2
        risk = 1.0 + np.sum((params[i] - truth[i]) ** 2)
        assert_close(measured["gap"][i].astype(np.float32), risk - weights[i] @ losses)
        assert_close(measured["excess"][i].astype(np.float32), risk - 1.0)


@pytest.mark.parametrize(
    ("regime", "share"),
    [(Augment(0.4), 0.4), (Augment(0.4, weight=0.9), 0.9), (Replace(), 0.0), (RealOnly(), 1.0)],
    ids=repr,
)
def test_errors_of_one_step_are_against_the_law_that_was_trained_on(regime, share, assert_close):
    problem = problems.Bernoulli(1.2, probability=0.4)
    inner = solvable.measurements(problem, regime)

    def observe(truth, held_out, key, generation):
        return inner(truth, (), key, generation)["eps"], generation.params

    eps, theta = map(np.asarray, looped(problem, regime, 8, 4, observe))
    assert_close(eps[0], abs(theta[0] - np.float32(0.4)))
    assert_close(eps[1:], np.abs(theta[1:] - share * 0.4 - (1 - share) * theta[:-1]))


# Many loops.


def draws(of, key):
    return {"bits": jax.random.uniform(key), "more": jax.random.normal(key, (2,))}


def many(runs, batch, seed=3, **others):
    return devices.many(draws, None, runs, seed=seed, batch=batch, **others)


def test_every_run_has_its_own_key():
    found = many(5, 2)
    assert isinstance(found["more"], np.ndarray)
    for r in range(5):
        expected = draws(None, jax.random.fold_in(jax.random.key(3), r))
        assert found["bits"][r] == expected["bits"]
        np.testing.assert_allclose(found["more"][r], expected["more"], rtol=1e-6)
    assert not np.any(many(5, 2, seed=4)["bits"] == found["bits"])


@pytest.mark.parametrize(("runs", "batch"), [(1, 1), (1, 9), (3, 1), (10, 3), (10, 5), (10, 99)])
def test_runs_are_the_same_in_batches_of_any_width(runs, batch, assert_close):
    found, longest = many(runs, batch), many(11, 4)
    assert found["bits"].shape == (runs,)
    assert found["more"].shape == (runs, 2)
    np.testing.assert_array_equal(found["bits"], longest["bits"][:runs])
    assert_close(found["more"], longest["more"][:runs])


def test_more_loops_keep_the_first_ones(assert_close):
    problem = problems.LinearAttention(2, 4, 0.5, law="gaussian")
    regime = Augment(0.5)

    def loops(runs, batch):
        def run(of, key):
            observe = solvable.measurements(problem, regime)
            return solvable.loop(problem, regime, 12, 2, key, observe)

        return devices.many(run, None, runs, seed=0, batch=batch)

    longer = loops(7, 4)
    jax.tree.map(assert_close, loops(3, 1), {k: v[:3] for k, v in longer.items()})


def test_runs_are_spread_over_all_devices_in_equal_batches():
    assert len(jax.devices()) == 2
    where = devices.many(lambda of, key: jax.lax.axis_index("runs"), None, 10, seed=0, batch=3)
    # Two rounds of two devices: three runs each.
    np.testing.assert_array_equal(where, [0, 0, 0, 1, 1, 1, 0, 0, 0, 1])
    where = devices.many(lambda of, key: jax.lax.axis_index("runs"), None, 3, seed=0, batch=100)
    np.testing.assert_array_equal(where, [0, 0, 1])


def test_a_run_is_compiled_once_and_each_round_is_reported():
    traced, told = [], []

    def run(of, key, shift):
        traced.append(key)
        return of + jax.random.uniform(key) + shift

    report = lambda *news: told.append(news)  # noqa: E731
    found = devices.many(run, 5, 10, np.float32(0), seed=0, batch=2, report=report)
    assert len(traced) == 1
    # Kept for other seeds and arguments, not for another description.
    moved = devices.many(run, 5, 10, np.float32(1), seed=0, batch=2)
    other = devices.many(run, 5, 10, np.float32(0), seed=1, batch=2)
    np.testing.assert_allclose(moved, found + 1, rtol=1e-6)
    assert not np.any(other == found)
    assert len(traced) == 1
    again = devices.many(run, 6, 10, np.float32(0), seed=0, batch=2)
    np.testing.assert_allclose(again, found + 1, rtol=1e-6)
    assert len(traced) == 2
    assert told == [("loops", 0, 10), ("loops", 4, 10), ("loops", 8, 10)]


def test_simulations_are_functions_of_their_seed():
    one, again, other = (
        solvable.simulate(CLOSED, Augment(0.5), samples=4, generations=2, runs=3, seed=seed)
        for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.any(one["excess"] == other["excess"])


@pytest.mark.parametrize(
    ("problem", "regime", "numbers"),
    [
        (problems.GaussianMean(), Replace(), 10 + 10),
        (problems.GaussianMean(), RealOnly(), 10),
        (problems.GaussianMean(), Augment(0.2), 10 + 40),
        (problems.GaussianMean(), AccumulateFresh(), 10 + 5 * 10),
        (problems.Categorical(), Accumulate(2.0), 10 + 5 * 20),
        (problems.Ols(4), AccumulateSubsample(), (10 + 5 * 10) * 5),
        (problems.LinearAttention(2, 4, 0.5, law="gaussian"), FreshReal(), 20 * 5 * 3),
    ],
)
def test_a_batch_is_what_fits_in_memory(problem, regime, numbers):
    size = solvable.batch_size(problem, regime, 10, 5, floats=100_000)
    assert size == 100_000 // numbers
    assert solvable.batch_size(problem, regime, 10, 5, floats=1) == 1


def test_simulations_fill_the_memory_they_may(monkeypatch):
    seen = []

    def many(run, of, runs, **rest):
        seen.append((runs, rest["seed"], rest["batch"]))
        return {}

    monkeypatch.setattr(solvable, "many", many)
    solvable.simulate(CLOSED, Replace(), samples=10, generations=5, runs=8, seed=2)
    assert seen == [(8, 2, 2**18 // 20)]


# --- closed forms --------------------------------------------------------------------------------

SMALL = {"ols": problems.Ols(2), "categorical": problems.Categorical((0.25,) * 4)}
EXACT = (
    *(Augment(0.5), AugmentSameInputs(0.5), Replace(), RealOnly(), FreshReal()),
    *(AccumulateFresh(), Accumulate(), AccumulateSubsample(), Anchored(0.5)),
)


@pytest.mark.parametrize("regime", EXACT, ids=lambda regime: regime.name)
def test_a_regime_of_ones_own_has_no_closed_form_of_its_parent(regime):
    class Other(type(regime)):
        """Twice as many synthetic rows, and no share of the real law."""

        def synthetic_size(self, samples):
            return 2 * super().synthetic_size(samples)

        def share(self, generation):
            return 0.0

    other = Other(**dataclasses.asdict(regime))
    own = []
    for name, kind in problems.PROBLEMS.items():
        problem = SMALL.get(name, kind())
        own.append(np.isfinite(problems.expected_excess(problem, regime, 20, 3)[0]))
        assert np.isnan(problems.expected_excess(problem, other, 20, 3)).all()
    assert sum(own) >= 4  # those of the regime itself stay


def test_same_inputs_are_nothing_to_rows_without_inputs():
    for name in ("gaussian_mean", "gaussian", "categorical", "bernoulli"):
        problem = SMALL.get(name, problems.PROBLEMS[name]())
        one, other = (
            problems.expected_excess(problem, kind(0.5), 20, 3)
            for kind in (Augment, AugmentSameInputs)
        )
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()
