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


def constants(name: str) -> dict:
    return {entry["name"]: entry["value"] for entry in stored.claim(name)["constants"]}


def test_the_injected_error_is_the_mixture_of_its_ends(ledger):
    """u(α) by hand; whether it is within a tenth of the mixture is for the claim to say."""
    alone = np.sqrt(squares("replace"))
    from_self = (alone[:, -1] - alone[:, 0]) / (alone.shape[1] - 1)
    ratios = []
    for alpha in shares():
        x = np.sqrt(squares(f"augment-{alpha:g}"))
        own = np.mean([x[:, i] - (1 - alpha) * x[:, i - 1] for i in range(1, x.shape[1])], axis=0)
        mixed = alpha * x[:, 0] + (1 - alpha) * from_self
        cells = stored.cells("injected_error", alpha=alpha)
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
    """x_G² against (a + λ o (1 - ρ^G) + q (1 - ρ^G)/α + s sqrt((1 - ρ^{2G})/(α (2 - α))))²."""
    claim, known, ratios = stored.claim("plateau_level"), constants("plateau_level"), []
    for alpha in shares():
        label, rho = f"augment-{alpha:g}", 1 - alpha
        own = squares(label)
        last = own.shape[1] - 1
        a, o, q, s = (known[f"{name}, {label}, upper"] for name in "aoqs")
        assert a**2 > own[:, 0].mean()
        places = known[f"refit, {label}, by place"]
        assert o > max(places)
        noise = s * ((1 - rho ** (2 * last)) / (alpha * (2 - alpha))) ** 0.5
        bound = a + (rho * o + q) / alpha * (1 - rho**last) + noise
        (cell,) = stored.cells("plateau_level", kind="level", alpha=alpha)
        assert cell["bound"] == pytest.approx(bound**2, rel=1e-9)
        assert cell["measured"] == pytest.approx(own[:, -1].mean(), rel=1e-9)
        assert (cell["verdict"] == "violated") <= (own[:, -1].mean() > bound**2)
        predicted = stored.cells("plateau_level", kind="prediction", alpha=alpha, generation=last)
        root = np.sqrt(own[:, 0].mean()) + rho / alpha * (1 - rho**last) * np.sqrt(
            np.mean(np.square(places))
        )
        assert predicted[0]["predicted"] == pytest.approx(root, rel=0.05)  # less its bias
        ratios.append((own[:, -1].mean() / bound**2) ** 0.5)
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
