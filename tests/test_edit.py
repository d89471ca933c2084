"""The regime `edit` and what it asks of learners: which labels change, and how."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, Rows
from icl_stl.learners import bayes_learner, categorical, ols
from icl_stl.learners.generative.markov import Markov
from icl_stl.loops import next_generation, self_consume
from icl_stl.problems import Chain, Ols, Ridge, expected_excess
from icl_stl.regimes import Edit

KEY = jax.random.key(0)
LINE = Rows(jnp.linspace(-1, 1, 12)[:, None], jnp.arange(12.0))


def training_sets(learner, real, generations, regime):
    seen = self_consume(
        KEY, learner, real, generations, regime=regime, observe=lambda _, g: g.training_set
    )
    return jax.tree.map(np.asarray, seen)


@pytest.mark.parametrize("model", ["replace", "additive"])
def test_as_many_labels_change_as_are_asked_for_and_stay_changed(model) -> None:
    rows = training_sets(ols(0.1), LINE, 4, Edit((3.0, 0.25, 0.0), model))
    assert (rows.xs == np.asarray(LINE.xs)).all()
    changed = (np.diff(rows.ys, axis=0) != 0).sum(1)
    assert changed.tolist() == [3, 3, 0, 0]
    constant = training_sets(ols(0.1), LINE, 3, Edit((2.0,), model))
    assert (np.diff(constant.ys, axis=0) != 0).sum(1).tolist() == [2, 2, 2]
    everything = training_sets(ols(0.1), LINE, 2, Edit((), model))
    assert (np.diff(everything.ys, axis=0) != 0).all()


def test_a_label_is_a_prediction_or_gets_noise() -> None:
    fit = jnp.array([2.0])
    far = LINE._replace(ys=LINE.ys + 1000)
    of = KEY, ols(0.1), far, fit
    replaced, added = (
        next_generation(of[0], of[1], Edit((), model), far, fit, 1, kept=far).training_set.ys
        for model in ("replace", "additive")
    )
    assert np.abs(replaced - 2 * far.xs[:, 0]).max() < 0.5
    noise = np.asarray(added - far.ys)
    assert 0.05 < noise.std() < 0.2
    assert np.abs(noise.mean()) < 0.15


def test_the_noise_of_an_additive_edit_is_that_of_the_generator() -> None:
    many = Rows(jnp.ones((20_000, 1)), jnp.zeros(20_000))
    step = next_generation(KEY, ols(3.0), Edit((), "additive"), many, jnp.zeros(1), 1, kept=many)
    assert float(step.training_set.ys.std()) == pytest.approx(3, rel=0.03)


def test_labels_of_prompts_are_edited_one_by_one_given_those_before() -> None:
    task = LinearRegression(dim=2, context=6, noise=0.01)
    learner = bayes_learner(task)
    prompts = task.draw(KEY, (), 50)
    far = prompts._replace(ys=prompts.ys.at[:, :-1].multiply(10))  # a task ten times as large
    rows = next_generation(KEY, learner, Edit((10.0,)), far, (), 1, kept=far).training_set
    edited = np.asarray(rows.ys != far.ys)
    assert edited.sum() == 60  # as ten of fifty prompts have
    assert 0 < edited.all(1).sum() + (~edited).all(1).sum() < 30
    last = np.asarray(learner.redraw(KEY, (), far)[0].ys[:, -1])
    expected = np.asarray(10 * prompts.ys[:, -1])  # the labels as they stand
    assert np.corrcoef(last, expected)[0, 1] > 0.99


def test_a_prompt_keeps_its_type() -> None:
    prompts = Prompts(jnp.ones((4, 3, 2)), jnp.zeros((4, 3)))
    made, density = bayes_learner(LinearRegression(2, 3)).redraw(KEY, (), prompts)
    assert isinstance(made, Prompts)
    assert density.shape == (4, 3)


def test_only_the_surest_symbols_are_redrawn_where_they_stand() -> None:
    law = jnp.array([[0.0, 0.5, 0.5, 0], [0.4, 0.2, 0.4, 0], [0.98, 0.02, 0, 0], [0.6, 0.4, 0, 0]])
    learner = Markov(3, 1).make(400)
    law = law[:, :3] / law[:, :3].sum(1, keepdims=True)
    rows = learner.generate(KEY, law, 20)
    made, chance = learner.redraw(jax.random.key(1), law, rows)
    before = np.pad(np.asarray(rows), ((0, 0), (1, 0)), constant_values=3)[:, :-1]
    np.testing.assert_array_equal(chance, np.asarray(law)[before, rows])
    after_two = np.asarray(made)[before == 2]
    assert np.mean(after_two == 0) == pytest.approx(0.98, abs=0.01)
    edit = Edit(threshold=0.97)
    step = next_generation(KEY, learner, edit, rows, law, 1, kept=rows).training_set
    changed = np.asarray(step != rows)
    assert changed.any()
    assert (np.asarray(chance)[changed] >= 0.97).all()


def test_whole_rows_are_edited_where_there_is_no_label() -> None:
    learner = categorical(3)
    assert learner.redraw is not None
    symbols = training_sets(learner, jnp.arange(9) % 3, 3, Edit((1.0,)))
    assert (np.abs(np.diff(symbols, axis=0)) > 0).sum(1).max() <= 1


def test_closed_forms_are_of_the_counts() -> None:
    assert Edit((20.0, 0.1)).counts(60, 4) == [20, 6, 0, 0]
    assert Edit((20.0, 0.1)).counts(60, 1) == [20]
    assert Edit((0.5,)).counts(10, 2, 40) == [20, 20]
    law = expected_excess(Ols(3), Edit((20.0, 0.1), "additive"), 60, 3)
    np.testing.assert_allclose(law / law[0], [1, 80 / 60, 86 / 60, 86 / 60])
    assert np.isnan(expected_excess(Ridge(3), Edit((20.0,)), 60, 2)).all()


def test_a_chain_knows_its_contexts() -> None:
    chain = Chain(3, (0.9, 0.5), 8, order=2)
    weights, laws = chain.laws()
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(laws[weights > 0].sum(1), 1)
    rows = np.asarray(chain.draw(KEY, None, 20_000))
    contexts = np.asarray(chain.model.contexts(jnp.asarray(rows)))
    seen = np.bincount(contexts.ravel(), minlength=len(weights)) / contexts.size
    np.testing.assert_allclose(seen, weights, atol=0.004)
    for one in np.flatnonzero(weights > 0.05):
        after = np.bincount(rows[contexts == one], minlength=3) / (contexts == one).sum()
        np.testing.assert_allclose(after, laws[one], atol=0.02)
    exact = jnp.asarray(laws, jnp.float32)
    assert float(chain.excess(exact, exact)) == 0
    assert float(chain.drift(KEY, exact, exact)) == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Edit((1.5,)), "edits"),
        (lambda: Edit((-1.0,)), "edits"),
        (lambda: Edit((float("nan"),)), "edits"),
        (lambda: Edit((13.0,)).synthetic_size(12), "at most samples = 12"),
        (lambda: Edit((), "both"), "edit_model"),
        (lambda: Edit(threshold=0.0), "threshold"),
        (lambda: Edit((), "additive", 0.9), "edit_model"),
        (lambda: training_sets(ols(), LINE, 1, Edit(threshold=0.9)), "threshold"),
        (
            lambda: training_sets(categorical(3), jnp.arange(9) % 3, 1, Edit((), "additive")),
            "edit_model",
        ),
        (lambda: Chain(3, (1.5,)), "follows"),
        (lambda: Chain(3, ()), "follows"),
        (lambda: Chain(9, order=9), "order"),
    ],
)
def test_what_cannot_be_edited_is_refused(wrong, words) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()
