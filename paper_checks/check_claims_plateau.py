"""Claims about the error with a constant share of real data, from the committed loops alone."""

import numpy as np
import pytest
import stored


def shares() -> list[float]:
    return stored.config()["preset"]["shares"]


def squares(regime: str) -> np.ndarray:
    """Excess squared error of every loop and generation, mean over positions."""
    count = stored.config()["preset"]["task"]["context"]
    return np.mean(
        [stored.series(regime, f"excess_squared_risk_{k}") for k in range(count)], axis=0
    )


def test_the_injected_error_is_the_mixture_of_its_ends(ledger):
    """u(α) by hand; whether it is within a tenth of the mixture is for the claim to say."""
    alone = np.sqrt(squares("replace"))
    from_self = (alone[:, -1] - alone[:, 0]) / (alone.shape[1] - 1)
    ratios = []
    for alpha in shares():
        x = np.sqrt(squares(f"augment-{alpha:g}"))
        own = np.mean([x[:, i] - (1 - alpha) * x[:, i - 1] for i in range(1, x.shape[1])], axis=0)
        mixed = alpha * x[:, 0] + (1 - alpha) * from_self
        cells = stored.cells("injected_error", alpha=alpha, kind="injected")
        assert {cell["direction"] for cell in cells} == {"at most", "above"}
        for cell in cells:
            assert cell["measured"] == pytest.approx(own.mean(), rel=1e-9)
            factor = 1.1 if cell["direction"] == "at most" else 0.9
            assert cell["bound"] == pytest.approx(factor * mixed.mean(), rel=1e-9)
        ratios.append(own.mean() / mixed.mean())
    claim = stored.claim("injected_error")
    ledger.record(
        "claim injected_error: measured over the mixture of its ends",
        claim["verdict"],
        max(ratios),
        claim["negative_control"]["rejected"],
    )


def test_the_level_is_below_its_bound(ledger):
    """x_G² against (a + D_G)², D_i² = (ρ (D_{i-1} + o) + q)² + s², D_0 = s_0; and predictions."""
    claim, ratios = stored.claim("plateau_level"), []
    known = {entry["name"]: entry["value"] for entry in claim["constants"]}
    for alpha in shares():
        label, rho = f"augment-{alpha:g}", 1 - alpha
        own = squares(label)
        last = own.shape[1] - 1
        both = [known[f"{symbol}, {label}"] for symbol in ("a", "s_0", "o", "q", "s")]
        a, distance, o, q, s = (one["upper"] for one in both)
        assert all(one["upper"] > max(one["by_place"]) for one in both)
        first_noise = distance
        for _ in range(last):
            distance = np.hypot(rho * (distance + o) + q, s)
        assert distance >= first_noise * rho**last
        (cell,) = stored.cells("plateau_level", kind="level", alpha=alpha)
        assert cell["bound"] == pytest.approx((a + distance) ** 2, rel=1e-9)
        assert cell["measured"] == pytest.approx(own[:, -1].mean(), rel=1e-9)
        assert (cell["verdict"] == "violated") <= (own[:, -1].mean() > (a + distance) ** 2)
        mean = [np.mean(np.square(one["by_place"])) for one in both]
        start, fall = own[:, 0].mean(), 1 - rho ** (2 * last)
        straight = start**0.5 + rho / alpha * (1 - rho**last) * mean[2] ** 0.5
        added = (rho**2 * mean[2] + mean[4]) * fall / (1 - rho**2)
        for kind, value in (
            ("straight", straight),
            ("squares", (start - mean[1] * fall + added) ** 0.5),
        ):
            at = {"kind": kind, "alpha": alpha, "generation": last}
            (shown,) = stored.cells("plateau_level", **at)
            assert shown["predicted"] == pytest.approx(value, rel=0.05)  # less its bias
        ratios.append((own[:, -1].mean() / cell["bound"]) ** 0.5)
    ledger.record(
        "claim plateau_level: error of the last generation below the law of the plateau",
        claim["verdict"],
        max(ratios),
        claim["negative_control"]["rejected"],
    )


def test_the_part_of_the_mixture_in_the_divergence_is_capped():
    """KL(D_0 || M) is at most ln(1/α) whatever the generator, and 0 in generation 0."""
    last = len(stored.prefixes()) - 1
    for alpha in shares():
        part = stored.series(f"augment-{alpha:g}", f"mixture_kl_{last}")
        assert (part[:, 0] == 0).all()
        assert (part[:, 1:] <= np.log(1 / alpha)).all()
    assert (stored.series("replace", f"mixture_kl_{last}")[:, 1:] > 0).all()
