import math
import time

import numpy as np
import pytest
from bounds_exact import INF, steady
from hypothesis import given
from hypothesis import strategies as st

from icl_stl import bounds
from icl_stl.bounds import optimum
from icl_stl.bounds.optimum import Landscape

BASE = {"M": 1.0, "b": 0.0, "kappa": 0.0, "c": 0.3, "a": 0.5, "delta": 0.05}
TYPICAL = [
    {},
    {"b": 1.0, "kappa": 0.3},
    {"b": 1.0, "kappa": 0.45, "a": 0.4, "c": 0.1},
    {"kappa": 0.9, "b": 2.0},
    {"kappa": 0.3, "generation": 20.0},
    {"kappa": 1.5, "b": 1.0, "generation": 10.0},
    {"kappa": 1.5, "b": 9.0, "c": 0.001, "max_lam": 1.5},
    {"kappa": 0.2, "b": 3.0, "c": 0.02, "objective": "risk"},
    {"kappa": 0.5, "generation": 50.0, "max_lam": 20.0, "c": 0.05},
    {"a": 0.98, "c": 3.0},
    {"objective": "uniform", "log_size": 8.0, "c": 0.1},
]


def literal_objective(n: float, lam: np.ndarray, **given: object) -> np.ndarray:
    """The bound that is minimised, from the functions that state it."""
    constants = {name: given[name] for name in ("M", "b", "kappa", "c", "a")}
    i, alpha = given.get("generation", INF), 1 / (1 + np.asarray(lam))
    if given.get("objective") == "risk":
        return bounds.excess_risk_at_rate(n, alpha, i, **constants).total
    if given.get("objective") == "uniform":
        drift = bounds.discrepancy_at_rate(n, alpha, i, c=given["c"], a=given["a"])
        uniform = bounds.uniform_convergence_gap(
            n, alpha, M=given["M"], delta=given["delta"], log_size=given["log_size"], discrepancy=0
        )
        return uniform.total + given["M"] * drift
    return bounds.generalization_gap_at_rate(n, alpha, i, delta=given["delta"], **constants).total


def ratios(cap: float) -> np.ndarray:
    if cap < INF:
        return np.linspace(0, cap, 20_001)
    return np.concatenate([[0], np.geomspace(1e-6, 1e12, 20_000)])


@pytest.mark.parametrize("given", TYPICAL)
@pytest.mark.parametrize("n", [50.0, 1e4])
def test_optimum_is_no_worse_than_a_fine_grid_and_certified(n: float, given: dict) -> None:
    given = BASE | given
    best = bounds.optimal_size(n, **given)
    values = literal_objective(n, ratios(given.get("max_lam", INF)), **given)
    assert best.value <= values.min() * (1 + 1e-9)
    assert best.lower_bound <= values.min() * (1 + 1e-12)
    assert 0 <= best.value - best.lower_bound <= 1e-6 * best.value
    assert 0 <= best.lam <= given.get("max_lam", INF)
    if best.lam < INF:
        assert best.value == pytest.approx(
            float(literal_objective(n, best.lam, **given)), rel=1e-12
        )
    else:
        assert best.value == pytest.approx(float(literal_objective(n, 1e14, **given)), rel=1e-5)


@steady
@given(
    n=st.floats(2, 1e6),
    a=st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0, 1.5]),
    kappa=st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 2)),
    c=st.floats(1e-4, 3),
    b=st.one_of(st.just(0.0), st.floats(0.01, 10)),
    i=st.one_of(st.just(INF), st.integers(1, 300)),
    objective=st.sampled_from(["gap", "risk"]),
)
def test_no_sampled_ratio_beats_the_certificate(*, n, a, kappa, c, b, i, objective) -> None:
    given = BASE | {"a": a, "kappa": kappa, "c": c, "b": b, "generation": i}
    given["objective"] = objective
    best = bounds.optimal_size(n, **given)
    values = literal_objective(n, ratios(INF)[::40], **given)
    assert best.lower_bound <= values.min() * (1 + 1e-12)
    assert best.value <= values.min() * (1 + 1e-9)
    assert best.value - best.lower_bound <= 1e-6 * best.value


@steady
@given(
    n=st.floats(2, 1e6),
    c=st.floats(1e-3, 3),
    b=st.one_of(st.just(0.0), st.floats(0.01, 10)),
    delta=st.floats(1e-4, 0.3),
    objective=st.sampled_from(["gap", "risk"]),
)
def test_optimum_equals_the_closed_form_at_rate_one_half(n, c, b, delta, objective) -> None:
    given = BASE | {"c": c, "b": b, "delta": delta, "objective": objective}
    closed = bounds.closed_form_size(n, **given)
    best = bounds.optimal_size(n, **given)
    assert closed is not None
    assert best.lam == pytest.approx(closed, rel=1e-6, abs=1e-12)


def test_closed_form_is_the_ratio_of_fluctuation_and_shift() -> None:
    n = 1000
    drift, spread = 0.3 / math.sqrt(n), math.sqrt(math.log(20) / (2 * n))
    best = bounds.optimal_size(n, **BASE)
    assert best.lam == pytest.approx(spread / drift - 2, rel=1e-9)
    assert best.value == pytest.approx(2 * math.sqrt(drift * (spread - drift)), rel=1e-12)
    assert best.regime == "interior"


@pytest.mark.parametrize("excess", [1e-3, 1e-6, 1e-9])
def test_a_tiny_optimum_is_still_polished(excess: float) -> None:
    c = math.sqrt(math.log(20) / 2) / (2 + excess)
    best = bounds.optimal_size(1000, **BASE | {"c": c})
    exact = bounds.closed_form_size(1000, **BASE | {"c": c})
    assert best.lam == pytest.approx(exact, rel=1e-5 if excess < 1e-8 else 1e-6)


@pytest.mark.parametrize(
    ("given", "closed"),
    [
        ({"a": 1.0, "c": 0.2}, INF),
        ({"a": 1.0, "c": 500.0}, 0.0),
        ({"a": 1.5}, INF),
        ({"generation": 1.0}, INF),
        ({"generation": 1.0, "c": 3.0}, 0.0),
        ({"c": 0.0}, INF),
        ({"kappa": 1.0, "c": 0.01}, 0.0),
        ({"kappa": 1.2, "c": 0.01, "generation": 7.0}, 0.0),
        ({"objective": "risk", "b": 1.0, "c": 0.1, "kappa": 0.5}, 0.0),
        ({"c": 2.0}, 0.0),
    ],
)
def test_optimum_at_the_ends_equals_the_closed_form(given: dict, closed: float) -> None:
    given = BASE | given
    assert bounds.closed_form_size(1000, **given) == closed
    best = bounds.optimal_size(1000, **given)
    assert best.lam == closed
    assert best.regime == ("none" if closed == 0 else "unbounded")


def test_no_closed_form_is_claimed_where_none_is_known() -> None:
    for case in ({"kappa": 0.4}, {"a": 0.3}, {"generation": 3.0}, {"kappa": 1.0, "b": 1.0}):
        assert bounds.closed_form_size(1000, **BASE | case) is None


def test_regimes_in_words() -> None:
    for case, regime in (
        ({}, "interior"),
        ({"c": 9.0}, "none"),
        ({"generation": 5.0, "kappa": 0.3}, "unbounded"),
        ({"max_lam": 0.5}, "capped"),
    ):
        best = bounds.optimal_size(1000, **BASE | case)
        assert best.regime == regime
        assert best.description.startswith(regime.replace("none", "no synthetic data"))


def test_caps() -> None:
    free = bounds.optimal_size(1000, **BASE)
    assert bounds.optimal_size(1000, max_lam=free.lam + 1, **BASE).lam == pytest.approx(free.lam)
    capped = bounds.optimal_size(1000, max_lam=1.5, **BASE)
    assert (capped.lam, capped.sensitivities) == (1.5, {})
    none = bounds.optimal_size(1000, max_lam=0.0, **BASE)
    assert none.lam == 0
    assert none.value == pytest.approx(math.sqrt(math.log(20) / 2000), rel=1e-14)
    unstable = bounds.optimal_size(1000, max_lam=1e3, **BASE | {"kappa": 1.5, "b": 4.0, "c": 1e-4})
    assert unstable.lam < 2


def test_two_local_minima_do_not_mislead_the_search() -> None:
    far = bounds.optimal_size(1e4, **BASE | {"kappa": 0.9, "c": 0.004})
    assert 700 < far.lam < 730
    assert far.value == pytest.approx(0.00212, rel=1e-2)
    near = bounds.optimal_size(1e4, **BASE | {"kappa": 0.9, "c": 0.004}, max_lam=0.2)
    assert near.lam == 0
    late = bounds.optimal_size(1000, **BASE | {"kappa": 1.0, "c": 0.1, "generation": 5.0})
    assert late.lam == 0


def test_the_limit_of_the_generations_is_not_the_optimum_of_the_limit() -> None:
    given = BASE | {"kappa": 0.3, "n": 1000}
    for i in (1, 5, 100, 1000):
        assert bounds.optimal_size(**given, generation=i).lam == INF
    assert 0 < bounds.optimal_size(**given).lam < 100


@pytest.mark.parametrize("i", [1.0, 2.0, 3.0, 10.0, 1e4, INF])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 1.0, 1.0 + 1e-9, 1.3])
@pytest.mark.parametrize("a", [0.3, 1.0, 1.7])
def test_slope_is_the_derivative(i: float, kappa: float, a: float) -> None:
    landscape = Landscape(A=0.3, H=0.7, G=1.1, kappa=kappa, a=a, generation=i)
    lam = np.array([0.1, 0.5, 1.0, 2.5] if kappa > 1 else [0.1, 1.0, 4.0, 60.0])
    step = 1e-5 * lam
    numeric = (landscape.value(lam + step) - landscape.value(lam - step)) / (2 * step)
    np.testing.assert_allclose(landscape.slope(lam), numeric, rtol=2e-5, atol=1e-8)
    outwards = (landscape.value(1e-7) - landscape.value(0.0)) / 1e-7
    assert landscape.slope(0.0) == pytest.approx(float(outwards), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("i", [1.0, 2.0, 10.0, 300.0, INF])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 0.9, 1.0, 1.001, 1.3])
@pytest.mark.parametrize("a", [0.3, 1.0, 1.7])
def test_lower_bounds_are_below_and_close_in(i: float, kappa: float, a: float) -> None:
    landscape = Landscape(A=0.3, H=0.7, G=1.1, kappa=kappa, a=a, generation=i)
    rng = np.random.default_rng(3)
    left = rng.exponential(3, 300)
    for width in (3.0, 0.1, 1e-6):
        right = left * (1 + width) + width
        lower = landscape.lower(left, right)
        inside = left + (right - left) * rng.uniform(size=(20, 300))
        assert (lower <= landscape.value(inside).min(axis=0)).all()
    finite = np.isfinite(landscape.value(right))
    np.testing.assert_allclose(lower[finite], landscape.value(left)[finite], rtol=1e-3)
    tail = landscape.lower(np.array([50.0]), np.array([INF]))
    assert tail <= landscape.value(np.geomspace(50, 1e9, 200)).min()


def test_nothing_is_certified_that_the_lower_bounds_do_not_prove(monkeypatch) -> None:
    landscape = Landscape(A=0.3, H=0.7, G=1.1, kappa=0.2, a=0.5, generation=INF)
    proven = optimum.branch_and_bound(landscape, INF)
    assert proven.lower_bound < landscape.value(proven.best)
    monkeypatch.setattr(optimum, "_MOST_INTERVALS", 1000)
    monkeypatch.setattr(Landscape, "lower", lambda self, left, right: 0.1 + 0 * left)
    assert optimum.branch_and_bound(landscape, INF).lower_bound == 0.1


def test_sensitivities_are_those_of_the_optimum() -> None:
    given = {"n": 2000.0} | BASE | {"b": 1.0, "kappa": 0.3, "a": 0.45}
    best = bounds.optimal_size(**given)
    assert set(best.sensitivities) == {"n", "M", "b", "kappa", "c", "a", "delta"}
    for name, elasticity in best.sensitivities.items():
        up, down = (
            bounds.optimal_size(**given | {name: given[name] * factor}).lam
            for factor in (1.001, 1 / 1.001)
        )
        measured = math.log(up / down) / (2 * math.log(1.001))
        assert elasticity == pytest.approx(measured, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["delta", "b", "c", "M", "n"])
@pytest.mark.parametrize("b", [0.0, 1.0])
@pytest.mark.parametrize("a", [0.3, 0.5, 0.7])
def test_optimum_moves_as_proved(name: str, b: float, a: float) -> None:
    given = {"n": 500.0} | BASE | {"b": b, "a": a, "kappa": 0.4, "c": 0.2}
    direction = bounds.proved_directions(b=b, kappa=0.4, a=a).get(name)
    values = [given[name] * factor for factor in (0.5, 0.8, 1.0, 1.25, 2.0)]
    moves = np.diff([bounds.optimal_size(**given | {name: value}).lam for value in values])
    size = 1e-6 * bounds.optimal_size(**given).lam
    if direction == "unmoved":
        assert (abs(moves) <= size).all()
    elif direction == "rises":
        assert (moves >= -size).all()
    elif direction == "falls":
        assert (moves <= size).all()
    else:
        assert name == "n"
        assert b > 0
        assert a > 0.5


def test_no_direction_is_claimed_without_proof() -> None:
    for case in ({"kappa": 0.6}, {"generation": 5.0}, {"a": 1.0}):
        assert bounds.proved_directions(**{"b": 0.0, "kappa": 0.1, "a": 0.5} | case) == {}


@pytest.mark.parametrize("given", TYPICAL)
def test_a_typical_call_takes_at_most_fifty_milliseconds(given: dict) -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        bounds.optimal_size(2000, **BASE | given)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"generation": 0}, r"generation = 0.0 .* \[1, inf\]"),
        ({"max_lam": -1.0}, r"max_lam = -1.0 .* \[0, inf\]"),
        ({"delta": 0.0}, "delta = 0.0"),
        ({"objective": "both"}, "objective = 'both' .* gap, risk, uniform"),
        ({"c": [0.1, 0.2]}, r"c has shape \(2,\)"),
        ({"M": 0.0}, "M = 0.0"),
        ({"log_size": -1.0}, "log_size = -1.0"),
    ],
)
def test_bad_input_is_refused_with_its_value_and_range(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bounds.optimal_size(100, **BASE | given)


def test_extremes_are_never_nan() -> None:
    for kappa in (0.0, 1 + 1e-12, 1e300):
        for c in (0.0, 1e-10, 1e5):
            for i in (1, 1e15, INF):
                best = bounds.optimal_size(
                    1, **BASE | {"kappa": kappa, "c": c, "b": 2.0}, generation=i
                )
                assert not np.isnan([best.lam, best.value, best.lower_bound]).any()
