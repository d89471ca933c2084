"""What is measured of a problem by what it knows; its loops in folders; what belongs to whom."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

from icl_stl import problems
from icl_stl.lab import runs, solvable
from icl_stl.lab.experiments import Job, Loops
from icl_stl.learners import Learner, gaussian_mean
from icl_stl.problems import PROBLEMS, GaussianMean, Ols, Problem, expected_excess
from icl_stl.regimes import AccumulateFresh, Augment, RealOnly, Replace

RUNS, SAMPLES = 400, 8
MEAN, HALF = gaussian_mean(), Augment(0.5)


def simulated(problem, regime=HALF, runs=RUNS, generations=2):
    return solvable.simulate(
        problem, regime, samples=SAMPLES, generations=generations, runs=runs, seed=3
    )


@dataclass(frozen=True)
class Bare(Problem):
    """The mean of N(0, 1) with nothing but what a problem must have."""

    learner: Learner = MEAN

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return jax.random.normal(key, (count,))

    def loss(self, params: Any, rows: Any) -> Any:
        return (rows - params) ** 2


@dataclass(frozen=True)
class Risky(Bare):
    """Its risk is known."""

    def risk(self, truth: Any, params: Any) -> Any:
        return 1 + params**2


@dataclass(frozen=True)
class Generative(Bare):
    """The density of its generator is known, that of the real law is not."""

    def log_density(self, params: Any, rows: Any) -> Any:
        return -0.5 * (rows - params) ** 2


@dataclass(frozen=True)
class Dense(Generative):
    """Both densities are known."""

    def real_log_density(self, truth: Any, rows: Any) -> Any:
        return -0.5 * rows**2


@dataclass(frozen=True)
class Sized(Generative):
    """Beside a density, the excess is known."""

    def excess(self, truth: Any, params: Any) -> Any:
        return params**2


ONE_STEP = {
    Bare: {"risk", "gap"},
    Risky: {"risk", "gap"},
    Generative: {"risk", "gap", "nll"},
    Dense: {"risk", "gap", "drift", "eps"},
    Sized: {"excess", "risk", "gap", "nll"},
    GaussianMean: {"excess", "gap", "drift", "eps"},
}


@pytest.fixture(scope="module")
def exact():
    return simulated(GaussianMean())


@pytest.mark.parametrize("kind", [kind for kind in ONE_STEP if kind is not GaussianMean])
def test_what_is_not_known_is_measured_without_bias_or_left_out(kind, exact, assert_mean):
    """Beside the same loops of a problem that knows everything, number by number."""
    seen = simulated(kind())
    assert set(seen) == ONE_STEP[kind]
    excess = exact["excess"].astype(float)
    known = exact | {"risk": 1 + excess, "nll": (1 + excess) / 2}
    for name, values in seen.items():
        apart = values - known[name]
        if name in ("excess", "eps") or kind is Risky:  # the same numbers, with the same draws
            np.testing.assert_allclose(apart, 0, atol=1e-5)
        else:
            assert_mean(apart, 0.0)
            assert apart.std() > 1e-4  # measured indeed


@pytest.mark.parametrize("kind", ONE_STEP)
def test_beside_kept_rows_no_error_of_one_step_is_measured(kind):
    seen = simulated(kind(), AccumulateFresh(), runs=2, generations=1)
    assert set(seen) == ONE_STEP[kind] - {"eps"}


def test_held_out_rows_are_drawn_where_they_are_needed_alone():
    for kind in ONE_STEP:
        held_out = kind().start(jax.random.key(0), 4)[3]
        needed = kind not in (Risky, GaussianMean)
        assert len(held_out) == (problems.base.HELD_OUT if needed else 0)


# --- loops in a folder ---------------------------------------------------------------------------


class StoppedError(Exception):
    pass


def test_a_stopped_run_ends_with_the_same_bits_and_is_the_loop_of_its_keys(tmp_path):
    regimes = [RealOnly(), Augment(0.5), Replace(2.0), AccumulateFresh(0.5)]
    job = Job(Ols(2, 0.5), SAMPLES, 3, 3)

    def run(name, stop=""):
        def report(text, done, total):
            if text == stop:
                raise StoppedError

        folder = runs.Folder(tmp_path / name, {})
        return runs.run_loops(job, regimes, seed=3, folder=folder, report=report)

    whole = run("whole")
    for stop in ("augment-0.5, generation 2", f"{list(whole)[-1]}, generation 3"):
        with pytest.raises(StoppedError):
            run("again", stop)
    again = run("again")
    assert [result.regime for result in again.values()] == regimes
    for name, result in whole.items():
        assert result.generations == 3
        for quantity, values in result.observations.items():
            np.testing.assert_array_equal(again[name][quantity], values)
        found = simulated(job.problem, result.regime, runs=3, generations=3)
        assert found.keys() == result.observations.keys()
        for quantity, values in found.items():
            np.testing.assert_allclose(result[quantity], values, rtol=1e-5, atol=1e-6)


PLAIN = Learner(lambda key, rows, weights: weights @ rows, MEAN.generate)


@dataclass(frozen=True)
class Mixed(Bare):
    """Whole numbers among the real rows, others from the generator."""

    learner: Learner = PLAIN

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return jax.random.randint(key, (count,), -2, 3)


@pytest.mark.parametrize("regime", [Augment(0.5), AccumulateFresh(), Replace()], ids=repr)
def test_rows_of_two_types_are_one_in_a_folder_too(regime, tmp_path):
    folder = runs.Folder(tmp_path, {})
    (result,) = runs.run_loops(
        Job(Mixed(), SAMPLES, 2, 2), [regime], seed=3, folder=folder
    ).values()
    found = simulated(Mixed(), regime, runs=2)
    for name, values in found.items():
        np.testing.assert_allclose(result[name], values, rtol=1e-5, atol=1e-6)


# --- what belongs to whom ------------------------------------------------------------------------


def test_problems_are_those_of_the_folder():
    assert sorted(PROBLEMS) == [
        *("bernoulli", "categorical", "chain", "clipped_mean", "empirical_bayes", "gaussian"),
        *("gaussian_mean", "in_context", "kde", "linear_attention", "maximum", "ols", "ridge"),
        *("shrinkage", "sources"),
    ]
    for name, kind in PROBLEMS.items():
        assert kind.name == name
        assert getattr(problems, kind.__name__) is kind
        assert kind() == kind()
        assert kind().learner is kind().learner


def test_a_problem_derived_from_one_of_ours_has_no_closed_form_of_it():
    class Plain(Ols):
        """Nothing of its own."""

    @dataclass(frozen=True)
    class Biased(Ols):
        """Another learner under the same fields."""

        def make_learner(self):
            ours = super().make_learner()
            return Learner(lambda *data: ours.fit(*data) + 1, ours.generate)

    @dataclass(frozen=True)
    class Known(Ols):
        """A closed form of its own, of any regime."""

        def closed_form(self, regime, samples, generations):
            return np.full(generations + 1, 7.0)

    for regime in (RealOnly(), Replace(), Augment(0.5)):
        assert np.isfinite(expected_excess(Ols(2), regime, 20, 1)).all()
        for other in (Plain(2), Biased(2)):
            assert np.isnan(expected_excess(other, regime, 20, 1)).all()
    assert expected_excess(Known(2), Augment(0.5), 20, 1).tolist() == [7, 7]
    assert len({Ols(2), Plain(2), Biased(2), Known(2)}) == 4
    assert Biased(2).learner is not Ols(2).learner
    found = simulated(Biased(2), RealOnly(), runs=50, generations=0)["excess"]
    assert found.mean() > 1 > simulated(Ols(2), RealOnly(), runs=50, generations=0)["excess"].mean()


@pytest.mark.parametrize(
    ("problem", "observe", "message"),
    [
        (Bare(), "identity", "^problem must be one that knows its risk and synthetic_risk, to obs"),
        (Risky(), "identity", "^problem must be one that knows its synthetic_risk, to observe 'i"),
        (Bare(), "certificate", "^problem must be one that knows its risk, .* but it is 'bare'"),
        (Ols(2), "implied", "^problem must be one that knows its implied, .* but it is 'ols'"),
        (Ols(2), "risk", "^observe must be .*'risks'.* but it is 'risk'"),
    ],
)
def test_what_a_problem_does_not_know_is_not_observed(problem, observe, message):
    with pytest.raises(ValueError, match=message):
        Loops(problem, HALF, SAMPLES, 1, 1, observe)
