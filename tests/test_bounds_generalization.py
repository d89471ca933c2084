import math

import numpy as np
import pytest
from bounds_exact import (
    INF,
    gap,
    generations,
    mp,
    no_nan,
    relative_error,
    shares,
    stabilities,
    steady,
)
from hypothesis import given
from hypothesis import strategies as st

from icl_stl import bounds

BASE = {"M": 1.0, "b": 1.0, "kappa": 0.9, "c": 0.5, "a": 0.5, "delta": 0.05}
LOOP = {"M": 2.0, "b": 0.7, "kappa": 0.8, "delta": 0.1, "discrepancy": 0.3}


@steady
@given(
    alpha=shares.filter(lambda x: x > 0),
    kappa=stabilities,
    i=generations,
    a=st.floats(0.1, 2),
    # Smaller ones underflow when divided by n.
    b=st.just(0.0) | st.floats(1e-300, 5),
)
def test_gap_equals_literal_iteration(
    alpha: float, kappa: float, i: int, a: float, b: float
) -> None:
    constants = BASE | {"kappa": kappa, "a": a, "b": b, "M": 1.5}
    result = bounds.generalization_gap_at_rate(200, alpha, i, **constants)
    exact = gap(200, alpha, i, **constants)
    for part, literal in zip(result[:3], exact, strict=True):
        assert relative_error(part, literal) < 1e-12
    assert result.total == pytest.approx(sum(result[:3]), rel=1e-15)


@pytest.mark.parametrize("i", [0, 1, 2, 10, 200, 10**5, 10**9, INF])
@pytest.mark.parametrize(
    ("alpha", "kappa"),
    [(0.5, 0.9), (1.0, 3.0), (1e-9, 0.3), (0.3, 1.0), (0.2, 1.2), (0.5, 2.0), (0.5, 2 - 1e-9)],
)
def test_gap_to_fifty_digits(alpha: float, kappa: float, i: float) -> None:
    constants = BASE | {"kappa": kappa, "a": 0.3}
    result = bounds.generalization_gap_at_rate(200, alpha, i, **constants)
    tolerance = 1e-13 if i <= 200 or i == INF else 1e-10
    for part, literal in zip(result[:3], gap(200, alpha, i, **constants), strict=True):
        assert relative_error(part, literal) < tolerance


def test_gap_in_the_limit_of_ever_more_synthetic_data() -> None:
    result = bounds.generalization_gap_at_rate(100, 0.0, [1, 7], **BASE)
    np.testing.assert_allclose(result.shift, 0.5 * 100**-0.5)
    np.testing.assert_array_equal(result.stability, 0)
    single = 3 * math.sqrt(math.log(20) / 200)
    np.testing.assert_allclose(result.fluctuation, [single * 0.9, single * 0.9**7], rtol=1e-13)
    near = bounds.generalization_gap_at_rate(100, 1e-14, [1, 7], **BASE)
    np.testing.assert_allclose(near.total, result.total, rtol=1e-5)
    limit = bounds.generalization_gap_at_rate(100, 0.0, INF, **BASE)
    assert limit.shift == INF
    assert limit.total == INF
    assert limit.vacuous
    assert bounds.generalization_gap_at_rate(100, 0.0, INF, **BASE | {"a": 1.0}).shift == 0.005
    assert bounds.generalization_gap_at_rate(100, 0.0, INF, **BASE | {"c": 0.0}).shift == 0


def test_totals_are_never_capped() -> None:
    result = bounds.generalization_gap_at_rate(2, 0.5, 3, **BASE)
    assert result.total > 1
    assert result.vacuous
    assert not bounds.generalization_gap_at_rate(10**6, 0.5, 3, **BASE).vacuous


def test_gap_with_a_given_discrepancy() -> None:
    n, alpha, i = 40, 0.3, 4
    at_rate = bounds.generalization_gap_at_rate(n, alpha, i, **BASE)
    mixed = bounds.discrepancy_at_rate(n, alpha, i, c=0.5, a=0.5)
    constants = {name: BASE[name] for name in ("M", "b", "kappa", "delta")}
    given = bounds.generalization_gap(n, alpha, i, discrepancy=mixed / (1 - alpha), **constants)
    np.testing.assert_allclose(given[:4], at_rate[:4], rtol=1e-13)
    assert given.shift == pytest.approx(mixed, rel=1e-15)


def test_pathwise_gap_pays_one_more_range() -> None:
    mean = bounds.generalization_gap(40, 0.3, [0, 4], **LOOP)
    path = bounds.generalization_gap(40, 0.3, [0, 4], pathwise=True, **LOOP)
    np.testing.assert_allclose(path.fluctuation / mean.fluctuation, [1, (4 + 1.4) / (2 + 1.4)])
    np.testing.assert_array_equal(path.shift, mean.shift)
    np.testing.assert_array_equal(path.shift, [0, 0.7 * 0.3])


def test_gap_with_measured_recursive_stability() -> None:
    gamma = bounds.recursive_stability(40, 0.3, 0.8, 3).gamma
    known = bounds.generalization_gap(40, 0.3, 4, gamma=gamma, **LOOP)
    np.testing.assert_allclose(known[:4], bounds.generalization_gap(40, 0.3, 4, **LOOP)[:4])
    smaller = bounds.generalization_gap(40, 0.3, 4, gamma=0.0, **LOOP)
    assert smaller.stability == pytest.approx(0.7 * (0.3 * 0.3 + 0.7 * 0.3) / 40, rel=1e-14)
    first = bounds.generalization_gap(40, 0.3, 0, gamma=0.5, **LOOP)
    assert first.total == bounds.generalization_gap(40, 0.3, 0, **LOOP).total


def test_mean_gap_and_excess_risk() -> None:
    constants = {name: LOOP[name] for name in ("M", "b", "kappa", "discrepancy")}
    full = bounds.generalization_gap(40, 0.3, [0, 4], **LOOP)
    mean = bounds.expected_gap(40, 0.3, [0, 4], **constants)
    risk = bounds.excess_risk(40, 0.3, [0, 4], **constants)
    np.testing.assert_array_equal(mean.total, full.shift + full.stability)
    np.testing.assert_array_equal(risk.total, 2 * full.shift + full.stability)
    np.testing.assert_array_equal(risk.fluctuation, 0)
    at_rate = {name: BASE[name] for name in ("M", "b", "kappa", "c", "a")}
    gap_at_rate = bounds.generalization_gap_at_rate(40, 0.3, [0, 4], **BASE)
    risk_at_rate = bounds.excess_risk_at_rate(40, 0.3, [0, 4], **at_rate)
    np.testing.assert_array_equal(risk_at_rate.total, 2 * gap_at_rate.shift + gap_at_rate.stability)


def test_weighted_gap() -> None:
    pooled = bounds.generalization_gap(30, 0.3, [0, 1, 6], **LOOP)
    weighted = bounds.weighted_gap(30, 70, 0.3, [0, 1, 6], **LOOP)
    for part, other in zip(pooled[:4], weighted[:4], strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-13)
    fresh = bounds.weighted_gap(30, 70, 0.4, [0, 6], fresh=True, **LOOP)
    np.testing.assert_allclose(
        fresh.stability, [0.7 / 30, 0.7 * (0.16 / 30 + 0.36 / 70)], rtol=1e-14
    )
    variance = bounds.fresh_data_stability(30, 70, 0.4, 0.8, [0, 6]).variance_proxy
    np.testing.assert_allclose(
        fresh.fluctuation, 3.4 * np.sqrt(math.log(10) / 2 * variance), rtol=1e-14
    )


def test_uniform_convergence_gap() -> None:
    result = bounds.uniform_convergence_gap(
        50, 0.25, M=2.0, delta=0.1, log_size=3.0, discrepancy=0.4, cover_radius=0.01
    )
    assert result.shift == 0.75 * 0.4
    assert result.cover == 0.02
    assert result.fluctuation == pytest.approx(2 * math.sqrt((3 + math.log(10)) / 400))
    assert result.total == pytest.approx(sum(result[:3]))
    assert bounds.log_cover_ball(3, 2.0, 0.5, 0.1) == pytest.approx(3 * math.log(21))


@pytest.mark.parametrize(
    ("n", "levels"),
    [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11), (2**52 + 1, 53)],
)
def test_stable_algorithms(n: int, levels: int) -> None:
    old = bounds.bousquet_elisseeff(n, 0.01, 2.0, 0.1)
    assert old.total == pytest.approx(
        0.01 + (0.02 * n + 2) * math.sqrt(math.log(10) / (2 * n)), rel=1e-14
    )
    new = bounds.bousquet_klochkov_zhivotovskiy(n, 0.01, 2.0, 0.1)
    logs = math.log(20)
    assert new.stability == pytest.approx(
        0.02 + math.sqrt(2) * math.e * logs * 0.01 * levels, rel=1e-14
    )
    assert new.fluctuation == pytest.approx(2 * math.sqrt(logs / (2 * n)), rel=1e-14)
    few = bounds.bousquet_klochkov_zhivotovskiy(n, 0.01, 2.0, 0.9)
    assert few.stability == pytest.approx(
        0.02 + math.sqrt(2) * math.e * 2 * 0.01 * levels, rel=1e-14
    )


def test_coupled_gap_takes_the_smaller_bound_in_each_place() -> None:
    constants = {"M": 1.0, "b": 2.0, "beta_real": 0.01, "delta": 0.1, "discrepancy": 0.2}
    for n, m in ((100, 300), (10**5, 10**5)):
        result = bounds.coupled_gap(n, m, **constants)
        parts = []
        for size, beta in ((n, 0.01), (m, 2.0 / (n + m))):
            rivals = (bounds.bousquet_elisseeff, bounds.bousquet_klochkov_zhivotovskiy)
            parts.append(min(rival(size, beta, 1.0, 0.05).total for rival in rivals))
        np.testing.assert_allclose(
            result[:3], [m / (n + m) * 0.2, n / (n + m) * parts[0], m / (n + m) * parts[1]]
        )
        assert result.total == pytest.approx(sum(result[:3]))


def test_failure_probabilities_of_all_generations_add_up() -> None:
    i = np.arange(1, 200_001)
    spent = math.fsum(bounds.delta_for_every_generation(0.05, i))
    assert 0.05 * (1 - 1e-5) < spent < 0.05
    with pytest.raises(ValueError, match="generation = 0"):
        bounds.delta_for_every_generation(0.05, 0)


@steady
@given(alpha=shares, kappa=stabilities, i=st.integers(1, 300), a=st.floats(0.05, 1))
def test_uniform_gap_bounds_every_generation(alpha: float, kappa: float, i: int, a: float) -> None:
    constants = BASE | {"kappa": kappa, "a": a}
    worst = bounds.uniform_gap(60, alpha, **constants)
    each = bounds.generalization_gap_at_rate(60, alpha, i, **constants)
    for part, bound in zip(each[:4], worst[:4], strict=True):
        assert part <= bound * (1 + 1e-12)


def test_uniform_gap_is_its_formula() -> None:
    n, alpha, kappa = 500, 0.4, 1.2
    result = bounds.uniform_gap(n, alpha, **BASE | {"kappa": kappa, "a": 0.25})
    ratio = (1 - alpha) * kappa
    worst = max(1, alpha / (1 - ratio))
    assert worst > 1
    assert result.shift == pytest.approx(0.6 * 0.4**-0.75 * 0.5 * n**-0.25, rel=1e-13)
    assert result.stability == pytest.approx((alpha * worst + alpha * 0.6) / n, rel=1e-13)
    spread = worst**2 + alpha * (1 - alpha) / (1 - ratio**2)
    assert result.fluctuation == pytest.approx(
        3 * math.sqrt(math.log(20) / (2 * n) * spread), rel=1e-13
    )
    assert bounds.uniform_gap(n, 0.4, **BASE | {"kappa": 2.0}).total == INF


def test_exponents_are_the_slopes_of_the_bound() -> None:
    n = np.array([1e40, 1e42])
    for a in (0.25, 0.5, 0.8):
        constants = BASE | {"a": a, "kappa": 0.7}
        for alpha, rates in (
            (np.full(2, 0.3), bounds.convergence_exponents(a, 0.7, alpha=0.3)),
            (n**-0.4, bounds.convergence_exponents(a, 0.7, p=0.4)),
        ):
            bound = bounds.uniform_gap(n, alpha, **constants)
            for part, rate in zip(bound[:3], rates[:3], strict=True):
                slope = -math.log(part[1] / part[0]) / math.log(100)
                assert slope == pytest.approx(rate, abs=1e-6)
            assert rates.total == min(rates[:3])


def test_exponents_where_no_uniform_bound_exists() -> None:
    assert bounds.convergence_exponents(0.5, 2.0, alpha=0.5).total == -INF
    assert bounds.convergence_exponents(0.5, 1.1, p=0.3).total == -INF
    assert bounds.convergence_exponents(0.5, 1.0, p=0.3).total == pytest.approx(0.35)
    assert bounds.convergence_exponents(0.5, 0.9, p=1.1).total == pytest.approx(-0.05)
    assert bounds.convergence_exponents(0.5, 1.9, alpha=0.5).total == 0.5
    for both in ({}, {"alpha": 0.5, "p": 0.5}):
        with pytest.raises(ValueError, match="exactly one"):
            bounds.convergence_exponents(0.5, 1.0, **both)


def test_time_scales() -> None:
    scales = bounds.time_scales([0.0, 1e-6, 0.5, 1.0], 0.5)
    np.testing.assert_allclose(scales.drift, [INF, 1e6 - 0.5, 1 / math.log(2), 0], rtol=1e-6)
    np.testing.assert_allclose(
        scales.influence, [1 / math.log(2), 1 / math.log(2), 1 / math.log(4), 0], rtol=1e-5
    )
    assert bounds.time_scales(0.5, 2.0).influence == INF
    assert bounds.necessary_share(0.05, 0.2) == 0.25


def test_extremes_are_never_nan() -> None:
    n = np.array([1, 1e300])
    alpha = np.array([0, 1e-300, 1.0])[:, None]
    i = np.array([0, 1, 2, 1e6, INF])[:, None, None]
    kappa = np.array([0, 1, 1e300])[(...,) + (None,) * 3]
    c = np.array([0, 1e-300, 1e300])[(...,) + (None,) * 4]
    for M in (1e-300, 1e300):
        for b in (0.0, 1e300):
            constants = {"M": M, "b": b, "kappa": kappa, "delta": 1e-300}
            results = [
                bounds.generalization_gap_at_rate(n, alpha, i, c=c, a=1e-3, **constants),
                bounds.generalization_gap(n, alpha, i, discrepancy=INF, **constants),
                bounds.uniform_gap(n, alpha, c=c, a=1e-3, **constants),
            ]
            for result in results:
                assert no_nan(*result[:4])
                np.testing.assert_array_equal(sum(result[:3]), result.total)


def test_exact_reference_agrees_with_itself() -> None:
    """The 50-digit reference switches from adding up to a closed form; both must agree."""
    assert abs(mp(gap(9, 0.3, 300, **BASE)[0]) - mp(gap(9, 0.3, 301, **BASE)[0])) < 1e-12


# --- localised bounds ----------------------------------------------------------------------------


def beta(v, r, size, log):
    """Bernstein's deviation, from the exponent that is the best: of 10^5 that are tried."""
    x = np.linspace(0, 3 / r, 100_002)[1:-1] if r else np.geomspace(1e-4, 1e4, 100_001)
    return float(((v * x**2 / 2 / (1 - x * r / 3) + log / size) / x).min())


def test_localised_gap() -> None:
    n, alpha, delta = 30, 0.25, 0.1
    parts = {"v_a": 0.3, "r_a": 0.5, "v_b": 0.2, "r_b": 0.7, "distance": 0.4}
    size, log = n / alpha, math.log(1 / delta)
    result = bounds.localised_gap(n, alpha, **parts, shift=-0.02, delta=delta, M=0.8)
    assert result.shift == pytest.approx(0.75 * -0.02, rel=1e-14)
    assert result.centre == pytest.approx(beta(0.3, 0.5, size, log + math.log(2)), rel=1e-6)
    unit = beta(0.2, 0.7, size, log + math.log(4))
    assert result.moved == pytest.approx(0.4 * unit, rel=1e-6)
    assert result.total == pytest.approx(sum(result[:3]), rel=1e-15)
    assert not result.vacuous
    assert bounds.localised_gap(n, alpha, **parts, shift=0.9, delta=delta, M=0.8).vacuous
    assert [c.name for c in result.constants] == ["M", *parts, "shift"]
    all_kept = bounds.localised_gap(n, 1.0, **parts, shift=9.0, delta=delta, M=1)
    assert all_kept.shift == 0
    many = bounds.localised_gap([30, 60], alpha, **parts, shift=[0.0, 0.1], delta=delta, M=1)
    assert many.total.shape == (2,)
    assert many.centre[0] == result.centre > many.centre[1]
    assert bounds.mixed_variance(0.25, 0.4, 0.8) == pytest.approx(0.7, rel=1e-15)


@pytest.mark.parametrize("kappa", [0.5, 1.0, 1.5])
@pytest.mark.parametrize(("n", "m", "i"), [(4, 4, 0), (5, 5, 1), (6, 2, 3), (4, 12, 6)])
def test_bits_gap(kappa: float, n: int, m: int, i: int) -> None:
    """The squared influences row by row: weights of all rows in the last share of ones."""
    rho = m / (n + m)
    real, drawn = 1 / n, []
    for _ in range(i):
        drawn = [rho * kappa * weight for weight in drawn] + [1 / (n + m)] * m
        real = rho * kappa * real + 1 / (n + m)
    squares = n * real**2 + sum(weight**2 for weight in drawn)
    result = bounds.bits_gap(n, n / (n + m), i, kappa=kappa, delta=0.02)
    assert result.total == pytest.approx(kappa * squares * math.log(100), rel=1e-13)
    assert result.mean == pytest.approx(kappa * squares / 2, rel=1e-13)
    largest = 1.0 if kappa > 1 else ((1 + kappa) / 2) ** 2
    assert result.vacuous == (result.total > largest)
    assert {c.provenance for c in result.constants} == {"certified"}


def test_uniform_convergence_by_a_variance() -> None:
    given = {"M": 2.0, "delta": 0.1, "log_size": 3.0, "discrepancy": 0.1, "cover_radius": 0.05}
    result = bounds.uniform_convergence_gap(20, 0.4, **given, variance=0.3)
    assert result.fluctuation == pytest.approx(beta(0.3, 2.0, 50, 3 + math.log(10)), rel=1e-6)
    assert result[:2] == bounds.uniform_convergence_gap(20, 0.4, **given)[:2]
    assert ("variance", 0.3) in {c[:2] for c in result.constants}
    with pytest.raises(ValueError, match="variance = -1"):
        bounds.uniform_convergence_gap(20, 0.4, **given, variance=-1.0)


RISK = {"empirical": 0.2, "variance": 0.03, "shift": 0.04, "M": 1.5, "delta": 0.01}


def test_risks_by_held_out_rows_and_rounded_weights() -> None:
    held = bounds.held_out_risk(80, 0.25, **RISK, log_size=math.log(7))
    assert held.empirical == 0.2
    assert held.shift == pytest.approx(0.75 * 0.04, rel=1e-14)
    assert held.sharpness == 0
    assert held.fluctuation == pytest.approx(beta(0.03, 1.5, 80, math.log(700)), rel=1e-6)
    assert held.total == pytest.approx(sum(held[:4]), rel=1e-15)
    assert not held.vacuous
    assert bounds.held_out_risk(2, 1.0, **RISK).vacuous
    rounded = bounds.quantised_risk(80, 0.25, **RISK, dimension=10, bits=3)
    log = 30 * math.log(2) + math.log(100)
    assert rounded.fluctuation == pytest.approx(beta(0.03, 1.5, 80, log), rel=1e-6)
    assert rounded[:3] == held[:3]
    assert {"bits", "log_size", "M"} <= {c.name for c in rounded.constants}


def best_pac_bayes(rows, M, variance, delta, distance, curvature):
    """Rise and fluctuation of the best of 24 deviations and 24 exponents."""
    found = []
    for j in range(24):
        for k in range(24):
            sigma, lam = 2.0**-j, 1.5 / M * 2.0**-k
            kl = distance**2 / (2 * sigma**2)
            cost = (kl + math.log(24**2 / delta)) / (lam * rows)
            rise = curvature * sigma**2
            found.append((rise, lam * variance / (2 - 2 * lam * M / 3) + cost))
    return min(found, key=sum)


@pytest.mark.parametrize("distance", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("rows", [50, 5000, 10**6])
def test_pac_bayes_risk(distance: float, rows: int) -> None:
    result = bounds.pac_bayes_risk(rows, 0.25, **RISK, distance=distance, curvature=2.0)
    best = best_pac_bayes(rows, 1.5, 0.03, 0.01, distance, 2.0)
    np.testing.assert_allclose(result[:4], (0.2, 0.03, *best), rtol=1e-12)
    assert result.total == pytest.approx(sum(result[:4]), rel=1e-14)
    assert result.vacuous == (result.total > 1.5)
    many = bounds.pac_bayes_risk([50, rows], 0.25, **RISK, distance=distance, curvature=2.0)
    assert many.fluctuation[1] == result.fluctuation


def test_network_risks_are_their_parts() -> None:
    losses = {"training_loss": 0.1, "synthetic_loss": 0.12, "held_out_loss": 0.15}
    shared = {"variance": 0.03, "shift": 0.04, "M": 1.0, "delta": 0.05}
    moved = {"distance": 0.2, "curvature": 3.0}
    network = {"dimension": 9, "bits": 4, "held_out": 33}
    given = losses | shared | moved | network
    kept = bounds.network_risks(100, 300, **given)
    fresh = bounds.network_risks(100, 300, **given, fresh=True)
    rounded = bounds.quantised_risk(400, 0.25, empirical=0.1, dimension=9, bits=4, **shared)
    held = bounds.held_out_risk(33, 0.25, empirical=0.15, **shared)
    assert kept[:2] == fresh[:2] == (rounded, held)
    by_drawn = bounds.pac_bayes_risk(300, 0, empirical=0.12, **moved, **shared)
    assert kept.pac_bayes == by_drawn
    assert fresh.pac_bayes == bounds.pac_bayes_risk(400, 0.25, empirical=0.1, **moved, **shared)
    assert {c.provenance for risk in kept for c in risk.constants} == {"measured"}
