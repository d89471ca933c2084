"""Claim `constant_real_share`: does the drift settle with real prompts, and grow without?"""

from itertools import pairwise

import pytest
import stored

TOLERANCE = 0.05


def growth(regime: str):
    whole = stored.series(regime, f"drift_{len(stored.prefixes()) - 1}")
    return whole[:, -1] - whole[:, 2]


def test_growth_with_and_without_real_prompts(ledger):
    claim = stored.claim("constant_real_share")
    kept = [f"augment-{share:g}" for share in stored.config()["preset"]["shares"]]
    margins = {regime: TOLERANCE - growth(regime) for regime in kept}
    margins["replace"] = growth("replace")
    holds = dict(
        zip(
            margins,
            stored.holm_rejects([stored.p_above_zero(m) for m in margins.values()]),
            strict=True,
        )
    )
    missed = dict(
        zip(
            margins,
            stored.holm_rejects([stored.p_below_zero(m) for m in margins.values()]),
            strict=True,
        )
    )
    for cell in claim["cells"]:
        name = cell["regime"] + (f"-{cell['alpha']:g}" if cell["alpha"] else "")
        assert cell["measured"] == pytest.approx(growth(name).mean(), rel=1e-12)
        assert (cell["verdict"] == "holds") == holds[name]
        assert cell.get("missed", False) == missed[name]
    assert claim["verdict"] == ("holds" if all(holds.values()) else "inconclusive")

    # Control, the roles exchanged: "no growth without real prompts" has to be rejected.
    exchanged = stored.p_below_zero(TOLERANCE - growth("replace"))
    ledger.record(
        "claim constant_real_share: growth of the drift",
        status=claim["verdict"],
        tightness=max(float(growth(regime).mean()) / TOLERANCE for regime in kept),
        control_rejected=exchanged < stored.LEVEL / len(margins)
        and claim["negative_control"]["rejected"],
    )


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
        status="finding" if all(stored.holm_rejects(p_values)) else "inconclusive",
        control_rejected=not any(stored.holm_rejects(reverse)),
    )
