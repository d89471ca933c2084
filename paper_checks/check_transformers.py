"""Statements 27 to 36: in-context stability. Attention layers, extremal prompts, label loops."""

import itertools
import math

import numpy as np
import pytest

from icl_stl import bounds
from icl_stl.bounds import RMSNorm, SoftmaxLayer


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def attend(tokens, query, logit, value):
    """Values averaged with softmax weights."""
    return value @ (tokens.T @ softmax(tokens @ (logit.T @ query)))


@pytest.mark.parametrize("logit", [0.1, 0.5, 1.5, 3.0])
@pytest.mark.parametrize("m", [2, 7, 40])
def test_extremal_prompt_attains_the_one_layer_certificate(ledger, logit, m) -> None:
    """Query R e, keys -R e, one key from R e to -R e."""
    radius, one = 0.8, np.ones((1, 1))
    keys = np.full((m, 1), -radius)
    near = keys.copy()
    near[0] = radius
    outputs = [float(attend(k, np.array([radius]), logit * one, one)[0]) for k in (near, keys)]
    change = abs(outputs[0] - outputs[1])
    layer = SoftmaxLayer((logit,), (1.0,))
    bound = bounds.replace_one([layer], examples=m, radius=radius, readout=1.0).change
    assert change == pytest.approx(bound, rel=1e-12)
    share = softmax(logit * radius * near[:, 0])[0]
    assert share == pytest.approx(bounds.attention_cap(m, 2 * logit * radius**2), rel=1e-12)
    one_key_more = bounds.replace_one([layer], examples=m + 1, radius=radius, readout=1.0).change
    ledger.record(
        f"30 one softmax layer, |W| = {logit:g}, m = {m}",
        "attained",
        change / bound,
        change > one_key_more * (1 + 1e-9),
    )


def spectral(rng, p, size):
    matrix = rng.normal(size=(p, p))
    return size * matrix / np.linalg.norm(matrix, 2)


def ball(rng, shape, radius):
    points = rng.normal(size=shape)
    lengths = np.linalg.norm(points, axis=-1, keepdims=True)
    return points / lengths * radius * rng.uniform(size=(*shape[:-1], 1)) ** 0.2


def test_derivative_of_attention(ledger) -> None:
    """The differential of one attention output, against finite differences."""
    rng, worst = np.random.default_rng(3), 0.0
    for _ in range(20):
        tokens, query = ball(rng, (5, 3), 1.0), ball(rng, (3,), 1.0)
        logit, moves, turn = spectral(rng, 3, 0.8), ball(rng, (5, 3), 1.0), ball(rng, (3,), 1.0)
        s = softmax(tokens @ (logit.T @ query))
        mean = s @ tokens
        spread = (tokens - mean).T @ (s[:, None] * (tokens - mean))
        exact = s @ moves + spread @ logit.T @ turn
        exact += (s * (moves @ (logit.T @ query))) @ (tokens - mean)
        step, eye = 1e-6, np.eye(3)
        numeric = (
            attend(tokens + step * moves, query + step * turn, logit, eye)
            - attend(tokens - step * moves, query - step * turn, logit, eye)
        ) / (2 * step)
        worst = max(worst, np.abs(exact - numeric).max())
        assert np.linalg.norm(spread, 2) <= 1
    dropped = np.abs(exact - s @ moves - numeric).max()
    assert worst < 1e-8
    ledger.record("28 differential of attention", "attained", 1.0, bool(dropped > 1e-3))


def test_rms_norm_stretch_is_attained(ledger) -> None:
    rng, ratios = np.random.default_rng(5), []
    norm = RMSNorm(4, 1.3, 0.5, least_norm=0.7)

    def apply(h):
        return norm.gain * h / math.sqrt(h @ h / 4 + norm.eps)

    for _ in range(300):
        h, other = (ball(rng, (4,), 3.0) for _ in range(2))
        h, other = (x * max(1, 0.7 / np.linalg.norm(x)) for x in (h, other))
        distance = np.linalg.norm(apply(h) - apply(other))
        assert distance <= norm.lipschitz * np.linalg.norm(h - other) * (1 + 1e-12)
        assert np.linalg.norm(apply(h)) <= norm.radius
    base = 0.7 * np.eye(4)[0]
    near = 0.7 * np.array([math.cos(1e-5), math.sin(1e-5), 0, 0])
    ratios = np.linalg.norm(apply(base) - apply(near)) / np.linalg.norm(base - near)
    tight = ratios / norm.lipschitz
    assert tight == pytest.approx(1, rel=1e-6)
    ledger.record("36 stretch of RMSNorm", "attained", tight, ratios > 0.99 * norm.lipschitz)


def test_gaussian_head(ledger) -> None:
    x = np.linspace(-12, 12, 400_001)

    def density(mean, scale):
        return np.exp(-(((x - mean) / scale) ** 2) / 2) / (scale * math.sqrt(2 * math.pi))

    worst = 0.0
    for mean, log_scale in ((0.01, 0.0), (0.0, 0.01), (0.3, 0.2), (1.0, 0.5)):
        scale = math.exp(log_scale)
        exact = 0.5 * np.abs(density(0, 1) - density(mean, scale)).sum() * (x[1] - x[0])
        bound = bounds.gaussian_head(mean, log_scale, 1.0)
        assert exact <= bound * (1 + 1e-6)
        worst = max(worst, exact / bound)
    assert worst > 0.99
    ledger.record("33 Gaussian head", "attained", worst, worst > 0.51)


def linear_label_loop(weights, real, kept, rounds):
    """Labels of examples that are not kept become weights @ labels, round after round."""
    labels = real.copy()
    for _ in range(rounds):
        labels = np.where(kept, real, weights @ labels)
    return labels


def test_context_error(ledger) -> None:
    """Prediction gain times the mean label, truth constant: the error recursion is attained."""
    m, kept_examples, gain, truth = 8, 2, 0.9, 1.0
    kept = np.arange(m) < kept_examples
    weights = np.full((m, m), gain / m)
    real = np.where(kept, truth, truth - 0.5)
    ideal = abs(gain * truth - truth)
    start = abs(gain * real.mean() - truth)
    for g in (1, 3, 9):
        labels = linear_label_loop(weights, real, kept, g)
        exact = abs(gain * labels.mean() - truth)
        bound = bounds.context_error(start, ideal, kept_examples / m, g, kappa=gain)
        assert exact == pytest.approx(bound, rel=1e-12)
    wrong = bounds.context_error(start, 0.9 * ideal, kept_examples / m, 9, kappa=gain)
    ledger.record("35 error of the context loop", "attained", exact / bound, exact > wrong)


def test_ridge_in_context_needs_no_threshold(ledger) -> None:
    """The sup-norm threshold is sufficient only: ridge stays stable where kappa forbids it."""
    rng, m, d, kept_examples, penalty = np.random.default_rng(9), 20, 3, 6, 0.1
    xs = rng.normal(size=(m, d))
    weights = xs @ np.linalg.solve(xs.T @ xs + penalty * np.eye(d), xs.T)
    kappa = m * np.abs(weights).max()
    alpha = kept_examples / m
    assert alpha < bounds.phase_threshold(kappa)
    kept = np.arange(m) < kept_examples
    real = rng.normal(size=m)
    swapped = real.copy()
    swapped[0] += 1
    effects = [
        np.abs(
            linear_label_loop(weights, swapped, kept, g) - linear_label_loop(weights, real, kept, g)
        ).max()
        for g in (1, 20, 400)
    ]
    bound = bounds.context_loop(m, alpha, 400, c=kappa, kappa=kappa).gamma
    assert effects[-1] <= bound
    ledger.record(
        "34 ridge: the threshold is sufficient, not necessary", "finding", effects[-1] / bound, None
    )


def test_published_form_is_looser_than_ours(ledger) -> None:
    """In the published normalisation, one layer: 2 omega(T, G)/T against 2 (1 + G) e^G/T."""
    ratios = []
    for m, g in itertools.product([5, 50], [0.25, 1.0, 3.0]):
        keys = 2 * m - 1
        layer = SoftmaxLayer((g / 2,), (1.0,))
        ours = bounds.replace_one([layer], examples=keys, radius=1.0, readout=1.0).change
        ratios.append(ours / bounds.published_generic(m, g, 1))
    assert max(ratios) < 1
    ledger.record("30 against the published form, one layer", "finding", max(ratios), None)
