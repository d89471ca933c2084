"""Tests of means for skewed margins, by hand or simulated, and the verdicts that follow."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from icl_stl.intervals import (
    LEVEL,
    _skew_seen,
    corrected_half_width,
    log_concave_p,
    mean_tests,
    skewness,
    student_allowed,
    student_p,
)
from icl_stl.studies.judging import (
    Cell,
    Claim,
    Evidence,
    Judged,
    judge,
    overall,
    rejected,
    verdicts,
)
from icl_stl.studies.presets import PRESETS

ERRORS = 4
"""Standard errors that a simulated mean may be away."""


def margins(p_value, replicates=12, sign=1):
    """Without skew, and with this p-value of Student's statistic."""
    values = stats.norm.ppf((np.arange(replicates) + 0.5) / replicates)
    t = stats.t.isf(p_value, replicates - 1)
    return sign * (values + t * values.std(ddof=1) / replicates**0.5)


def cell(values, **more):
    values = np.asarray(values, float)
    return Cell(**{"margins": values, "measured": values, "bound": 0.0, "keys": {}, **more})


def found(*cells):
    return verdicts(cells).verdicts


def judged(cells, control=()):
    claim = Claim("c", "s", "here", "its opposite", lambda evidence: Judged(cells, control, []))
    return judge(claim, Evidence(PRESETS["default"]))


# --- tests of means ------------------------------------------------------------------------------


def test_skewness_by_hand():
    # 0, 0, 0, 1: m2 = 3/16, m3 = 3/32, so m3/m2^1.5 = 2/sqrt(3); times sqrt(12)/2 it is 2.
    values = np.array([[0, 0, 5], [0, 0, 5], [0, 0, 5], [1, -1, 5]], float)
    np.testing.assert_allclose(skewness(values), [2, -2, 0], atol=1e-12)
    np.testing.assert_allclose(
        skewness(np.random.default_rng(0).gamma(2, size=(9, 4))),
        stats.skew(np.random.default_rng(0).gamma(2, size=(9, 4)), bias=False),
    )


@pytest.mark.parametrize(("replicates", "by_hand"), [(6, 0.453111), (12, 0.661732)])
def test_how_much_of_the_skew_is_seen(replicates, by_hand):
    # R = 6: Γ(4) sqrt(40)/(Γ(5/2) 7 · 9) = 6 · 6.324555/(1.329340 · 63) = 0.453111.
    assert _skew_seen(replicates) == pytest.approx(by_hand, rel=1e-5)
    skew, count = 0.2, 200_000
    values = np.random.default_rng(0).gamma(4 / skew**2, size=(replicates, count))
    seen = skewness(values) / skew
    assert abs(seen.mean() - by_hand) < ERRORS * seen.std() / count**0.5
    assert _skew_seen(1e4) == pytest.approx(1 - 21 / 4e4, abs=1e-6)


def literal(t, skew, r):
    """Student's p-value for a skew that is known, by another library and another way round."""
    with mpmath.workdps(30):
        t, r = mpmath.mpf(t), mpmath.mpf(r)
        tail = mpmath.betainc((r - 1) / 2, 0.5, 0, (r - 1) / (r - 1 + t**2), regularized=True) / 2
        seen = mpmath.sqrt(8 * (r - 1)) * mpmath.gamma(r / 2 + 1)
        seen /= mpmath.gamma((r - 1) / 2) * (r + 1) * (r + 3)
        x = t / mpmath.sqrt((r - 1 + t**2) / r)
        hazard = mpmath.npdf(x) / mpmath.ncdf(-x)
        return float(tail * mpmath.exp(-skew / seen * (2 * x**2 + 1) * hazard / (6 * r**0.5)))


@pytest.mark.parametrize("t", [0.5, 1.8, 2.7, 6.0])
@pytest.mark.parametrize(("replicates", "skew"), [(6, -0.3), (12, -0.5), (30, -0.2), (12, 0.0)])
def test_student_with_known_skew_is_its_formula(t, replicates, skew):
    value = student_p(t, skew, replicates, cells=1e12)
    assert value == pytest.approx(literal(t, skew, replicates), rel=1e-6)
    assert student_p(t, -skew, replicates, 1e12) == pytest.approx(
        stats.t.sf(t, replicates - 1), rel=1e-6
    )


@pytest.mark.parametrize("replicates", [6, 12, 20])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_student_of_a_gamma_law_has_its_level(replicates, level):
    """Uncorrected it is missed by far; corrected by what is seen of the skew, kept to 15 %."""
    skew, count = -0.3, 200_000
    values = 4 / skew**2 - np.random.default_rng(1).gamma(4 / skew**2, size=(replicates, count))
    t = values.mean(0) / values.std(0, ddof=1) * replicates**0.5
    plain = stats.t.sf(t, replicates - 1) <= level
    kept = student_p(t, skew * _skew_seen(replicates), replicates, 1e12) <= level
    assert plain.mean() > 1.1 * level
    error = (level * (1 - level) / count) ** 0.5
    assert 0.85 * level < kept.mean() < level + ERRORS * error


def test_what_few_cells_do_not_know_counts_below_the_level_alone():
    at = stats.t.isf(LEVEL, 11)
    assert student_p(at, 0.0, 12, cells=1) == pytest.approx(LEVEL)
    assert student_p(at, 0.0, 12, cells=100) == pytest.approx(LEVEL)
    far = stats.t.isf(1e-4, 11)
    # With one cell half of log(0.05/p) is given away: sqrt(0.05 · 1e-4).
    assert student_p(far, 0.0, 12, cells=1) == pytest.approx(np.sqrt(LEVEL * 1e-4))
    assert student_p(far, 0.0, 12, cells=1e9) == pytest.approx(1e-4, rel=1e-6)
    # In between the formula, literally.
    r, x, usual = 12, far * np.sqrt(12 / (11 + far**2)), at * np.sqrt(12 / (11 + at**2))
    first, second = ((2 * u**2 + 1) * stats.norm.pdf(u) / stats.norm.sf(u) for u in (x, usual))
    variance = 6 * r * (r - 1) / ((r - 2) * (r + 1) * (r + 3)) / 0.66173**2 / 30
    grown = (first**2 - second**2) / (36 * r) * variance / 2
    assert student_p(far, 0.0, 12, cells=30) == pytest.approx(1e-4 * np.exp(grown), rel=1e-3)


@pytest.mark.parametrize("replicates", [6, 7, 9, 12, 20, 60, 1000])
@pytest.mark.parametrize("cells", [1, 3, 30])
def test_student_falls_with_t_and_with_skew(replicates, cells):
    skews = -np.sqrt(replicates) / 5 * np.array([[0.0], [0.3], [0.7], [1.0]])
    skews = np.maximum(skews, -2.0)
    t = np.linspace(-3, 30, 1500)
    p = student_p(t, skews, replicates, cells)
    assert np.all(p[:, 1:] <= 1.01 * p[:, :-1])
    assert np.all(p[1:] >= p[:-1] * (1 - 1e-9))
    assert np.all(p >= stats.t.sf(t, replicates - 1) * (1 - 1e-9))


def test_cochrans_rule():
    assert student_allowed([0.69, -0.69, 0.70], 12).tolist() == [True, True, False]
    assert student_allowed([0.0, 0.0], 5).tolist() == [False, False]
    assert student_allowed(0.0, 6)


def test_log_concave_by_hand():
    values = np.repeat(np.linspace(0.1, 10, 12)[:, None], 2, axis=1)
    values[0, 1] = -1
    q = 1 - np.exp(-1)
    expected = [q**12, q**12 + 12 * q**11 * (1 - q)]
    np.testing.assert_allclose(log_concave_p(values), expected)
    # An exponential tail attains it: mean 0, and the chance of a positive margin is 1 - 1/e.
    tail = 1 - np.random.default_rng(0).exponential(size=200_000)
    error = (q * (1 - q) / tail.size) ** 0.5
    assert abs((tail > 0).mean() - q) < ERRORS * error


def test_positive_margins_that_are_near_to_each_other_say_more():
    # g = 1/10: 1 + exp(-λ)/λ = 10 at λ = 0.10049, so 12 (1 - exp(-λ))^11 = 7.3e-11.
    near = np.linspace(9, 10, 12)[:, None]
    assert 1 + np.exp(-0.1004884) / 0.1004884 == pytest.approx(10, rel=1e-4)
    assert log_concave_p(near)[0] == pytest.approx(12 * (1 - np.exp(-0.1004884)) ** 11, rel=1e-3)
    assert log_concave_p(np.ones((12, 1)))[0] == 0
    # Of every log-concave law of mean 0 a p-value: here of the one that attains the chance 1 - 1/e.
    for replicates in (4, 6):
        tail = 1 - np.random.default_rng(1).exponential(size=(replicates, 100_000))
        p = log_concave_p(tail)
        for level in (0.1, 0.01, 0.001):
            assert (p <= level).mean() <= level + ERRORS * (level / p.size) ** 0.5
        assert (p <= 0.01).any()


def test_a_limit_of_the_mean_is_where_its_p_value_is_the_level():
    width = corrected_half_width(0.5, -0.4, 12, 0.01, 3)
    assert student_p(width / 0.5, -0.4, 12, 3) == pytest.approx(0.01)


def test_skew_is_pooled_over_a_family_of_cells_with_spread():
    values = np.random.default_rng(5).gamma(1.0, size=(12, 4))
    values[:, 3] = 1.0
    tests = mean_tests(values, families=["a", "a", "b", "b"])
    own = skewness(values)
    pooled = [own[:2].mean()] * 2 + [own[2]] * 2
    np.testing.assert_allclose(tests.skew, pooled)
    assert tests.cells.tolist() == [2, 2, 1, 1]
    assert tests.spread.tolist() == [True, True, True, False]


def test_what_decides():
    even, skewed, once = margins(0.5), margins(0.5) ** 3, np.zeros(12)
    skewed[0] += 2.0
    once[0] = 1.0
    values = np.stack([even, skewed, once], 1) + 1.0
    np.testing.assert_allclose(skewness(values), [0.0, 1.2, 3.46], atol=0.3)
    _, by = mean_tests(values, families=[0, 1, 2]).against(np.zeros(3))
    assert by.tolist() == ["Student", "log-concave", "none"]
    few, by = mean_tests(values[:5]).against(np.zeros(3))
    assert (few.tolist(), by.tolist()) == ([1.0] * 3, ["none"] * 3)


def test_skew_counts_where_it_is_adverse():
    """A long tail below makes a large mean more frequent, and not a small one."""
    rng = np.random.default_rng(4)
    values = -rng.gamma(30.0, size=(12, 6)) / 30**0.5
    values -= values.mean(0)
    tests = mean_tests(values)
    assert -0.69 < tests.skew[0] < -0.1
    shift = np.full(6, stats.t.isf(LEVEL, 11) * tests.stderr)
    above, _ = tests.against(-shift)
    below, _ = tests.against(shift, sign=-1)
    assert np.all(above > 1.1 * LEVEL)
    assert below == pytest.approx(LEVEL)


def test_few_replicates_are_not_decided_by_signs():
    values = np.arange(11.0)[:, None] ** 3
    assert 0.7 < skewness(values)[0] < 2
    p, by = mean_tests(values + 1).against(np.zeros(1))
    assert (p.tolist(), by.tolist()) == ([1.0], ["none"])
    _, by = mean_tests(np.append(values, [[1e3]], 0) + 1).against(np.zeros(1))
    assert by.tolist() == ["log-concave"]


def test_two_values_are_not_decided_by_their_signs_alone():
    """33 of 40 are positive, which has 10 p = 0.07; their mean is 0 all the same."""
    values = np.full((40, 1), 1.0)
    values[:7] = -33 / 7
    assert 10 * log_concave_p(values)[0] == pytest.approx(0.0675, abs=1e-3)
    tests = mean_tests(values)
    assert abs(tests.own_skew[0]) < 2
    p, by = tests.against(np.zeros(1))
    assert by.tolist() == ["log-concave"]
    assert p[0] == pytest.approx(0.5)


# --- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.1, -0.1, 1e9 / 3, 0.0])
def test_no_spread_decides_nothing_but_exact_cells(value):
    assert found(cell([value] * 40)) == ["inconclusive"]
    exact = found(cell([value] * 40, test="exact"))
    assert exact == ["holds" if value >= 0 else "violated"]


def test_forty_loops_without_the_rare_event_decide_nothing():
    """An event of chance 0.01 that costs 1000 where its absence gains 5: the mean is -5."""
    rng = np.random.default_rng(0)
    trials = np.where(rng.random((200, 40)) < 0.01, -1000.0, 5.0)
    without = trials.min(1) > 0
    assert 0.5 < without.mean() < 0.8
    assert {verdict for own in trials for verdict in found(cell(own))} == {"inconclusive"}


def test_a_claim_holds_if_every_cell_does_at_the_level_and_cells_alone_by_holm():
    third, half = cell(margins(0.04)), cell(margins(0.03))
    assert found(third, half) == ["holds", "holds"]
    # Holm would ask for 0.025; beside a cell that is not decided, it does.
    assert found(third, half, cell(margins(0.3))) == ["inconclusive"] * 3
    assert found(cell(margins(1e-5)), half, cell(margins(0.3))) == [
        "holds",
        "inconclusive",
        "inconclusive",
    ]
    assert found(third, half, cell([np.nan], test="undecided"))[:2] == ["inconclusive"] * 2
    assert found(third, half, cell([-1.0], test="exact")) == ["inconclusive"] * 2 + ["violated"]
    assert found(third, half, cell([1.0], test="exact")) == ["holds"] * 3
    result = verdicts([third, half])
    assert result.levels == [LEVEL] * 2


def test_violated_is_by_holm():
    wrong = cell(margins(0.03, sign=-1))
    assert found(wrong) == ["violated"]
    assert found(wrong, wrong) == ["inconclusive"] * 2
    gone = cell(margins(1e-4, sign=-1))
    assert found(gone, cell(margins(0.3))) == ["violated", "inconclusive"]
    # Of 10 margins the worst was chosen: 10 times the p-value.
    assert found(cell(margins(0.03, sign=-1), among=10)) == ["inconclusive"]


def test_equality_needs_both_sides():
    inside = margins(0.5)
    assert found(cell(inside, test="equal", tolerance=2.0)) == ["holds"]
    assert found(cell(inside + 2.0, test="equal", tolerance=2.0)) == ["inconclusive"]
    assert found(cell(inside - 4.0, test="equal", tolerance=2.0)) == ["violated"]
    assert found(cell(inside + 4.0, test="equal", tolerance=2.0)) == ["violated"]


def test_what_is_vacuous_or_true_by_definition_is_never_judged():
    right = margins(1e-6)
    vacuous = cell(right, bound=1.0, ceiling=1.0)
    beyond = cell(right, bound=0.1, limit=2.0, ceiling=1.0)
    defined, shown = cell(right, by_definition=True), cell(right, finding=True)
    assert found(vacuous, beyond, defined, shown) == ["finding"] * 4
    assert found(cell(right, bound=0.99, ceiling=1.0)) == ["holds"]
    entry = judged([vacuous, defined])
    assert entry["verdict"] == "finding"
    assert [one.get("vacuous", False) for one in entry["cells"]] == [True, False]
    assert [one.get("by_definition", False) for one in entry["cells"]] == [False, True]
    # Wrong, they do not count either, and take nothing of Holm's level.
    assert judged([cell(-right, by_definition=True), cell(right)])["verdict"] == "holds"
    assert judged([vacuous] * 50 + [cell(margins(0.04, sign=-1))])["verdict"] == "violated"


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([], "inconclusive"),
        (["finding"], "finding"),
        (["finding", "holds"], "holds"),
        (["holds", "inconclusive"], "inconclusive"),
        (["inconclusive", "holds", "violated"], "violated"),
    ],
)
def test_overall(cells, verdict):
    assert overall(cells) == verdict


def named(values, family):
    return cell(values, keys={"family": family})


def test_every_family_of_a_control_is_needed():
    wrong, right = margins(1e-4, sign=-1), margins(1e-4)
    control = [named(wrong, "a"), named(right, "a"), named(wrong, "b")]
    entry = judged([cell(right)], control)["negative_control"]
    assert entry["rejected"]
    assert entry["families"] == [
        {"family": "a", "cells": 2, "rejected": 1},
        {"family": "b", "cells": 1, "rejected": 1},
    ]
    assert not judged([cell(right)], [*control, named(right, "c")])["negative_control"]["rejected"]
    assert not judged([cell(right)], [])["negative_control"]["rejected"]


def test_a_family_is_rejected_by_holm_within_it():
    at = margins(0.03, sign=-1)
    one = rejected("c", [named(at, "a"), named(at, "b")])
    assert [own.rejected for own in one] == [1, 1]
    assert [own.rejected for own in rejected("c", [named(at, "a"), named(at, "a")])] == [0]


def test_a_control_without_family_is_refused():
    with pytest.raises(ValueError, match=r"^control of c must name the family of every cell"):
        judged([cell(margins(0.01))], [cell(margins(0.01), keys={"regime": "replace"})])


def test_families_are_places_unless_they_are_named():
    kinds = {"loop": "l", "regime": "r", "alpha": 0.5, "quantity": "q"}
    same = cell([1.0], keys={**kinds, "generation": 3}).family
    assert same == cell([1.0], keys={**kinds, "generation": 4}).family
    assert all(same != cell([1.0], keys={**kinds, place: "other"}).family for place in kinds)
    assert named([1.0], 3).family == "3"


def test_intervals_are_those_of_the_test_that_decided():
    """The end of a margin's interval is above 0 exactly where the cell holds."""
    rng = np.random.default_rng(2)
    decided = set()
    for shift in np.linspace(0.2, 1.2, 25):
        skewed = 1.5 - rng.gamma(16.0, size=12) / 16 * 1.5 + 0.25 * shift
        (one,) = judged([cell(skewed)])["cells"]
        if one["by"] == "Student":
            assert (one["margin_low"] > 0) == (one["verdict"] == "holds")
            assert one["skew"] == pytest.approx(skewness(skewed[:, None])[0])
            decided.add(one["verdict"])
    assert decided >= {"holds", "inconclusive"}
