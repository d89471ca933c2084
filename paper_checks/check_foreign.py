"""Section 30: loops beside another model against their exact errors; control: without the floor."""

from dataclasses import replace

import pytest
import stored
from check_references import PRECISION, Cell, quick_compilation, seen_of  # noqa: F401

from icl_stl.problems import GaussianMean, Ols, expected_excess
from icl_stl.regimes import (
    Accumulate,
    AccumulateFresh,
    Anchored,
    Augment,
    AugmentSameInputs,
    FreshReal,
    Replace,
)

N, LAST, SHOWN, RUNS = 12, 2, (1, 2), 32_000
MEAN, SQUARES = GaussianMean(foreign=0.6), Ols(3, foreign=1.0)
LOOPS = [(MEAN, one) for one in (Replace(), Augment(0.5), FreshReal(2.0, 0.6), AccumulateFresh())]
LOOPS += [(MEAN, Anchored(0.3)), (replace(MEAN, sampling_bias=0.4), Augment(0.25))]
LOOPS += [(SQUARES, one) for one in (Replace(), Augment(0.5), FreshReal(2.0), AccumulateFresh())]
LOOPS += [(SQUARES, AugmentSameInputs(0.5)), (SQUARES, Accumulate())]


@pytest.mark.usefixtures("quick_compilation")
def test_loops_beside_another_model(ledger) -> None:
    made = {}
    for seed, (problem, regime) in enumerate(LOOPS):
        of = problem, regime, N, LAST
        seen = seen_of(*of, seed, RUNS)["excess"]
        laws = [expected_excess(one, *of[1:]) for one in (problem, replace(problem, foreign=0.0))]
        made[f"142, 143 {problem.name}, {regime}; control: no floor"] = [
            [Cell(seen[:, i], float(law[i])) for i in SHOWN] for law in laws
        ]
    cells = [cell for own, _ in made.values() for cell in own]
    assert max(cell.precision for cell in cells) <= PRECISION
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    for name, (own, wrong) in made.items():
        rejected = any(stored.holm_rejects([cell.p_value for cell in wrong]))
        ledger.record(name, "holds", f"|z| <= {max(abs(c.z) for c in own):.1f}", rejected)
