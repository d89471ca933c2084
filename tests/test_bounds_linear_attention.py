import math

import numpy as np
import pytest

from icl_stl import bounds

PROMPT = {"dim": 4, "context": 20, "sigma": 0.5}
SEEN = {"delta": 0.05, "to_optimum": 0.2, "to_previous": 0.1}


def bernstein(variance: float, reach: float, size: int, log: float) -> float:
    return math.sqrt(2 * variance * log / size) + reach * log / (3 * size)


def deviations(n: int, m: int, d: int, k: int, sigma: float, delta: float, events: int, s=None):
    """The six deviations and t_u, written out."""
    law = bounds.sphere_moments(d, k, sigma)
    label = math.sqrt(d) + math.sqrt(3) * sigma
    log, risk, scale = math.log(events / delta), float(law.risk), float(law.scale)
    s2 = risk if s is None else s**2
    spread = float(law.fourth) - scale**2
    vector, matrix = log + math.log(2), log + 2 * math.log(d)
    reach = label * (1 + float(law.optimum) * d) * d * label
    real = (
        min(risk, bernstein(float(law.residual_fourth) - risk**2, risk, n, log)),
        bernstein(float(law.leverage), reach, n, vector),
        min(scale, bernstein(spread, scale, n, matrix)),
    )
    drawn = (
        min(s2, bernstein(0.8 * s2**2, s2, m, log)),
        bernstein(s2 * d * float(law.square), math.sqrt(3 * s2) * d * label, m, vector),
        min(scale, bernstein(spread, scale, m, matrix)),
    )
    above = bernstein(spread, (d * label) ** 2, m, matrix)
    return law, real, drawn, above


@pytest.mark.parametrize(("n", "m"), [(100, 400), (1000, 300), (10**6, 10**5)])
@pytest.mark.parametrize("s", [None, 0.4])
def test_gap_is_its_formula(n, m, s) -> None:
    for d, k, sigma in [(4, 20, 0.5), (2, 5, 0.0), (1, 1, 1.3)]:
        law, real, drawn, _ = deviations(n, m, d, k, sigma, 0.1, 6, s)
        alpha, D, E = n / (n + m), 0.3, 0.12
        result = bounds.linear_attention_gap(
            n, m, dim=d, context=k, sigma=sigma, delta=0.1, to_optimum=D, to_previous=E,
            generator_noise=s,
        )  # fmt: skip
        s2 = law.risk if s is None else s**2
        shift = (1 - alpha) * (law.risk - s2 + law.scale * (D**2 - E**2))
        of_real = alpha * (real[0] + 2 * D * real[1] + D**2 * real[2])
        of_drawn = (1 - alpha) * (drawn[0] + 2 * E * drawn[1] + E**2 * drawn[2])
        assert result.shift == pytest.approx(shift, rel=1e-12, abs=1e-15)
        assert result.real == pytest.approx(of_real, rel=1e-12)
        assert result.synthetic == pytest.approx(of_drawn, rel=1e-12)
        assert result.total == pytest.approx(shift + of_real + of_drawn, rel=1e-12)
        assert result.vacuous == (result.total > 1 + sigma**2)


@pytest.mark.parametrize(("n", "m", "ridge"), [(1000, 500, 0.1), (10**5, 10**5, 1e-3)])
def test_prior_gap_is_its_recursion(n, m, ridge) -> None:
    alpha = n / (n + m)
    for i in (0, 1, 2, 7):
        events = 3 if i == 0 else 2 * i + 5
        law, real, drawn, above = deviations(n, m, 4, 20, 0.5, 0.05, events)
        scale, pull = float(law.scale), ridge * float(law.optimum) * 2
        floor = ridge + alpha * (scale - real[2])
        first = (real[1] + pull) / (ridge + scale - real[2])
        fixed = (alpha * real[1] + pull) / floor
        drag = (1 - alpha) * (scale + above) / floor
        path = [(1 - alpha) * (ridge * first + pull) / math.sqrt(floor)]
        for _ in range(i):
            noise = (1 - alpha) * drawn[1] / math.sqrt(floor)
            path.append(drag / (1 + drag) * path[-1] + noise)
        D = first if i == 0 else fixed + path[i] / math.sqrt(floor)
        E = 0.0 if i == 0 else (path[i] + path[i - 1]) / math.sqrt(floor)
        if scale > drawn[2]:
            E = min(E, drawn[1] / (scale - drawn[2]))
        result = bounds.linear_attention_gap_prior(n, m, i, delta=0.05, ridge=ridge, **PROMPT)
        record = {c.name: c for c in result.constants}
        assert record["to_optimum"].value == pytest.approx(D, rel=1e-11)
        assert record["to_previous"].value == pytest.approx(E, rel=1e-11)
        assert record["to_optimum"].provenance == "certified"
        a = alpha if i else 1.0
        total = (1 - a) * scale * (D**2 - E**2) + a * (real[0] + 2 * D * real[1] + D**2 * real[2])
        total += (1 - a) * (drawn[0] + 2 * E * drawn[1] + E**2 * drawn[2])
        assert result.total == pytest.approx(total, rel=1e-11)


def test_generation_zero_has_no_synthetic_part() -> None:
    real = bounds.linear_attention_gap(500, 0, **SEEN, **PROMPT)
    assert real.shift == real.synthetic == 0
    assert real.total == real.real
    first = bounds.linear_attention_gap_prior(500, 900, 0, delta=0.05, ridge=0.1, **PROMPT)
    assert first.shift == first.synthetic == 0
    assert np.isfinite(first.total)


def test_deviations_never_exceed_what_is_certain() -> None:
    """With few prompts the mean residual and its curvature are bounded by their expectations."""
    law = bounds.sphere_moments(4, 20, 0.5)
    few = bounds.linear_attention_gap(1, 0, **SEEN | {"to_optimum": 0.0}, **PROMPT)
    assert few.real == pytest.approx(law.risk, rel=1e-12)
    drawn = bounds.linear_attention_gap(1, 1, **SEEN | {"to_previous": 0.0}, **PROMPT).synthetic
    assert drawn == pytest.approx(law.risk / 2, rel=1e-12)


def test_numbers_and_arrays_broadcast() -> None:
    n, dim = np.array([100, 1000, 10000]), np.array([[2], [5]])
    result = bounds.linear_attention_gap(n, 2 * n, dim=dim, context=20, sigma=0.5, **SEEN)
    for row, column in np.ndindex(2, 3):
        size = int(n[column])
        one = bounds.linear_attention_gap(
            size, 2 * size, dim=int(dim[row, 0]), context=20, sigma=0.5, **SEEN
        )
        for part, whole in zip(one[:5], result[:5], strict=True):
            assert part == whole[row, column]
    path = bounds.linear_attention_gap_prior(
        1000, 1000, np.arange(6), delta=0.05, ridge=0.1, **PROMPT
    )
    assert path.total.shape == path.shift.shape == (6,)
    assert np.all(np.isfinite(path.total))


def test_constants_say_where_they_come_from() -> None:
    record = bounds.linear_attention_gap(100, 100, **SEEN, **PROMPT).constants
    known = {c.name: c.provenance for c in record}
    assert known["to_optimum"] == known["to_previous"] == "measured"
    assert known["scale"] == known["residual_fourth"] == known["generator_noise"] == "certified"
