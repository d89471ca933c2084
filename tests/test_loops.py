from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import trials

from icl_stl.config import Architecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Rows, sample_prompts
from icl_stl.learners import Learner, adam_transformer, gaussian_mean, ols
from icl_stl.loops import (
    first_generation,
    generation_keys,
    next_generation,
    room_for_rows,
    self_consume,
)
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
    source_shares,
    training_size,
)

KEY = jax.random.key(7)
LAST_ALONE = [
    *(Augment(0.5), Augment(0.5, weight=0.9), AugmentSameInputs(0.5), Replace(0.5), RealOnly()),
    *(FreshReal(weight=0.2), *trials([], [Augment(0.25), Replace(), FreshReal(2.0)])),
]
KEEPING = [AccumulateFresh(0.5), Accumulate(1.5), Anchored(0.3), *trials([], [AccumulateFresh()])]
SUBSAMPLING = AccumulateSubsample(1.5)
REGIMES = [*LAST_ALONE, *KEEPING, SUBSAMPLING]

each_regime = pytest.mark.parametrize("regime", REGIMES, ids=repr)
each_keeping = pytest.mark.parametrize("regime", [*KEEPING, SUBSAMPLING], ids=repr)

# Each row of its data names the generation that wrote it; so do its parameters.
NAMES = Learner(
    fit=lambda key, rows, weights: jnp.max(jnp.where(weights > 0, rows, REAL)) + 1,
    generate=lambda key, name, count: jnp.full(count, name),
    relabel=lambda key, name, rows: jnp.full(rows.shape, name),
)
NAMED_REAL = jnp.full(4, float(REAL))

# A learner that uses all its randomness.
NOISY_MEAN = Learner(
    fit=lambda key, rows, weights: weights @ rows + 0.1 * jax.random.normal(key),
    generate=lambda key, mean, count: mean + jax.random.normal(key, (count,)),
    relabel=lambda key, mean, rows: mean + jax.random.normal(key, rows.shape),
)
REAL_ROWS = jnp.linspace(-1.0, 2.0, 6)

# As random, but its fit is exact however many rows have no weight.
NOISY_TOP = replace(
    NOISY_MEAN, fit=lambda key, rows, weights: jnp.max(jnp.where(weights > 0, rows, -jnp.inf))
)


def see_all(key, generation):
    return generation


def parameters(key, generation):
    return generation.params


def draw_named(key, count):
    return jnp.full(count, float(REAL))


def draw_normal(key, count):
    return jax.random.normal(key, (count,))


def run(learner, real, generations, regime, observe=see_all, key=KEY, draw_real=draw_normal):
    return self_consume(
        key, learner, real, generations, regime=regime, observe=observe, draw_real=draw_real
    )


def assert_same(actual, expected):
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("regime", [*LAST_ALONE, *KEEPING], ids=repr)
def test_every_generation_is_trained_on_what_its_regime_mixes(regime):
    seen = run(NAMES, NAMED_REAL, 3, regime, parameters, draw_real=draw_named)
    assert seen.shape == (4,)
    n_syn = regime.synthetic_size(4)
    generation = first_generation(KEY, NAMES, NAMED_REAL, kept=room_for_rows(regime, NAMED_REAL, 3))
    for i in range(4):
        if i:
            generation = next_generation(
                KEY,
                NAMES,
                regime,
                NAMED_REAL,
                generation.params,
                i,
                kept=generation.kept,
                draw_real=draw_named,
            )
        assert seen[i] == generation.params == (0 if isinstance(regime, RealOnly) else i)
        row_weights, shares = np.asarray(generation.row_weights), source_shares(regime, 4, i)
        there = row_weights > 0
        assert there.sum() == training_size(regime, 4, i)
        sources, rows = np.unique(generation.training_set[there], return_counts=True)
        assert set(sources) == set(shares)
        assert list(rows) == [4 if j == REAL else n_syn for j in sources]
        for j in sources:
            own = row_weights[there & np.asarray(generation.training_set == j)]
            np.testing.assert_allclose(own.sum(), shares[j], rtol=1e-6)
            assert len(np.unique(own)) == 1
        if REAL in shares:  # real rows come first
            np.testing.assert_array_equal(generation.training_set[:4], NAMED_REAL)


@each_keeping
def test_every_loop_that_keeps_rows_starts_from_room_for_them(regime):
    real = Rows(jnp.arange(8.0).reshape(4, 2), jnp.arange(4.0))
    turn = np.arange(3 * regime.synthetic_size(4)) % 4  # real rows, until there are others
    assert_same(room_for_rows(regime, real, 3), jax.tree.map(lambda a: a[turn], real))
    whole = room_for_rows(regime, jnp.ones(4, jnp.int32), 3)
    assert whole.dtype == jnp.int32
    assert room_for_rows(Replace(), real, 3) == ()


def test_the_rows_of_each_generation_seen_from_inside_the_loop():
    seen = run(NAMES, NAMED_REAL[:2], 2, Replace())
    weighted = [rows[own > 0] for rows, own in zip(*seen[2:4], strict=True)]
    np.testing.assert_array_equal(weighted, [[-1, -1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(seen.params, [0, 1, 2])
    np.testing.assert_array_equal(seen.previous, [0, 0, 1])
    first, *later = np.asarray(seen.row_weights)
    np.testing.assert_array_equal(first, [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(later, [[0, 0, 0.5, 0.5]] * 2)


def test_training_on_real_rows_alone_never_generates():
    def never(key, params, count):
        raise AssertionError("generated")

    learner = replace(NOISY_MEAN, generate=never)
    seen = run(learner, REAL_ROWS, 2, RealOnly())
    assert_same(seen.training_set, jnp.broadcast_to(REAL_ROWS, (3, 6)))
    assert len(np.unique(seen.params)) == 3
    with pytest.raises(AssertionError, match="generated"):
        run(learner, REAL_ROWS, 2, Replace())


@each_regime
def test_a_shorter_loop_is_the_beginning_of_a_longer_one(regime, assert_close):
    longer = run(NOISY_MEAN, REAL_ROWS, 4, regime, parameters)
    assert len(np.unique(longer)) == 5
    for generations in trials([2], [1, 2]):
        shorter = run(NOISY_MEAN, REAL_ROWS, generations, regime, parameters)
        # Where rows are kept there is more room in the longer loop: a sum may round otherwise.
        same = assert_close if regime in KEEPING else assert_same
        same(shorter, longer[: generations + 1])


@pytest.mark.parametrize("regime", [*LAST_ALONE, *KEEPING, SUBSAMPLING], ids=repr)
def test_a_loop_without_generations_is_its_first_fit(regime, assert_close):
    alone = run(NOISY_MEAN, REAL_ROWS, 0, regime, parameters)
    same = assert_close if regime == SUBSAMPLING else assert_same  # its rows are in another order
    same(alone, first_generation(KEY, NOISY_MEAN, REAL_ROWS).params[None])


@each_regime
def test_but_for_rounding_in_a_fit_its_beginning_is_exact(regime):
    def rows_too(key, generation):
        made = jax.tree.map(lambda a: a[: 2 * regime.synthetic_size(6)], generation.kept)
        return generation.params, made

    longer = run(NOISY_TOP, REAL_ROWS, 4, regime, rows_too)
    assert_same(
        run(NOISY_TOP, REAL_ROWS, 2, regime, rows_too), jax.tree.map(lambda a: a[:3], longer)
    )


# Rows that are kept.


@each_keeping
def test_kept_rows_are_those_that_their_generation_made(regime, assert_close):
    seen = jax.jit(
        lambda: run(NOISY_MEAN, REAL_ROWS, 3, regime, lambda key, g: (g.previous, g.kept))
    )()
    previous, kept = jax.tree.map(np.asarray, seen)
    n_syn = regime.synthetic_size(6)
    assert kept.shape == (4, 3 * n_syn)
    for j in range(1, 4):
        new = slice((j - 1) * n_syn, j * n_syn)
        rows = NOISY_MEAN.generate(generation_keys(KEY, j).generate, previous[j], n_syn)
        assert_close(kept[j, new], rows)
        assert_same(kept[j:, new], np.broadcast_to(kept[j, new], (4 - j, n_syn)))
        assert np.isin(kept[:j, new], REAL_ROWS).all()
    assert len(np.unique(kept[3])) == 3 * n_syn


def test_kept_rows_are_trained_on_with_the_places_of_those_to_come():
    seen = run(NOISY_MEAN, REAL_ROWS, 2, AccumulateFresh(0.5), lambda key, g: (g.params, g.kept))
    generation = next_generation(
        KEY, NOISY_MEAN, AccumulateFresh(0.5), REAL_ROWS, seen[0][0], 1, kept=seen[1][0]
    )
    rows, weights = generation.training_set, generation.row_weights
    assert_same(rows, jnp.concatenate([REAL_ROWS, generation.kept]))
    np.testing.assert_allclose(weights, [1 / 9] * 9 + [0] * 3, rtol=1e-6)
    np.testing.assert_allclose(generation.kept, seen[1][1], rtol=1e-6)


# Rows 0 to 3 are real, generation j made 4 j to 4 j + 3; the rest is not there.
NUMBERED = Learner(
    fit=lambda key, rows, weights: jnp.max(rows),
    generate=lambda key, first, count: first + jnp.arange(count, dtype=jnp.float32),
)


def subsamples(count):
    """Many subsamples of generation 2, made by the loops of many keys."""
    kept = jnp.full(16, jnp.nan).at[:4].set(jnp.arange(4.0, 8.0))

    def second(key):
        regime, real = AccumulateSubsample(), jnp.arange(4.0)
        return next_generation(key, NUMBERED, regime, real, jnp.float32(8), 2, kept=kept)

    return jax.jit(jax.vmap(second))(jax.random.split(KEY, count))


def test_a_subsample_draws_each_row_there_is_equally_often(assert_mean):
    seen = subsamples(4_000)
    rows = np.asarray(seen.training_set)
    assert rows.shape == (4_000, 4)
    assert_same(seen.row_weights, np.full((4_000, 4), 0.25, np.float32))
    assert set(np.unique(rows)) == set(range(12))  # and never one that is not there
    drawn = (rows[:, :, None] == np.arange(12)).sum(axis=1)
    assert drawn.max() == 1  # without replacement
    assert_mean(drawn, np.full(12, 4 / 12))
    pairs = np.einsum("ra,rb->rab", drawn, drawn)[:, *np.triu_indices(12, 1)]
    assert_mean(pairs, np.full(66, (4 * 3) / (12 * 11)))


def test_a_subsample_leaves_the_pool_as_it_is():
    seen = subsamples(3)
    expected = [*range(4, 12), *[np.nan] * 8]
    assert_same(seen.kept, np.broadcast_to(np.array(expected, np.float32), (3, 16)))


def test_every_generation_draws_its_own_subsample():
    seen = run(NOISY_MEAN, REAL_ROWS, 3, AccumulateSubsample(0.5))
    chosen = [frozenset(rows) for rows in np.asarray(seen.training_set).tolist()]
    assert [len(rows) for rows in chosen] == [6] * 4
    for i, rows in enumerate(chosen):
        assert rows <= {*REAL_ROWS.tolist(), *seen.kept[i, : 3 * i].tolist()}
    assert len(set(chosen)) == 4


# Inputs of the real rows, and fresh real rows.

LINE = ols(noise=0.5)
LINE_ROWS = LINE.generate(jax.random.key(3), jnp.array([1.0, -2.0]), 4)


def second_of(regime, generations=2):
    """Generation 2 of a loop of least squares."""
    generation = first_generation(
        KEY, LINE, LINE_ROWS, kept=room_for_rows(regime, LINE_ROWS, generations)
    )
    for i in (1, 2):
        generation = next_generation(
            KEY, LINE, regime, LINE_ROWS, generation.params, i, kept=generation.kept
        )
    return generation


@pytest.mark.parametrize("lam", [0.5, 1.0, 1.5, 2.0])
def test_synthetic_rows_have_the_inputs_of_the_real_rows_in_turn(lam, assert_close):
    n_syn = round(4 * lam)
    turn = np.arange(n_syn) % 4
    real, made = jax.tree.map(np.asarray, LINE_ROWS), slice(4, 4 + n_syn)
    second = second_of(AugmentSameInputs.from_lam(lam))
    assert_same(second.training_set.xs, np.concatenate([real.xs, real.xs[turn]]))
    assert_same(second.training_set.ys[:4], real.ys)
    key = generation_keys(KEY, 2).generate
    labels = LINE.relabel(key, second.previous, Rows(real.xs[turn], jnp.zeros(n_syn))).ys
    assert_close(second.training_set.ys[made], labels)
    kept = second_of(Accumulate(lam), 3).training_set
    assert_same(kept.xs[: 4 + 2 * n_syn], np.concatenate([real.xs, real.xs[turn], real.xs[turn]]))
    assert np.isin(kept.xs[4 + 2 * n_syn :], real.xs).all()
    assert len(np.unique(kept.ys[: 4 + 2 * n_syn])) == 4 + 2 * n_syn


@pytest.mark.parametrize("regime", [Augment(0.4), Replace(), AccumulateFresh()], ids=repr)
def test_otherwise_inputs_are_new(regime):
    xs = np.asarray(second_of(regime).training_set.xs)
    assert len(np.unique(xs)) == xs.size


def test_fresh_real_rows_are_drawn_by_their_own_stream():
    seen = jax.jit(
        lambda: run(NOISY_TOP, REAL_ROWS, 3, FreshReal(), lambda key, g: (g.params, g.previous))
    )()
    real_sets = []
    for i in range(1, 4):
        generation = next_generation(
            KEY, NOISY_TOP, FreshReal(2.0), REAL_ROWS, seen[1][i], i, draw_real=draw_normal
        )
        real_sets.append(np.asarray(generation.training_set[:6]))
        assert_same(real_sets[-1], draw_normal(generation_keys(KEY, i).real, 6))
        assert generation.training_set.shape == (18,)
    assert len(np.unique([REAL_ROWS, *real_sets])) == 24


@each_regime
def test_real_rows_are_drawn_only_where_they_are_fresh(regime):
    asked = []

    def draw(key, count):
        asked.append(count)
        return draw_normal(key, count)

    run(NOISY_MEAN, REAL_ROWS, 2, regime, parameters, draw_real=draw)
    # Traced twice for its types, once for all generations.
    assert asked == ([6] * 3 if regime.fresh_real else [])


# Weights of the objective.


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("make", [AugmentSameInputs, Augment, FreshReal])
def test_a_weight_is_the_share_of_the_mean_over_real_rows(make, weight, assert_close):
    regime = make(2.0, weight=weight) if make is FreshReal else make.from_lam(2.0, weight)
    learner = gaussian_mean()
    generation = next_generation(
        KEY, learner, regime, REAL_ROWS, jnp.float32(0.5), 1, draw_real=draw_normal
    )
    rows = np.asarray(generation.training_set)
    assert rows.shape == (18,)
    assert_close(generation.params, weight * rows[:6].mean() + (1 - weight) * rows[6:].mean())
    uneven = make(2.0) if make is FreshReal else make.from_lam(2.0)
    plain = next_generation(
        KEY, learner, uneven, REAL_ROWS, jnp.float32(0.5), 1, draw_real=draw_normal
    )
    assert_same(plain.training_set, rows)
    assert_close(plain.params, rows.mean())


@pytest.mark.parametrize("weight", [0.2, 0.8])
def test_a_weight_makes_the_fit_minimise_the_weighted_objective(weight):
    generation = next_generation(
        KEY, LINE, Augment(0.4, weight), LINE_ROWS, jnp.array([1.0, 0.0]), 1
    )
    xs, ys = (np.asarray(a, np.float64) for a in generation.training_set)
    errors = (ys - xs @ np.asarray(generation.params))[:, None] * xs
    slope = weight * errors[:4].mean(axis=0) + (1 - weight) * errors[4:].mean(axis=0)
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    assert np.abs(errors.mean(axis=0)).max() > 1e-2  # the least squares of equal rows are others


def test_a_loop_of_transformers_can_be_cut_and_continued_bit_for_bit():
    task = LinearRegression(dim=2, context=4)
    learner = adam_transformer(
        task, Architecture(depth=1, width=8, heads=2), Training(steps=5, batch=4)
    )
    regime, real = Augment(0.5), sample_prompts(task, jax.random.key(0), 8)

    def look(key, generation):
        synthetic = jax.tree.map(lambda rows: rows[-8:], generation.training_set)
        return generation.params, synthetic

    def loop(generations):
        return jax.jit(lambda real: run(learner, real, generations, regime, look))(real)

    longer, shorter = loop(3), loop(1)
    assert_same(shorter, jax.tree.map(lambda a: a[:2], longer))
    following = jax.jit(
        lambda real, previous, i: look(
            KEY, next_generation(KEY, learner, regime, real, previous, i, share=0.5)
        )
    )
    params = jax.tree.map(lambda a: a[0], shorter[0])
    for i in range(1, 4):
        seen = following(real, params, jnp.asarray(i))
        assert_same(seen, jax.tree.map(lambda a, i=i: a[i], longer))
        params = seen[0]
    assert following._cache_size() == 1
    assert np.all(longer[0].diverged_at == -1)


def test_a_loop_is_a_function_of_its_key_and_its_real_set():
    before = np.array(REAL_ROWS)
    one, again = (run(NOISY_MEAN, REAL_ROWS, 3, Augment(0.5), parameters) for _ in range(2))
    assert_same(one, again)
    assert_same(REAL_ROWS, before)
    other_key = run(NOISY_MEAN, REAL_ROWS, 3, Augment(0.5), parameters, jax.random.key(8))
    other_set = run(NOISY_MEAN, REAL_ROWS + 1, 3, Augment(0.5), parameters)
    for other in (other_key, other_set):
        assert not np.any(np.asarray(other) == np.asarray(one))


def test_observing_more_does_not_change_the_loop():
    def look_closely(key, generation):
        sample = NOISY_MEAN.generate(key, generation.params, 3)
        return {"params": generation.params, "sample": sample}

    plain = run(NOISY_MEAN, REAL_ROWS, 3, Augment(0.5), parameters)
    closely = run(NOISY_MEAN, REAL_ROWS, 3, Augment(0.5), look_closely)
    assert_same(closely["params"], plain)
    assert len(np.unique(closely["sample"])) == 12


def test_all_streams_of_all_generations_differ():
    streams = [
        tuple(np.asarray(jax.random.key_data(stream)))
        for i in range(20)
        for stream in generation_keys(KEY, i)
    ]
    assert len(set(streams)) == 100


def test_observed_samples_are_no_training_rows():
    def resample(key, generation):
        return generation.training_set, NOISY_MEAN.generate(key, generation.previous, 6)

    rows, resampled = run(NOISY_MEAN, REAL_ROWS, 3, Replace(), resample)
    assert np.intersect1d(rows[1:], resampled[1:]).size == 0


def test_seeds_are_a_vmap_and_spread_over_devices(assert_close):
    keys = jax.random.split(KEY, 4)
    reals = REAL_ROWS[None] + jnp.arange(4.0)[:, None]

    def loop(key, real):
        return run(NOISY_MEAN, real, 2, Augment(0.5), parameters, key)

    together = jax.jit(jax.vmap(loop))(keys, reals)
    assert together.shape == (4, 3)
    assert_close(together, [loop(key, real) for key, real in zip(keys, reals, strict=True)])
    assert len(jax.devices()) == 2
    by_seed = jax.sharding.NamedSharding(
        jax.sharding.Mesh(jax.devices(), "seeds"), jax.sharding.PartitionSpec("seeds")
    )
    spread = jax.jit(jax.vmap(loop))(*jax.device_put((keys, reals), by_seed))
    assert len(spread.sharding.device_set) == 2
    assert_close(spread, together)


def test_bad_loops_are_refused_before_anything_is_fitted():
    def never(*args):
        raise AssertionError("fitted")

    learner = Learner(never, never)
    with pytest.raises(ValueError, match=r"lam = 0.7 asks for .* samples = 6 .* whole number"):
        run(learner, REAL_ROWS, 2, Accumulate(0.7))
    with pytest.raises(
        ValueError, match=r"^generations must be a whole number of at least 0, but it is -1$"
    ):
        run(learner, REAL_ROWS, -1, Replace())
    with pytest.raises(ValueError, match=r"alpha = 0.7 asks for .* samples = 6 .* whole number"):
        run(learner, REAL_ROWS, 2, Augment(0.7))


def only(regime, **others):
    """Generation 1 without any that came before, and without what is not given."""
    kept = room_for_rows(regime, REAL_ROWS, 1)
    learner = replace(NOISY_MEAN, **others)
    return next_generation(KEY, learner, regime, REAL_ROWS, jnp.float32(0), 1, kept=kept)


@pytest.mark.parametrize("regime", [AugmentSameInputs(0.5), Accumulate()], ids=repr)
def test_a_learner_that_cannot_relabel_is_refused_where_inputs_are_given(regime):
    message = (
        "learner must be able to relabel given inputs in the regime "
        f"{regime.name!r}, but its relabel is None"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        only(regime, relabel=None)
    with pytest.raises(ValueError, match=f"^{message}"):
        run(replace(NOISY_MEAN, relabel=None), REAL_ROWS, 2, regime, parameters)


@pytest.mark.parametrize("regime", [Augment(0.5), AccumulateFresh(), RealOnly()], ids=repr)
def test_a_learner_need_not_relabel_where_inputs_are_new(regime):
    assert np.isfinite(only(regime, relabel=None).params)


def test_fresh_real_rows_need_someone_to_draw_them():
    message = r"^draw_real must be given in the regime 'fresh'"
    with pytest.raises(ValueError, match=f"{message}$"):
        only(FreshReal())
    with pytest.raises(ValueError, match=message):
        run(NOISY_MEAN, REAL_ROWS, 2, FreshReal(), parameters, draw_real=None)
