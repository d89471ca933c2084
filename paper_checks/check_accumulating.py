"""Section 31: consistent learners that keep all rows, and maximum likelihood that does."""

import numpy as np
import pytest
import stored
from check_references import PRECISION, Cell, quick_compilation, seen_of  # noqa: F401

from icl_stl import references
from icl_stl.problems import Maximum, expected_excess
from icl_stl.regimes import AccumulateFresh

N, LAST, SHOWN, RUNS = 12, 4, (1, 2, 4), 20_000
DEEP = 0.01
"""Narrowest part of the mixture."""


@pytest.mark.usefixtures("quick_compilation")
def test_loops_that_keep_all_rows(ledger) -> None:
    """Control: no growth."""
    made = {}
    for seed, (decay, lam) in enumerate(((0.25, 1.0), (0.5, 2.0), (0.75, 1.0))):
        problem, regime = Maximum(decay=decay), AccumulateFresh(lam)
        of = problem, regime, N, LAST
        seen = seen_of(*of, seed, RUNS)["excess"]
        law = expected_excess(*of)
        made[f"146, 147 b = {decay}, lam = {lam}; control: no growth"] = [
            [Cell(seen[:, i], float(path[i])) for i in SHOWN]
            for path in (law, np.full(LAST + 1, law[0]))
        ]
    cells = [cell for own, _ in made.values() for cell in own]
    assert max(cell.precision for cell in cells) <= PRECISION
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    for name, (own, wrong) in made.items():
        rejected = any(stored.holm_rejects([cell.p_value for cell in wrong]))
        ledger.record(name, "holds", f"|z| <= {max(abs(c.z) for c in own):.1f}", rejected)
    far = 10**5
    ends = [references.maximum_kept(N, N, far, 0.5, b)[[far // 10, far]] for b in (0.9, 0.4)]
    assert ends[0][1] < 1.01 * ends[0][0]
    rejected = bool(ends[1][1] > 100 * ends[1][0])
    ledger.record("147 bounded above 1/2; control: below", "holds", ends[0][1], rejected)


def test_a_likelihood_is_at_most_this_likely_to_win(ledger) -> None:
    """Two laws on three symbols; control: the lead of the first fit shrinks."""
    rng, n, m, runs = np.random.default_rng(3), 30, 30, 200_000
    laws = np.array([[0.5, 0.3, 0.2], [0.35, 0.3, 0.35]])
    real = rng.multinomial(n, laws[0], runs)
    likelihood = real @ np.log(laws).T
    best = likelihood.argmax(1)
    made = np.array([rng.multinomial(m, laws[k], runs) for k in (0, 1)])
    synthetic = np.where(best[:, None] == 0, made[0], made[1])
    both = likelihood + synthetic @ np.log(laws).T
    moved = both.argmax(1) != best
    delta = np.abs(likelihood[:, 0] - likelihood[:, 1])
    affinity = np.sqrt(laws[0] * laws[1]).sum()
    bound = np.exp(-delta / 2) * affinity**m
    error = (moved - bound).std() / runs**0.5
    assert moved.mean() + 5 * error < bound.mean()
    own = np.where(best == 0, both[:, 0] - both[:, 1], both[:, 1] - both[:, 0])
    gained = own - delta
    rejected = bool(gained.mean() > 5 * gained.std() / runs**0.5)
    ratio = moved.mean() / bound.mean()
    ledger.record("148 control: the lead shrinks in the mean", "holds", ratio, rejected)


def likeliest(
    rows: np.ndarray, shares: np.ndarray, widths: np.ndarray
) -> tuple[float, float, float]:
    """a, mu and f(a) of the maximum likelihood: an interval begins at a row, or ends at 1."""
    rows = np.sort(rows)
    found = -np.inf, 0.0, 0.0, 1.0
    for a, f in zip(shares, widths, strict=True):
        starts = np.minimum(rows, 1 - f)
        inside = np.searchsorted(rows, starts + f, side="right") - np.searchsorted(rows, starts)
        k = int(inside.argmax())
        value = inside[k] * np.log1p(a / ((1 - a) * f)) + len(rows) * np.log1p(-a)
        found = max(found, (float(value), float(a), float(starts[k]), float(f)))
    return found[1:]


def test_the_mixture_with_narrow_parts(ledger) -> None:
    """Widths fall from 1 to 0.01: one fit and all generations go to the uniform law as n grows."""
    rng, shares = np.random.default_rng(5), np.linspace(0, 0.25, 26)
    widths = DEEP ** (shares / 0.25)
    far = {}
    for n in (25, 200, 1600):
        seen = np.zeros((60, 4))
        for run in range(len(seen)):
            rows = rng.random(n)
            for i in range(seen.shape[1]):
                a, at, f = likeliest(rows, shares, widths)
                seen[run, i] = a * (1 - f)
                narrow = rng.random(n) < a
                made = np.where(narrow, at + f * rng.random(n), rng.random(n))
                rows = np.concatenate([rows, made])
        far[n] = seen.mean(0)
    ratios = far[1600] / far[25]
    assert np.all(ratios < 0.5)
    rejected = bool(far[25][-1] > 0.02)  # it is not 0 at few rows
    ledger.record("149 control: no error at few rows", "holds", float(ratios.max()), rejected)
