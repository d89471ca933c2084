"""Loops in the context: what is kept, drawn and shared, for ideal and trained predictors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import trials

from icl_stl import references
from icl_stl.config import QueryArchitecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts
from icl_stl.learners import fit_query_model
from icl_stl.loops import relabel_context
from icl_stl.models.query import query_law
from icl_stl.studies.context_loop.experiments import ContextLoops
from icl_stl.studies.context_loop.loops import (
    OTHER,
    linear_attention,
    ridge,
    run_experiment,
    trained,
)

KEY = jax.random.key(5)
START = Prompts(
    jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)), jnp.float32),
    jnp.asarray(np.random.default_rng(1).normal(size=6), jnp.float32),
)
TASK = LinearRegression(dim=2, context=6, noise=0.5)


def see_all(key, context):
    return context


def normal_inputs(key, count):
    return jax.random.normal(key, (count, 2))


def counted_rows(key, count):
    return Prompts(normal_inputs(key, count), jnp.arange(count) + 100.0)


def loop(predict=None, generations=4, start=START, key=KEY, **more):
    options = {"kept": 2, "observe": see_all, **more}
    return relabel_context(key, predict or ridge(0.3), start, generations, **options)


def own_names(xs, ys, query):
    """A predictor that says how often labels were made: one more than the largest label."""
    return jnp.max(ys) + 1


def test_kept_examples_stay_and_the_others_get_the_predictions_of_the_generation_before():
    contexts = loop(own_names, start=START._replace(ys=jnp.zeros(6)))
    np.testing.assert_array_equal(contexts.ys[:, :2], np.zeros((5, 2)))
    np.testing.assert_array_equal(contexts.ys[:, 2:], np.arange(5.0)[:, None] * np.ones(4))
    np.testing.assert_array_equal(contexts.xs, np.broadcast_to(START.xs, (5, 6, 2)))


@pytest.mark.parametrize("kept", [0, 2, 6])
def test_generations_are_written_out(kept, assert_close):
    """Ridge, label by label."""
    contexts = loop(kept=kept)
    xs, ys = (np.asarray(a, np.float64) for a in START)
    for g in range(5):
        assert_close(contexts.ys[g], ys)
        weights = np.linalg.solve(xs.T @ xs + 0.3 * np.eye(2), xs.T @ ys)
        ys = np.where(np.arange(6) < kept, ys, xs @ weights)


def test_linear_attention_is_its_formula(assert_close):
    query, gamma = jnp.array([0.4, -1.0]), jnp.array([[0.5, 0.2], [-0.1, 0.7]])
    moment = np.asarray(START.xs).T @ np.asarray(START.ys) / 6
    assert_close(linear_attention(gamma)(*START, query), query @ gamma @ moment)
    assert_close(linear_attention(0.5)(*START, query), 0.5 * query @ moment)


def test_noise_has_its_deviation_and_only_new_labels_have_it(assert_mean):
    each = jax.vmap(lambda key: loop(generations=1, key=key, noise=0.5).ys)
    labels = np.asarray(each(jax.random.split(KEY, 4000)))[:, 1]
    quiet = np.asarray(loop(generations=1).ys[1])
    assert_mean(labels[:, 2:], quiet[2:])
    assert_mean((labels[:, 2:] - quiet[2:]) ** 2, 0.25)
    np.testing.assert_array_equal(labels[:, :2], np.broadcast_to(START.ys[:2], (4000, 2)))
    residuals = labels[:, 2:] - quiet[2:]
    assert_mean(residuals[:, 0] * residuals[:, 1], 0.0)


def test_labels_are_clipped():
    contexts = loop(own_names, 8, START._replace(ys=jnp.zeros(6)), clip=3.0)
    np.testing.assert_array_equal(contexts.ys[:, 5], np.minimum(np.arange(9.0), 3))


def test_inputs_drawn_anew_leave_the_kept_ones():
    contexts = loop(draw_inputs=normal_inputs)
    xs = np.asarray(contexts.xs)
    np.testing.assert_array_equal(xs[:, :2], np.broadcast_to(START.xs[:2], (5, 2, 2)))
    assert len(np.unique(xs[:, 2:])) == 5 * 4 * 2
    np.testing.assert_array_equal(contexts.ys[:, :2], np.broadcast_to(START.ys[:2], (5, 2)))
    weights = np.linalg.solve(
        xs[2].T @ xs[2] + 0.3 * np.eye(2), xs[2].T @ np.asarray(contexts.ys[2])
    )
    np.testing.assert_allclose(contexts.ys[3, 2:], xs[3, 2:] @ weights, rtol=1e-4, atol=1e-5)


def test_real_examples_drawn_anew_are_rows_of_the_real_law():
    contexts = loop(draw_real=counted_rows, draw_inputs=normal_inputs)
    np.testing.assert_array_equal(contexts.ys[1:, :2], np.broadcast_to([100.0, 101.0], (4, 2)))
    assert len(np.unique(np.asarray(contexts.xs))) == 5 * 6 * 2
    labels = np.asarray(contexts.ys)[1:, 2:]
    assert np.abs(labels - np.arange(102, 106)).min() > 1e-3


ALL_FRESH = {"noise": 0.5, "draw_inputs": normal_inputs, "draw_real": counted_rows}


@pytest.mark.parametrize("options", [ALL_FRESH, *trials([], [{}, {"noise": 0.5}])])
def test_a_shorter_loop_is_a_prefix_of_a_longer_one(options):
    short, long = loop(generations=2, **options), loop(generations=4, **options)
    for few, more in zip(short, long, strict=True):
        np.testing.assert_array_equal(few, more[:3])
    (alone,) = loop(generations=0, **options).ys
    np.testing.assert_array_equal(alone, START.ys)


def test_loops_of_one_key_share_all_randomness(assert_close):
    """Whatever they start from: differences are those of the noiseless linear loop."""
    moved = START._replace(ys=START.ys.at[0].add(1.0))
    quiet = loop(start=moved).ys - loop().ys
    noisy = loop(start=moved, noise=0.5).ys - loop(noise=0.5).ys
    assert_close(noisy, quiet)
    other = loop(start=moved, noise=0.5, key=jax.random.key(6)).ys - loop(noise=0.5).ys
    assert np.abs(other - quiet).max() > 0.1


def test_the_noise_of_an_example_does_not_depend_on_how_many_are_kept():
    constant = lambda xs, ys, query: jnp.float32(0)  # noqa: E731
    few, many = (loop(constant, kept=k, **{"noise": 1.0}).ys[1:] for k in (1, 4))
    np.testing.assert_array_equal(few[:, 4:], many[:, 4:])
    assert len(np.unique(few[:, 4:])) == 4 * 2  # new in every generation


def test_shares_are_traced_and_mapped(assert_close):
    kept = jnp.array([0, 3, 6])
    together = jax.jit(jax.vmap(lambda k: loop(kept=k, noise=0.5).ys))(kept)
    for k, ys in zip(kept, together, strict=True):
        assert_close(ys, loop(kept=int(k), noise=0.5).ys)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"generations": -1}, "generations"), ({"kept": 7}, "kept"), ({"kept": -1}, "kept")],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        loop(**options)


# --- experiments ---------------------------------------------------------------------------------


PAIR = (("ridge", 0.25), ("linear_attention", 0.6))
FIXED = ContextLoops(TASK, PAIR, (0, 2, 6), 5, 4, change="start")


def split(found, k):
    xs, ys, shift = (np.asarray(found[name], np.float64) for name in ("xs", "ys", "shift"))
    return (xs[:, :k], ys[:, :k], xs[:, k:], ys[:, k:]), shift[:, k:]


@pytest.fixture(scope="module")
def fixed():
    return run_experiment(FIXED, 3)


def test_loops_of_both_predictors_and_starts_follow_their_recursions(fixed, assert_close):
    for place, k in enumerate(FIXED.kept):
        (kept_xs, kept_ys, xs, ys), shift = split(fixed, k)
        for which, (law, setting) in enumerate(
            ((references.ridge_context, 0.25), (references.attention_context, 0.6))
        ):
            for name, labels in (("predictions", ys), ("changed", ys + shift)):
                path = law(kept_xs, kept_ys, xs, labels, setting, 0.0, 5)
                assert_close(fixed[name][:, which, place], path.mean)


def test_prompts_have_the_real_law(assert_mean):
    task = dataclasses.replace(TASK, prior_scale=2.0, tasks="sphere", inputs="sphere")
    found = run_experiment(ContextLoops(task, PAIR[:1], (2,), 0, 3000, change="start"), 0)
    np.testing.assert_allclose((found["task"] ** 2).sum(1), 8.0, rtol=1e-5)
    np.testing.assert_allclose((found["xs"] ** 2).sum(2), 2.0, rtol=1e-5)
    residuals = found["ys"] - np.einsum("nmd,nd->nm", found["xs"], found["task"])
    assert_mean(residuals, 0.0)
    assert_mean(residuals**2, 0.25)
    assert_mean(found["shift"] ** 2, OTHER**2)
    assert_mean(residuals * found["shift"], 0.0)
    assert_mean(found["xs"][:, 0] * found["xs"][:, 1], 0.0)
    assert_mean(found["xs"][:, 0] * found["task"], 0.0)


def test_a_label_that_is_larger_and_inputs_drawn_anew():
    settings = {"change": "first", "fresh": "inputs"}
    found = run_experiment(ContextLoops(TASK, PAIR[:1], (2,), 3, 2, **settings), 0)
    np.testing.assert_array_equal(found["shift"], np.eye(6)[:1] * np.ones((2, 1)))
    assert found["inputs"].shape == (2, 1, 4, 6, 2)
    np.testing.assert_array_equal(found["inputs"][:, 0, 0], found["xs"])
    np.testing.assert_array_equal(found["inputs"][:, 0, 3, :2], found["xs"][:, :2])
    xs, ys = found["xs"].astype(float), found["ys"] + found["shift"]
    start = [
        np.linalg.solve(x.T @ x + 0.25 * np.eye(2), x.T @ y) for x, y in zip(xs, ys, strict=True)
    ]
    np.testing.assert_allclose(found["changed"][:, 0, 0, 0], start, rtol=1e-4, atol=1e-5)


def test_kept_examples_of_one_input_and_labels_that_are_cut_off():
    loops = ContextLoops(TASK, (("ridge", 1.0),), (3,), 2, 20, relabel_noise=1e3, one_input=True)
    found = run_experiment(loops, 0)
    xs, ys = found["xs"], found["ys"]
    assert (xs[:, :3] == xs[:, :1]).all()
    assert (xs[:, 3:] != xs[:, :1]).all()
    assert (ys[:, 1:] != ys[:, :1]).all()
    # Ridge with the penalty 1 is no longer than half of the labels.
    most = np.sqrt((ys[:, :3] ** 2).sum(axis=1) + 3 * 9 * TASK.label_variance) / 2
    lengths = np.linalg.norm(found["predictions"][:, 0, 0, 1:], axis=-1)
    assert (lengths <= most[:, None] * 1.001).all()
    assert lengths.max() > 1


def test_more_runs_keep_the_first_ones(fixed):
    few = run_experiment(dataclasses.replace(FIXED, runs=2), 3)
    for name, values in few.items():
        np.testing.assert_allclose(values, fixed[name][:2], rtol=1e-5, atol=1e-6)
    other = run_experiment(dataclasses.replace(FIXED, runs=2), 4)
    assert (other["xs"] != few["xs"]).all()


def test_networks_loop_in_their_prompts(assert_close):
    network, training = QueryArchitecture(1, 4, 1, 0), Training(steps=2, batch=2)
    more = {"network": network, "training": training, "prompts": 2}
    experiment = ContextLoops(TASK, (), (0, 6), 1, 2, change="first", **more)
    found = run_experiment(experiment, 0)
    assert found["predictions"].shape == (2, 2, 1, 2, 2, 8)
    assert found["loss"].shape == (2,)
    key_fit, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 1))
    params = jax.jit(fit_query_model(TASK, network, training))(key_fit).weights
    xs, ys, queries = (jnp.asarray(found[name][1, 1]) for name in ("xs", "ys", "queries"))

    @jax.jit
    def asked(xs, ys, queries):
        law = lambda query: query_law(TASK, network, params, xs, ys, query).mean  # noqa: E731
        own = trained(TASK, network, params)
        return jax.vmap(law)(queries), jax.vmap(lambda query: own(xs, ys, query))(queries)

    answers, own = asked(xs, ys, queries)
    assert_close(own, answers)
    assert_close(found["predictions"][1, 1, 0, 0, 0], answers)
    # All examples kept: nothing happens. None kept: the labels are its own predictions.
    assert_close(found["predictions"][:, :, :, 1, 1], found["predictions"][:, :, :, 1, 0])
    inputs = jnp.concatenate([xs, queries])[:8]
    most = 3 * TASK.label_variance**0.5
    new = jnp.clip(asked(xs, ys, inputs)[0][:6], -most, most)
    assert_close(found["predictions"][1, 1, 0, 0, 1], asked(xs, new, queries)[0])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"runs": 0}, "runs"),
        ({"generations": -1}, "generations"),
        ({"kept": ()}, "kept"),
        ({"kept": (7,)}, "kept"),
        ({"predictors": (("bayes", 1.0),)}, "predictor"),
        ({"predictors": (("ridge", -1.0),)}, "setting"),
        ({"relabel_noise": -0.1}, "relabel_noise"),
        ({"change": "first", "fresh": "all"}, "change"),
        ({"network": QueryArchitecture()}, "training"),
        ({"prompts": 0}, "prompts"),
        ({"one_input": True}, "one_input"),
        ({"task": LinearRegression(noise_law="uniform", context=6)}, "noise_law"),
    ],
)
def test_experiments_that_cannot_be_are_refused(settings, named):
    with pytest.raises(ValueError, match=f"^{named} must be"):
        dataclasses.replace(FIXED, **settings)


def test_experiments_are_named():
    other = dataclasses.replace(FIXED, fresh="all", change="none")
    assert FIXED.words == "context, ridge, linear attention, m6"
    assert other.words == "context, ridge, linear attention, all fresh, m6"
    one = dataclasses.replace(FIXED, kept=(2,), one_input=True)
    assert one.words == "context, ridge, linear attention, one input, m6"
    assert len({FIXED.name, other.name, dataclasses.replace(FIXED, runs=5).name}) == 3
