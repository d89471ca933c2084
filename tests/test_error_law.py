"""The error law: laws are recovered, constraints hold, intervals cover, bad input is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import trials
from scipy import optimize

from icl_stl.planning.error_law import ErrorLaw, fit_error_law, interval, resampled_laws

SIZES = np.array([125.0, 250.0, 500.0, 1000.0, 4000.0])
EVEN = np.array([250.0, 500.0, 1000.0, 2000.0, 4000.0])


@given(
    floor=st.just(0.0) | st.floats(1e-4, 1),
    c=st.floats(0.05, 30),
    a=st.floats(0.1, 1),
    weighted=st.booleans(),
)
def test_known_laws_are_recovered(*, floor, c, a, weighted):
    law = ErrorLaw(floor, c, a)
    errors = law.at(SIZES)
    fitted = fit_error_law(SIZES, errors, 0.1 * errors if weighted else None)
    assert fitted.at(SIZES) == pytest.approx(errors, rel=1e-6)
    assert fitted.a == pytest.approx(a, rel=1e-3)
    assert fitted.floor == pytest.approx(floor, abs=1e-3 * errors.max())
    assert fitted.assumed in ((), ("a = 1: the fastest rate that is admitted",))


def test_it_is_constrained_least_squares():
    """Against SciPy's non-negative least squares at every rate of a grid."""
    rng, at_an_edge = np.random.default_rng(1), 0
    for _ in range(60):
        errors = np.abs(rng.normal(0.2, 0.08, SIZES.size))
        stderr = rng.uniform(0.01, 0.1, SIZES.size)
        law = fit_error_law(SIZES, errors, stderr)
        misfit = (((law.at(SIZES) - errors) / stderr) ** 2).sum()
        columns = [
            np.stack([np.ones(SIZES.size), SIZES**-a], axis=1) for a in np.linspace(0.01, 1, 300)
        ]
        best = min(
            optimize.nnls(design / stderr[:, None], errors / stderr)[1] ** 2 for design in columns
        )
        assert misfit <= best * (1 + 1e-12)
        assert law.floor >= 0
        assert law.c >= 0
        assert 0 < law.a <= 1
        at_an_edge += law.floor == 0 or law.c == 0
    assert 10 < at_an_edge < 60


def test_few_sizes_say_what_is_assumed():
    one = fit_error_law([400, 400], [0.2, 0.3])
    assert (one.floor, one.c, one.a) == (0, 5, 0.5)
    assert [text.partition(":")[0] for text in one.assumed] == ["floor = 0", "a = 1/2"]
    two = fit_error_law([100, 400], [0.2, 0.1])
    assert (two.floor, two.a) == (0, pytest.approx(0.5, rel=1e-6))
    assert two.c == pytest.approx(2, rel=1e-5)
    assert [text.partition(":")[0] for text in two.assumed] == ["floor = 0"]
    three = fit_error_law([100, 400, 1600], [0.25, 0.15, 0.1])
    assert three.floor == pytest.approx(0.05, rel=1e-6)
    assert [text.partition(":")[0] for text in three.assumed] == ["the form"]


def test_what_does_not_decay_is_all_floor():
    rising = fit_error_law(SIZES, [0.1, 0.12, 0.13, 0.14, 0.15])
    assert (rising.c, rising.a) == (0, 0.5)
    assert rising.floor == pytest.approx(0.128)
    assert "nothing decays" in rising.assumed[0]
    fast = fit_error_law(SIZES, 40 * SIZES**-1.5)
    assert fast.a == 1
    assert "fastest rate" in fast.assumed[0]
    slow = fit_error_law(SIZES, 3 - 1e-3 * np.log(SIZES) ** 2)
    assert slow.a == 0.01
    assert "slowest rate" in slow.assumed[0]


def test_weights_are_those_of_the_standard_errors():
    errors = ErrorLaw(0.01, 1.0, 0.5).at(SIZES)
    errors[0] *= 2
    trusting, distrusting = (
        fit_error_law(SIZES, errors, np.array([first, 0.01, 0.01, 0.01, 0.01]) * 0.01)
        for first in (0.01, 100)
    )
    assert distrusting.a == pytest.approx(0.5, rel=1e-2)
    assert abs(trusting.a - 0.5) > 0.1


def test_resampled_laws_are_those_of_their_seed():
    errors = ErrorLaw(0.01, 0.5, 0.5).at(SIZES)
    first, again, other = (
        resampled_laws(SIZES, errors, 0.05 * errors, count=20, seed=seed) for seed in (0, 0, 1)
    )
    assert first.source == "standard errors"
    assert (first.c == again.c).all()
    assert (first.c != other.c).any()
    assert len(first.laws()) == 20
    assert first.laws()[3] == ErrorLaw(first.floor[3], first.c[3], first.a[3])


def covered(laws: list[ErrorLaw], value: float, at: float) -> bool:
    low, high = interval([law.at(at) for law in laws])
    return bool(low <= value <= high)


def test_intervals_from_standard_errors_cover():
    """Of 200 simulated measurements; within three standard errors of 95 %."""
    law, rng, sets = ErrorLaw(0.02, 0.8, 0.5), np.random.default_rng(3), 200
    errors = law.at(SIZES)
    hits = 0
    for seed in range(sets):
        measured = errors * (1 + 0.04 * rng.standard_normal(SIZES.size))
        laws = resampled_laws(SIZES, measured, 0.04 * errors, count=150, seed=seed).laws()
        hits += covered(laws, float(law.at(2000.0)), 2000.0)
    assert abs(hits / sets - 0.95) < 3 * (0.95 * 0.05 / sets) ** 0.5


@pytest.mark.parametrize("runs", trials([2, 5], [2, 3, 5, 10]))
def test_intervals_from_few_loops_cover(runs):
    """With the number of loops within three standard errors of 95 %; taken as known, too narrow."""
    law, rng, sets = ErrorLaw(0.002, 0.25, 0.5), np.random.default_rng(3), 200
    errors, hits, narrow = law.at(EVEN), 0, 0
    for seed in range(sets):
        loops = errors * (1 + 0.03 * runs**0.5 * rng.standard_normal((runs, EVEN.size)))
        data = EVEN, np.abs(loops.mean(0)), loops.std(0, ddof=1) / runs**0.5
        widened, known = (
            resampled_laws(*data, runs=number, count=100, seed=seed) for number in (runs, None)
        )
        hits += covered(widened.laws(), float(law.at(2000.0)), 2000.0)
        narrow += covered(known.laws(), float(law.at(2000.0)), 2000.0)
    assert abs(hits / sets - 0.95) <= 3 * (0.95 * 0.05 / sets) ** 0.5
    assert narrow < hits
    if runs <= 3:
        assert narrow / sets < 0.95 - 3 * (0.95 * 0.05 / sets) ** 0.5


@pytest.mark.parametrize("runs", trials([3], [3, 5]))
def test_intervals_at_the_edge_cover_less(runs):
    """Without a floor: 90 %, as the docstring says, within three standard errors."""
    law, rng, sets, hits = ErrorLaw(0.0, 0.25, 0.5), np.random.default_rng(7), 200, 0
    errors = law.at(EVEN)
    for seed in range(sets):
        loops = errors * (1 + 0.03 * runs**0.5 * rng.standard_normal((runs, EVEN.size)))
        data = EVEN, np.abs(loops.mean(0)), loops.std(0, ddof=1) / runs**0.5
        widened = resampled_laws(*data, runs=runs, count=100, seed=seed)
        hits += covered(widened.laws(), float(law.at(2000.0)), 2000.0)
    assert abs(hits / sets - 0.9) <= 3 * (0.9 * 0.1 / sets) ** 0.5


def test_few_loops_widen_by_students_t():
    errors = ErrorLaw(0.01, 0.5, 0.5).at(SIZES)
    known, infinite, some = (
        resampled_laws(SIZES, errors, 0.001 * errors, runs=runs, count=20)
        for runs in (None, np.inf, [np.inf, 2, 3, 4, np.inf])
    )
    assert (known.c == infinite.c).all()
    assert (known.c != some.c).any()
    for runs in (1, [5, 5], np.nan, [2, 2, 2, 2, 1.5]):
        with pytest.raises(
            ValueError, match=r"runs must (each be a whole number of|be one number, or one)"
        ):
            resampled_laws(SIZES, errors, errors, runs=runs)
    with pytest.raises(ValueError, match="runs must be left out with replicates"):
        resampled_laws(SIZES, [errors, 2 * errors], runs=3)


def test_replicates_carry_their_dependence():
    """What all sizes of a loop share does not average out; taken for independent it would."""
    law, rng, sets = ErrorLaw(0.02, 0.8, 0.5), np.random.default_rng(4), 100
    errors, hits, alone = law.at(SIZES), 0, 0
    for seed in range(sets):
        shared = rng.standard_normal((12, 1)) + 0.2 * rng.standard_normal((12, SIZES.size))
        measured = errors * (1 + 0.1 * shared)
        whole = resampled_laws(SIZES, measured, count=120, seed=seed)
        assert whole.source == "replicates"
        hits += covered(whole.laws(), float(law.at(700.0)), 700.0)
        stderr = measured.std(axis=0, ddof=1) / 12**0.5
        apart = resampled_laws(SIZES, measured.mean(axis=0), stderr, count=120, seed=seed)
        alone += covered(apart.laws(), float(law.at(700.0)), 700.0)
    assert 0.85 <= hits / sets <= 1
    assert alone < hits - 10


def test_interval_is_of_order_statistics():
    assert interval(np.arange(1001.0)) == (25, 975)
    assert interval([1.0, 2.0, np.inf]) == (1, np.inf)
    assert interval([np.inf, np.inf]) == (np.inf, np.inf)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([100, 0], [0.1, 0.1]),
            "sizes must each be a whole number of at least 1 .* but one is 0.0",
        ),
        (([100, 200], [0.1, -0.1]), "errors must each be a finite .* at least 0, but one is -0.1"),
        (([100, 200], [0.1, np.nan]), "errors must each be a finite .* nan"),
        (([100, 200], [0.1]), r"errors must be one for each of the 2 sizes.*shape \(1,\)"),
        (([], []), r"sizes must be a list of numbers, but have shape \(0,\)"),
        (([100, 200], ["x", 1]), "errors = .*x.* is not a real number"),
        (
            ([100, 200], [0.1, 0.2], [0.1, 0.0]),
            "stderr must each be a positive number, but one is 0.0",
        ),
        (
            ([100, 200], [0.1, 0.2], [0.1]),
            r"stderr must be one for each of the 2 sizes.*shape \(1,\)",
        ),
        (([100, 200.5], [0.1, 0.1]), "sizes must each be a whole .* but one is 200.5"),
        (([True, 200], [0.1, 0.1]), "sizes = .* is not a real number"),
        (([100, 200], ["0.1", 0.1]), "errors = .* is not a real number"),
        (([100, 200], np.array([True, False])), "errors = .* is not a real number"),
        (([100, 200], [0.1, 0.2], [0.1, np.nan]), "stderr must each be .* but one is nan"),
        (([100, 200], [0.1, 0.2], [0.1, -0.1]), "stderr must each be .* but one is -0.1"),
        (([100, 200], [[0.1, 0.2]]), r"at least 2 replicates, but have shape \(1, 2\)"),
        (([100, 200], [[0.1, 0.2]] * 3, [0.1, 0.1]), "stderr must be left out with replicates"),
    ],
)
def test_bad_measurements_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_error_law(*arguments)
    with pytest.raises(ValueError, match=message):
        resampled_laws(*arguments)


def test_intervals_need_something_to_rest_on():
    with pytest.raises(ValueError, match="stderr must be given, or errors as replicates"):
        resampled_laws([100, 200], [0.1, 0.1])
    with pytest.raises(ValueError, match="count must be a whole number of at least 2, but it is 1"):
        resampled_laws([100, 200], [0.1, 0.1], [0.01, 0.01], count=1)
