"""Claim `sampling_bias`: committed means against recursions by hand, and what helps or hurts."""

import math

import pytest
import stored

NAME = "sampling_bias"


def moments(n: int, m: int, s: float, w: float, last: int, fresh: bool) -> tuple[float, float]:
    """E mu^2 and E v of generation `last`, sigma = 1, unbiased: between and within, by hand."""
    total = m if w == 0 else n + m
    mean, variance = 1 / n, 1.0
    for _ in range(last):
        far = mean if fresh else mean - 1 / n  # of the last mean from what stays
        far += s * variance / m
        between = far + (1 / n if fresh else 0)
        inside = w * (n - 1) / n + (1 - w) * s * variance * (m - 1) / m
        variance = (inside + w * (1 - w) * between) * total / (total - 1)
        mean = (1 - w) ** 2 * far + (w**2 / n if fresh else 1 / n)
    return mean, variance


def test_means_are_those_of_the_recursions(ledger) -> None:
    largest, families = 0.0, stored.claim(NAME)["negative_control"]["families"]
    cells = [c for c in stored.claim(NAME)["cells"] if c["kind"] in ("excess", "variance")]
    for cell in cells:
        w = 0.0 if cell["regime"] == "replace" else cell["n"] / (cell["n"] + cell["n_syn"])
        of = cell["n"], cell["n_syn"], cell["bias"], w, cell["generation"]
        known = moments(*of, cell["regime"] == "fresh")[cell["kind"] == "variance"]
        assert cell["bound"] == pytest.approx(known, rel=1e-12)
        assert cell["verdict"] == "holds"
        largest = max(largest, abs(cell["measured"] / known - 1))
        if cell["regime"] == "replace" and cell["kind"] == "variance":
            assert known == pytest.approx(cell["bias"] ** cell["generation"])
    rejected = all(own["rejected"] > 0 for own in families)
    ledger.record(f"claim {NAME}: moments", "holds", f"within {largest:.1%}", rejected)


def test_synthetic_rows_help_then_hurt(ledger) -> None:
    """Against one fit to the real rows; the mean is never hurt."""
    (alone,) = stored.cells(NAME, kind="alone")
    n = alone["n"]
    c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    one_fit = 1 / n + 2 * (1 - c4)
    assert alone["bound"] == pytest.approx(one_fit, rel=1e-9)
    helps, hurts = (stored.cells(NAME, kind=kind) for kind in ("helps", "hurts"))
    assert max(cell["high"] for cell in helps) < one_fit < min(cell["low"] for cell in hurts)
    assert max(c["n_syn"] for c in helps) < min(c["n_syn"] for c in hurts)
    assert max(cell["high"] for cell in stored.cells(NAME, kind="mean")) < 1 / n
    ratio = max(cell["measured"] for cell in helps) / one_fit
    ledger.record(f"claim {NAME}: threshold", "holds", ratio, True)
