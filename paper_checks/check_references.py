"""Section 8: closed forms against loops of the package.

The loops are many and small, each closed form has its own seed, and every mean is known to 1 %.
One Holm family at 5 % holds all cells of all closed forms; each family has a wrong closed form that
the same loops must reject.
"""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stored
from binary_loop import binomial
from scipy import stats

from icl_stl import devices, references
from icl_stl.lab import solvable
from icl_stl.lab.experiments import Loops
from icl_stl.learners.attention import summaries
from icl_stl.problems import PROBLEMS, Bernoulli, GaussianMean, Ols, Problem, expected_excess
from icl_stl.references import attention, bernoulli
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
    mixing_weights,
)
from icl_stl.studies.stability import loops as stability
from icl_stl.studies.stability.experiments import NeighbouringLoops

LAST = 5
SHOWN = (1, 2, 5)
PRECISION = 0.01  # largest relative standard error of a mean
GOLDEN = (math.sqrt(5) - 1) / 2


class Cell(NamedTuple):
    """A mean over independent values and what it should be, or at most be."""

    values: np.ndarray
    expected: float
    at_most: bool = False

    @property
    def precision(self) -> float:
        return self.values.std(ddof=1) / len(self.values) ** 0.5 / abs(self.expected)

    @property
    def p_value(self) -> float:
        side = "greater" if self.at_most else "two-sided"
        return float(stats.ttest_1samp(self.values, self.expected, alternative=side).pvalue)

    @property
    def z(self) -> float:
        return (self.values.mean() / self.expected - 1) / self.precision


class Family(NamedTuple):
    """Closed forms and a wrong one, against the same loops."""

    name: str
    cells: list[Cell]
    control: list[Cell]


def at(column: np.ndarray, curve: Any, shown: tuple[int, ...] = SHOWN, at_most: bool = False):
    """One cell a generation: column is `[runs, G + 1]`."""
    return [Cell(column[:, i], float(np.asarray(curve)[i]), at_most) for i in shown]


def simulated(
    problem: str,
    regime: Regime,
    n: int,
    seed: int,
    see: tuple[str, ...] = ("excess",),
    runs: int = 24_000,
    **settings: Any,
) -> Any:
    """What is seen of every generation of many loops, in float64; ``params`` is their fit."""
    known = PROBLEMS[problem](**settings)
    measure = solvable.measurements(known, regime)

    def observe(truth, held_out, key, generation):
        seen = {**measure(truth, held_out, key, generation), "params": generation.params}
        return {name: seen[name] for name in see}

    seen = devices.many(
        lambda of, key: solvable.loop(known, regime, n, LAST, key, observe),
        None,
        runs,
        seed=seed,
        batch=solvable.batch_size(known, regime, n, LAST),
    )
    return jax.tree.map(lambda leaf: leaf.astype(np.float64), seen)


def seen_of(
    problem: Problem, regime: Regime, n: int, last: int, seed: int, runs: int, batch: int = 4000
) -> dict[str, np.ndarray]:
    """What is observed of many loops without one-step errors: `[R, G + 1]` by name, in float64."""
    of = problem, regime, n, last
    measure = solvable.measurements(problem, regime, one_step=False)
    found = devices.many(
        lambda _, key: solvable.loop(*of, key, measure), None, runs, seed=seed, batch=batch
    )
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


@pytest.fixture
def quick_compilation() -> Iterator[None]:
    """Compiling takes longer than running: half as long without most optimisations."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


# --- the Gaussian mean ---------------------------------------------------------------------------

N, SIGMA = 8, 1.5


def mean_replace(seed):
    cells, control = [], []
    for lam in (1, 2):
        seen = simulated("gaussian_mean", Replace(lam), N, seed + lam, noise=SIGMA)
        known = references.mean_replace(N, lam * N, SIGMA, LAST)
        cells += at(seen["excess"], known, (0, *SHOWN) if lam == 1 else SHOWN)
        if lam == 2:
            control = at(seen["excess"], references.mean_replace(N, N, SIGMA, LAST))
    return Family("37 mean, replace; control: n for n_syn", cells, control)


def mean_augment(seed):
    cells, control = [], []
    for k, (regime, weight) in enumerate(
        ((Augment(0.2), None), (Augment(0.5, weight=0.3), 0.3), (AugmentSameInputs(0.5), None))
    ):
        m = regime.synthetic_size(N)
        seen = simulated("gaussian_mean", regime, N, seed + k, noise=SIGMA)
        cells += at(seen["excess"], references.mean_augment(N, m, SIGMA, LAST, weight))
        if weight:
            gain = np.cumsum(0.7 ** np.arange(LAST + 1)) - 1
            control = at(seen["excess"], SIGMA**2 * (1 / N + gain / m))
    return Family("37 mean, augment; control: (1-w)^j for (1-w)^2j", cells, control)


def mean_accumulate(seed):
    seen = simulated("gaussian_mean", Accumulate(2), N, seed, noise=SIGMA)["excess"]
    known = references.mean_accumulate(N, 2 * N, SIGMA, LAST)
    control = at(seen, known - SIGMA**2 / N + SIGMA**2 / (3 * N))
    return Family("37 mean, accumulate; control: N rows at generation 0", at(seen, known), control)


def mean_anchored(seed):
    seen = simulated("gaussian_mean", Anchored(0.3), N, seed, noise=SIGMA)["excess"]
    cells = at(seen, references.mean_anchored(N, N, SIGMA, LAST, 0.3))
    weights = mixing_weights(Anchored(0.3), N, LAST)
    cells += at(seen, references.mean_loop(weights, N, N, SIGMA), (3, 4))
    control = at(seen, references.mean_augment(N, N, SIGMA, LAST, 0.3))
    return Family("37 mean, anchored and any weights; control: last batch only", cells, control)


def mean_fresh(seed):
    seen = simulated("gaussian_mean", FreshReal(weight=GOLDEN), N, seed, noise=SIGMA)["excess"]
    cells = at(seen, references.mean_fresh(N, N, SIGMA, LAST, GOLDEN))
    control = at(seen, references.mean_augment(N, N, SIGMA, LAST, GOLDEN))
    return Family("38 mean, new real rows; control: a fixed real set", cells, control)


def mean_subsample(seed):
    seen = simulated("gaussian_mean", AccumulateSubsample(), N, seed, noise=SIGMA)["excess"]
    cells = at(seen, references.mean_accumulate_subsample(N, N, SIGMA, LAST))
    control = at(seen, references.mean_accumulate(N, N, SIGMA, LAST))
    return Family("39 mean, n of all rows; control: all of them", cells, control)


def mean_gap(seed):
    seen = simulated("gaussian_mean", Augment(0.5), 4, seed, ("gap",), noise=SIGMA)["gap"]
    known = references.mean_gap_parts(4, 4, SIGMA, LAST).total
    control = at(seen, np.full(LAST + 1, 2 * SIGMA**2 / 8))
    return Family("40 gap of the mean; control: 2/N", at(seen, known, (0, *SHOWN)), control)


def mean_total_variation(seed):
    see = ("excess", "drift", "eps", "params")
    seen = simulated("gaussian_mean", Augment(0.5), N, seed, see, 36_000, noise=SIGMA)
    variance = references.mean_augment(N, N, SIGMA, LAST)
    known = references.mean_total_variation(variance, SIGMA)
    cells = at(seen["excess"], variance) + at(seen["drift"], known, (0, *SHOWN))
    cells += at(seen["eps"], known, (0,))
    quantile = references.mean_linear_gap_quantile(variance, 0.75)
    cells += at(1.0 * (-seen["params"] > quantile), np.full(LAST + 1, 0.25))
    control = at(seen["drift"], references.mean_total_variation(4 * variance, SIGMA))
    return Family("41 total variation, quantile; control: sigma for 2 sigma", cells, control)


# --- Gaussian mean and variance ------------------------------------------------------------------


def both_fitted(seed):
    cells, control = [], []
    for k, regime in enumerate((Augment(0.5), Augment(0.5, weight=0.3), Replace())):
        seen = simulated("gaussian", regime, N, seed + k, ("excess", "params"), 40_000, noise=SIGMA)
        if isinstance(regime, Replace):
            known = references.mean_variance_replace(N, N, SIGMA, LAST)
        else:
            known = references.mean_variance_augment(N, N, SIGMA, LAST, regime.weight)
        shown = (0, *SHOWN) if k == 0 else SHOWN
        cells += at(seen["excess"], known.mean_error, shown)
        cells += at(seen["params"].std ** 2, known.variance, shown)
        if k == 0:
            control = at(seen["excess"], references.mean_augment(N, N, SIGMA, LAST))
            control += at(seen["params"].std ** 2, np.full(LAST + 1, SIGMA**2 * (1 - 1 / N)))
    return Family("42 mean and variance; control: sigma known", cells, control)


def log_variance(seed):
    sigma = 5.0  # so that no mean logarithm is near 0
    seen = simulated("gaussian", Replace(), N, seed, ("params",), noise=sigma, unbiased=True)
    column = 2 * np.log(seen["params"].std)
    cells = at(column, references.log_variance_replace(N, N, sigma, LAST), (0, *SHOWN))
    control = at(column, references.log_variance_replace(N, N, sigma, LAST, unbiased=False))
    return Family("42 log variance; control: maximum likelihood", cells, control)


# --- least squares -------------------------------------------------------------------------------

ROWS, DIM = 16, 3


def least_squares(regime, seed, see=("excess",)):
    return simulated("ols", regime, ROWS, seed, see, 14_000, dim=DIM, noise=SIGMA)


def ols_replace(seed):
    seen = least_squares(Replace(2), seed, ("excess", "eps"))
    excess = seen["excess"]
    assert excess[:, 0].mean() == pytest.approx(
        references.ols_single_fit(ROWS, DIM, SIGMA), rel=5 * PRECISION
    )
    cells = at(excess, references.ols_replace(ROWS, 2 * ROWS, DIM, SIGMA, LAST), (0, *SHOWN))
    total_variation = references.ols_total_variation(np.sqrt(excess), SIGMA)
    cells += at(seen["eps"] - total_variation + 1, np.ones(LAST + 1), (0,))
    control = at(excess, references.ols_replace(ROWS, ROWS, DIM, SIGMA, LAST))
    return Family("43 least squares, replace; control: n for n_syn", cells, control)


def ols_same_inputs(seed):
    cells, control = [], []
    for k, (alpha, weight) in enumerate(((0.5, None), (1 / 3, 0.6))):
        regime = AugmentSameInputs(alpha, weight)
        size = (ROWS, regime.synthetic_size(ROWS), DIM, SIGMA, LAST, weight)
        seen = least_squares(regime, seed + k, ("excess", "gap"))
        excess, gap = seen["excess"], seen["gap"]
        cells += at(excess, references.ols_augment_same_inputs(*size))
        weights = mixing_weights(regime, ROWS, LAST)
        cells += at(excess, references.ols_loop_same_inputs(weights, *size[:4]), (3,))
        cells += at(gap, references.ols_gap_augment_same_inputs(*size))
        cells += at(excess, references.ols_augment_upper_bound(*size), SHOWN, at_most=True)
        if k == 0:
            cells += at(gap, [references.ols_gap_single_fit(ROWS, DIM, SIGMA)], (0,))
            control = at(gap, 2 * references.ols_augment_same_inputs(*size))
    return Family("43 ... inputs repeated, its gap; control: gap 2 s_i", cells, control)


def ols_fresh_inputs(seed):
    seen = least_squares(Augment(0.5), seed)["excess"]
    size = (ROWS, ROWS, DIM, SIGMA, LAST)
    cells = at(seen, references.ols_augment_fresh_inputs(*size), (1,))
    control = at(seen, references.ols_augment_same_inputs(*size))
    return Family("44 ... inputs fresh; control: inputs repeated", cells, control)


def ols_bound(seed):
    seen = least_squares(Augment(1 / 3), seed)["excess"]
    size = (ROWS, 2 * ROWS, DIM, SIGMA, LAST)
    cells = at(seen, references.ols_augment_fresh_inputs(*size), (1,))
    cells += at(seen, references.ols_augment_upper_bound(*size), SHOWN, at_most=True)
    wrong = np.full(LAST + 1, references.ols_single_fit(ROWS, DIM, SIGMA))
    control = at(seen, wrong, SHOWN, at_most=True)
    return Family("44 ... 3 s_n/2 bounds it; control: s_n", cells, control)


def ols_accumulate(seed):
    size = (ROWS, ROWS, DIM, SIGMA, LAST)
    same, fresh = (
        least_squares(regime, seed + k)["excess"]
        for k, regime in enumerate((Accumulate(), AccumulateFresh()))
    )
    cells = at(same, references.ols_accumulate_same_inputs(*size))
    cells += at(fresh, references.ols_accumulate_fresh_inputs(*size))
    control = at(fresh, references.ols_accumulate_same_inputs(*size))
    return Family("43 ... accumulate; control: inputs repeated for fresh", cells, control)


def ols_fresh_real(seed):
    seen = least_squares(FreshReal(), seed)["excess"]
    size = (ROWS, ROWS, DIM, SIGMA, LAST)
    cells = at(seen, references.ols_fresh_real(*size))
    control = at(seen, references.ols_fresh_combined(*size, 0.5))
    return Family("45 ... new real rows; control: mean of two fits", cells, control)


# --- laws on finitely many symbols ---------------------------------------------------------------

LAW = (0.5, 0.3, 0.2)


def symbols(regime, seed, see=("excess",), pseudo_count=0.0):
    settings = {"probabilities": LAW, "pseudo_count": pseudo_count}
    return simulated("categorical", regime, N, seed, see, 12_000, **settings)


def law_loops(seed):
    cells, control = [], []
    for k, (regime, known) in enumerate(
        (
            (Augment(0.5), references.law_augment(LAW, N, N, LAST)),
            (Augment(0.5, weight=0.3), references.law_augment(LAW, N, N, LAST, 0.3)),
            (Replace(2), references.law_replace(LAW, N, 2 * N, LAST)),
            (Accumulate(), references.law_accumulate(LAW, N, N, LAST)),
            (Anchored(0.3), references.law_anchored(LAW, N, N, LAST, 0.3)),
        )
    ):
        seen = symbols(regime, seed + k, ("excess", "drift", "params"))
        cells += at(seen["excess"], known.error, (0, *SHOWN) if k == 0 else SHOWN)
        if k == 0:
            bound = np.full(LAST + 1, references.law_augment_bound(LAW, N))
            cells += at(seen["excess"], bound, SHOWN, at_most=True)
            cells += at(seen["drift"], references.law_total_variation(LAW, N, N, LAST))
        if isinstance(regime, Replace):
            diversity = 1 - (seen["params"] ** 2).sum(axis=2)
            cells += at(diversity, known.diversity)
        if isinstance(regime, Anchored):
            control = at(seen["excess"], references.law_augment(LAW, N, N, LAST, 0.3).error)
    return Family("46 symbols; control: last batch for all batches", cells, control)


def law_fixation(seed):
    see, settings = ("params",), {"probabilities": (0.6, 0.4)}
    seen = simulated("categorical", Replace(), 3, seed, see, **settings)["params"]
    fixed = 1.0 * (seen[:, :, 0] > 1 - 1e-6)
    cells = at(fixed, references.law_fixation((0.6, 0.4), 3, 3, LAST)[:, 0])
    return Family("46 fixation; control: its limit", cells, at(fixed, np.full(LAST + 1, 0.6)))


def smoothed(seed):
    a, cells, control = 0.7, [], []
    for k, (regime, reference) in enumerate(
        (
            (Replace(), references.smoothed_replace),
            (Augment(0.5), references.smoothed_augment),
            (Accumulate(), references.smoothed_accumulate),
        )
    ):
        seen, known = (
            symbols(regime, seed + k, ("excess", "params"), a),
            reference(LAW, N, N, a, LAST),
        )
        shown = (0, *SHOWN) if k == 0 else SHOWN
        for symbol in (0, 2):
            cells += at(seen["params"][:, :, symbol], known.mean[:, symbol], shown)
        cells += at(seen["excess"], known.error, shown)
        if k == 1:
            drifting = references.smoothed_replace(LAW, N, N, a, LAST).mean[:, 2]
            control = at(seen["params"][:, :, 2], drifting)
    return Family("46 smoothing; control: its bias paid every generation", cells, control)


def any_mixing(seed):
    """Moments of every learner that mixes: symbols, bits, normal laws."""
    cells, control = [], []
    for k, (problem, regime, settings) in enumerate(
        (
            ("categorical", FreshReal(2.0, 0.3), {"probabilities": LAW}),
            ("categorical", FreshReal(), {"probabilities": LAW, "pseudo_count": 0.7}),
            ("bernoulli", AccumulateFresh(), {"kappa": 0.8, "probability": 0.3}),
            ("bernoulli", AccumulateSubsample(), {"kappa": 1.4, "probability": 0.3}),
            ("gaussian", AccumulateFresh(), {"noise": SIGMA}),
            ("gaussian", Anchored(0.3), {"noise": SIGMA, "unbiased": True}),
        )
    ):
        seen = simulated(problem, regime, N, seed + k, runs=30_000, **settings)["excess"]
        cells += at(seen, expected_excess(PROBLEMS[problem](**settings), regime, N, LAST))
        if k == 0:
            control = at(seen, references.law_augment(LAW, N, 2 * N, LAST, 0.3).error)
    return Family("98, 99, 102 any mixing; control: the same real rows", cells, control)


def few_rows(seed):
    cells, control = [], []
    for k, regime in enumerate((FreshReal(), AugmentSameInputs(0.5))):
        seen = simulated("ols", regime, 4, seed + k, dim=16, noise=SIGMA)["excess"]
        cells += at(seen, expected_excess(Ols(16, SIGMA), regime, 4, LAST), (0, *SHOWN))
        if k == 0:
            control = at(seen, references.ols_min_norm_replace(4, 4, 16, SIGMA, LAST))
    return Family("103 minimum norm; control: no real rows", cells, control)


# --- loops on two symbols ------------------------------------------------------------------------


def one_sided(seed):
    e, n, cells, control = 0.02, 20, [], []
    settings = {"probability": 0.0, "centre": 0.0, "injected": e}
    for k, (regime, known) in enumerate(
        (
            (Replace(), references.one_sided_replace(e, LAST)),
            (Augment(0.5), references.one_sided_augment(e, 0.5, LAST)),
            (Accumulate(), references.one_sided_accumulate(e, LAST)),
        )
    ):
        seen = simulated("bernoulli", regime, n, seed + k, ("drift",), **settings)["drift"]
        assert np.allclose(seen[:, 0], e, rtol=1e-6)  # certain, not a mean
        cells += at(seen, known)
        cells += at(seen, references.one_sided_loop(mixing_weights(regime, n, LAST), e), (3,))
        if k == 1:
            control = at(seen, references.one_sided_augment(e, 0.25, LAST))
    return Family("47 errors that add up; control: half the real share", cells, control)


def bits(seed):
    cells, control = [], []
    for k, (loop, regime) in enumerate(
        (
            (bernoulli.BernoulliLoop(6, 9, 0.3, 0.8, error=0.02), Augment(0.4)),
            (bernoulli.BernoulliLoop(6, 6, 0.3, 1.15, replace=True), Replace()),
            (bernoulli.BernoulliLoop(6, 6, 0.3, 1.0, weight=0.7), Augment(0.5, weight=0.7)),
        )
    ):
        settings = {"kappa": loop.kappa, "probability": loop.p, "injected": loop.error}
        see = ("drift", "excess", "eps", "gap")
        seen = simulated("bernoulli", regime, 6, seed + k, see, 60_000, **settings)
        known, shown = bernoulli.drift(loop, LAST), (0, *SHOWN) if k == 0 else SHOWN
        cells += at(seen["drift"], known.distance, shown)
        cells += at(seen["excess"], known.square, shown)
        cells += at(seen["eps"], known.error, shown)
        cells += at(seen["gap"], bernoulli.gap_parts(loop, LAST).gap, shown)
        for i in SHOWN:
            law = bernoulli.gap_law(loop, i)
            chances = 1 - law.probability.cumsum()[:-1]
            best = int(np.abs(chances - 0.5).argmin())
            threshold = law.support[best : best + 2].mean()
            chance = bernoulli.exceedance(law, threshold)
            cells.append(Cell(1.0 * (seen["gap"][:, i] > threshold), chance))
        if k == 0:
            control = at(seen["excess"], bernoulli.drift(loop._replace(kappa=1.0), LAST).square)
    return Family("52 two symbols; control: kappa = 1", cells, control)


def bits_influence(seed):
    loop = bernoulli.BernoulliLoop(6, 9, 0.3, 0.8)
    problem = Bernoulli(loop.kappa, loop.p)
    experiment = NeighbouringLoops(problem, Augment(0.4), loop.n, LAST, 40_000)
    seen = stability.run_loops(experiment, seed)["tv"].astype(np.float64)
    assert np.allclose(seen[:, 0], loop.kappa / loop.n, rtol=1e-6)  # certain, not a mean
    known = bernoulli.influence(loop, LAST).gamma @ binomial(loop.n - 1, loop.p)
    control = at(seen, np.full(LAST + 1, loop.kappa / loop.n))
    return Family("8 influence; control: that of generation 0", at(seen, known), control)


def terms_of(experiment, seed, known, total) -> Family:
    """The gap and its parts as two loops with shared randomness show them."""
    seen = solvable.run_experiment(experiment, seed)
    cells = at(seen["gap"].astype(np.float64), total, (0, *SHOWN))
    for part in ("direct", "indirect", "synthetic", "shift"):
        cells += at(seen[part].astype(np.float64), getattr(known, part))
    control = at(seen["direct"].astype(np.float64), np.full(LAST + 1, known.direct[0]))
    return Family(f"13 parts of the gap, {experiment.problem.name}; control: 1/n", cells, control)


def gap_terms_of_mean(seed):
    known = references.mean_gap_parts(6, 6, SIGMA, LAST)
    run = Loops(GaussianMean(SIGMA), Augment(0.5), 6, LAST, 40_000, "identity")
    return terms_of(run, seed, known, known.total)


def gap_terms_of_bits(seed):
    known = bernoulli.gap_parts(bernoulli.BernoulliLoop(4, 6, 0.3, 0.8), LAST)
    run = Loops(Bernoulli(0.8, 0.3), Augment(0.4), 4, LAST, 60_000, "identity")
    return terms_of(run, seed, known, known.gap)


# --- linear attention ----------------------------------------------------------------------------


def prompts_of(law: str, seed: int) -> Family:
    """Risks of fixed layers on real and generated prompts; a prompt is a run."""
    dim, k, noise = 3, 6, 0.5
    count, spread = (200_000, 0.2) if law == "gaussian" else (50_000, 0.5)
    problem = PROBLEMS["linear_attention"](dim, k, noise, law=law)
    written = PROBLEMS["linear_attention"](dim, k, noise, law=law, generator="autoregressive")
    tau = 1.0 if law == "gaussian" else dim**-0.5
    moments, wrong = attention.gaussian_moments(dim, k, tau, noise), None
    if law == "sphere":
        moments, wrong = attention.sphere_moments(dim, k, noise), moments
    else:
        wrong = moments._replace(scale=moments.scale - tau**2 / k)
    draws = np.random.default_rng(seed)
    gamma, other = draws.normal(0, spread, (2, dim, dim))
    keys = jax.random.split(jax.random.key(seed), 3)

    @jax.jit
    def look(gamma, other):
        real = problem.draw(keys[0], (), count)
        query = problem.learner.generate(keys[1], other, count)
        whole = written.learner.generate(keys[2], other, count)
        inputs, labels = whole.xs, whole.ys
        sums = jnp.cumsum(inputs * labels[:, :, None], axis=1)
        before = jnp.concatenate([jnp.zeros_like(sums[:, :1]), sums[:, :-1]], axis=1)
        before = before / jnp.maximum(jnp.arange(k + 1), 1)[None, :, None]
        apart = jnp.einsum("njd,de,nje->nj", inputs, gamma - other, before)
        return {
            "zero": problem.loss(jnp.zeros((dim, dim)), real),
            "best": problem.loss(problem.best(()), real),
            "risk": problem.loss(gamma, real),
            "synthetic": problem.loss(gamma, query),
            "square": jnp.sum(summaries(whole) ** 2, axis=1),
            "divergence": jnp.sum(apart**2, axis=1) / (2 * moments.risk),
        }

    seen = {name: np.asarray(a, np.float64) for name, a in look(gamma, other).items()}
    shift = moments.risk + moments.scale * ((gamma - other) ** 2).sum()
    noises = np.full(k + 1, moments.risk**0.5)
    square = np.trace(attention.second_moments(other, noises, law)[k])
    cells = [
        Cell(seen["zero"], float(attention.risk(np.zeros((dim, dim)), moments))),
        Cell(seen["best"], moments.risk),
        Cell(seen["risk"], float(attention.risk(gamma, moments))),
        Cell(seen["synthetic"], shift),
        Cell(seen["square"], float(square)),
        Cell(seen["divergence"], attention.kl_divergence(other, gamma, noises, law)),
    ]
    control = [Cell(seen["risk"], float(attention.risk(gamma, wrong)))]
    return Family(f"48, 49 linear attention, {law}; control: another law", cells, control)


FAMILIES: tuple[Callable[[int], Family], ...] = (
    *(mean_replace, mean_augment, mean_accumulate, mean_anchored, mean_fresh, mean_subsample),
    *(mean_gap, mean_total_variation, both_fitted, log_variance),
    *(ols_replace, ols_same_inputs, ols_fresh_inputs, ols_bound, ols_accumulate, ols_fresh_real),
    *(law_loops, law_fixation, smoothed, one_sided, bits, bits_influence),
    *(partial(prompts_of, law) for law in ("gaussian", "sphere")),
    *(gap_terms_of_mean, gap_terms_of_bits, any_mixing, few_rows),
)


def test_every_closed_form_agrees_with_its_loop(ledger, quick_compilation) -> None:
    """One Holm family over all cells; a family's seeds are its place in the list."""
    seeds = range(100, 100 * (len(FAMILIES) + 1), 100)
    with ThreadPoolExecutor(2) as threads:  # one compiles while another runs
        families = list(threads.map(lambda make, seed: make(seed), FAMILIES, seeds))
    cells = [cell for family in families for cell in family.cells]
    coarse = [
        (family.name, cell.expected, cell.precision, len(cell.values))
        for family in families
        for cell in family.cells
        if not (cell.precision <= PRECISION and len(cell.values) >= 10_000)
    ]
    assert not coarse
    rejected = iter(stored.holm_rejects([cell.p_value for cell in cells]))
    wrong = [
        (family.name, cell.expected, cell.values.mean(), cell.z)
        for family in families
        for cell in family.cells
        if next(rejected)
    ]
    assert not wrong
    for family in families:
        largest = max(abs(cell.z) for cell in family.cells if not cell.at_most)
        ledger.record(
            family.name,
            "holds",
            f"|z| <= {largest:.1f}",
            any(stored.holm_rejects([cell.p_value for cell in family.control])),
        )


# --- which closed form belongs to a regime --------------------------------------------------------


def test_every_problem_finds_its_closed_form(ledger) -> None:
    """Which closed form belongs to a regime; nan where none is known."""
    known = references
    size, ols = (ROWS, ROWS, DIM, SIGMA, LAST), {"dim": DIM, "noise": SIGMA}
    mean, law = {"noise": SIGMA}, {"probabilities": LAW, "pseudo_count": 0.0}
    smooth, smoothed_law = law | {"pseudo_count": 0.7}, (LAW, N, N, 0.7, LAST)
    bits = {"kappa": 0.8, "probability": 0.3, "centre": 0.5, "injected": 0.02}
    pair = (N, N, SIGMA, LAST)
    loop = bernoulli.BernoulliLoop(N, N, 0.3, 0.8, error=0.02)
    replaced = loop._replace(replace=True)

    def affine(regime, law=LAW, scale=1.0, offset=0.0):
        return known.law_affine(known.Mixing.of(regime, N, LAST), law, scale, offset).error

    fitted = np.array([N, *[2 * N] * LAST])
    counted = fitted + 0.7 * len(LAW)
    both = [0.2 * 0.5 - 0.02, 0.2 * 0.5 + 0.02]
    every = known.mean_variance_mixed(known.Mixing.of(Accumulate(), N, LAST), SIGMA)
    cases = (
        ("gaussian_mean", Replace(), mean, known.mean_replace(*pair)),
        ("gaussian_mean", Augment(0.5, 0.3), mean, known.mean_augment(*pair, 0.3)),
        ("gaussian_mean", AugmentSameInputs(0.5), mean, known.mean_augment(*pair)),
        ("gaussian_mean", Accumulate(), mean, known.mean_accumulate(*pair)),
        ("gaussian_mean", AccumulateSubsample(), mean, known.mean_accumulate_subsample(*pair)),
        ("gaussian_mean", Anchored(0.3), mean, known.mean_anchored(*pair, 0.3)),
        ("gaussian_mean", FreshReal(weight=0.7), mean, known.mean_fresh(*pair, 0.7)),
        ("gaussian_mean", FreshReal(), mean, known.mean_fresh(*pair, 0.5)),
        ("gaussian", Replace(), mean, known.mean_variance_replace(*pair).mean_error),
        ("gaussian", Augment(0.5), mean, known.mean_variance_augment(*pair).mean_error),
        ("gaussian", Accumulate(), mean, every.mean_error),
        ("ols", Replace(), ols, known.ols_replace(*size)),
        ("ols", AugmentSameInputs(0.5, 0.6), ols, known.ols_augment_same_inputs(*size, 0.6)),
        ("ols", Augment(0.5), ols, known.ols_augment_fresh_inputs(*size)),
        ("ols", Augment(0.5, 0.6), ols, None),
        ("ols", Accumulate(), ols, known.ols_accumulate_same_inputs(*size)),
        ("ols", AccumulateFresh(), ols, known.ols_accumulate_fresh_inputs(*size)),
        ("ols", AccumulateSubsample(), ols, None),
        ("ols", FreshReal(), ols, known.ols_fresh_real(*size)),
        ("ols", FreshReal(weight=0.6), ols, None),
        ("categorical", Replace(), law, known.law_replace(LAW, N, N, LAST).error),
        ("categorical", Augment(0.5, 0.3), law, known.law_augment(LAW, N, N, LAST, 0.3).error),
        ("categorical", Accumulate(), law, known.law_accumulate(LAW, N, N, LAST).error),
        ("categorical", Anchored(0.3), law, known.law_anchored(LAW, N, N, LAST, 0.3).error),
        ("categorical", AccumulateSubsample(), law, affine(AccumulateSubsample())),
        ("categorical", AugmentSameInputs(0.5), {**smooth, "sampling_bias": 0.5}, None),
        ("categorical", Replace(), smooth, known.smoothed_replace(LAW, N, N, 0.7, LAST).error),
        ("categorical", Augment(0.5), smooth, known.smoothed_augment(LAW, N, N, 0.7, LAST).error),
        (
            *("categorical", Augment(0.5, 0.3), smooth),
            affine(Augment(0.5, 0.3), LAW, fitted / counted, 0.7 / counted[:, None]),
        ),
        ("categorical", Accumulate(), smooth, known.smoothed_accumulate(*smoothed_law).error),
        ("bernoulli", Augment(0.5), bits, bernoulli.drift(loop, LAST).square),
        ("bernoulli", Replace(), bits, bernoulli.drift(replaced, LAST).square),
        ("bernoulli", Accumulate(), bits, affine(Accumulate(), [0.7, 0.3], 0.8, both) / 2),
    )
    for problem, regime, settings, curve in cases:
        n = ROWS if problem == "ols" else N
        found = expected_excess(PROBLEMS[problem](**settings), regime, n, LAST)
        assert found.shape == (LAST + 1,)
        assert np.isfinite(found[0])
        if curve is None:
            assert np.isnan(found[1:]).all(), (problem, regime)
        else:
            np.testing.assert_allclose(found, curve, rtol=1e-13, err_msg=f"{problem}, {regime}")
    for name, settings in (("gaussian_mean", mean), ("categorical", smooth), ("ols", ols)):
        n, problem = ROWS if name == "ols" else N, PROBLEMS[name](**settings)
        real_only = expected_excess(problem, RealOnly(), n, LAST)
        first = expected_excess(problem, Augment(0.5), n, LAST)[0]
        np.testing.assert_allclose(real_only, first, rtol=1e-13)
    unknown = expected_excess(PROBLEMS["ridge"](**ols), Augment(0.5), ROWS, LAST)
    assert np.isnan(unknown).all()
    ledger.record("37 to 46 each regime finds its closed form", "attained", 1.0)


# --- what the loops may cost ---------------------------------------------------------------------

PEAK = """
import pathlib, resource
from icl_stl.lab.experiments import Loops
from icl_stl.lab.solvable import run_experiment
from icl_stl.problems import GaussianMean
from icl_stl.regimes import AccumulateSubsample

run_experiment(Loops(GaussianMean(), AccumulateSubsample(), 1000, 20, {runs}), 0)
status = pathlib.Path("/proc/self/status")
if status.exists():  # what getrusage says includes the process that forked this one
    (kilobytes,) = (x.split()[1] for x in status.read_text().splitlines() if "VmHWM" in x)
    print(int(kilobytes) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_keeping_all_rows_needs_little_memory(ledger, pytestconfig) -> None:
    """20 generations of 1000 rows: 150 loops may use 1 GB; with --long 1500 loops 4 GB."""
    runs, limit = (1500, 4e9) if pytestconfig.getoption("--long") else (150, 1e9)
    command = [sys.executable, "-c", PEAK.format(runs=runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(done.stdout)
    assert peak < limit
    ledger.record(f"memory of {runs} loops that keep all rows", tightness=peak / limit)


def test_speed_of_least_squares(ledger, pytestconfig) -> None:
    """With --long: 10^4 loops of 20 generations, n = 100, d = 10, in 30 s."""
    if not pytestconfig.getoption("--long"):
        pytest.skip("times are measured with --long")
    start = time.perf_counter()
    solvable.run_experiment(Loops(Ols(10), Augment(0.5), 100, 20, 10_000), 0)
    seconds = time.perf_counter() - start
    assert seconds < 30
    ledger.record("10^4 least squares loops in 30 s", tightness=seconds / 30)
