from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import trials

from icl_stl.config import NADAM, Architecture, QueryArchitecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, bayes_predictive, sample_prompts
from icl_stl.learners import adam_transformer, bayes_learner, in_context
from icl_stl.models.causal import InContextModel

TASK = LinearRegression(dim=2, context=4, noise=0.5, inputs="sphere")
ARCHITECTURE = Architecture(depth=1, width=8, heads=2)
ROWS = 1024

LEARNER = adam_transformer(TASK, ARCHITECTURE, Training(steps=600, batch=32))
FIT = jax.jit(LEARNER.fit)


def even(rows):
    return jnp.full(rows, 1 / rows)


@pytest.fixture(scope="module")
def prompts():
    return sample_prompts(TASK, jax.random.key(1), ROWS)


@pytest.fixture(scope="module")
def fitted(prompts):
    return FIT(jax.random.key(0), prompts, even(ROWS))


def nats_a_label(laws, prompts):
    return float(-jnp.mean(laws.log_density(prompts.ys)))


def predict_all(learner, params, prompts):
    return jax.jit(learner.predict)(params, prompts)


# The fitted transformer.


def test_a_short_fit_learns_to_read_the_examples(fitted):
    fresh = sample_prompts(TASK, jax.random.key(2), 2_000)
    learnt = nats_a_label(predict_all(LEARNER, fitted, fresh), fresh)
    flat = jnp.zeros(fresh.ys.shape)
    blind = nats_a_label(Normal(flat, flat + TASK.label_variance**0.5), fresh)
    exact = nats_a_label(predict_all(bayes_learner(TASK), (), fresh), fresh)
    # Better than every law that ignores the examples, by a quarter of what there is to learn.
    assert exact < learnt < blind - (blind - exact) / 4
    assert fitted.loss < blind
    assert fitted.diverged_at == -1
    assert fitted.diverged_at.dtype == jnp.int32


def test_a_fit_is_a_function_of_its_key_and_of_relative_weights(prompts, fitted):
    again = FIT(jax.random.key(0), prompts, 4 * even(ROWS))
    jax.tree.map(np.testing.assert_array_equal, again, fitted)
    other = FIT(jax.random.key(1), prompts, even(ROWS))
    assert other.loss != fitted.loss


def test_rows_without_weight_are_never_read(prompts, fitted):
    # Weights are powers of two, so that cumulated weights are exact whatever their order.
    places = np.array([0, 0, ROWS // 2, ROWS, ROWS])
    padded = jax.tree.map(lambda a: jnp.asarray(np.insert(a, places, np.nan, axis=0)), prompts)
    weights = jnp.asarray(np.insert(np.asarray(even(ROWS)), places, 0.0))
    assert np.isnan(padded.ys).any(axis=1).sum() == places.size
    jax.tree.map(np.testing.assert_array_equal, FIT(jax.random.key(0), padded, weights), fitted)


def test_data_that_are_not_numbers_are_reported(prompts):
    broken = prompts._replace(ys=jnp.full_like(prompts.ys, jnp.nan))
    assert FIT(jax.random.key(0), broken, even(ROWS)).diverged_at == 0


def test_generated_prompts_follow_the_fitted_model(fitted, assert_close, assert_mean):
    prompts = jax.jit(LEARNER.generate, static_argnums=2)(jax.random.key(3), fitted, 2_000)
    assert prompts.xs.shape == (2_000, TASK.context, TASK.dim)
    assert_close(jnp.sum(prompts.xs**2, axis=-1), np.full(prompts.ys.shape, TASK.dim))
    laws = predict_all(LEARNER, fitted, prompts)
    assert_mean(((prompts.ys - laws.mean) / laws.std) ** 2, 1.0)


def test_plug_in_prompts_vary_by_the_noise_alone(fitted, assert_mean):
    plug_in = adam_transformer(TASK, ARCHITECTURE, Training(), plug_in=True)
    prompts = jax.jit(plug_in.generate, static_argnums=2)(jax.random.key(3), fitted, 2_000)
    laws = predict_all(plug_in, fitted, prompts)
    assert_mean((prompts.ys - laws.mean) ** 2, TASK.noise**2)
    assert (laws.std == TASK.noise).all()  # it predicts what it generates from
    honest = adam_transformer(TASK, ARCHITECTURE, Training())
    predictive = predict_all(honest, fitted, prompts)
    with pytest.raises(AssertionError):
        assert_mean(((prompts.ys - laws.mean) / predictive.std) ** 2, 1.0)


# How training goes, seen through a model whose loss says which rows it was shown.


def level_model(start=0.0):
    """Labels are N(θ, 1): the loss is the mean squared label about θ, halved, plus a constant."""

    def predict(level, prompt):
        mean = level + jnp.zeros_like(prompt.ys)
        return Normal(mean, jnp.ones_like(mean))

    return InContextModel(lambda key: jnp.asarray(start), predict, lambda: (), None)


LOSS_FLOOR = 0.5 * np.log(2 * np.pi)


@pytest.fixture
def fit_with(monkeypatch):
    """A fit of the given model in the place of the transformer."""

    def fit(model, training, task=TASK):
        monkeypatch.setattr(in_context, "transformer", lambda task, architecture: model)
        return adam_transformer(task, ARCHITECTURE, training).fit

    return fit


def constant_labels(values):
    ys = jnp.broadcast_to(jnp.asarray(values, jnp.float32)[:, None], (len(values), TASK.context))
    return Prompts(jnp.zeros((*ys.shape, TASK.dim)), ys)


def first_batches(fit, prompts, weights, count):
    """The mean squared label of the first batch, for many keys."""
    keys = jax.random.split(jax.random.key(0), count)
    losses = jax.jit(jax.vmap(fit, in_axes=(0, None, None)))(keys, prompts, weights).loss
    return 2 * (np.asarray(losses, np.float64) - LOSS_FLOOR)


@pytest.mark.parametrize(("real", "synthetic"), trials([(5, 15)], [(10, 10), (5, 15), (24, 8)]))
def test_every_batch_holds_real_and_synthetic_rows_in_their_exact_shares(
    fit_with, assert_close, real, synthetic
):
    fit = fit_with(level_model(), Training(steps=1, batch=16))
    prompts = constant_labels([1.0] * real + [0.0] * synthetic)
    shares = first_batches(fit, prompts, even(real + synthetic), 200)
    assert_close(shares.astype(np.float32), np.full(200, real / (real + synthetic)))


def test_shares_that_split_a_row_hold_to_within_one_row(fit_with, assert_mean):
    fit = fit_with(level_model(), Training(steps=1, batch=16))
    prompts = constant_labels([1.0] * 4 + [0.0] * 6)
    rows = 16 * first_batches(fit, prompts, even(10), 2_000)
    assert set(np.round(rows)) == {6, 7}
    assert_mean(rows, 6.4)


def test_rows_are_read_as_often_as_they_weigh(fit_with, assert_mean):
    fit = fit_with(level_model(), Training(steps=1, batch=1))
    weights = jnp.array([0.5, 0.0, 1.5, 0.25])
    squares = first_batches(fit, constant_labels([1.0, 2.0, 3.0, 4.0]), weights, 4_000)
    read = np.round(squares)[:, None] == np.array([1, 4, 9, 16])
    assert np.all(read.sum(axis=1) == 1)
    assert not read[:, 1].any()
    assert_mean(read[:, [0, 2, 3]], np.array([0.5, 1.5, 0.25]) / 2.25)


@pytest.mark.parametrize("jitter", [0.0, 1 - 2**-23], ids=["least", "greatest"])
def test_no_jitter_reaches_a_row_without_weight(fit_with, monkeypatch, jitter):
    fit = fit_with(level_model(), Training(steps=2, batch=32))
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, jitter))
    prompts = constant_labels([jnp.nan, 1.0, 1.0, jnp.nan])
    fitted = fit(jax.random.key(0), prompts, jnp.array([0.0, 1.0, 1.0, 0.0]))
    assert fitted.diverged_at == -1


def sum_model():
    """Labels are N(Σ x, 1), or for the first label N(Σ x, 2²): tells order, and pairs apart."""

    def predict(level, prompt):
        mean = jnp.sum(prompt.xs, axis=-1) + 0 * level
        return Normal(mean, jnp.ones_like(mean).at[:, 0].set(2.0))

    return InContextModel(lambda key: jnp.zeros(()), predict, lambda: (), None)


@pytest.mark.parametrize("shuffle", [True, False])
def test_examples_are_shown_in_random_order_only_if_asked(fit_with, assert_mean, shuffle):
    fit = fit_with(sum_model(), Training(steps=1, batch=4, shuffle_examples=shuffle))
    # Label k misses its mean by 2 in the example 0 alone: the loss tells whether it came first.
    xs = jax.random.normal(jax.random.key(0), (1, TASK.context, TASK.dim))
    prompts = Prompts(xs, jnp.sum(xs, axis=-1).at[0, 0].add(2.0))
    excess = TASK.context * first_batches(fit, prompts, even(1), 2_000) - 2 * np.log(2)
    first = np.isclose(excess, 1.0, atol=1e-4)
    assert np.all(first | np.isclose(excess, 4.0, atol=1e-4))
    if shuffle:
        assert_mean(first, 1 / TASK.context)
    else:
        assert first.all()


@pytest.mark.parametrize(("warmup", "step"), [(0.0, 1), (0.5, 2)])
def test_a_huge_learning_rate_diverges_right_after_its_first_use(fit_with, warmup, step):
    # While warming up the rate of the first step is 0.
    training = replace(NADAM, steps=10, batch=2, learning_rate=1e30, warmup=warmup)
    fit = fit_with(level_model(), training)
    fitted = fit(jax.random.key(0), constant_labels([1.0, 1.0]), even(2))
    assert fitted.diverged_at == step
    assert not np.isfinite(fitted.loss)


def test_the_loss_is_that_of_the_end_of_training(fit_with):
    fit = fit_with(
        level_model(), replace(NADAM, steps=50, batch=2, learning_rate=0.3, weight_decay=0.0)
    )
    fitted = fit(jax.random.key(0), constant_labels([4.0, 4.0]), even(2))
    assert fitted.diverged_at == -1
    final = 0.5 * (4.0 - float(fitted.weights)) ** 2
    assert abs(float(fitted.loss) - LOSS_FLOOR - final) < 0.05 * 0.5 * 4.0**2 / 10


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_weight_decay_is_decoupled_from_the_gradient(fit_with, assert_close, decay):
    # At the best level there is no gradient: what moves it is decay alone.
    training = replace(NADAM, steps=1, batch=1, learning_rate=0.1, weight_decay=decay)
    fit = fit_with(level_model(2.0), training)
    level = fit(jax.random.key(0), constant_labels([2.0]), even(1)).weights
    assert_close(level, 2.0 * (1 - 0.1 * decay))


@pytest.mark.parametrize(
    ("weights", "there"),
    [([1.0] * 8, 8), ([1.0, 1.0, 0.0, 0.0], 2), ([3.0, 3.0, *[1.0] * 6], 6), ([1.0], 1)],
    ids=["equal", "without weight", "in shares", "one"],
)
def test_decay_falls_like_that_of_a_prior_with_the_rows_there_are(
    fit_with, assert_close, weights, there
):
    training = Training(1, 1, 0.1, 0.5, 0.0, optimiser="nadam", prior_rows=2.0, average=0.0)
    fit = fit_with(level_model(2.0), training)
    level = jax.jit(fit)(
        jax.random.key(0), constant_labels([2.0] * len(weights)), jnp.array(weights)
    ).weights
    assert_close(level, 2.0 * (1 - 0.1 * 0.5 * min(1, 2 / there)))


def test_weights_are_averaged_while_the_rate_falls_to_a_tenth(fit_with, assert_close):
    # Decay alone moves the level, by rates that the cosine gives; the memory is of three steps.
    training = replace(NADAM, steps=12, batch=1, warmup=0.0, average=0.25)
    fit = fit_with(level_model(2.0), replace(training, learning_rate=1e-6, weight_decay=5e5))
    level = fit(jax.random.key(0), constant_labels([2.0]), even(1)).weights
    own = mean = 2.0
    for t in range(12):
        own *= 1 - 0.5 * (0.1 + 0.9 * (1 + np.cos(np.pi * t / 12)) / 2)
        mean += (own - mean) / 3
    assert_close(level, mean)


@pytest.mark.parametrize(
    ("steps", "warmup"), [(1, 1.0), (10, 0.99), *trials([], [(1, 0.0), (3, 1.0)])]
)
def test_any_share_of_warm_up_trains(fit_with, steps, warmup):
    fit = fit_with(level_model(), Training(steps=steps, batch=1, warmup=warmup))
    fitted = fit(jax.random.key(0), constant_labels([1.0]), even(1))
    assert 0 < fitted.weights < 1


# Rows that are read once.


def reads(weights, steps=50, batch=16, *, once=True):
    """How often every row is read, and the rows of each batch; weights are traced."""
    training = Training(steps, batch, once=once)
    jitter = jax.random.uniform(jax.random.key(0), (steps, batch))
    rows = np.asarray(jax.jit(partial(in_context.rows_read, training))(weights, jitter))
    return np.bincount(rows.ravel(), minlength=len(weights)), rows


@pytest.mark.parametrize(("steps", "batch"), [(50, 16), (777, 48), (1, 8), (8, 1)])
def test_rows_of_equal_weight_are_read_exactly_once(steps, batch):
    weights = np.insert(np.ones(steps * batch), [0, 3, 3, steps * batch], 0.0)
    read, _ = reads(jnp.asarray(weights), steps, batch)
    np.testing.assert_array_equal(read, weights)
    if steps > 8:
        assert set(reads(jnp.asarray(weights), steps, batch, once=False)[0]) > {0, 1}


@pytest.mark.parametrize("real", [200, 400, 600])
def test_batches_of_rows_read_once_hold_real_and_synthetic_ones_in_their_shares(real):
    _, rows = reads(even(800))
    np.testing.assert_array_equal((rows < real).sum(axis=1), 16 * real / 800)


def test_a_fit_reads_what_was_chosen(fit_with):
    # The last of ten batches is read alone: rows 9, 19, 29, 39 of those that are read once.
    fit = fit_with(level_model(), replace(NADAM, steps=10, batch=4, learning_rate=1e-6, once=True))
    loss = fit(jax.random.key(0), constant_labels([0.0] * 9 + [2.0] + [0.0] * 30), even(40)).loss
    assert abs(float(loss) - LOSS_FLOOR - 0.5 * 4 / 4) < 1e-3


# Muon.


def test_orthogonal_factors_are_those_of_optax(assert_close):
    matrices = jax.random.normal(jax.random.key(0), (3, 5, 8))
    one = optax.contrib.scale_by_muon(
        ns_steps=3,
        beta=0.0,
        nesterov=False,
        weight_dimension_numbers=optax.contrib.MuonDimensionNumbers(1, 2),
    )
    expected, _ = one.update(matrices, one.init(matrices))
    assert_close(in_context.orthogonalised(matrices), expected)
    nothing = in_context.orthogonalised(jnp.zeros((1, 5, 8)))
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("query", [False, True])
def test_a_step_of_muon_is_that_of_optax(assert_close, query):
    """Of every parameter, matrices of all shapes; late, as optax corrects the first momenta."""
    shape = QueryArchitecture(2, 8, 2, 12) if query else Architecture(2, 8, 2)
    weights = in_context.in_context_model(TASK, shape).init(jax.random.key(0))
    parted, together, sides = in_context._parting(weights, matrices=True)
    jax.tree.map(np.testing.assert_array_equal, together(parted), weights)

    def apart(grads):
        return in_context._parting(grads, matrices=True)[0]

    def dimensions(params):
        def one(path, leaf):
            hidden = not {"embed", "head", "position"} & {getattr(k, "key", None) for k in path}
            return optax.contrib.MuonDimensionNumbers() if leaf.ndim == 2 and hidden else None

        return jax.tree_util.tree_map_with_path(one, params)

    own = in_context._direction(sides)
    theirs = optax.contrib.muon(
        1.0,
        ns_steps=3,
        adam_learning_rate=3.0,
        adam_b2=0.95,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=dimensions,
    )

    @jax.jit
    def last():
        def step(states, t):
            grads = jax.tree.map(
                lambda a: jnp.sin(t + jnp.arange(a.size) ** 1.5).reshape(a.shape), weights
            )
            found, first = own.update(apart(grads), states[0])
            expected, second = theirs.update(grads, states[1], weights)
            return (first, second), (together(found), expected)

        states = own.init(parted), theirs.init(weights)
        _, found = jax.lax.scan(step, states, 0.37 * jnp.arange(400.0))
        return jax.tree.map(lambda a: a[-1], found)

    found, expected = last()
    jax.tree.map(lambda a, b: assert_close(a, -b), found, expected)


# The learner that knows the real law.


def test_the_bayes_learner_ignores_its_data(prompts, assert_close):
    learner = bayes_learner(TASK)
    broken = jax.tree.map(lambda a: a * jnp.nan, prompts)
    params = learner.fit(jax.random.key(0), broken, even(ROWS))
    laws = predict_all(learner, params, prompts)
    expected = jax.vmap(lambda prompt: bayes_predictive(TASK, prompt))(prompts)
    assert_close(laws.mean, expected.mean)
    assert_close(laws.std, expected.std)


@pytest.mark.parametrize("plug_in", [False, True])
def test_the_bayes_learner_generates_honestly_or_plugs_in(plug_in, assert_mean):
    learner = bayes_learner(TASK, plug_in=plug_in)
    prompts = learner.generate(jax.random.key(4), (), 2_000)
    laws = predict_all(learner, (), prompts)
    std = TASK.noise if plug_in else laws.std
    assert_mean(((prompts.ys - laws.mean) / std) ** 2, 1.0)
