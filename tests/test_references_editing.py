"""Edited labels and symbols: closed forms against enumeration of all masks and counts."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy import stats

from icl_stl import references

LAW = np.array([0.95, 0.03, 0.02])


def test_the_bound_of_the_abstract_holds_up_to_n_edits() -> None:
    single = references.ols_single_fit(40, 7, 0.5)
    law = references.ols_edit_additive(40, 7, 0.5, [20, 10, 10, 1])
    np.testing.assert_allclose(law / single, [1, 1.5, 1.75, 2, 2.025], rtol=1e-14)


def test_the_recursion_is_that_of_covariances() -> None:
    """All masks of two and of three of five rows, the covariance of all residuals as a matrix."""
    inputs, edits = np.random.default_rng(3).normal(size=(5, 2)), [2, 3, 5, 0, 2]
    gram = inputs.T @ inputs
    hat, fit = inputs @ np.linalg.inv(gram) @ inputs.T, np.linalg.inv(gram) @ inputs.T
    covariance, errors = np.eye(5), [np.trace(fit @ fit.T)]
    for k in edits:
        total = np.zeros((5, 5))
        for rows in combinations(range(5), k):
            mask = np.diag(np.isin(np.arange(5), rows).astype(float))
            step = mask @ hat + np.eye(5) - mask
            total += (step @ covariance @ step.T + mask) / comb(5, k)
        covariance = total
        errors.append(np.trace(fit @ covariance @ fit.T))
    known = references.ols_edit_given(inputs, 2.0, edits)
    np.testing.assert_allclose(known, 4 * np.array(errors), rtol=1e-12)


def dirichlet(powers, n):
    """E prod l_r^a_r of squares of a uniform unit vector of n numbers."""
    above = np.prod([np.prod(0.5 + np.arange(a)) for a in powers])
    return above / np.prod(n / 2 + np.arange(sum(powers)))


@pytest.mark.parametrize("n", [3, 6])
def test_one_input_has_moments_of_dirichlet(n) -> None:
    k = 2
    p, q = k / n, k * (k - 1) / (n * (n - 1))
    first = n * (dirichlet([1], n) - dirichlet([2], n))
    same = sum(c * dirichlet([1 + a], n) for a, c in enumerate((1, -3, 3, -1)))
    apart = dirichlet([2, 1], n) - dirichlet([2, 2], n)
    second = (1 - p + q) * first + (p - q) * n * (same + (n - 1) * apart)
    known = np.cumsum([1, p + (p - q) * first, p + (p - q) * second])
    assert first == pytest.approx((n - 1) / (n + 2))
    single = references.ols_single_fit(n, 1, 1.0)
    law = references.ols_edit_replace(n, 1, 1.0, [k, k])
    np.testing.assert_allclose(law[:2] / single, known[:2], rtol=1e-13)
    np.testing.assert_allclose(law / single, known, rtol=1e-4)


def test_all_labels_edited_is_linear_and_none_is_nothing() -> None:
    law = references.ols_edit_replace(9, 4, 1.0, [9, 9, 0, 9])
    np.testing.assert_allclose(law / law[0], [1, 2, 3, 3, 4], rtol=1e-12)


@pytest.mark.parametrize(("n", "d", "edits"), [(9, 4, [3, 1, 5]), (40, 3, [10] * 6)])
def test_a_prediction_lies_between_its_bounds(n, d, edits) -> None:
    law = references.ols_edit_replace(n, d, 1.0, edits)
    low, high = references.ols_edit_replace_bounds(n, d, 1.0, edits)
    assert law[1] == pytest.approx(high[1], rel=1e-12)
    assert (low[1:] < law[1:]).all()
    assert (law[2:] < high[2:]).all()
    other = references.ols_edit_replace(n, d, 1.0, edits, seed=1)
    np.testing.assert_allclose(law, other, rtol=1e-4)


def by_lot(n, edits, law):
    """Of two symbols: the count kept is hypergeometric, the new ones are binomial."""
    c = np.arange(n + 1)
    state, errors = stats.binom.pmf(c, n, law[0]), []
    for k in [0, *edits]:
        step = np.zeros((n + 1, n + 1))
        for count in c:
            kept = stats.hypergeom.pmf(c, n, count, n - k)
            step[count] = np.convolve(kept, stats.binom.pmf(c, k, count / n))[: n + 1]
        state = state @ step
        errors.append(2 * state @ (c / n - law[0]) ** 2)
    return errors


def surest(n, law, threshold, generations):
    """All counts of three symbols."""
    states = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    place = {state: k for k, state in enumerate(states)}
    step = np.zeros((len(states), len(states)))
    for state in states:
        most = int(np.argmax(state))
        if state[most] < threshold * n:
            step[place[state], place[state]] = 1
            continue
        kept = np.array(state)
        kept[most] = 0
        draws = [
            one for one in product(range(state[most] + 1), repeat=3) if sum(one) == state[most]
        ]
        chances = stats.multinomial.pmf(draws, state[most], np.array(state) / n)
        for one, chance in zip(draws, np.atleast_1d(chances), strict=True):
            step[place[state], place[tuple((kept + one).tolist())]] += chance
    now = stats.multinomial.pmf(states, n, law)
    square = ((np.array(states) / n - law) ** 2).sum(1)
    errors = []
    for _ in range(generations + 1):
        errors.append(now @ square)
        now = now @ step
    return errors


def test_symbols_edited_equal_enumeration() -> None:
    law = np.array([0.3, 0.7])
    known = references.law_edit(law, 7, [2, 7, 1, 0, 3])
    np.testing.assert_allclose(known, by_lot(7, [2, 7, 1, 0, 3], law), rtol=1e-10)
    replaced = references.law_replace(law, 7, 7, 2).error
    np.testing.assert_allclose(references.law_edit(law, 7, [7, 7]), replaced, rtol=1e-12)
    known = references.law_edit_sure(LAW, 20, 0.9, 3)
    np.testing.assert_allclose(known, surest(20, LAW, 0.9, 3), rtol=1e-8)
    few = references.law_edit_sure(LAW, 4, 0.6, 2)
    assert np.isfinite(few[0])
    assert np.isnan(few[1:]).all()  # another symbol may become sure


def test_one_round_of_a_chain_equals_enumeration() -> None:
    chain = np.array([[0.1, 0.6, 0.3], [0.95, 0.03, 0.02], [0.2, 0.2, 0.6]])
    equations = np.vstack([chain.T - np.eye(3), np.ones(3)])
    stationary = np.linalg.lstsq(equations, [0, 0, 0, 1], rcond=None)[0]
    for share, threshold in ((0.4, 0.0), (1.0, 0.9), (1.0, 0.0)):
        joint = np.zeros((3, 3))
        for u, x, z, a, b in product(range(3), repeat=5):
            chance = stationary[u] * chain[u, x] * chain[x, z]
            for before, old, new in ((u, x, a), (x, z, b)):
                edited = share * (chain[before, old] >= threshold)
                chance *= edited * chain[before, new] + (1 - edited) * (old == new)
            joint[a, b] += chance
        known = references.chain_edit(chain, share, threshold)
        np.testing.assert_allclose(known, joint / joint.sum(1, keepdims=True), rtol=1e-12)
    back = (chain * stationary[:, None]).T / stationary[:, None]
    by_lot = 0.6 * chain + 0.4 * back @ chain @ chain
    np.testing.assert_allclose(references.chain_edit(chain, 0.4), by_lot, rtol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: references.ols_edit_additive(9, 4, 1.0, [10]), r"edits = \[10\] .* 0..9"),
        (lambda: references.ols_edit_replace(9, 4, 1.0, [1.5]), "edits"),
        (lambda: references.ols_edit_replace(5, 4, 1.0, [1]), "samples"),
        (lambda: references.ols_edit_given(np.ones((4, 2)), 1.0, [1]), "rank d"),
        (lambda: references.law_edit([0.5, 0.6], 9, [1]), "law"),
        (lambda: references.law_edit_sure(LAW, 9, 0.5, 1), "threshold"),
        (lambda: references.chain_edit([[0.5, 0.6], [0.5, 0.5]]), "transition"),
        (lambda: references.chain_edit([[0.5, 0.5], [0.5, 0.5]], 2.0), "share"),
    ],
)
def test_what_is_no_edit_is_refused(wrong, words) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()
