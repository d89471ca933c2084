import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import STANDARD_ERRORS
from scipy import stats

from icl_stl.intervals import (
    LEVEL,
    binomial_interval,
    binomial_test,
    empirical_bernstein,
    holm,
    t_half_width,
    t_test,
)
from icl_stl.planning import error_law

REPEATS = 4_000


def has_chance(hits, chance):
    """Whether independent events may have this chance, by the standard error of their share."""
    stderr = np.sqrt(chance * (1 - chance) / len(hits))
    return abs(np.mean(hits) - chance) <= STANDARD_ERRORS * stderr


SKEWED = {
    "rare": (lambda rng, shape: (rng.random(shape) < 0.02).astype(float), 0.02),
    "beta": (lambda rng, shape: rng.beta(0.1, 2.0, shape), 0.1 / 2.1),
    "even": (lambda rng, shape: rng.integers(0, 2, shape).astype(float), 0.5),
}


@pytest.mark.parametrize("count", [5, 30, 300])
@pytest.mark.parametrize("law", SKEWED)
def test_empirical_bernstein_covers_bounded_laws_at_every_size(law, count):
    draw, mean = SKEWED[law]
    values = draw(np.random.default_rng(0), (REPEATS, count))
    half = empirical_bernstein(values.var(axis=1, ddof=1), count)
    assert half.shape == (REPEATS,)
    assert np.mean(np.abs(values.mean(axis=1) - mean) <= half) >= 1 - LEVEL


def test_the_normal_interval_does_not_cover_a_rare_event():
    draw, mean = SKEWED["rare"]
    values = draw(np.random.default_rng(0), (REPEATS, 30))
    half = stats.norm.isf(LEVEL / 2) * values.std(axis=1, ddof=1) / 30**0.5
    assert np.mean(np.abs(values.mean(axis=1) - mean) <= half) < 1 - LEVEL


@pytest.mark.parametrize(
    ("variance", "count", "level", "half"),
    [
        # sqrt(2 · 0.25 · ln 80 / 100) = 0.1480207, and 7 · ln 80 / 297 = 0.1032797
        (0.25, 100, 0.05, 0.14802066 + 0.10328011),
        # no variance: 7 ln 400 / (3 · 9) = 1.553379
        (0.0, 10, 0.01, 7 * 5.99146455 / 27),
        # ln(4/δ) = 2: sqrt(2 · 2 · 2 / 8) = 1, and 7 · 2 / 21 = 2/3
        (2.0, 8, 4 / np.e**2, 1 + 2 / 3),
    ],
)
def test_empirical_bernstein_by_hand(variance, count, level, half):
    assert empirical_bernstein(variance, count, level) == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize("count", [1, 0, -1])
def test_empirical_bernstein_needs_two_values(count):
    with pytest.raises(
        ValueError, match=f"^count must be a whole number of at least 2, but it is {count}$"
    ):
        empirical_bernstein(0.1, count)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20).filter(lambda v: np.std(v) > 1e-3))
def test_t_test_agrees_with_an_independent_one(margins):
    result = t_test(margins)
    for p_value, side in ((result.p_positive, "greater"), (result.p_negative, "less")):
        expected = stats.ttest_1samp(margins, 0.0, alternative=side).pvalue
        np.testing.assert_allclose(p_value, expected, rtol=1e-6, atol=1e-12)
    assert result.replicates == len(margins)
    np.testing.assert_allclose(result.mean, np.mean(margins), atol=1e-12)
    np.testing.assert_allclose(result.stderr, stats.sem(margins), rtol=1e-9)


@pytest.mark.parametrize("margin", [0.1, 1e9 / 3, 1e-30, -0.1, 0.0])
@pytest.mark.parametrize("replicates", [2, 7, 40])
def test_a_margin_without_scatter_decides_nothing(margin, replicates):
    # What is rare has not been seen yet: 40 loops that agree are no certainty.
    result = t_test([margin] * replicates)
    assert (result.stderr, result.p_positive, result.p_negative) == (0, 1, 1)


def test_small_margins_are_not_taken_for_rounding():
    small, large = (t_test(scale * np.array([1.0, 2.0, 3.0])) for scale in (1e-20, 1.0))
    assert small.p_positive == pytest.approx(large.p_positive)


def test_ties_with_some_scatter_are_tested():
    result = t_test([1.0, 1.0, 1.0, 2.0])
    assert result.stderr == pytest.approx(0.25)
    assert result.p_positive == pytest.approx(stats.t.sf(5.0, 3))


def test_margins_that_are_not_numbers_decide_nothing():
    result = t_test([0.1, np.nan, 0.3])
    rejected, _ = holm([result.p_positive, result.p_negative])
    assert not rejected.any()


@pytest.mark.parametrize("margins", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], 1.0])
def test_t_test_needs_two_replicates(margins):
    shape = np.shape(margins)
    with pytest.raises(ValueError, match="margins must be at least 2 replicates") as refused:
        t_test(margins)
    assert str(shape) in str(refused.value)


@pytest.mark.parametrize("replicates", [3, 10])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_student_intervals_miss_on_each_side_with_their_level(replicates, level):
    values = np.random.default_rng(1).normal(2.0, 3.0, (REPEATS, replicates))
    stderrs = values.std(axis=1, ddof=1) / replicates**0.5
    halves = np.array([t_half_width(stderr, replicates, level) for stderr in stderrs])
    errors = values.mean(axis=1) - 2.0
    for missed in (errors > halves, errors < -halves):
        assert has_chance(missed, level)
    normal_halves = stats.norm.isf(level) * stderrs
    assert (replicates, level) != (3, 0.05) or not has_chance(errors > normal_halves, level)


def literal_holm(p_values, level):
    """Test the smallest p-value among those left; stop at the first that is kept."""
    left = list(range(len(p_values)))
    rejected, levels, stopped = [False] * len(p_values), [0.0] * len(p_values), False
    while left:
        smallest = min(left, key=lambda i: (p_values[i], i))
        levels[smallest] = level / len(left)
        stopped = stopped or p_values[smallest] > level / len(left)
        rejected[smallest] = not stopped
        left.remove(smallest)
    return rejected, levels


@given(
    st.lists(
        st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.005, 0.01, 0.0125, 0.025, 0.05, 1.0])),
        max_size=8,
    ),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_holm_is_literal(p_values, level):
    rejected, levels = holm(p_values, level)
    expected_rejected, expected_levels = literal_holm(p_values, level)
    np.testing.assert_array_equal(rejected, np.array(expected_rejected, bool))
    np.testing.assert_allclose(levels, expected_levels)


def test_holm_on_a_textbook_example():
    rejected, levels = holm([0.01, 0.04, 0.03, 0.005], 0.05)
    np.testing.assert_array_equal(rejected, [True, False, False, True])
    np.testing.assert_allclose(levels, [0.05 / 3, 0.05, 0.025, 0.0125])


def test_holm_steps_down_where_bonferroni_would_not():
    rejected, _ = holm([0.024, 0.001, 0.049], 0.05)
    np.testing.assert_array_equal(rejected, [True, True, True])


def verdicts_at_boundary_nulls(true_effects, cells=10, loops=500, replicates=8):
    """P-values of cells whose mean margin is exactly 0, beside some with a clear effect."""
    rng = np.random.default_rng(2)
    margins = rng.normal(size=(loops, cells, replicates))
    margins[:, :true_effects] += 10.0
    return np.array([[t_test(cell).p_positive for cell in loop] for loop in margins])


@pytest.mark.parametrize("true_effects", [0, 4])
def test_holm_keeps_the_chance_of_any_false_verdict(true_effects):
    p_values = verdicts_at_boundary_nulls(true_effects)
    rejected = np.array([holm(p)[0] for p in p_values])
    assert rejected[:, :true_effects].all()
    # For independent cells at the boundary Holm's chance is only just below the level.
    assert has_chance(rejected[:, true_effects:].any(axis=1), LEVEL)
    naive = (p_values <= LEVEL)[:, true_effects:].any(axis=1)
    assert not has_chance(naive, LEVEL)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            lambda wrong: empirical_bernstein(0.1, wrong),
            "count must be a whole number .* but it is",
        ),
        (
            lambda wrong: t_half_width(0.1, wrong, 0.05),
            "replicates must be a whole number .* it is",
        ),
    ],
)
@pytest.mark.parametrize("wrong", [1, True, 2.5, 9.0, np.nan, "9"])
def test_replicates_are_counted(call, named, wrong):
    with pytest.raises(ValueError, match=named):
        call(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda level: empirical_bernstein(0.1, 9, level),
        lambda level: t_half_width(0.1, 9, level),
        lambda level: holm([0.1, 0.2], level),
        lambda level: binomial_interval([0, 1, 1], level),
        lambda level: error_law.interval([0.1, 0.2], level),
    ],
)
@pytest.mark.parametrize("level", [0, 1, -0.05, 95, np.nan, True, "0.05"])
def test_a_level_is_a_chance(call, level):
    with pytest.raises(ValueError, match=r"^level = "):
        call(level)


def test_other_numbers_of_tests_are_checked():
    with pytest.raises(ValueError, match=r"^rate = 1.5"):
        binomial_test([0, 1], 1.5)
    for wrong in (["0.1", "0.2"], [True, False]):
        with pytest.raises(ValueError, match=r"^margins = .* not a real number"):
            t_test(wrong)
