import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl.config import Architecture, LinearRegression, Training
from icl_stl.learners import Learner, adam_transformer
from icl_stl.loops import first_generation, generation_keys, next_generation, self_consume
from icl_stl.regimes import REAL, Augment, RealOnly, Replace, source_shares
from icl_stl.tasks import sample_prompts

KEY = jax.random.key(7)
REGIMES = [Augment(0.25), Augment(0.5), Replace(), RealOnly()]

each_regime = pytest.mark.parametrize("regime", REGIMES, ids=repr)

# Each row of its data names the generation that wrote it; so do its parameters.
NAMES = Learner(
    fit=lambda key, rows, weights: jnp.max(rows) + 1,
    generate=lambda key, name, count: jnp.full(count, name),
)
NAMED_REAL = jnp.full(4, float(REAL))

# A learner that uses all its randomness.
NOISY_MEAN = Learner(
    fit=lambda key, rows, weights: weights @ rows + 0.1 * jax.random.normal(key),
    generate=lambda key, mean, count: mean + jax.random.normal(key, (count,)),
)
REAL_ROWS = jnp.linspace(-1.0, 2.0, 6)


def see_all(key, generation):
    return generation


def parameters(key, generation):
    return generation.params


def run(learner, real, generations, regime, observe=see_all, key=KEY):
    return self_consume(key, learner, real, generations, regime=regime, observe=observe)


def assert_same(actual, expected):
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@each_regime
def test_every_generation_is_trained_on_what_its_regime_mixes(regime):
    seen = run(NAMES, NAMED_REAL, 3, regime, parameters)
    assert seen.shape == (4,)
    generation = first_generation(KEY, NAMES, NAMED_REAL)
    for i in range(4):
        if i:
            generation = next_generation(KEY, NAMES, regime, NAMED_REAL, generation.params, i)
        assert seen[i] == generation.params
        shares = source_shares(regime, 4, i)
        sources, rows = np.unique(generation.training_set, return_counts=True)
        weight = [
            np.asarray(generation.row_weights)[generation.training_set == j].sum() for j in sources
        ]
        if not isinstance(regime, RealOnly):
            assert set(sources) == set(shares)
            assert generation.params == i
        np.testing.assert_allclose(rows / rows.sum(), [shares[j] for j in sources])
        np.testing.assert_allclose(weight, [shares[j] for j in sources], rtol=1e-6)
        if REAL in shares:
            assert rows[list(sources).index(REAL)] == 4


def test_the_rows_of_each_generation_seen_from_inside_the_loop():
    seen = run(NAMES, NAMED_REAL[:2], 2, Replace())
    np.testing.assert_array_equal(seen.training_set, [[-1, -1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(seen.params, [0, 1, 2])
    np.testing.assert_array_equal(seen.previous, [0, 0, 1])
    np.testing.assert_array_equal(seen.row_weights, np.full((3, 2), 0.5))


def test_training_on_real_rows_alone_never_generates():
    def never(key, params, count):
        raise AssertionError("generated")

    learner = NOISY_MEAN._replace(generate=never)
    seen = run(learner, REAL_ROWS, 2, RealOnly())
    assert_same(seen.training_set, jnp.broadcast_to(REAL_ROWS, (3, 6)))
    assert len(np.unique(seen.params)) == 3
    with pytest.raises(AssertionError, match="generated"):
        run(learner, REAL_ROWS, 2, Replace())


@each_regime
def test_a_shorter_loop_is_the_beginning_of_a_longer_one(regime):
    longer = run(NOISY_MEAN, REAL_ROWS, 4, regime, parameters)
    assert len(np.unique(longer)) == 5
    for generations in (0, 1, 2):
        shorter = run(NOISY_MEAN, REAL_ROWS, generations, regime, parameters)
        assert_same(shorter, longer[: generations + 1])


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
            KEY, next_generation(KEY, learner, regime, real, previous, i)
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
    with pytest.raises(ValueError, match=r"^generations must be at least 0, but it is -1$"):
        run(learner, REAL_ROWS, -1, Replace())
    with pytest.raises(ValueError, match=r"alpha = 0.7 asks for .* samples = 6 .* whole number"):
        run(learner, REAL_ROWS, 2, Augment(0.7))
