"""Section 28: curated rows, loops of the package against their laws; wrong laws are rejected."""

import numpy as np
import pytest
import stored
from check_references import Cell, quick_compilation, seen_of  # noqa: F401

from icl_stl import references
from icl_stl.problems import Categorical, GaussianMean, expected_excess
from icl_stl.regimes import Augment, Curated, FreshReal, Replace

RUNS, LAST = 20_000, 3
LAW, REWARD = (0.45, 0.35, 0.2), (0.8, 0.0, -0.4)
LOOPS = [
    (Categorical(LAW), Curated(Replace(1.5), REWARD), 8),
    (Categorical(LAW), Curated(FreshReal(1.0), REWARD), 8),
    (GaussianMean(1.3), Curated(Replace(), (-0.6,)), 15),
    (GaussianMean(1.3), Curated(Augment(0.3), (0.9,)), 12),
]


@pytest.mark.usefixtures("quick_compilation")
def test_loops(ledger) -> None:
    """Statements 133 and 134; the controls are loops that are not curated."""
    cells, wrong = [], []
    for seed, (problem, regime, n) in enumerate(LOOPS):
        of = problem, regime, n, LAST
        found = seen_of(*of, seed, RUNS)["excess"]
        known = expected_excess(*of)
        plain = expected_excess(problem, regime.inner, n, LAST)
        for i in range(1, LAST + 1):
            cells.append(Cell(found[:, i], float(known[i])))
            wrong.append(Cell(found[:, i], float(plain[i])))
    assert max(cell.precision for cell in cells) <= 0.01
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    rejected = all(stored.holm_rejects([cell.p_value for cell in wrong]))
    ledger.record("133, 134 curated rows", "holds", control_rejected=rejected)


def test_laws_without_error(ledger) -> None:
    """Statements 130 to 132 and 135 for random laws; the control has another fixed point."""
    rng, apart = np.random.default_rng(0), []
    for _ in range(50):
        k = int(rng.integers(2, 8))
        law, reward, w = rng.dirichlet(np.ones(k)), rng.normal(0, 1, k), rng.uniform(0.05, 0.95)
        path = references.curated_law(law, reward, w, 600)
        z = path @ np.exp(reward)
        limit = references.curation_fixed_point(law, reward, w)
        assert (np.diff(z) >= -1e-12 * z[1:]).all()
        assert np.abs(path[-1] - limit.law).max() <= 1e-9
        assert abs(z[-1] - limit.weight) <= 1e-9 * z[-1]
        alone = references.curated_law(law, reward, 0.0, 50)
        tilted = law * np.exp(50 * (reward - reward.max()))
        assert np.abs(alone[-1] - tilted / tilted.sum()).max() <= 1e-12
        wrong = w * law * z[-1] / (z[-1] - np.exp(reward - reward.max()))
        apart.append(float(np.abs(path[-1] - wrong / wrong.sum()).max()))
    moved = references.curated_normal(0.0, 2.0, (0.25,), 4)
    assert np.allclose(moved.mean_error, np.arange(5.0) ** 2)
    assert np.allclose(moved.variance, 4.0)
    ledger.record("130 to 132, 135 curation", "holds", control_rejected=max(apart) > 1e-3)
