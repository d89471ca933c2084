"""What users hand in: learners, real sets, regimes, functions. Right, or refused with the name."""

import math
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from inspect import unwrap
from itertools import cycle, product
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reference import trials

from icl_stl import devices, measure, problems
from icl_stl.lab import runs, solvable
from icl_stl.lab.experiments import Job, Loops
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, Rows, sample_prompts
from icl_stl.learners import Learner, bayes_learner, gaussian
from icl_stl.loops import (
    Sizes,
    coupled,
    first_generation,
    next_generation,
    relabel_context,
    room_for_rows,
    self_consume,
)
from icl_stl.regimes import (
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
    real_share,
    source_shares,
    synthetic_size,
    training_size,
)
from icl_stl.studies.presets import PRESETS, job_of

KEY = jax.random.key(3)
REGIMES = [
    Augment(0.5),
    Augment(0.5, weight=0.9),
    AugmentSameInputs(0.5),
    Replace(),
    RealOnly(),
    FreshReal(),
    AccumulateFresh(),
    Accumulate(),
    AccumulateSubsample(),
    Anchored(0.3),
]


@dataclass(frozen=True)
class Halving(Regime):
    """Half as much of the real law in every generation; its share cannot be traced."""

    name: ClassVar[str] = "halving"

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return math.pow(0.5, generation)


@dataclass(frozen=True)
class Answers(Regime):
    """A regime that answers what it is told to."""

    size: Any = 4
    real: Any = 0.5
    name: ClassVar[str] = "mine"

    def synthetic_size(self, samples):
        return self.size

    def share(self, generation):
        return self.real


def params_of(key, generation):
    return generation.params


def loop(learner, real, regime, generations=3, observe=params_of, **more):
    more.setdefault("draw_real", lambda key, count: jax.tree.map(lambda a: a[:count], real))
    return self_consume(KEY, learner, real, generations, regime=regime, observe=observe, **more)


def by_hand(learner, real, regime, generations=3):
    """The same loop, one generation after the other, nothing traced."""
    generation = first_generation(KEY, learner, real, kept=room_for_rows(regime, real, generations))
    found = [generation.params]
    for i in range(1, generations + 1):
        generation = next_generation(
            KEY,
            learner,
            regime,
            real,
            generation.params,
            i,
            kept=generation.kept,
            draw_real=lambda key, count: jax.tree.map(lambda a: a[:count], real),
        )
        found.append(generation.params)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


# --- learners that parameters of zeros are no parameters of --------------------------------------


def normal_law(dim=2):
    """A multivariate normal law, drawn from by its Cholesky factor."""

    def fit(key, rows, weights):
        mean = weights @ rows
        away = rows - mean[None]
        return mean, (weights[:, None] * away).T @ away

    def generate(key, params, count):
        root = jnp.linalg.cholesky(params[1])
        return params[0][None] + jax.random.normal(key, (count, dim)) @ root.T

    return Learner(fit, generate, relabel=lambda key, p, rows: generate(key, p, rows.shape[0]))


def by_rate(key, params, count):
    return jax.random.exponential(key, (count,)) / params


NATURAL = {
    "multivariate normal": (
        normal_law(),
        jax.random.normal(KEY, (8, 2)),
        lambda rows: rows.mean(axis=0),
        lambda params: params[0],
    ),
    "exponential, by its rate": (
        Learner(
            lambda key, rows, weights: 1 / (weights @ rows),
            by_rate,
            relabel=lambda key, p, rows: by_rate(key, p, rows.shape[0]),
        ),
        jnp.arange(1.0, 9.0),
        lambda rows: 1 / rows.mean(),
        lambda params: params,
    ),
    "log-normal": (
        Learner(
            lambda key, rows, weights: weights @ jnp.log(rows),
            lambda key, p, count: jnp.exp(p + jax.random.normal(key, (count,))),
            relabel=lambda key, p, rows: jnp.exp(p + jax.random.normal(key, rows.shape)),
        ),
        jnp.arange(1.0, 9.0),
        lambda rows: np.log(rows).mean(),
        lambda params: params,
    ),
}


def all_or_in_turn(names, regimes):
    """Every regime with every name, or in the short form with one of them, in turn."""
    pairs = trials(zip(cycle(names), regimes, strict=False), product(names, regimes))
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1]!r}") for pair in pairs]


@pytest.mark.parametrize(("name", "regime"), all_or_in_turn(NATURAL, REGIMES))
def test_places_without_a_row_hold_harmless_rows(name, regime, assert_close):
    learner, real, first, shown = NATURAL[name]
    seen = loop(learner, real, regime, observe=lambda key, g: (g.params, g.training_set, g.finite))
    params, rows, finite = jax.tree.map(np.asarray, seen)
    assert np.isfinite(rows).all()
    assert finite.all()
    assert_close(shown(params)[0], first(np.asarray(real, float)))
    if not isinstance(regime, AccumulateSubsample):  # rows in another order round otherwise
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
            params,
            by_hand(learner, real, regime),
        )


def test_a_generator_is_never_given_parameters_that_do_not_exist():
    """A sampler by rejection would never end on them."""

    def generate(key, rate, count):
        def again(state):
            drawn, tries = state
            return drawn + rate, tries + 1

        reached = jax.lax.while_loop(lambda state: state[0] < 1.0, again, (0.0, 0))
        return jnp.full(count, reached[0])

    learner = Learner(lambda key, rows, weights: weights @ rows, generate)
    for regime in (Augment(0.5), Replace(), AccumulateFresh()):
        assert np.isfinite(loop(learner, jnp.full(4, 0.5), regime)).all()
    reals = jnp.full((2, 4), 0.5)
    seen = coupled(
        KEY,
        learner,
        reals,
        2,
        regime=Replace(),
        observe=params_of,
        generate_jointly=lambda key, params, count: jax.vmap(
            lambda rate: generate(key, rate, count)
        )(params),
    )
    np.testing.assert_array_equal(seen, [[0.5, 0.5], [1, 1], [1, 1]])


# --- parameters that are not finite --------------------------------------------------------------

FAILS = Learner(
    lambda key, rows, weights: jnp.where(weights @ rows > 3.5, jnp.nan, weights @ rows),
    lambda key, params, count: jnp.full(count, params + 1),
)


def test_parameters_that_are_not_finite_are_named_with_their_generation():
    message = "^learner.fit returned parameters that are not finite, first in generation 3:"
    with pytest.warns(RuntimeWarning, match=message):
        seen = loop(FAILS, jnp.ones(4), Replace(), 4)
    np.testing.assert_array_equal(seen, [1, 2, 3, np.nan, np.nan])
    with pytest.warns(RuntimeWarning, match=message):
        coupled(KEY, FAILS, jnp.ones((2, 4)), 4, regime=Replace(), observe=params_of)


def test_inside_a_program_a_flag_of_the_generation_is_seen():
    flags = jax.jit(lambda: loop(FAILS, jnp.ones(4), Replace(), 4, lambda key, g: g.finite))()
    np.testing.assert_array_equal(flags, [True, True, True, False, False])
    symbols = Learner(lambda key, rows, weights: rows[0], lambda key, p, count: jnp.full(count, p))
    whole = lambda key, g: g.finite  # noqa: E731
    assert np.all(jax.jit(lambda: loop(symbols, jnp.ones(4, int), RealOnly(), 1, whole))())


# --- fits that take no notice of weights ---------------------------------------------------------


def center(key, params, count):
    return params + jax.random.normal(key, (count,))


NO_NOTICE = {
    "a plain mean": lambda key, rows, weights: rows.mean(),
    "a plain mean beside a count": lambda key, rows, weights: rows.mean() + 0 * weights.sum(),
    "a plain deviation": lambda key, rows, weights: weights @ rows + jnp.std(rows),
}


@pytest.mark.parametrize(("name", "regime"), all_or_in_turn(NO_NOTICE, [*REGIMES, Halving()]))
def test_a_fit_that_sees_rows_of_weight_0_is_refused(name, regime):
    learner = Learner(
        NO_NOTICE[name], center, relabel=lambda key, p, rows: center(key, p, rows.shape[0])
    )
    real = jnp.arange(8.0)
    if isinstance(regime, RealOnly | AccumulateSubsample):  # there every row counts
        assert np.isfinite(loop(learner, real, regime, 1)).all()
        return
    with pytest.raises(ValueError, match=r"^learner\.fit must .* rows of weight 0"):
        loop(learner, real, regime, 1)


def quantile(key, rows, weights):
    """The weighted median: rounding of the weights alone may move it to its neighbour."""
    order = jnp.argsort(rows)
    return rows[order][jnp.argmax(jnp.cumsum(weights[order]) >= 0.5)]


def on_its_grid(key, params, count):
    assert count == 8  # made for this loop alone
    return params + jnp.linspace(0, 1, 8)


def in_batches(key, rows, weights):
    assert rows.shape == (16,)
    return jnp.sum((rows * weights).reshape(-1, 4))


@pytest.mark.parametrize(
    "learner",
    [
        Learner(quantile, center),
        Learner(in_batches, on_its_grid),
        Learner(  # a key among its parameters, and a bound that is infinite
            lambda key, rows, weights: (weights @ rows, key, jnp.inf),
            lambda key, p, count: center(key, p[0], count),
        ),
    ],
)
def test_a_fit_of_any_making_is_not_accused(learner):
    for real in (jnp.arange(8.0), jax.random.normal(KEY, (8,))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the infinite bound
            loop(learner, real, Augment(0.5), 1, lambda key, g: g.index)


def test_a_fit_is_looked_at_for_every_shape_and_beside_numbers_that_are_infinite():
    def fit(key, rows, weights):
        spread = jnp.std(rows) if rows.shape[0] > 8 else 0.0
        return jnp.stack([weights @ rows, weights @ rows + spread, jnp.inf])

    learner = Learner(fit, lambda key, p, count: center(key, p[1], count))
    with pytest.warns(RuntimeWarning, match="not finite"):
        loop(learner, jnp.arange(4.0), Augment(0.5), 1)
    with pytest.raises(ValueError, match=r"^learner\.fit must take no notice"):
        loop(learner, jnp.arange(8.0), Augment(0.5), 1)


def test_loops_by_the_thousand_are_looked_at_before_they_run(tmp_path):
    def fit(key, rows, weights):
        return weights @ rows + 0.1 * jnp.std(rows)

    problem = problems.GaussianMean()

    class Blind(problems.GaussianMean):
        def make_learner(self):
            return replace(problem.learner, fit=fit)

    with pytest.raises(ValueError, match=r"^learner\.fit must take no notice"):
        solvable.simulate(Blind(), AccumulateFresh(), samples=5, generations=2, runs=2)
    folder = runs.Folder(tmp_path, {})
    with pytest.raises(ValueError, match=r"^learner\.fit must take no notice"):
        runs.run_loops(Job(Blind(), 5, 2, 2), [AccumulateFresh()], seed=0, folder=folder)

    class Unlike(Regime):  # no dataclass: all of its kind compare equal
        def __init__(self, real):
            object.__setattr__(self, "real", real)

        def synthetic_size(self, samples):
            return samples

        def share(self, generation):
            return self.real

    with pytest.raises(ValueError, match="real is no field"):
        solvable.simulate(problem, Unlike(0.5), samples=5, generations=2, runs=2)


@dataclass(frozen=True)
class WithJax(Regime):
    """Its share is computed with JAX; its name is that of its class."""

    def synthetic_size(self, samples):
        return samples

    def share(self, generation):
        return jnp.exp(-jnp.float32(generation))


def test_a_regime_may_compute_with_jax_under_jit_too(assert_close):
    shares = jax.jit(lambda: loop(LEARNER, REAL, WithJax(), 2, lambda key, g: g.real_share))()
    assert_close(shares, np.exp([0, -1, -2]))
    assert WithJax().name == "WithJax"
    assert real_share(Answers(real=0.1 * 3 / 0.3), 4, 1) == 1.0
    assert real_share(Answers(real=Fraction(1, 4)), 4, 1) == 0.25


def test_real_rows_of_numpy_are_rows_under_jit_too():
    real = np.arange(4.0, dtype=np.float32)

    def one(i):
        start = jnp.float32(1)
        return next_generation(KEY, LEARNER, Augment(0.5), real, start, i, share=0.5).params

    np.testing.assert_allclose(
        jax.jit(one)(1), next_generation(KEY, LEARNER, Augment(0.5), REAL, jnp.float32(1), 1).params
    )


def test_whole_labels_of_a_context_are_numbers():
    prompts = Prompts(jnp.ones((3, 2), int), jnp.arange(3))
    seen = relabel_context(
        KEY,
        lambda xs, ys, query: jnp.mean(ys) / 2,
        prompts,
        1,
        kept=1,
        observe=lambda key, context: context.ys,
    )
    np.testing.assert_array_equal(seen, [[0, 1, 2], [0, 0.5, 0.5]])


def test_inside_a_program_a_fit_without_weights_is_refused_too():
    learner = Learner(NO_NOTICE["a plain mean"], center)
    with pytest.raises(ValueError, match=r"^learner\.fit must weigh rows by its third argument"):
        jax.jit(lambda: loop(learner, jnp.arange(8.0), Augment(0.5)))()


@pytest.mark.parametrize(
    "learner",
    [
        Learner(lambda key, rows, weights: jnp.float32(1), center),  # it learns nothing
        # Rows and weights are its parameters, and it draws by weight.
        Learner(
            lambda key, rows, weights: (rows, weights),
            lambda key, p, count: jax.random.choice(key, p[0], (count,), p=p[1]),
        ),
        gaussian(),
    ],
)
def test_a_fit_that_heeds_weights_is_not_refused(learner):
    seen = loop(learner, jnp.arange(8.0), FreshReal(), 1, lambda key, g: g.finite)
    assert np.asarray(seen).all()


# --- shares that change with the generation ------------------------------------------------------


def test_the_one_step_error_is_that_of_the_share_of_its_own_generation():
    """An error of exactly 0.05 is injected in every generation, and nothing else is random."""
    exact = Learner(
        lambda key, rows, weights: weights @ rows + 0.05,
        lambda key, theta, count: jnp.full(count, theta),
    )

    class Exact(problems.Bernoulli):
        def make_learner(self):
            return exact

        def draw(self, key, truth, count):
            return jnp.zeros(count)

    problem = Exact(probability=0.0)
    seen = solvable.simulate(problem, Halving(), samples=8, generations=4, runs=3)
    np.testing.assert_allclose(seen["eps"], 0.05, rtol=1e-5)
    theta = [0.05]
    for i in range(1, 5):
        theta.append((1 - 0.5**i) * theta[-1] + 0.05)
    np.testing.assert_allclose(seen["drift"], np.tile(theta, (3, 1)), rtol=1e-5)


def test_the_one_step_error_of_prompts_is_too(tmp_path):
    """What is written with the noise alone keeps its law, so that ε_i = α_i T, T its drift."""
    preset = PRESETS["tiny"]
    job = job_of(preset)
    job = replace(job, problem=replace(job.problem, architecture=None, plug_in=True))
    folder = runs.Folder(tmp_path, {})
    found = runs.run_loops(job, [Halving()], seed=0, folder=folder)
    (result,) = found.values()
    drift, eps = result["drift"][..., -1], result["eps"][..., -1]
    error = np.sqrt(result["eps_variance"][..., -1] / preset.held_out)
    assert drift.min() > 0.1
    for i in range(1, preset.generations + 1):
        expected = 0.5**i * drift.mean()
        assert abs(eps[:, i].mean() - expected) < 4 * error[:, i].mean() + 0.5**i * 0.02


# --- what functions answer -----------------------------------------------------------------------

LEARNER = Learner(
    lambda key, rows, weights: weights @ rows,
    center,
    relabel=lambda key, p, rows: center(key, p, rows.shape[0]),
)
REAL = jnp.arange(4.0)


def answered(function, **more):
    return loop(LEARNER, REAL, FreshReal(), 1, draw_real=function, **more)


def joint(function):
    return coupled(
        KEY,
        LEARNER,
        jnp.stack([REAL, REAL + 1]),
        1,
        regime=Replace(),
        observe=params_of,
        generate_jointly=function,
    )


def simulated(**functions):
    kind = type(
        "Changed", (problems.GaussianMean,), {k: staticmethod(f) for k, f in functions.items()}
    )
    return solvable.simulate(kind(), Augment(0.5), samples=4, generations=1, runs=2)


def predicted(change):
    task = LinearRegression(dim=2, context=3)
    learner = bayes_learner(task)

    def predict(params, prompts):
        return Normal(*map(change, learner.predict(params, prompts)))

    prompts = sample_prompts(task, KEY, 4)
    return measure.predictions(replace(learner, predict=predict), (), prompts)


def context(**more):
    prompts = Prompts(jnp.ones((3, 2)), jnp.ones(3))
    options = {"kept": 1, "observe": lambda key, c: c.ys, **more}
    predict = options.pop("predict", lambda xs, ys, query: query @ query)
    return relabel_context(KEY, predict, prompts, options.pop("generations", 1), **options)


def mine(**more):
    return loop(LEARNER, REAL, Answers(**more), 2)


def sized(samples, n_syn, share):
    return loop(LEARNER, REAL, Augment(0.5), 1, sizes=Sizes(samples, n_syn, share))


BELIEVED = {
    "draw_real of one row": (lambda: answered(lambda key, count: jnp.ones(1)), "draw_real"),
    "draw_real of a scalar": (lambda: answered(lambda key, count: 1.0), "draw_real"),
    "draw_real of columns": (lambda: answered(lambda key, n: jnp.ones((n, 1))), "draw_real"),
    "draw_real of a pair": (lambda: answered(lambda key, n: (REAL, REAL)), "draw_real"),
    "generate of one row": (
        lambda: loop(replace(LEARNER, generate=lambda key, p, n: p[None]), REAL, Augment(0.5)),
        r"learner\.generate",
    ),
    "generate of too many": (
        lambda: loop(
            replace(LEARNER, generate=lambda key, p, n: jnp.full(n + 1, p)), REAL, Replace()
        ),
        r"learner\.generate",
    ),
    "a short relabel": (
        lambda: loop(
            replace(LEARNER, relabel=lambda key, p, rows: rows[:1]), REAL, AugmentSameInputs(0.5)
        ),
        r"learner\.relabel",
    ),
    "generate_jointly of one loop": (
        lambda: joint(lambda key, params, count: jnp.ones((1, count))),
        "generate_jointly",
    ),
    "generate_jointly of one row": (
        lambda: joint(lambda key, params, count: jnp.ones((2, 1))),
        "generate_jointly",
    ),
    "draw_inputs of one": (
        lambda: context(draw_inputs=lambda key, count: jnp.ones((1, 2))),
        "draw_inputs",
    ),
    "draw_real of labels alone": (
        lambda: context(draw_real=lambda key, count: jnp.ones(count)),
        "draw_real",
    ),
    "predict of a vector": (lambda: context(predict=lambda xs, ys, query: query), "predict"),
    "draw of one row": (lambda: simulated(draw=lambda *_: jnp.ones(1)), r"problem\.draw"),
    "loss of one number": (lambda: simulated(loss=lambda *_: jnp.ones(())), r"problem\.loss"),
    "loss of columns": (lambda: simulated(loss=lambda p, z: z[:, None]), r"problem\.loss"),
    "risk of a vector": (lambda: simulated(risk=lambda *_: jnp.ones(2)), r"problem\.risk"),
    "excess of a vector": (lambda: simulated(excess=lambda *_: jnp.ones(1)), r"problem\.excess"),
    "predict of one label": (
        lambda: predicted(lambda law: law[:, :1]),
        r"mean of learner\.predict",
    ),
    "kept of NumPy's -1": (lambda: context(kept=np.int64(-1)), "kept"),
    "kept of 2.5": (lambda: context(kept=2.5), "kept"),
    "kept of 4 in 3": (lambda: context(kept=4), "kept"),
    "kept of True": (lambda: context(kept=True), "kept"),
    "a negative clip": (lambda: context(clip=-1.0), "clip"),
    "a clip of NaN": (lambda: context(clip=math.nan), "clip"),
    "a noise of NaN": (lambda: context(noise=math.nan), "noise"),
    "a negative noise": (lambda: context(noise=-1.0), "noise"),
    "2.5 runs of an experiment": (lambda: Loops(problems.Ols(), Replace(), 20, 2, 2.5), "runs"),
    "20.5 samples": (lambda: Loops(problems.Ols(), Replace(), 20.5, 2, 2), "samples"),
    "2.5 runs at once": (
        lambda: devices.many(lambda of, key: key, None, 2.5, seed=0, batch=1),
        "runs",
    ),
    "generations of True": (lambda: loop(LEARNER, REAL, Replace(), True), "generations"),
    **{  # behind the checks of annotations, which are there in tests alone
        f"2.5 generations of {function.__name__}": (
            lambda function=function: unwrap(function)(
                KEY, LEARNER, REAL[None], 2.5, regime=Replace(), observe=params_of
            ),
            "generations",
        )
        for function in (self_consume, coupled)
    },
    "2.5 generations in context": (
        lambda: unwrap(relabel_context)(
            KEY, None, Prompts(jnp.ones((3, 2)), jnp.ones(3)), 2.5, kept=1, observe=None
        ),
        "generations",
    ),
    "-1 generations of several": (
        lambda: coupled(KEY, LEARNER, REAL[None], -1, regime=Replace(), observe=params_of),
        "generations",
    ),
    "a share of 1.5": (lambda: mine(real=1.5), r"share\(1\) of the regime 'mine'"),
    "a share of -0.5": (lambda: mine(real=-0.5), r"share\(1\) of the regime 'mine'"),
    "a share of NaN": (lambda: mine(real=math.nan), r"share\(1\) of the regime 'mine'"),
    "a share of two numbers": (lambda: mine(real=np.ones(2)), "share"),
    "no share": (lambda: mine(real=None), "share"),
    "half of the weight on nothing": (lambda: mine(size=0, real=0.5), "share"),
    "a size of 5.0": (lambda: mine(size=5.0), r"synthetic_size\(4\) of the regime 'mine'"),
    "a size of -1": (lambda: mine(size=-1), "synthetic_size"),
    "a size of True": (lambda: mine(size=True), "synthetic_size"),
    "more rows than places": (lambda: sized(5, 4, 0.5), r"sizes\.samples"),
    "no real rows": (lambda: sized(0, 4, 0.5), r"sizes\.samples"),
    "synthetic rows beyond places": (lambda: sized(4, 5, 0.5), r"sizes\.n_syn"),
    "a share above 1": (lambda: sized(4, 4, 1.5), r"sizes\.share"),
    "weights that sum to a half": (lambda: sized(4, 0, 0.5), r"sizes\.share"),
}


@pytest.mark.parametrize("name", BELIEVED)
def test_what_a_function_or_a_number_should_not_be_is_refused_by_name(name):
    call, named = BELIEVED[name]
    with pytest.raises(ValueError, match=rf"^(what )?{named}.* must be .*, but it is "):
        call()


@dataclass(frozen=True)
class Some(Replace):
    """As Replace, but a quarter is real: none of its parent's special cases concerns it."""

    name: ClassVar[str] = "some"

    def share(self, generation):
        return 0.25


def test_a_subclass_with_a_share_of_its_own_has_its_own_rows(assert_close):
    regime = Some()
    assert source_shares(regime, 4, 2) == {-1: 0.25, 1: 0.75}
    assert [training_size(regime, 4, i) for i in range(3)] == [4, 8, 8]
    seen = loop(LEARNER, REAL, regime, 2, lambda key, g: (g.row_weights, g.real_share))
    assert_close(seen[0], [[0.25] * 4 + [0] * 4] + 2 * [[0.0625] * 4 + [0.1875] * 4])
    assert_close(seen[1], [1, 0.25, 0.25])
    one = next_generation(KEY, LEARNER, regime, REAL, jnp.float32(1), 1)
    assert_close(one.row_weights, seen[0][1])


# --- real sets and types -------------------------------------------------------------------------

BAD_REAL = {
    "a list": [1.0, 2.0],
    "a list of rows": Rows([[1.0], [2.0]], [1.0, 2.0]),
    "a number": 1.0,
    "nothing": (),
    "no rows": np.zeros(0),
    "leaves that differ": Rows(np.zeros((3, 2)), np.zeros(2)),
    "words": np.array(["a", "b"]),
    "objects": np.array([None, 1.0]),
    "NaN": np.array([1.0, np.nan]),
    "more than single precision holds": np.array([1.0, 1e300]),
    "more than 32 bits hold": np.array([1, 2**40]),
}


@pytest.mark.parametrize("name", BAD_REAL)
def test_a_real_set_that_is_none_is_refused(name):
    for call in (
        lambda: loop(LEARNER, BAD_REAL[name], Augment(0.5), draw_real=None),
        lambda: coupled(KEY, LEARNER, BAD_REAL[name], 1, regime=Augment(0.5), observe=params_of),
    ):
        with pytest.raises(ValueError, match=r"^reals?\S* must (be|hold) .*but "):
            call()


def typed(dtype):
    """A learner of the mean whose rows have this type."""

    def generate(key, mean, count):
        return (mean + jnp.arange(count) % 2).astype(dtype)

    return Learner(
        lambda key, rows, weights: weights @ rows,
        generate,
        relabel=lambda key, p, rows: generate(key, p, rows.shape[0]),
    )


def pairs():
    kinds = ["float16", "bfloat16", "float32", "float64", "int32", "bool"]
    return [*((kind, "float32") for kind in kinds), ("float32", "float64"), ("bfloat16",) * 2]


@pytest.mark.parametrize(("of_real", "of_generator"), trials(pairs()[::2], pairs()))
def test_rows_have_the_type_that_real_and_generated_ones_promote_to(of_real, of_generator, x64):
    """One rule for all regimes; row weights have that precision, at least single."""
    real = jnp.array([0, 1, 1, 1]).astype(of_real)
    dtype = jnp.promote_types(of_real, of_generator)
    inexact = jnp.issubdtype(dtype, jnp.inexact)
    precision = jnp.promote_types(dtype, jnp.float32) if inexact else jnp.dtype("float64")
    for regime in (Augment(0.5), Replace(), AccumulateSubsample()):
        seen = loop(typed(of_generator), real, regime, 2, lambda key, g: g)
        assert seen.training_set.dtype == dtype
        assert seen.row_weights.dtype == precision
        assert seen.params[0] == 0.75
    assert seen.row_weights.shape == (3, 4)


def test_numbers_of_a_real_set_in_double_precision_are_used_as_they_are(x64):
    real = np.array([1.0, 1.0 + 2.0**-40])
    learner = Learner(
        lambda key, rows, weights: weights @ (rows - 1), lambda key, p, n: jnp.full(n, 1 + p)
    )
    for regime in (Augment(0.5), Replace(), AccumulateFresh()):
        np.testing.assert_array_equal(loop(learner, real, regime, 0), [2.0**-41])


# --- any learner in any regime -------------------------------------------------------------------


class Table(NamedTuple):
    """Rows of three columns, nested."""

    a: Any
    rest: dict[str, Any]


@dataclass(frozen=True)
class Shares(Regime):
    """A regime with random shares, rows and habits."""

    size: int = 0
    shares: tuple[float, ...] = ()
    keeps_history: bool = False
    reuses_inputs: bool = False
    fresh_real: bool = False
    name: ClassVar[str] = "random"

    def synthetic_size(self, samples):
        return self.size

    def share(self, generation):
        return self.shares[generation - 1]


GENERATIONS = 3

COLUMNS = [
    (("number", "vector", "symbol"), ("float32", "float16", "int32")),
    (("symbol", "number", "vector"), ("int8", "float32", "float32")),
]
"""Kinds of the columns of a table, and their types: few, since every new one is compiled."""


def column(kind, count, start):
    """Rows whose numbers name them; symbols, numbers or vectors."""
    rows = np.arange(start, start + count)
    shapes = {"vector": np.stack([rows, rows + 0.25], 1) / 2, "symbol": rows % 5}
    return shapes.get(kind, rows / 4)


def table_of(kinds, count, start, dtypes):
    a, b, c = (
        column(kind, count, start).astype(dtype) for kind, dtype in zip(kinds, dtypes, strict=True)
    )
    return Table(a, {"b": b, "c": c})


def weighted_mean(rows, weights):
    return (weights.reshape(-1, *[1] * (rows.ndim - 1)) * rows).sum(0)


def mean_learner(real, dtypes):
    """Weighted means of all columns; a row of the generator is the mean plus its number."""

    def fit(key, rows, weights):
        return jax.tree.map(lambda a: weighted_mean(a.astype(jnp.float32), weights), rows)

    def generate(key, params, count):
        turn = jnp.arange(count, dtype=jnp.float32) % 3

        def leaf(mean, like):
            rows = mean[None] + turn.reshape(-1, *[1] * mean.ndim)
            integers = jnp.issubdtype(like.dtype, jnp.integer)
            return jnp.round(rows).astype(like.dtype) if integers else rows.astype(like.dtype)

        return jax.tree.map(leaf, params, real)

    def relabel(key, params, rows):
        count = jax.tree.leaves(rows)[0].shape[0]
        made = generate(key, params, count)
        return made._replace(a=rows.a)

    return Learner(fit, generate, relabel=relabel)


def reference(real, regime, n, fresh):
    """The same loop with lists of rows in NumPy, without places: means of every generation."""

    def means(parts, shares):
        out = []
        for leaves in zip(*(jax.tree.leaves(part) for part in parts), strict=True):
            weighed = [
                s * np.asarray(a, float).mean(0) for s, a in zip(shares, leaves, strict=True)
            ]
            out.append(sum(weighed))
        return out

    leaves, structure = jax.tree.flatten(real)

    def made(params, count, here):
        turn = np.arange(count) % 3
        rows = []
        for mean, like in zip(params, leaves, strict=True):
            own = mean + turn.reshape(-1, *[1] * np.ndim(mean))
            whole = like.dtype.kind in "iu"
            assume(
                not whole or abs(mean % 1 - 0.5) > 1e-3
            )  # else single precision rounds otherwise
            rows.append(np.round(own) if whole else own)
        found = jax.tree.unflatten(structure, rows)
        if regime.reuses_inputs:
            found = found._replace(a=np.asarray(here.a)[np.arange(count) % n])
        return found

    params = [means([real], [1.0])]
    history = []
    for i in range(1, GENERATIONS + 1):
        share, n_syn = real_share(regime, n, i), synthetic_size(regime, n)
        here = fresh if regime.fresh_real else real
        rows = [here]
        shares = [share]
        if n_syn:
            history.append(made(params[-1], n_syn, here))
            used = history if regime.keeps_history else history[-1:]
            rows += used
            shares += [(1 - share) / len(used)] * len(used)
        params.append(means(rows, shares))
    return params


@st.composite
def regimes(draw, n):
    known = [
        *(Augment(n / (n + k)) for k in (1, n)),
        Augment.from_lam(2.0, draw(st.floats(0, 1))),
        AugmentSameInputs(0.5),
        Replace(),
        RealOnly(),
        FreshReal(),
        AccumulateFresh(),
        Accumulate(),
        Anchored(draw(st.sampled_from([0.1, 0.75])), 2.0),
        Halving(),
    ]
    size = draw(st.integers(0, 4))
    share = st.just(1.0) if size == 0 else st.floats(0, 1)
    shares = draw(st.tuples(*[share] * GENERATIONS))
    habits = ("keeps_history", "reuses_inputs", "fresh_real")
    own = Shares(size=size, shares=shares, **{habit: draw(st.booleans()) for habit in habits})
    return draw(st.sampled_from([*known, own, own, own, own]))


@given(data=st.data(), n=st.sampled_from([1, 2, 4]))
@settings(max_examples=trials(20, 600), suppress_health_check=list(HealthCheck))
def test_any_learner_in_any_regime_learns_from_what_is_mixed(data, n):
    kinds, dtypes = data.draw(st.sampled_from(COLUMNS))
    regime = data.draw(regimes(n))
    real, fresh = (table_of(kinds, n, start, dtypes) for start in (1, 7))
    with jax.disable_jit():
        seen = loop(
            mean_learner(real, dtypes),
            real,
            regime,
            GENERATIONS,
            draw_real=lambda key, count: jax.tree.map(jnp.asarray, fresh),
        )
    expected = reference(real, regime, n, fresh)
    for leaf, dtype, own in zip(
        jax.tree.leaves(seen), dtypes, zip(*expected, strict=True), strict=True
    ):
        rtol = 5e-3 if dtype == "float16" else 1e-5
        np.testing.assert_allclose(leaf, np.stack(own), rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("new", [False, True])
def test_reused_inputs_are_those_of_the_real_rows_of_this_generation(new):
    kinds, dtypes = COLUMNS[0]
    real, fresh = (table_of(kinds, 2, start, dtypes) for start in (1, 7))
    regime = Shares(size=3, shares=(0.5,) * GENERATIONS, reuses_inputs=True, fresh_real=new)
    seen = loop(
        mean_learner(real, dtypes),
        real,
        regime,
        GENERATIONS,
        lambda key, generation: generation.training_set.a,
        draw_real=lambda key, count: jax.tree.map(jnp.asarray, fresh),
    )
    inputs = (fresh if new else real).a[[0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(seen[1:], np.tile(inputs, (GENERATIONS, 1)))
