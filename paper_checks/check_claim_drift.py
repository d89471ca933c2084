"""Claim `drift`: the committed measurements against the drift recursion, iterated by hand."""

import numpy as np
import pytest
import stored


def regimes() -> list[str]:
    shares = stored.config()["preset"]["shares"]
    return [*(f"augment-{share:g}" for share in shares), "replace"]


def measured_and_bound(regime: str, p: int) -> tuple[np.ndarray, np.ndarray]:
    drift, eps = stored.series(regime, f"drift_{p}"), stored.series(regime, f"eps_{p}")
    bound = eps.copy()
    for i in range(1, eps.shape[1]):
        bound[:, i] = eps[:, i] + (1 - stored.share(regime)) * bound[:, i - 1]
    return drift, bound


def test_recursion_bounds_the_measured_drift(ledger):
    """A bound of 1 or more says nothing: it is shown and not judged."""
    claim = stored.claim("drift")
    decided, ratios = [], []
    for regime in regimes():
        for p, prefix in enumerate(stored.prefixes()):
            drift, bound = measured_and_bound(regime, p)
            for i in range(1, drift.shape[1]):
                (cell,) = (
                    c
                    for c in claim["cells"]
                    if c["regime"] == regime.partition("-")[0]
                    and c["alpha"] == pytest.approx(stored.share(regime))
                    and (c["generation"], c["prefix"]) == (i, prefix)
                )
                assert cell["measured"] == pytest.approx(drift[:, i].mean(), rel=1e-12)
                assert cell["bound"] == pytest.approx(bound[:, i].mean(), rel=1e-12)
                assert cell.get("vacuous", False) == (cell["bound"] >= 1)
                if "vacuous" in cell:
                    assert cell["verdict"] == "finding"
                    continue
                # What is corrected for the skew of the margins is never less than Student's own.
                student = stored.p_above_zero(bound[:, i] - drift[:, i])
                assert cell["p_for"] >= student * (1 - 1e-6)
                assert cell["p_against"] > stored.LEVEL
                decided.append(cell["p_for"] <= stored.LEVEL)
                ratios.append(drift[:, i].mean() / bound[:, i].mean())
    assert claim["verdict"] == ("holds" if all(decided) else "inconclusive")

    # Control: no error is injected after generation 0.
    rejected = []
    for regime in regimes():
        drift, _ = measured_and_bound(regime, len(stored.prefixes()) - 1)
        without = [(1 - stored.share(regime)) ** i * drift[:, 0] - drift[:, i] for i in (1, 2, 3)]
        rejected.append(any(stored.holm_rejects([stored.p_below_zero(m) for m in without])))
    families = claim["negative_control"]["families"]
    assert {own["family"] for own in families} == set(regimes())
    ledger.record(
        "claim drift: measured drift below the recursion",
        claim["verdict"],
        max(ratios),
        all(rejected) and all(own["rejected"] for own in families),
    )


def test_drift_is_what_it_is_by_definition_without_synthetic_prompts():
    for regime in regimes():
        for p in range(len(stored.prefixes())):
            drift, eps = (stored.series(regime, f"{name}_{p}")[:, 0] for name in ("drift", "eps"))
            assert (drift == eps).all()


def test_longer_prefixes_are_farther_from_the_real_law():
    """Total variation cannot shrink when more labels are looked at."""
    for regime in regimes():
        means = [stored.series(regime, f"drift_{p}").mean(0) for p in range(len(stored.prefixes()))]
        assert (np.diff(means, axis=0) > 0).all()
