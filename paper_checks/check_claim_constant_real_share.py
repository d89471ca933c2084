"""Claim `constant_real_share`: how the drift grows, beside what the drift recursion allows."""

from itertools import pairwise

import pytest
import stored

BURN_IN = 2


def whole(regime: str, name: str):
    return stored.series(regime, f"{name}_{len(stored.prefixes()) - 1}")


def growth(regime: str):
    drift = whole(regime, "drift")
    return drift[:, -1] - drift[:, BURN_IN]


def test_growth_with_and_without_real_prompts(ledger):
    """A finding; what is allowed is iterated by hand from the measured drift."""
    claim = stored.claim("constant_real_share")
    assert claim["verdict"] == "finding"
    ratios = []
    for cell in claim["cells"]:
        regime = cell["regime"] + (f"-{cell['alpha']:g}" if cell["alpha"] else "")
        drift, eps = whole(regime, "drift"), whole(regime, "eps")
        total = drift[:, BURN_IN]
        for i in range(BURN_IN + 1, drift.shape[1]):
            total = eps[:, i] + (1 - cell["alpha"]) * total
        allowed = total - drift[:, BURN_IN]
        assert cell["verdict"] == "finding"
        assert cell["measured"] == pytest.approx(growth(regime).mean(), rel=1e-12)
        assert cell["bound"] == pytest.approx(allowed.mean(), rel=1e-12)
        assert cell.get("vacuous", False) == (cell["bound"] >= 1 - drift[:, BURN_IN].mean())
        ratios.append(cell["measured"] / cell["bound"])
    ledger.record("claim constant_real_share: growth of the drift", "finding", max(ratios))


def test_real_prompts_slow_the_growth_of_the_drift(ledger):
    """Paired over replicates: the larger the constant share, the less drift in the end."""
    shares = sorted(stored.config()["preset"]["shares"])
    order = ["replace", *(f"augment-{share:g}" for share in shares), "real-only"]
    last = {r: stored.series(r, f"drift_{len(stored.prefixes()) - 1}")[:, -1] for r in order}
    pairs = list(pairwise(order))
    p_values = [stored.p_above_zero(last[less] - last[more]) for less, more in pairs]
    reverse = [stored.p_above_zero(last[more] - last[less]) for less, more in pairs]
    ledger.record(
        "finding: more real prompts, less drift in the last generation",
        "finding" if all(stored.holm_rejects(p_values)) else "inconclusive",
        control_rejected=not any(stored.holm_rejects(reverse)),
    )
