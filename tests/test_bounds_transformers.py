import math

import numpy as np
import pytest
from bounds_exact import INF, generations, shares, stabilities, steady
from hypothesis import given
from hypothesis import strategies as st

from icl_stl import bounds
from icl_stl.bounds import LinearLayer, RMSNorm, SoftmaxLayer

norms = st.floats(0.01, 2)


def layer_terms(layer: SoftmaxLayer, radius: float, m: int) -> tuple[float, float, float, float]:
    """r, b, mu and the next radius, written out for layers without a norm."""
    mu = 1 + layer.activation_slope * layer.mlp_in * layer.mlp_out
    alignments = [w * radius**2 for w in layer.logits]
    caps = [m * math.exp(2 * g) / (m - 1 + math.exp(2 * g)) for g in alignments]
    beta = sum(u * g for u, g in zip(layer.values, alignments, strict=True))
    chi = sum(c * u * (1 + 2 * g) for c, u, g in zip(caps, layer.values, alignments, strict=True))
    after = mu * (1 + sum(layer.values)) * radius + layer.mlp_at_zero
    return mu * (1 + beta), mu * chi, mu, after


@steady
@given(logit=norms, value=norms, mlp=norms, m=st.integers(1, 500), depth=st.integers(1, 3))
def test_path_certificate_is_the_difference_of_products(
    logit: float, value: float, mlp: float, m: int, depth: int
) -> None:
    layer = SoftmaxLayer((logit / 9, logit / 20), (value / 5, value / 7), mlp, mlp / 3, 0.1, 1.129)
    radius, growth, own = 1.0, 1.0, 1.0
    radii = [radius]
    for _ in range(depth):
        r, b, _, radius = layer_terms(layer, radius, m)
        growth, own = growth * (r + b), own * r
        radii.append(radius)
    result = bounds.replace_one_path(
        [layer] * depth, examples=m, radius=1.0, readout=0.5, label_embedding=0.2
    )
    assert result.constant == pytest.approx(0.5 * (growth - own) * 2, rel=1e-10)
    assert result.change == pytest.approx(result.constant / m, rel=1e-14)
    assert result.label_sensitivity == pytest.approx(0.1 * (growth - own), rel=1e-10)
    assert result.radii == pytest.approx(radii, rel=1e-13)


@pytest.mark.parametrize(("logit", "change"), [(0.3, 0.7), (0.3, 2.0), (6.0, 0.2)])
def test_refined_certificate_is_its_recursion(logit: float, change: float) -> None:
    layers = [
        SoftmaxLayer((logit, 0.2), (0.4, 0.1), 0.5, 0.6, 0.1, 1.129),
        SoftmaxLayer((0.05, 0.01), (0.3, 0.2), 0.2, 0.7, 0.0, 1.0),
        SoftmaxLayer((1e-4,), (0.3,)),
    ]
    m, q, moved, radius = 12000, 0.0, change, 1.0
    for layer in layers:
        r, b, mu, after = layer_terms(layer, radius, m)
        jump = 0.0
        for w, u in zip(layer.logits, layer.values, strict=True):
            g = w * radius**2
            cap = m * math.exp(2 * g) / (m - 1 + math.exp(2 * g))
            jump += mu * cap * min(2 * radius * u, u * (1 + 2 * g) * moved)
        pushed = (r / mu - 1) * moved + b / mu * q + jump / (mu * m)
        moved = min(2 * after, mu * (moved + min(2 * radius * sum(layer.values), pushed)))
        q = min(2 * after, (r + b * (m - 1) / m) * q + jump / m)
        radius = after
    result = bounds.replace_one(layers, examples=m, radius=1.0, readout=1.5, change=change)
    assert result.change == pytest.approx(1.5 * q, rel=1e-12)
    assert result.constant == pytest.approx(1.5 * q * m, rel=1e-12)


@steady
@given(logit=st.floats(0, 3), value=norms, m=st.integers(1, 2000), radius=norms)
def test_one_softmax_layer_has_its_tight_form(
    logit: float, value: float, m: int, radius: float
) -> None:
    result = bounds.replace_one(
        [SoftmaxLayer((logit,), (value,))], examples=m, radius=radius, readout=1.0
    )
    spread = math.exp(2 * logit * radius**2)
    cap = m * spread / (m - 1 + spread)
    assert result.constant == pytest.approx(2 * radius * value * cap, rel=1e-12)
    assert result.change <= 2 * radius * (1 + value)


@steady
@given(logit=norms, value=norms, m=st.integers(2, 200), depth=st.integers(1, 3))
def test_refined_is_no_worse_than_path(logit: float, value: float, m: int, depth: int) -> None:
    layers = [SoftmaxLayer((logit / 9,), (value / 5,), 0.3, 0.3)] * depth
    arguments = {"examples": m, "radius": 1.0, "readout": 1.0}
    refined, path = (f(layers, **arguments) for f in (bounds.replace_one, bounds.replace_one_path))
    assert refined.change <= path.change * (1 + 1e-12)


def test_sharper_facts_on_the_first_layer_are_used() -> None:
    plain = bounds.replace_one([SoftmaxLayer((0.5,), (0.4,))], examples=20, radius=1.0, readout=1)
    same = SoftmaxLayer((0.5,), (0.4,), oscillations=(1.0,), diameters=(0.8,))
    sharper = SoftmaxLayer((0.5,), (0.4,), oscillations=(0.3,), diameters=(0.5,))
    arguments = {"examples": 20, "radius": 1.0, "readout": 1}
    assert bounds.replace_one([same], **arguments).change == pytest.approx(plain.change)
    expected = 0.5 / (1 + 19 * math.exp(-0.3))
    assert bounds.replace_one([sharper], **arguments).change == pytest.approx(expected)


def test_attention_cap() -> None:
    assert bounds.attention_cap(5, 2.0) == pytest.approx(math.exp(2) / (4 + math.exp(2)))
    np.testing.assert_array_equal(bounds.attention_cap([1, 7, 7], [3.0, 0.0, INF]), [1, 1 / 7, 1])


def causal_matrix(tokens: int) -> np.ndarray:
    return np.tril(np.ones((tokens, tokens))) / np.arange(1, tokens + 1)[:, None]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_causal_certificate_is_the_matrix_product(depth: int) -> None:
    layer, tokens, radius = SoftmaxLayer((0.1,), (0.3,), 0.2, 0.2), 30, 1.0
    product = np.eye(tokens)
    for _ in range(depth):
        r, b, _, radius = layer_terms(layer, radius, tokens)
        product = product @ (r * np.eye(tokens) + b * causal_matrix(tokens))
    for j in (1, 2, 17, 29, 30):
        result = bounds.causal_replace_one(
            [layer] * depth, tokens=tokens, position=j, radius=1.0, readout=0.5, change=0.9
        )
        assert result.change == pytest.approx(0.5 * 0.9 * product[-1, j - 1], rel=1e-12)
        assert result.label_sensitivity == pytest.approx(0.5 * 30 * product[-1, j - 1], rel=1e-12)


def test_causal_spread_bounds_powers_of_the_average() -> None:
    average = causal_matrix(40)
    power = average.copy()
    for s in (1, 2, 3, 4):
        spread = bounds.causal_spread(40, np.arange(1, 41), s)
        assert (power[-1] <= spread * (1 + 1e-12)).all()
        if s <= 2:
            np.testing.assert_allclose(power[-1], spread, rtol=1e-12)
        power = power @ average


def test_norms_keep_deep_certificates_from_exploding_doubly() -> None:
    norm = RMSNorm(dim=4, gain=0.5, eps=1.0)
    assert norm.radius == 1.0
    assert norm.lipschitz == 0.5
    assert RMSNorm(4, 0.5, 0.0, least_norm=2.0).lipschitz == 0.5
    assert RMSNorm(4, 0.5, 0.0).lipschitz == INF
    layer = SoftmaxLayer((0.3,), (0.4,), 0.5, 0.6, 0.1, 1.129, norm)
    mu = 1 + 0.5 * 1.129 * 0.5 * 0.6
    cap = 10 * math.exp(0.6) / (9 + math.exp(0.6))
    r, b = mu * (1 + 0.5 * 0.4 * 0.3), mu * 0.5 * cap * 0.4 * 1.6
    result = bounds.replace_one_path([layer] * 3, examples=10, radius=2.0, readout=1.0)
    assert result.constant == pytest.approx(4 * ((r + b) ** 3 - r**3), rel=1e-12)
    step = 0.4 + 1.129 * 0.5 * 0.6 + 0.1
    assert result.radii == pytest.approx([2 + k * step for k in range(4)])
    refined = bounds.replace_one([layer], examples=10, radius=2.0, readout=1.0)
    assert refined.constant == pytest.approx(mu * cap * min(0.8, 0.5 * 0.4 * 1.6 * 4), rel=1e-12)


def test_linear_attention() -> None:
    change, kappa = bounds.linear_attention(10, 1.5, 2.0, 3.0)
    assert change == pytest.approx(2 * 1.5 * 4 * 3 / 10)
    assert kappa == pytest.approx(6)
    layer, square = LinearLayer(0.3, 0.5), 0.15 * 0.8**2
    result = bounds.replace_one([layer], examples=10, radius=0.8, readout=1.0)
    assert result.constant == pytest.approx(0.15 * 0.8**3)
    assert result.radii == (0.8, pytest.approx(0.8 + 0.15 * 0.8**3))
    path = bounds.replace_one_path([layer] * 2, examples=10, radius=0.8, readout=1.0)
    second = 0.15 * result.radii[1] ** 2
    growth = (1 + 3 * square) * (1 + 3 * second) - (1 + square) * (1 + second)
    assert path.constant == pytest.approx(1.6 * growth, rel=1e-12)
    small = bounds.replace_one([layer], examples=10, radius=0.8, readout=1.0, change=0.01)
    assert small.constant == pytest.approx(2 * square * 0.01)


def test_published_form_and_gaussian_head() -> None:
    assert bounds.published_generic(8, 0.5, 3) == pytest.approx(2 / 15 * (1.5 * math.exp(0.5)) ** 3)
    assert bounds.published_generic(8, 900.0, 3) == INF
    phi = math.exp(-0.5) / math.sqrt(2 * math.pi)
    assert bounds.gaussian_head(0.3, 0.2, 0.5) == pytest.approx(
        0.3 / (0.5 * math.sqrt(2 * math.pi)) + 2 * phi * 0.2
    )


def test_activation_slopes_are_upper_bounds() -> None:
    x = np.linspace(-6, 6, 200_001)
    normal = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    gelu = normal + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    tanh = np.tanh(inner)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    gelu_tanh = 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * slope
    sigmoid = 1 / (1 + np.exp(-x))
    silu = sigmoid * (1 + x * (1 - sigmoid))
    for name, values in (("gelu", gelu), ("gelu_tanh", gelu_tanh), ("silu", silu)):
        largest = np.abs(values).max()
        assert largest <= bounds.ACTIVATION_SLOPES[name] < largest + 2e-4
    assert bounds.ACTIVATION_SLOPES["relu"] == 1


@steady
@given(alpha=shares, kappa=stabilities, g=generations)
def test_context_loop_equals_literal_iteration(alpha: float, kappa: float, g: int) -> None:
    gamma, error = 0.4 / 8, 0.3
    for _ in range(g):
        gamma = 0.4 / 8 + (1 - alpha) * kappa * gamma
        error = 0.1 + (1 - alpha) * kappa * error
    kept = bounds.context_loop(8, alpha, g, c=0.4, kappa=kappa)
    assert math.isclose(kept.gamma, gamma, rel_tol=1e-12)
    assert math.isclose(bounds.context_error(0.3, 0.1, alpha, g, kappa=kappa), error, rel_tol=1e-12)
    relabelled = bounds.context_loop(8, alpha, g, c=0.4, kappa=kappa, kept=False)
    exact = ((1 - alpha) * kappa) ** g * 0.4 / 8
    assert math.isclose(relabelled.gamma, exact, rel_tol=1e-12, abs_tol=1e-300)


def test_context_loop_in_the_limit() -> None:
    loop = bounds.context_loop(10, [0.25, 0.5, 0.6], INF, c=2.0, kappa=2.0)
    np.testing.assert_allclose(loop.gamma, [INF, INF, 1.0])
    np.testing.assert_array_equal(loop.stable, [False, False, True])
    assert bounds.context_loop(10, 0.2, INF, c=2.0, kappa=1.0).gamma == pytest.approx(1.0)
    assert bounds.context_loop(10, 0.0, 4, c=2.0, kappa=1.0).gamma == pytest.approx(1.0)
    assert bounds.context_error(9.0, 0.1, 0.5, INF, kappa=1.0) == pytest.approx(0.2)


def test_weights_that_vanish_pass_nothing_on() -> None:
    dead = SoftmaxLayer((1e300,), (0.0,))
    assert bounds.replace_one([dead] * 2, examples=5, radius=1e200, readout=1.0).change == 0
    assert bounds.replace_one_path([dead] * 2, examples=5, radius=1e200, readout=1.0).change == 0
    wild = SoftmaxLayer((1e200,), (1e200,), 1e200, 1e200)
    assert bounds.replace_one_path([wild] * 3, examples=5, radius=1e9, readout=1.0).change == INF
    causal = {"tokens": 5, "position": 1, "radius": 1e9, "readout": 1.0}
    assert bounds.causal_replace_one([wild] * 3, **causal).change == INF
    assert bounds.causal_replace_one([dead] * 3, **causal).change == 0
