"""Neighbouring loops: what is shared is shared, what differs is what was swapped."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import STANDARD_ERRORS

from icl_stl import bounds, learners
from icl_stl.config import Architecture, Training
from icl_stl.lab.experiments import LoopSize
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import bayes_predictive, sample_prompts
from icl_stl.learners import adam_transformer, maximal_coupling
from icl_stl.learners.attention import features
from icl_stl.loops import Sizes, coupled, self_consume
from icl_stl.measure import bounded_loss, differences, parameter_distance
from icl_stl.problems import Bernoulli, Categorical, InContext, LinearAttention, Ols, attention_law
from icl_stl.regimes import Accumulate, AccumulateSubsample, Augment, FreshReal, RealOnly, Replace
from icl_stl.studies.stability import loops as stability
from icl_stl.studies.stability.experiments import NeighbouringLoops, NeighbouringTransformers

KEY = jax.random.key(3)
MEAN = learners.gaussian_mean()


def draw(key, count):
    return jax.random.normal(key, (count,))


def pair(first, second, regime, generations=4, **more):
    def observe(key, generation):
        return generation.params, generation.previous, generation.training_set

    return coupled(
        KEY,
        MEAN,
        jnp.stack([first, second]),
        generations,
        regime=regime,
        observe=observe,
        draw_real=draw,
        **more,
    )


REAL = np.asarray(draw(jax.random.key(8), 6))
SWAPPED = jnp.asarray(REAL).at[0].set(2.5)


@pytest.mark.parametrize(
    "regime",
    [Augment(0.5), Augment(0.5, 0.8), Replace(), RealOnly(), FreshReal(), Accumulate()],
    ids=lambda regime: regime.name,
)
def test_the_first_of_coupled_loops_is_the_loop_itself(regime):
    """One program for all generations gives what the loop with a generation 0 of its own gives."""
    alone = self_consume(
        KEY,
        MEAN,
        jnp.asarray(REAL),
        4,
        regime=regime,
        observe=lambda key, generation: (generation.params, generation.previous),
        draw_real=draw,
    )
    params, previous, _ = pair(jnp.asarray(REAL), SWAPPED, regime)
    np.testing.assert_allclose(params[:, 0], alone[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(previous[:, 0], alone[1], rtol=1e-5, atol=1e-6)


def test_a_fixed_budget_from_the_pool_starts_with_the_real_set():
    params, _, rows = pair(jnp.asarray(REAL), SWAPPED, AccumulateSubsample())
    np.testing.assert_allclose(params[0, 0], REAL.mean(), rtol=1e-5)
    np.testing.assert_allclose(np.sort(rows[0, 0]), np.sort(REAL))


@pytest.mark.parametrize("regime", [Augment(0.5), Replace(), Accumulate()], ids=lambda r: r.name)
def test_equal_real_sets_give_equal_loops(regime):
    params, _, rows = pair(jnp.asarray(REAL), jnp.asarray(REAL), regime)
    np.testing.assert_array_equal(params[:, 0], params[:, 1])
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])


def test_a_mean_moves_by_the_swap_over_n_in_every_generation():
    """κ = 1 in parameters under common random numbers, though every synthetic row then differs."""
    params, _, rows = pair(jnp.asarray(REAL), SWAPPED, Augment(0.25))
    np.testing.assert_allclose(params[:, 1] - params[:, 0], (2.5 - REAL[0]) / 6, rtol=1e-4)
    assert np.all(rows[1:, 0, 6:] != rows[1:, 1, 6:])


def test_without_real_rows_all_of_a_distance_is_passed_on():
    """By numbers of the program, as loops of transformers have it: κ = 1 for a mean."""
    reals = jnp.stack([jnp.asarray(REAL), SWAPPED])
    params, weights = coupled(
        KEY,
        MEAN,
        reals,
        4,
        regime=Augment(0.5),
        observe=lambda key, g: (g.params, g.row_weights),
        sizes=Sizes(6, 6, jnp.float32(0)),
    )
    np.testing.assert_allclose(params[:, 1] - params[:, 0], (2.5 - REAL[0]) / 6, rtol=1e-4)
    np.testing.assert_array_equal(weights[1:, :, :6], 0)


def test_loops_one_after_the_other_are_those_side_by_side():
    both = [
        pair(jnp.asarray(REAL), SWAPPED, Augment(0.25), **more)
        for more in ({}, {"over": stability._one_by_one})
    ]
    for a, b in zip(*both, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_coupled_loops_refuse_what_the_loop_refuses():
    with pytest.raises(
        ValueError, match="generations must be a whole number of at least 0, but it is -1"
    ):
        pair(jnp.asarray(REAL), SWAPPED, Augment(0.5), generations=-1)
    with pytest.raises(ValueError, match="draw_real must be given"):
        coupled(
            KEY,
            MEAN,
            jnp.stack([jnp.asarray(REAL), SWAPPED]),
            1,
            regime=FreshReal(),
            observe=lambda key, g: g.params,
        )


# --- couplings -----------------------------------------------------------------------------------

LAWS = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.2, 0.3, 0.1], [0.0, 0.5, 0.5, 0.0], [1, 0, 0, 0]])


def test_a_maximal_coupling_has_its_laws_and_differs_as_little_as_can_be():
    count = 40_000
    rows = np.asarray(maximal_coupling(KEY, jnp.asarray(LAWS, jnp.float32), count))
    for law, own in zip(LAWS, rows, strict=True):
        shares = np.bincount(own, minlength=4) / count
        assert np.all(np.abs(shares - law) <= STANDARD_ERRORS * np.sqrt(law * (1 - law) / count))
        tv = 0.5 * np.abs(law - LAWS[0]).sum()
        differ = (own != rows[0]).mean()
        assert abs(differ - tv) <= STANDARD_ERRORS * np.sqrt(tv * (1 - tv) / count)


def test_equal_laws_are_coupled_by_equal_rows():
    rows = maximal_coupling(KEY, jnp.full((3, 5), 0.2), 1000)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.parametrize(("coupling", "rows"), [("maximal", 1 / 20), ("common", None)])
def test_symbols_under_both_couplings(coupling, rows, assert_mean):
    """Maximal: 1/n for ever. Common uniforms, first symbol for last of 4: 3 edges move."""
    law = (0.25,) * 4
    run = NeighbouringLoops(Categorical(law), Augment(0.5), 20, 3, 4000, coupling)
    seen = stability.run_loops(run, 0)
    np.testing.assert_allclose(seen["tv"][:, 0], 1 / 20, rtol=1e-5)
    if coupling == "maximal":
        np.testing.assert_allclose(seen["rows"], seen["tv"], atol=1e-6)
        assert_mean(seen["rows"][:, 1:], 1 / 20)
    else:
        assert_mean(seen["rows"][:, 1], 0.5 * 3 / 20 + 0.5 / 20)
        assert seen["tv"][:, 1].mean() > 1.5 / 20


def test_bits_share_their_draws(assert_mean):
    run = NeighbouringLoops(Bernoulli(0.5), Augment(0.5), 20, 3, 4000)
    seen = stability.run_loops(run, 0)
    chi = [bounds.recursive_stability(20, 0.5, 0.5, i).gamma for i in range(4)]
    np.testing.assert_allclose(seen["tv"][:, 0], chi[0], rtol=1e-5)
    assert_mean(seen["tv"][:, 1:], chi[1:])


# --- linear attention ----------------------------------------------------------------------------


def test_contraction_terms_are_those_of_the_statement():
    """Typed again in float64, from the training sets and parameters of one pair of loops."""
    rho, n, alpha = 0.05, 12, 0.4
    problem = LinearAttention(2, 4, penalty=rho)
    drawn = problem.draw(jax.random.key(1), (), n + 1)
    real, row = (jax.tree.map(lambda a, s=s: a[s], drawn) for s in (slice(n), slice(n, None)))

    def observe(key, g):
        return stability.contraction_terms(g, alpha, n, rho), g.params, g.training_set

    terms, gammas, sets = coupled(
        KEY,
        problem.learner,
        stability.swapped(real, row, jnp.zeros(1, int)),
        3,
        regime=Augment(alpha),
        observe=observe,
    )
    phi = np.array([[features(jax.tree.map(lambda a, i=i, k=k: a[i, k], sets)) for k in (0, 1)]
                    for i in range(4)], float)  # fmt: skip
    ys, gammas = np.asarray(sets.ys, float)[..., -1], np.asarray(gammas, float).reshape(4, 2, 4)
    total = phi.shape[2]
    np.testing.assert_array_equal(phi[1:, 0, n:], phi[1:, 1, n:])  # synthetic inputs are shared
    for i in (1, 2, 3):
        base = alpha * phi[i, 1, :n].T @ phi[i, 1, :n] / n + rho * np.eye(4)
        synthetic = phi[i, 1, n:].T @ phi[i, 1, n:] / total
        g = [phi[i, k, 0] * (ys[i, k, 0] - phi[i, k, 0] @ gammas[i, 0]) for k in (0, 1)]
        delta, before = (gammas[j, 0] - gammas[j, 1] for j in (i, i - 1))
        identity = (g[0] - g[1]) / total + synthetic @ before
        np.testing.assert_allclose((base + synthetic) @ delta, identity, atol=2e-5)
        c = np.max(np.linalg.eigvals(np.linalg.solve(base, synthetic)).real)
        put = np.linalg.norm(g[0] - g[1]) / total / np.sqrt(np.linalg.eigvalsh(base)[0])
        expected = (np.sqrt(delta @ base @ delta), c / (1 + c), put)
        found = [terms[name][i] for name in ("distance", "contraction", "injected")]
        np.testing.assert_allclose(found, expected, rtol=2e-3)
        bound = c / (1 + c) * np.sqrt(before @ base @ before) + put
        assert expected[0] <= bound * (1 + 1e-6)


@given(
    start=st.floats(0, 5),
    terms=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 3)), min_size=1, max_size=6),
)
def test_contraction_equals_literal_iteration(start, terms):
    expected = [start]
    for q, u in terms:
        expected.append(q * expected[-1] + u)
    factors, put = np.array(terms).T
    np.testing.assert_allclose(bounds.contraction_stability(start, factors, put), expected)
    both = bounds.contraction_stability([start, 0.0], factors, [put, 0 * put])
    np.testing.assert_allclose(both, [expected, np.zeros(len(expected))])


def test_contraction_refuses_generations_that_do_not_match():
    with pytest.raises(ValueError, match="one number a generation"):
        bounds.contraction_stability(1.0, [0.5, 0.5], [0.1])


# --- transformers --------------------------------------------------------------------------------

TASK = LinearRegression(dim=1, context=2)
PROMPTS = InContext(
    TASK, Architecture(depth=1, width=8, heads=2), Training(steps=20, batch=8), held_out=16
)
SMALL = NeighbouringTransformers(
    PROMPTS,
    LoopSize(16, 16),
    places=LoopSize(16, 16),
    runs=1,
    generations=2,
    neighbours=2,
    searched=1,
)
SIZES = Sizes(16, 16, 0.5)


@pytest.fixture(scope="module")
def seen():
    return jax.jit(lambda key: stability.neighbouring_transformers(SMALL, key, SIZES))(KEY)


def test_what_stands_in_the_places_of_rows_that_are_not_there_changes_nothing(monkeypatch):
    roomy = replace(SMALL, places=LoopSize(40, 60))

    def moved(task, key, count):
        """Real rows from 16 to 39 are others."""
        rows, others = (sample_prompts(task, k, count) for k in (key, jax.random.key(8)))
        absent = (jnp.arange(count) >= 16) & (jnp.arange(count) < 40)
        pick = lambda a, b: jnp.where(absent.reshape(-1, *[1] * (a.ndim - 1)), b, a)  # noqa: E731
        return jax.tree.map(pick, rows, others)

    def found():
        return jax.jit(lambda key: stability.neighbouring_transformers(roomy, key, SIZES))(KEY)

    plain = found()
    monkeypatch.setattr(stability, "sample_prompts", moved)
    for a, b in zip(plain.values(), found().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_swaps_are_of_rows_that_are_there():
    task = LinearRegression(dim=2, context=3)
    real, new = sample_prompts(task, KEY, 30), sample_prompts(task, jax.random.key(5), 20)
    _, places = stability.searched_swaps(task, real, 4, new, 4)
    assert sorted(np.asarray(places)) == [0, 1, 2, 3]


def test_one_program_serves_all_sizes(monkeypatch):
    traced = []
    original = stability.neighbouring_transformers

    def counted(*args):
        traced.append(args)
        return original(*args)

    monkeypatch.setattr(stability, "neighbouring_transformers", counted)
    for size in (LoopSize(8, 8), LoopSize(16, 4), LoopSize(16, 16)):
        stability.run_transformers(replace(SMALL, size=size), 0)
    assert len(traced) == 1


def test_neighbours_are_compared_side_by_side(seen):
    assert seen["predictions"].shape == seen["loss_mean"].shape == (3, 3)
    assert seen["tv"].shape == (3, 3, 2)
    assert seen["excess_nll"].shape == (3,)
    for name in ("parameters", "predictions"):
        assert np.all(np.asarray(seen[name]) > 0)
    assert np.all(seen["loss_max"] >= seen["loss_mean"])
    assert np.all((seen["tv"] >= 0) & (seen["tv"] <= 1))


def test_searched_swaps_are_the_farthest_apart():
    """Gradients typed again, label by label; every pair of a real prompt and a candidate."""
    task = LinearRegression(dim=2, context=3)
    real, new = sample_prompts(task, KEY, 10), sample_prompts(task, jax.random.key(5), 20)
    rows, places = stability.searched_swaps(task, real, 10, new, 2)
    g = attention_law(task).scale

    def gradient(xs, ys):
        total = np.zeros((2, 2))
        for k in range(1, 3):
            h = sum(xs[j] * ys[j] for j in range(k)) / k
            total += np.outer(h, xs[k]) * (ys[k] - g * xs[k] @ h)
        return total

    sets = [[gradient(*z) for z in zip(np.asarray(p.xs), np.asarray(p.ys), strict=True)]
            for p in (real, new)]  # fmt: skip
    apart = np.array([[np.sum((a - b) ** 2) for b in sets[1]] for a in sets[0]])
    best = np.argsort(-apart.max(1))[:2]
    np.testing.assert_array_equal(places, best)
    np.testing.assert_array_equal(rows.xs, new.xs[apart[best].argmax(1)])
    np.testing.assert_array_equal(rows.ys, new.ys[apart[best].argmax(1)])


def test_rows_are_counted_by_weight():
    a = jnp.arange(8.0).reshape(4, 2)
    rows = jnp.stack([a, a.at[1, 1].set(9).at[3, 0].set(9)])
    assert stability.share_of_rows(rows, jnp.array([0.4, 0.3, 0.2, 0.1])) == pytest.approx(0.4)


def test_a_model_differs_from_itself_by_nothing_and_from_others_as_it_should():
    learner = adam_transformer(TASK, PROMPTS.architecture, replace(PROMPTS.training, steps=3))
    prompts = sample_prompts(TASK, KEY, 24)
    weights = jnp.full(24, 1 / 24)
    own = learner.fit(jax.random.key(0), prompts, weights)
    other = learner.fit(jax.random.key(1), prompts, weights)
    params = jax.tree.map(lambda *a: jnp.stack(a), own, own, other)
    bayes = jax.vmap(lambda prompt: bayes_predictive(TASK, prompt))(prompts)
    found = differences(
        TASK, learner, params, lambda fitted: fitted.weights, prompts, bayes, prompts
    )
    for values in found[:5]:
        np.testing.assert_array_equal(values[0], 0)
    leaves = [jax.tree.leaves(p.weights) for p in (own, other)]
    squares = sum(float(jnp.sum((a - b) ** 2)) for a, b in zip(*leaves, strict=True))
    length = sum(float(jnp.sum(a**2)) for a in leaves[0])
    assert found.parameters[1] == pytest.approx(np.sqrt(squares / length), rel=1e-5)
    laws = [learner.predict(p, prompts) for p in (own, other)]
    squares = [(np.asarray(law.mean) - np.asarray(laws[0].mean)) ** 2 for law in laws]
    np.testing.assert_allclose(found.predictions, np.mean(squares, axis=(1, 2)), rtol=1e-4)
    logs = [np.cumsum(law.log_density(prompts.ys), -1) for law in laws]
    tv = np.maximum(1 - np.exp(logs[1] - logs[0]), 0).mean(0)
    np.testing.assert_allclose(found.tv[1], tv, rtol=1e-4)
    losses = [np.asarray(bounded_loss(TASK, law, prompts)) for law in laws]
    change = np.abs(losses[1] - losses[0])
    assert found.loss_mean[1] == pytest.approx(change.mean(), rel=1e-4)
    assert found.loss_max[1] == pytest.approx(change.max(), rel=1e-4)


def test_distance_is_euclidean_over_all_leaves():
    a, b = {"x": jnp.zeros(2), "y": jnp.array(1.0)}, {"x": jnp.array([3.0, 0]), "y": jnp.array(5.0)}
    assert parameter_distance(a, b) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbours": 0}, "neighbours must be a whole number of at least 1"),
        ({"neighbours": 17}, r"neighbours must be at most the samples \(16\)"),
        ({"generations": -1}, "generations must be a whole number of at least 0"),
    ],
)
def test_bad_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "ols"}, "problem must be a problem of .* but it is 'ols'"),
        ({"coupling": "maximal"}, "coupling must be 'common' unless"),
        ({"contraction": True}, "contraction must be False unless"),
        ({"runs": 0}, "runs must be a whole number of at least 1"),
    ],
)
def test_bad_pairs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(NeighbouringLoops(Ols(), Augment(0.5), 20, 1, 1), **change)
