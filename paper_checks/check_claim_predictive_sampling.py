"""Claim `predictive_sampling`: the Bayes predictor's implied task variance, without the package.

Published and derived elsewhere in closed form only for orthogonal inputs; for Gaussian inputs the
covariance of plug-in labels is exact given the inputs: σ² L Lᵀ, with L the unit-lower-triangular
factor of C = τ² X Xᵀ + σ² I, where the predictive deviation gives C itself.
"""

import numpy as np
import pytest
import stored


def implied_variance(covariance: np.ndarray, xs: np.ndarray) -> float:
    m, d = xs.shape
    gram = xs @ xs.T
    return float(np.triu(covariance * gram, 1).sum() / (d * m * (m - 1) / 2))


def exact(count: int = 20_000) -> dict[str, tuple[float, float, float]]:
    """Of both Bayes generators: implied variance, its standard error, deviation of one prompt."""
    task = stored.config()["preset"]["task"]
    d, m, sigma, tau = task["dim"], task["context"], task["noise"], task["prior_scale"]
    rng = np.random.default_rng(0)
    means: dict[str, list[float]] = {"predictive": [], "plug_in": []}
    draws: dict[str, list[float]] = {"predictive": [], "plug_in": []}
    for _ in range(count):
        xs = rng.standard_normal((m, d))
        factor = np.linalg.cholesky(tau**2 * xs @ xs.T + sigma**2 * np.eye(m))
        roots = {"predictive": factor, "plug_in": sigma * factor / np.diag(factor)}
        for name, root in roots.items():
            means[name].append(implied_variance(root @ root.T, xs) / tau**2)
            ys = root @ rng.standard_normal(m)
            draws[name].append(implied_variance(np.outer(ys, ys), xs) / tau**2)
    return {
        name: (
            float(np.mean(means[name])),
            float(np.std(means[name]) / count**0.5),
            float(np.std(draws[name])),
        )
        for name in means
    }


def test_generators_of_the_committed_run(ledger):
    claim = stored.claim("predictive_sampling")
    reference = exact()
    prompts = 10_000 * claim["replicates"]  # behind each committed mean
    for name, (mean, stderr, deviation) in reference.items():
        (constant,) = (
            c["value"] for c in claim["constants"] if c["name"].endswith(f"predictor, {name}")
        )
        both = np.hypot(stderr, deviation / prompts**0.5)
        assert constant == pytest.approx(mean, abs=5 * both)
    assert reference["predictive"][0] == pytest.approx(1.0, abs=5 * reference["predictive"][1])
    lost, error, _ = reference["plug_in"]
    quarter = (1 - lost) / 4
    assert [cell["generator"] for cell in claim["cells"]] == list(reference)
    for cell, bound in zip(claim["cells"], (1.0, lost), strict=True):
        assert cell["bound"] == pytest.approx(bound, abs=5 * error + 0.005)
        assert cell["tolerance"] == pytest.approx(quarter, abs=5 * error + 0.005)
        verdict = stored.by_interval(cell)
        assert cell["verdict"] == ("inconclusive" if verdict == "violated" else verdict)
    families = claim["negative_control"]["families"]
    assert [own["family"] for own in families] == ["predictive as plug_in", "plug_in as predictive"]
    ledger.record(
        "claim predictive_sampling: implied task variance",
        claim["verdict"],
        max(abs(c["measured"] - c["bound"]) / c["tolerance"] for c in claim["cells"]),
        all(own["rejected"] for own in families),
    )
