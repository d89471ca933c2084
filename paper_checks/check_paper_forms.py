"""The shapes of the paper's bounds, held against the statements proved here."""

import math

import numpy as np
import pytest

from icl_stl import bounds
from icl_stl.bounds import paper_forms


@pytest.mark.parametrize("alpha", [0.0, 1e-9, 0.1, 0.5, 1.0])
def test_accumulated_error_is_our_drift_of_later_generations(ledger, alpha) -> None:
    """(1 - (1-alpha)^i)/alpha: i at alpha = 0, at most 1/alpha."""
    for i in (1, 2, 10, 300):
        literal = math.fsum((1 - alpha) ** s for s in range(i))
        form = paper_forms.accumulated_error(alpha, i).total
        assert form == pytest.approx(literal, rel=1e-12)
        ours = bounds.drift_constant_share(0.0, 1.0, alpha, i).total
        assert form == pytest.approx(ours, rel=1e-12)
        assert alpha == 0 or form <= 1 / alpha
    wrong = paper_forms.accumulated_error(alpha, 299).total
    rejected = None if alpha >= 0.1 else bool(form > wrong * (1 + 1e-6))
    ledger.record(f"paper: error accumulates, alpha = {alpha:g}", "attained", 1.0, rejected)


def test_trade_off_grows_like_accumulated_data(ledger) -> None:
    """Log i is the growth of eps H_{i+1}; sum 1/k^2 that of the variance of accumulating means."""
    i = np.array([10**3, 10**6])
    ours = np.diff(bounds.drift_accumulate_constant(1.0, i).total)[0]
    shape = np.diff(paper_forms.augmentation_trade_off(1.0, i, second=0.0).total)[0]
    assert ours == pytest.approx(shape, rel=1e-3)
    second = paper_forms.augmentation_trade_off(1.0, 50, leading=0.0).total
    assert second == pytest.approx(math.fsum(1 / k**2 for k in range(1, 51)), rel=1e-13)
    squared = math.log(i[1]) ** 2 - math.log(i[0]) ** 2
    ledger.record("paper: log i growth", "attained", shape / ours, abs(squared / ours - 1) > 0.1)


def test_depth_enters_as_in_our_certificate_with_norms(ledger) -> None:
    """Log of the certified constant is linear in depth when tokens are normalised: e^{B L}."""
    norm = bounds.RMSNorm(4, 0.5, 1.0)
    layer = bounds.SoftmaxLayer((0.5,), (0.5,), 0.5, 0.5, norm=norm)
    logs = np.log(
        [
            bounds.replace_one_path([layer] * k, examples=50, radius=1.0, readout=1.0).constant
            for k in (10, 20, 40)
        ]
    )
    slopes = (logs[1] - logs[0]) / 10, (logs[2] - logs[1]) / 20
    assert slopes[0] == pytest.approx(slopes[1], rel=2e-2)
    form = np.log([paper_forms.transformer_factor(slopes[1], k).total for k in (20, 40)])
    assert np.diff(form)[0] == pytest.approx(logs[2] - logs[1], rel=1e-9)
    plain = bounds.SoftmaxLayer((0.05,), (0.5,), 0.5, 0.5)
    bare = np.log(
        [
            bounds.replace_one_path([plain] * k, examples=50, radius=1.0, readout=1.0).constant
            for k in (2, 4, 8)
        ]
    )
    convex = (bare[2] - bare[1]) / 4 > 1.05 * (bare[1] - bare[0]) / 2
    ledger.record("paper: e^{B_W L} in depth", "holds", slopes[0] / slopes[1], bool(convex))
