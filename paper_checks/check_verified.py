"""Section 27: verified rows, loops of the package against their laws; wrong laws are rejected.

Cells of loops are of one Holm family at 5 %; with infinitely many rows, within a tolerance.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stored
from check_references import PRECISION, Cell, quick_compilation, seen_of  # noqa: F401

from icl_stl import references
from icl_stl.learners import ols
from icl_stl.loops import self_consume
from icl_stl.problems import Categorical, Gaussian, GaussianMean, expected_excess, expected_quality
from icl_stl.regimes import AccumulateFresh, Augment, FreshReal, Replace, Verified, real_shares

N, LAST, RUNS = 16, 3, 24_000
PLAIN, BIASED = Gaussian(), Gaussian(unbiased=True, sampling_bias=0.8)
FITTED = [(PLAIN, Replace(2.0)), (PLAIN, Augment(0.4, 0.7)), (BIASED, Replace())]
FITTED += [(BIASED, Augment(0.5)), (BIASED, FreshReal(2.0))]


def recorded(ledger, name, cells, wrong, fine=PRECISION):
    """The cells agree, the wrong ones do not."""
    assert max(cell.precision for cell in cells) <= fine
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    rejected = any(stored.holm_rejects([cell.p_value for cell in wrong]))
    assert rejected
    ledger.record(name, "holds", f"|z| <= {max(abs(c.z) for c in cells):.1f}", rejected)


@pytest.mark.usefixtures("quick_compilation")
def test_a_normal_law_by_its_own_confidence(ledger) -> None:
    """Statement 127 in several regimes; the control has all rows kept."""
    cells, wrong = [], []
    for seed, (problem, inner) in enumerate(FITTED):
        regime = Verified(inner, "confidence", 0.7)
        seen = seen_of(problem, regime, N, LAST, seed, RUNS)
        for own, one in ((cells, regime), (wrong, inner)):
            of = problem, one, N, LAST
            laws = {"excess": expected_excess(*of), **expected_quality(*of)}
            own += [Cell(seen[k][:, i], float(laws[k][i])) for k in laws for i in (1, 2, LAST)]
    recorded(ledger, "127 own confidence, normal; control: all kept", cells, wrong)


@pytest.mark.usefixtures("quick_compilation")
def test_a_mean_near_its_verifier(ledger) -> None:
    """Statement 124, exactly in generation 1, to first order later."""
    regime = Verified(keep="region", keep_radius=0.8, keep_centre=(0.3,))
    seen = seen_of(GaussianMean(), regime, N, 1, 9, RUNS)["excess"][:, 1]
    known = expected_excess(GaussianMean(), regime, N, 1)[1]
    wrong = references.region_path(N, N, 1, 1.0, 0.8, 0.0, 1)[1]
    seen = seen[np.isfinite(seen)]  # a row at least was kept
    cells = [Cell(seen, known)], [Cell(seen, wrong)]
    recorded(ledger, "124 a mean, generation 1; control: no bias", *cells)
    n = 800
    seen = seen_of(GaussianMean(), Verified(keep="region", keep_centre=(0.02,)), n, 3, 10, RUNS)
    path = references.region_path(n, n, 1, 1.0, 1.0, 0.02, 3)
    ratio = seen["excess"].mean(0) / path
    assert np.abs(ratio - 1).max() < 0.04
    ledger.record("124 to first order, n = 800", "holds", f"{np.abs(ratio - 1).max():.1%}")


@pytest.mark.usefixtures("quick_compilation")
def test_an_oracle(ledger) -> None:
    """Statement 125: the shift of the share of wrong rows."""
    p, phi, psi = 0.55, 0.9, 0.4
    regime = Verified(keep="oracle", keep_symbols=(0,), keep_right=phi, keep_wrong=psi)
    seen = seen_of(Categorical((1 - p, p)), regime, N, 1, 11, RUNS)["excess"][:, 1]
    known = references.oracle_fit(p, N, N, phi, psi).error
    wrong = references.oracle_fit(p, N, N, psi, phi).error
    cells = [Cell(seen, 2 * known)], [Cell(seen, 2 * wrong)]
    recorded(ledger, "125 an oracle; control: its errors exchanged", *cells)


@pytest.mark.usefixtures("quick_compilation")
def test_what_is_not_seen(ledger) -> None:
    """Statement 129 where all rows are kept, and with a constant share."""
    cells, wrong, law = [], [], np.array([0.6, 0.4])
    for seed, inner in enumerate((AccumulateFresh(2.0), Augment(0.5))):
        regime = Verified(inner, "part", keep_symbols=(0,))
        seen = seen_of(Categorical(tuple(law)), regime, 2 * N, 4, 20 + seed, RUNS)["drift"]
        path = references.law_part(law, [1, 0], real_shares(inner, 2 * N, 4)[1:])
        cells += [Cell(seen[:, i], path[i, 0] - law[0]) for i in (1, 2, 4)]
        wrong += [Cell(seen[:, i], law[1] * (1 - 0.5**i)) for i in (2, 4)]
    recorded(ledger, "129 a part; control: lost geometrically", cells, wrong)


def many_rows(learner, draw, regime, count, last):
    """Parameters of one loop of so many rows."""
    key = jax.random.key(3)
    loop = jax.jit(
        lambda key: self_consume(
            key, learner, draw(key, count), last, regime=regime, observe=lambda _, g: g.params
        )
    )
    return np.asarray(loop(key))


def test_least_squares_goes_to_its_verifier(ledger) -> None:
    """Statement 123, 400,000 rows; the control has the same factor anywhere."""
    task, centre, learner = jnp.array([1.5, -0.5]), np.array([0.5, 0.5]), ols(1.0)
    regime = Verified(keep="region", keep_radius=1.2, keep_centre=tuple(centre))
    draw = lambda key, count: learner.generate(key, task, count)  # noqa: E731
    seen = many_rows(learner, draw, regime, 400_000, 3)
    distance = np.linalg.norm(np.asarray(task) - centre)
    path = references.ols_region(distance, 1.0, 1.2, 3)
    apart = np.abs(np.linalg.norm(seen - centre, axis=1) - path).max()
    assert apart < 0.01
    away = np.asarray(seen[1] - centre) / path[1] - (np.asarray(task) - centre) / distance
    assert np.abs(away).max() < 0.02  # the direction stays
    wrong = distance * float(references.region_factor(1.2, 1.0)) ** np.arange(4)
    rejected = bool(np.abs(wrong - path)[1:].max() > 0.05)
    ledger.record("123 least squares; control: one factor", "holds", f"{apart:.1e}", rejected)


def test_symbols_by_their_own_confidence(ledger) -> None:
    """Statement 126, 200,000 rows, with and without real ones."""
    law = np.array([0.1, 0.4, 0.2, 0.3])
    problem = Categorical(tuple(law))
    draw = lambda key, count: problem.draw(key, jnp.array(law), count)  # noqa: E731
    for alpha in (0.0, 0.5):
        inner = Augment(alpha) if alpha else Replace()
        seen = many_rows(problem.learner, draw, Verified(inner, "confidence", 0.75), 200_000, 5)
        path = references.law_surest(law, 0.75, 5, alpha)
        apart = np.abs(seen - path).max()
        assert apart < 0.012
        rejected = bool(np.abs(seen - law)[1:].max() > 0.1)
        name = f"126 symbols, real share {alpha:g}; control: all kept"
        ledger.record(name, "holds", f"{apart:.1e}", rejected)
