import numpy as np
import pytest

from icl_stl.bounds import drift_recursion


def test_recursion_equals_literal_iteration() -> None:
    rng = np.random.default_rng(0)
    weights = np.tril(rng.dirichlet(np.ones(12), size=12), -1)
    eps = rng.uniform(size=(3, 12))
    drift = drift_recursion(eps, weights)
    literal = np.zeros_like(eps)
    for i in range(12):
        literal[:, i] = eps[:, i] + literal[:, :i] @ weights[i, :i]
    np.testing.assert_allclose(drift.total, literal, rtol=1e-13)
    np.testing.assert_allclose(drift.terms.sum(-1), drift.total, rtol=1e-13)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[0, 0], [1.5, 0]], "weights"),
        ([[0, 1], [0, 0]], "weights"),
        ([[0, 0], [-0.5, 0]], "weights"),
        ([[0.0]], "weights"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift_recursion([0.1, 0.1], weights)
