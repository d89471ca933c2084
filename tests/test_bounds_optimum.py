import math

import mpmath
import numpy as np
import pytest
from bounds_exact import INF, geometric, mp, relative_error, steady
from hypothesis import assume, given
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
    {"floor": 0.001},
    {"floor": 0.03, "c": 0.0, "kappa": 0.4, "b": 1.0},
    {"floor": 0.002, "kappa": 0.8, "generation": 7.0, "b": 1.0},
    {"floor": 1e-4, "b": 3.0, "c": 0.02, "objective": "risk"},
    {"floor": 1e-3, "objective": "uniform", "log_size": 8.0, "c": 0.1},
    {"fresh": True, "kappa": 0.9, "b": 2.0, "c": 0.05},
    {"fresh": True, "kappa": 1.0, "floor": 1e-3, "c": 0.1},
    {"fresh": True, "kappa": 1.4, "c": 0.01},
    {"fresh": True, "kappa": 1.4, "generation": 6.0, "c": 0.01, "floor": 1e-3},
    {"fresh": True, "kappa": 1.0, "b": 9.0, "c": 0.01, "objective": "risk", "floor": 1e-4},
]


def literal_objective(n: float, lam: np.ndarray, **given: object) -> np.ndarray:
    """The bound that is minimised, from the functions that state it."""
    constants = {name: given[name] for name in ("M", "b", "kappa", "c", "a")}
    constants["floor"] = given.get("floor", 0.0)
    i, alpha = given.get("generation", INF), 1 / (1 + np.asarray(lam))
    if given.get("fresh") and given.get("objective") != "uniform":
        return literal_fresh(n, np.asarray(lam), **given)
    if given.get("objective") == "risk":
        return bounds.excess_risk_at_rate(n, alpha, i, **constants).total
    if given.get("objective") == "uniform":
        drift = bounds.discrepancy_at_rate(
            n, alpha, i, c=given["c"], a=given["a"], floor=constants["floor"]
        )
        uniform = bounds.uniform_convergence_gap(
            n, alpha, M=given["M"], delta=given["delta"], log_size=given["log_size"], discrepancy=0
        )
        return uniform.total + given["M"] * drift
    return bounds.generalization_gap_at_rate(n, alpha, i, delta=given["delta"], **constants).total


def literal_fresh(n: float, lam: np.ndarray, **given: object) -> np.ndarray:
    """The same with n new real rows a generation; where lam is 0 that of n rows alone."""
    alpha, i = 1 / (1 + lam), given.get("generation", INF)
    shift = bounds.discrepancy_at_rate(
        n, alpha, i, c=given["c"], a=given["a"], floor=given.get("floor", 0.0)
    )
    gap = bounds.weighted_gap(
        n,
        np.maximum(lam * n, 1.0),
        alpha,
        i,
        M=given["M"],
        b=given["b"],
        kappa=given["kappa"],
        delta=given["delta"],
        discrepancy=0.0,
        fresh=True,
    )
    if given.get("objective") == "risk":
        return 2 * given["M"] * shift + gap.stability
    return given["M"] * shift + gap.stability + gap.fluctuation


def ratios(cap: float, first: float = 1e-6) -> np.ndarray:
    if cap < INF:
        return np.linspace(0, cap, 20_001)
    return np.concatenate([[0], np.geomspace(first, 1e12, 20_000)])


@pytest.mark.parametrize("given", TYPICAL)
@pytest.mark.parametrize("n", [50.0, 1e4])
def test_optimum_is_no_worse_than_a_fine_grid_and_certified(n: float, given: dict) -> None:
    given = BASE | given
    best = bounds.optimal_size(n, **given)
    first = 1 / n if given.get("fresh") else 1e-6
    values = literal_objective(n, ratios(given.get("max_lam", INF), first), **given)
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
    floor=st.one_of(st.just(0.0), st.floats(1e-6, 1)),
    objective=st.sampled_from(["gap", "risk"]),
    fresh=st.booleans(),
)
def test_no_sampled_ratio_beats_the_certificate(
    *, n, a, kappa, c, b, i, floor, objective, fresh
) -> None:
    given = BASE | {"a": a, "kappa": kappa, "c": c, "b": b, "generation": i}
    given |= {"objective": objective, "floor": floor, "fresh": fresh}
    best = bounds.optimal_size(n, **given)
    values = literal_objective(n, ratios(INF, 1 / n if fresh else 1e-6)[::40], **given)
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


@pytest.mark.parametrize("excess", [1e-3, 1e-6, 1e-9])
def test_a_tiny_optimum_is_still_polished(excess: float) -> None:
    c = math.sqrt(math.log(20) / 2) / (2 + excess)
    best = bounds.optimal_size(1000, **BASE | {"c": c})
    exact = bounds.closed_form_size(1000, **BASE | {"c": c})
    assert best.lam == pytest.approx(exact, rel=1e-5 if excess < 1e-8 else 1e-6)


RISK = {"c": 0.0, "floor": 0.001, "objective": "risk", "b": 5.0}
CLOSED = [
    ({"a": 1.0, "c": 0.2}, INF),
    ({"a": 1.0, "c": 30.0}, INF),
    ({"a": 1.0, "c": 500.0}, 0.0),
    ({"a": 1.5}, INF),
    ({"generation": 1.0}, INF),
    ({"generation": 1.0, "c": 3.0}, 0.0),
    ({"c": 0.0}, INF),
    ({"kappa": 1.0, "c": 0.01}, 0.0),
    ({"kappa": 1.2, "c": 0.01, "generation": 7.0}, 0.0),
    ({"objective": "risk", "b": 1.0, "c": 0.1, "kappa": 0.5}, 0.0),
    ({"c": 2.0}, 0.0),
    ({"c": 0.0, "floor": 0.001}, (math.sqrt(math.log(20) / 2000) / 0.002) ** (2 / 3) - 1),
    (RISK, math.sqrt(2.5) - 1),
    (RISK | {"kappa": 2.0, "fresh": True}, math.sqrt(2.5) - 1),
    ({"floor": 0.5, "kappa": 0.7, "b": 1.0}, 0.0),
    ({"floor": 0.5, "a": 1.5, "fresh": True, "kappa": 1.3}, 0.0),
    ({"c": 0.1, "floor": 0.01, "generation": 1.0}, INF),
    ({"c": 0.1, "floor": 0.05, "generation": 1.0}, 0.0),
]


@pytest.mark.parametrize(("given", "closed"), CLOSED)
def test_optimum_at_the_ends_equals_the_closed_form(given: dict, closed: float) -> None:
    """Where it is at an end, and inside where a closed form is known."""
    given = BASE | given
    assert bounds.closed_form_size(1000, **given) == pytest.approx(closed, rel=1e-12, abs=0)
    best = bounds.optimal_size(1000, **given)
    assert best.lam == pytest.approx(closed, rel=1e-6, abs=0)
    assert best.regime == {0.0: "none", INF: "unbounded"}.get(closed, "interior")


def test_no_closed_form_is_claimed_where_none_is_known() -> None:
    for case in (
        *({"kappa": 0.4}, {"a": 0.3}, {"generation": 3.0}, {"kappa": 1.0, "b": 1.0}),
        *({"kappa": 1.0, "c": 0.0, "fresh": True}, {"floor": 0.001}),
    ):
        assert bounds.closed_form_size(1000, **BASE | case) is None


@pytest.mark.parametrize("fresh", [False, True])
def test_no_risk_is_lowered_whatever_kappa_and_generation(*, fresh: bool) -> None:
    """Statement 26: 2 M (e + c n^-a) >= b/n and a <= 1 are enough; below they are not."""
    for kappa in (0.0, 0.7, 1.0, 1.4, 3.0):
        for i in (1.0, 4.0, INF):
            given = BASE | {"kappa": kappa, "generation": i, "objective": "risk", "fresh": fresh}
            given |= {"a": 0.8, "c": 0.1, "b": 0.2 * 1000**0.2 * 0.999}
            assert bounds.closed_form_size(1000, **given) == 0
            assert bounds.optimal_size(1000, **given).lam == 0
            more = given | {"b": 50.0}
            assert bounds.closed_form_size(1000, **more) != 0
            if kappa < 1:
                assert bounds.optimal_size(1000, **more).lam > 0


@pytest.mark.parametrize(("i", "slack"), [(200.0, 1e-12), (INF, 1e-12), (201.0, 1e-10)])
def test_late_generations_set_more_aside_for_rounding(i: float, slack: float) -> None:
    landscape = Landscape(A=0.3, H=0.7, G=1.1, kappa=0.2, a=0.5, generation=i)
    at = np.array([2.0])
    whole = float(landscape.value(at)[0])
    assert 1 - float(landscape.lower(at, at)[0]) / whole == pytest.approx(slack, rel=0.02)
    alone = bounds.optimal_size(1000, **BASE | {"generation": i, "max_lam": 0.0})
    assert 1 - alone.lower_bound / alone.value == pytest.approx(slack, rel=0.02)


@steady
@given(
    i=st.sampled_from([201, 1000, 10**4, 10**6, 10**9]),
    lam=st.floats(1e-3, 1e8),
    kappa=st.one_of(st.floats(0, 1), st.floats(1, 1.001)),
)
def test_late_generations_round_less_than_is_set_aside(*, i, lam, kappa) -> None:
    """Where the influence is moderate; beyond it the bound is far above that without rows."""
    share, rho = 1 / (1 + mp(lam)), mp(lam) / (1 + mp(lam))
    power, total = geometric(rho * mp(kappa), i)
    influence = share * total + power
    assume(influence < 1e4)
    ours = Landscape(0.0, 1.0, 0.0, kappa, 0.5, float(i)).value(np.asarray(lam))
    assert relative_error(float(ours), share * (influence + rho)) < 1e-10


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
@pytest.mark.parametrize(("a", "F"), [(0.3, 0.2), (1.0, 0.0), (1.7, 0.2)])
@pytest.mark.parametrize("fresh", [False, True])
def test_slope_is_the_derivative(
    *, i: float, kappa: float, a: float, F: float, fresh: bool
) -> None:
    landscape = Landscape(0.3, 0.7, 1.1, kappa, a, generation=i, F=F, fresh=fresh)
    lam = np.array([0.1, 0.5, 1.0, 2.5] if kappa > 1 else [0.1, 1.0, 4.0, 60.0])
    step = 1e-5 * lam
    numeric = (landscape.value(lam + step) - landscape.value(lam - step)) / (2 * step)
    np.testing.assert_allclose(landscape.slope(lam), numeric, rtol=2e-5, atol=1e-8)
    outwards = (landscape.value(1e-7) - landscape.value(0.0)) / 1e-7
    assert landscape.slope(0.0) == pytest.approx(float(outwards), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("i", [1.0, 2.0, 10.0, 300.0, INF])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 0.9, 1.0, 1.001, 1.3])
@pytest.mark.parametrize(("a", "F"), [(0.3, 0.2), (1.0, 0.0), (1.7, 0.2)])
@pytest.mark.parametrize("fresh", [False, True])
def test_lower_bounds_are_below_and_close_in(
    *, i: float, kappa: float, a: float, F: float, fresh: bool
) -> None:
    landscape = Landscape(0.3, 0.7, 1.1, kappa, a, generation=i, F=F, fresh=fresh)
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


@pytest.mark.parametrize("fresh", [False, True])
def test_lower_bounds_do_not_overflow_before_the_objective(*, fresh: bool) -> None:
    landscape = Landscape(0.0, 0.0, 0.2, 3.6425, 0.5, generation=300.0, fresh=fresh)
    left, right = np.array([9.01]), np.array([9.04])
    value = landscape.value(left)
    assert 1e150 < value < INF
    assert landscape.lower(left, right) <= value


def test_nothing_is_certified_that_the_lower_bounds_do_not_prove(monkeypatch) -> None:
    landscape = Landscape(A=0.3, H=0.7, G=1.1, kappa=0.2, a=0.5, generation=INF)
    proven = optimum.branch_and_bound(landscape, INF)
    assert proven.lower_bound < landscape.value(proven.best)
    monkeypatch.setattr(optimum, "_MOST_INTERVALS", 1000)
    monkeypatch.setattr(Landscape, "lower", lambda self, left, right: 0.1 + 0 * left)
    assert optimum.branch_and_bound(landscape, INF).lower_bound == 0.1


@pytest.mark.parametrize("case", [{}, {"floor": 0.002}, {"floor": 0.002, "fresh": True}])
def test_sensitivities_are_those_of_the_optimum(case: dict) -> None:
    given = {"n": 2000.0} | BASE | {"b": 1.0, "kappa": 0.3, "a": 0.45, "c": 0.2} | case
    best = bounds.optimal_size(**given)
    floor = {"floor"} if "floor" in given else set()
    assert set(best.sensitivities) == {"n", "M", "b", "kappa", "c", "a", "delta"} | floor
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


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("b", [0.0, 1.0])
def test_optimum_moves_as_proved_with_a_floor(*, fresh: bool, b: float) -> None:
    kappa = 1.0 if fresh else 0.5
    given = {"n": 300.0} | BASE | {"b": b, "c": 0.1, "floor": 0.003, "kappa": kappa, "a": 0.5}
    directions = bounds.proved_directions(b=b, kappa=kappa, a=0.5, floor=0.003, fresh=fresh)
    assert set(directions) == {"n", "M", "b", "c", "delta", "floor"}
    assert directions["n"] == directions["floor"] == "falls"
    for name, direction in directions.items():
        values = [given[name] * factor for factor in (0.5, 1.0, 2.0)]
        moves = np.diff(
            [bounds.optimal_size(**given | {name: value}, fresh=fresh).lam for value in values]
        )
        assert (moves * {"rises": 1, "falls": -1, "unmoved": 0}[direction] >= -1e-6).all()
        assert direction != "unmoved" or (abs(moves) < 1e-6).all()
    late = bounds.proved_directions(b=b, kappa=3.0, a=0.5, generation=4, floor=0.1)
    assert late == {"floor": "falls"}


def literal_parts(n, lam, *, M, b, kappa, c, a, floor, delta, i, objective, fresh):
    """Shift, stability and fluctuation in 50 digits, sums as the theory page writes them."""
    n, lam, M, b, floor = mp(n), mp(lam), mp(M), mp(b), mp(floor)
    alpha, rho = 1 / (1 + lam), lam / (1 + lam)
    old, earlier = geometric(rho, i - 1)
    errors = mp(c) * n ** -mp(a)
    drift = old * (errors + floor) + earlier * (errors * alpha ** mp(a) + floor)
    ratio = rho * mp(kappa)
    power, total = geometric(ratio, i)
    squared, squares = geometric(ratio**2, i)
    if fresh:
        stability, variance = alpha, alpha * squares + squared
    else:
        influence = alpha * total + power
        stability = alpha * (influence + rho)
        variance = influence**2 + alpha * rho * squares
    spread = (M + 2 * b) * mpmath.sqrt(mpmath.log(1 / mp(delta)) / (2 * n) * variance)
    return (
        (2 if objective == "risk" else 1) * M * rho * drift,
        b / n * stability,
        spread if objective == "gap" else 0,
    )


@steady
@given(
    n=st.floats(1, 1e6),
    lam=st.one_of(st.sampled_from([0.0, 1e-9, 1.0, 1e6]), st.floats(0, 100)),
    kappa=st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1.2)),
    c=st.one_of(st.just(0.0), st.floats(1e-4, 3)),
    floor=st.one_of(st.just(0.0), st.floats(1e-6, 1)),
    i=st.one_of(st.just(INF), st.integers(1, 40)),
    objective=st.sampled_from(["gap", "risk"]),
    fresh=st.booleans(),
)
def test_trade_off_to_fifty_digits(*, n, lam, kappa, c, floor, i, objective, fresh) -> None:
    if i == INF and kappa * lam / (1 + lam) >= 0.999:
        kappa = 0.9
    given = BASE | {"b": 2.0, "c": c, "kappa": kappa, "floor": floor}
    ours = bounds.synthetic_trade_off(
        n, lam, **given, generation=i, objective=objective, fresh=fresh
    )
    exact = literal_parts(n, lam, **given, i=i, objective=objective, fresh=fresh)
    for part, number in zip(ours[:3], exact, strict=True):
        assert relative_error(part, number) < 1e-11
    assert relative_error(ours.total, sum(exact)) < 1e-11


@pytest.mark.parametrize("i", [1.0, 2.0, 9.0, INF])
@pytest.mark.parametrize("objective", ["gap", "risk", "uniform"])
@pytest.mark.parametrize("fresh", [False, True])
def test_the_trade_off_is_what_is_minimised_and_the_bounds_say(
    *, i: float, objective: str, fresh: bool
) -> None:
    given = BASE | {"b": 1.0, "kappa": 0.8, "floor": 0.002, "c": 0.05, "generation": i}
    given |= {"objective": objective, "fresh": fresh, "log_size": 3.0}
    lam = np.array([0.01, 0.5, 3.0, 400.0])
    parts = bounds.synthetic_trade_off(500, lam, **given)
    assert (parts.total == parts.shift + parts.stability + parts.fluctuation).all()
    np.testing.assert_allclose(parts.total, literal_objective(500, lam, **given), rtol=1e-13)
    best = bounds.optimal_size(500, **given)
    assert bounds.synthetic_trade_off(500, best.lam, **given).total == best.value
    alone = bounds.synthetic_trade_off(500, 0.0, **given)
    assert (alone.shift, alone.vacuous) == (0, False)
    assert [constant.name for constant in alone.constants] == ["M", "b", "kappa", "c", "a", "floor"]


def test_limits_of_the_trade_off() -> None:
    """No synthetic rows, and infinitely many: sums of a floor, influence of the first rows."""
    given = BASE | {"kappa": 0.5, "floor": 0.01, "c": 0.0, "b": 1.0}
    for fresh in (False, True):
        for i in (1, 2, 7):
            end = bounds.synthetic_trade_off(100, INF, **given, generation=i, fresh=fresh)
            assert end.shift == pytest.approx(0.01 * i, rel=1e-15)
            assert end.stability == 0
            spread = 3 * math.sqrt(math.log(20) / 200) * 0.5**i
            assert end.fluctuation == pytest.approx(spread, rel=1e-14)
            discrepancy = bounds.discrepancy_at_rate(100, 0.0, i, c=0.0, a=0.5, floor=0.01)
            assert discrepancy == pytest.approx(0.01 * i, rel=1e-15)
        assert bounds.synthetic_trade_off(100, INF, **given, fresh=fresh).shift == INF
        far = bounds.synthetic_trade_off(100, 1e200, **given, fresh=fresh)
        assert far.shift == pytest.approx(0.01 * 1e200, rel=1e-15)
    assert bounds.discrepancy_at_rate(100, 0.0, INF, c=0.0, a=0.5, floor=0.01) == INF
    assert bounds.discrepancy_at_rate(100, [0.0, 1.0], 3, c=1.0, a=0.5, floor=0.0)[1] == 0
    assert bounds.discrepancy_at_rate(100, 0.0, 0, c=1.0, a=0.5, floor=2.0) == 0
    half = bounds.synthetic_trade_off(100, INF, **given | {"kappa": 1.0, "floor": 0.0}, fresh=True)
    assert half.fluctuation == pytest.approx(3 * math.sqrt(math.log(20) / 400), rel=1e-14)


@steady
@given(
    c=st.just(0.0) | st.floats(1e-4, 1),
    floor=st.floats(1e-5, 0.2),
    a=st.sampled_from([0.1, 0.3, 0.5]),
    b=st.sampled_from([0.0, 0.2, 2.0]),
    n=st.floats(5, 1e5),
    kappa=st.floats(0, 1.5),
    objective=st.sampled_from(["gap", "risk"]),
)
def test_threshold_with_a_floor(*, c, floor, a, b, n, kappa, objective) -> None:
    """A + F < G/2 + H decides whether any synthetic data help: kappa = 0, or new real rows."""
    given = BASE | {"c": c, "floor": floor, "a": a, "b": b, "objective": objective}
    factor = 2 if objective == "risk" else 1
    cost = factor * (c * n**-a + floor)
    spread = (1 + 2 * b) * math.sqrt(math.log(20) / (2 * n)) * (objective == "gap")
    gain = spread / 2 + b / n
    if abs(cost / gain - 1 if gain else 1) < 1e-6:
        return
    for case in ({"kappa": 0.0}, {"kappa": kappa, "fresh": True}):
        best = bounds.optimal_size(n, **given | case)
        assert (best.lam > 0) == (cost < gain)
        assert best.lam <= (spread + b / n) / (factor * floor)
    if cost >= gain:
        assert bounds.optimal_size(n, **given | {"kappa": kappa}).lam == 0


def test_new_real_rows_never_have_a_larger_bound() -> None:
    lam = np.geomspace(1e-3, 1e4, 200)
    for kappa in (0.0, 0.3, 1.0, 1.2):
        for i in (1, 4, INF):
            given = BASE | {"kappa": kappa, "b": 1.0, "floor": 0.01}
            kept, new = (
                bounds.synthetic_trade_off(200, lam, **given, generation=i, fresh=fresh).total
                for fresh in (False, True)
            )
            assert (new <= kept * (1 + 1e-14)).all()
            assert kappa > 0 or np.allclose(new, kept, rtol=1e-13)


def test_no_direction_is_claimed_without_proof() -> None:
    for case in ({"kappa": 0.6}, {"generation": 5.0}, {"a": 1.0}):
        assert bounds.proved_directions(**{"b": 0.0, "kappa": 0.1, "a": 0.5} | case) == {}


def test_extremes_are_never_nan() -> None:
    for kappa in (0.0, 1 + 1e-12, 1e300):
        for c in (0.0, 1e-10, 1e5):
            for i in (1, 1e15, INF):
                for case in ({}, {"fresh": True}, {"floor": 1e5}, {"floor": 1e-9, "fresh": True}):
                    best = bounds.optimal_size(
                        1, **BASE | {"kappa": kappa, "c": c, "b": 2.0} | case, generation=i
                    )
                    assert not np.isnan([best.lam, best.value, best.lower_bound]).any()
