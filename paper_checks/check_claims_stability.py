"""Claims about recursive stability: committed cells with their bounds computed anew, and controls.

Nothing of the package is used but the formulas that are checked.
"""

import math

import numpy as np
import pytest
import stored
from stored import cells as cells_of
from stored import influence

from icl_stl import bounds

JUDGED = ("recursive_stability", "stability_rate")


@pytest.mark.parametrize("name", JUDGED)
def test_transformers_are_findings(name) -> None:
    """And common random numbers, which are the wrong coupling for symbols; nothing else is."""
    claim = stored.claim(name)
    for cell in claim["cells"]:
        found = cell["loop"] == "transformer" or cell["kind"].startswith("common")
        assert (cell["verdict"] == "finding") == found
    for value in claim["constants"]:
        assert value["provenance"] in ("certified", "measured", "assumed")


def test_the_recursion_is_attained(ledger) -> None:
    """Bits and symbols, under the maximal coupling, within 1 %."""
    for cell in cells_of("recursive_stability", kind="attained"):
        words = cell["family"]
        kappa = float(words.removeprefix("kappa = ")) if "kappa" in words else 1.0
        theory = kappa * influence(cell["alpha"], kappa, cell["generation"])[0]
        assert cell["bound"] == pytest.approx(theory, rel=1e-9)
        assert cell["tolerance"] == pytest.approx(0.01 * theory)
        spurious = kappa * sum(
            ((1 - cell["alpha"]) * kappa) ** s for s in range(cell["generation"] + 1)
        )
        ledger.record(
            f"8, 72 attained: {cell['loop']}, {words}, generation {cell['generation']}",
            "attained" if cell["verdict"] == "holds" else cell["verdict"],
            cell["measured"] / theory,
            abs(cell["measured"] - spurious) > cell["tolerance"],
        )


def test_common_random_numbers_are_the_wrong_coupling_for_symbols(ledger) -> None:
    """First symbol for last of ten: one interval, and one more for each symbol seen between."""
    (rows,) = cells_of("recursive_stability", kind="common rows")
    n, alpha = rows["n"], rows["alpha"]
    first = rows["curve"][1]
    seen_between = 8 * (1 - 0.9 ** (n - 1))
    expected = (1 - alpha) * (1 + seen_between) + alpha
    ledger.record(
        "72 common random numbers, generation 1", "holds", first / expected, abs(first - 1) > 0.5
    )
    assert first == pytest.approx(expected, rel=0.05)


def test_linear_attention_contracts(ledger) -> None:
    """Every committed pair is below its bound; a direct ridge loop in float64 attests it again."""
    cells = cells_of("recursive_stability", kind="contraction")
    for cell in cells:
        assert cell["worst"] <= 1
        assert cell["measured"] <= cell["bound"]
    rng = np.random.default_rng(4)
    d, n, share, rho, generations, worst = 4, 30, 0.4, 0.02, 8, 0.0
    m = round(n * (1 - share) / share)
    kept = []
    for _ in range(200):
        phi, w = rng.normal(size=(n, d)) * [1, 1, 3, 0.3], rng.normal(size=d)
        ys = phi @ w + rng.normal(size=n)
        others = phi.copy(), ys.copy()
        others[0][0], others[1][0] = rng.normal(size=d), rng.normal()

        def fit(phi, ys, fresh, labels):
            total = len(ys) + len(labels)
            gram = (phi.T @ phi + fresh.T @ fresh) / total + rho * np.eye(d)
            return np.linalg.solve(gram, (phi.T @ ys + fresh.T @ labels) / total)

        none = np.zeros((0, d)), np.zeros(0)
        pair = [fit(phi, ys, *none), fit(*others, *none)]
        base = share * others[0].T @ others[0] / n + rho * np.eye(d)
        root = np.linalg.cholesky(base)
        length = lambda v, root=root: float(np.linalg.norm(root.T @ v))  # noqa: E731
        start, factors, put, measured = length(pair[0] - pair[1]), [], [], []
        for _ in range(generations):
            fresh, eta = rng.normal(size=(m, d)) * [1, 1, 3, 0.3], rng.normal(size=m)
            pair = [
                fit(phi, ys, fresh, fresh @ pair[0] + eta),
                fit(*others, fresh, fresh @ pair[1] + eta),
            ]
            synthetic = fresh.T @ fresh / (n + m)
            c = max(np.linalg.eigvals(np.linalg.solve(base, synthetic)).real)
            residuals = ys[0] - phi[0] @ pair[0], others[1][0] - others[0][0] @ pair[0]
            g = phi[0] * residuals[0] - others[0][0] * residuals[1]
            factors.append(c / (1 + c))
            put.append(np.linalg.norm(g) / (n + m) / math.sqrt(np.linalg.eigvalsh(base)[0]))
            measured.append(length(pair[0] - pair[1]))
        bound = bounds.contraction_stability(start, factors, put)[1:]
        worst = max(worst, float(np.max(np.array(measured) / bound)))
        forgotten = bounds.contraction_stability(start, factors, np.zeros(generations))[1:]
        kept.append(measured[-1] > forgotten[-1] * (1 + 1e-9))
    assert worst <= 1 + 1e-9
    ledger.record("71 contraction of linear attention", "holds", worst, any(kept))


def test_the_contraction_is_false_in_the_euclidean_norm(ledger) -> None:
    base, v = np.diag([1.0, 100.0]), np.array([0.1, 0.995])
    c = 1e9 * np.outer(v, v)
    stretch = np.linalg.norm(np.linalg.solve(c + base, c), 2)
    ledger.record("71 Euclidean norm stretches", "finding", stretch, stretch > 5)


def test_exponents_of_solvable_loops_are_those_of_their_curves(ledger) -> None:
    """The fitted exponent in n is the slope of the committed means; theory says -1 and 0."""
    for cell in cells_of("stability_rate", kind="in n"):
        slope = np.polyfit(np.log(cell["n"]), np.log(cell["curve"]), 1)[0]
        assert cell["bound"] == -1
        if cell["verdict"] == "finding":
            assert cell["low"] <= slope <= cell["high"]
        else:
            assert cell["measured"] == pytest.approx(slope, abs=0.02)
            far = abs(cell["measured"] + 0.5) > cell["tolerance"]
            ledger.record(f"{cell['quantity']}, beside -1", cell["verdict"], slope, far)
    for cell in cells_of("stability_rate", kind="in i"):
        assert cell["bound"] == 0
        if cell["verdict"] != "finding":
            far = abs(cell["measured"] - 1) > cell["tolerance"]
            ledger.record(f"{cell['quantity']}, beside 0", cell["verdict"], "", far)


def test_the_recursion_beside_the_transformer_is_that_of_its_constants(ledger) -> None:
    """Drawn over, never judged: Omega chi_i in function space, both constants measured."""
    constants = {c["name"]: c for c in stored.claim("recursive_stability")["constants"]}
    ratios, shares = [], set()
    for cell in cells_of("recursive_stability", kind="predictions"):
        n, alpha = cell["n"], cell["alpha"]
        omega, kappa = (constants[f"{name}, n = {n}"] for name in ("Omega_f", "kappa_f"))
        assert omega["provenance"] == kappa["provenance"] == "measured"
        chi = influence(alpha, kappa["value"], cell["generation"])[0] / n
        assert cell["bound"] == pytest.approx(omega["value"] * chi, rel=1e-9)
        assert cell["most"] >= cell["measured"]
        shares.add(alpha)
        if cell["generation"] and alpha:
            ratios.append(cell["measured"] / cell["bound"])
    assert 0 in shares
    shown = f"measured over drawn: {min(ratios):.2g} to {max(ratios):.2g}"
    ledger.record("11 beside the transformer", "finding", shown, None)


def test_constants_are_the_largest_changes_times_n(ledger) -> None:
    """B and kappa by n; times n they do not fall if one prompt moves a fit by more than 1/n."""
    constants = {c["name"]: c["value"] for c in stored.claim("recursive_stability")["constants"]}
    found = {}
    for name, kind in (("b", "loss_max"), ("kappa", "tv")):
        for cell in cells_of("recursive_stability", kind=kind, generation=0, alpha=0):
            found[name, cell["n"]] = constants[f"{name}, n = {cell['n']}"]
            assert found[name, cell["n"]] == pytest.approx(cell["n"] * cell["most"], rel=1e-9)
    shown = ", ".join(f"{name} {value:.3g} at {n}" for (name, n), value in found.items())
    ledger.record("15 constants of the transformer by n", "finding", shown, None)


def test_every_architecture_is_shown_with_how_well_it_learned(ledger) -> None:
    cells = cells_of("architecture")
    names = {cell["architecture"] for cell in cells}
    kinds = {"predictions", "tv", "tv_short", "loss_mean", "loss_max", "parameters", "kappa", "kl"}
    for name in names:
        assert {c["kind"] for c in cells if c["architecture"] == name} == kinds
    assert stored.claim("architecture")["verdict"] == "finding"
    assert {c["verdict"] for c in cells} == {"finding"}
    ledger.record("claim architecture", "finding", f"{len(names)} architectures", None)
