"""Loops in the context: a frozen predictor relabels its own examples, exactly.

A prompt has m examples; k of them keep their real labels, a share alpha = k/m. In every generation
the others get the predictions of the generation before, plus noise. All predictors here are linear
in the query: a generation is its weights w_g. Leading axes of arrays are independent loops.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma

from icl_stl.bounds._check import nonnegative, positive, real
from icl_stl.bounds._kinds import Floats, Num
from icl_stl.references._common import last_generation, rows, variance
from icl_stl.references._gains import pooled_factor


class ContextPath(NamedTuple):
    """The law of the weights in a context, given all that is real: normal."""

    mean: Floats
    """E w_g, [..., G+1, d]."""
    covariance: Floats
    """Its covariance, [..., G+1, d, d]."""


class FreshPath(NamedTuple):
    """Moments of the weights where every generation sees new inputs."""

    mean: Floats
    """E w_g, [G+1, d]."""
    second: Floats
    """E w_g w_g^T, [G+1, d, d]."""


class FreshFactors(NamedTuple):
    """What one generation does to the difference of two coupled loops with new inputs."""

    mean: float
    """Factor of its mean."""
    square: float
    """Factor of its mean square: below 1, the loop is stable in mean square."""
    typical: float
    """exp of the mean logarithm of its length's factor: below 1, almost every loop forgets."""


def attention_context(
    kept_xs: Num, kept_ys: Num, xs: Num, ys: Num, gamma: Num, relabel_noise: float, generations: int
) -> ContextPath:
    r"""Linear attention f(x) = x^T Gamma (1/m) sum_i x_i y_i with fixed inputs.

    w_{g+1} = Gamma (X_K^T y_K + X_R^T (X_R w_g + s xi))/m, w_0 from all labels of generation 0.

    Returns: ContextPath: mean and covariance given all inputs and labels of generation 0.
    Source: derived here, THEORY.md statement 57.
    """
    kept, new = _examples(kept_xs, kept_ys, "kept_"), _examples(xs, ys, "")
    count = kept[0].shape[-2] + new[0].shape[-2]
    layer = _layer(gamma, new[0].shape[-1]) / rows("examples", count)
    start = layer @ (_moment(*kept) + _moment(*new))
    return _affine(
        layer @ _gram(new[0]),
        layer @ _moment(*kept),
        start,
        _square("relabel_noise", relabel_noise) * _sandwich(layer, _gram(new[0])),
        generations,
    )


def attention_context_factor(kept_xs: Num, xs: Num, gamma: Num) -> Floats:
    r"""(1-alpha) rho(Gamma Sigma_R): linear attention with fixed inputs converges iff it is < 1.

    Returns: the largest modulus of an eigenvalue of Gamma X_R^T X_R/m, [...].
    Source: derived here, THEORY.md statement 57.
    """
    kept, new = _inputs("kept_xs", kept_xs), _inputs("xs", xs)
    step = _layer(gamma, new.shape[-1]) @ _gram(new) / (kept.shape[-2] + new.shape[-2])
    radius: Floats = np.abs(np.linalg.eigvals(step)).max(axis=-1)
    return radius


def attention_context_limit(
    kept_xs: Num, kept_ys: Num, xs: Num, gamma: Num, relabel_noise: float
) -> tuple[Floats, Floats]:
    r"""Limit of `attention_context`: w = (I - M)^{-1} Gamma X_K^T y_K/m, V = M V M^T + noise.

    M = Gamma X_R^T X_R/m, the noise is s^2 Gamma X_R^T X_R Gamma^T/m^2.

    Returns: mean [..., d] and covariance [..., d, d]; nan where the loop does not converge.
    Source: derived here, THEORY.md statement 57.
    """
    kept, new = _examples(kept_xs, kept_ys, "kept_"), _inputs("xs", xs)
    count, dim = kept[0].shape[-2] + new.shape[-2], new.shape[-1]
    layer = _layer(gamma, dim) / rows("examples", count)
    step = layer @ _gram(new)
    noise = _square("relabel_noise", relabel_noise) * _sandwich(layer, _gram(new))
    stable = attention_context_factor(kept_xs, xs, gamma) < 1
    safe = np.where(stable[..., None, None], step, 0.0)
    mean = np.linalg.solve(np.eye(dim) - safe, layer @ _moment(*kept))[..., 0]
    twice = np.einsum("...ij,...kl->...ikjl", safe, safe).reshape(*safe.shape[:-2], dim**2, dim**2)
    flat = noise.reshape(*noise.shape[:-2], dim**2, 1)
    covariance = np.linalg.solve(np.eye(dim**2) - twice, flat).reshape(noise.shape)
    return (
        np.where(stable[..., None], mean, np.nan),
        np.where(stable[..., None, None], covariance, np.nan),
    )


def attention_fresh_context(
    task: Num,
    kept: int,
    relabelled: int,
    gain: float,
    noise: float,
    relabel_noise: float,
    generations: int,
) -> FreshPath:
    r"""Linear attention, Gamma = c I, where every generation sees new N(0, I) inputs.

    Each generation has k new real examples of one task and r examples that the one before labelled,
    alpha = k/(k+r): E w_{g+1} = c (alpha task + (1-alpha) E w_g), and the second moment follows
    from E x x^T S x x^T = 2 S + tr(S) I.

    Args:
        noise: sigma >= 0 of real labels.
        generations: G, the last generation, >= 0; generation 0 has k + r real examples.
    Returns: FreshPath: mean [G+1, d] and second moment [G+1, d, d] of the weights.
    Source: derived here, THEORY.md statement 58.
    """
    w, c = real("task", task), float(positive("gain", gain))
    k, r = rows("kept", kept, 0), rows("relabelled", relabelled)
    sigma, s = _square("noise", noise), _square("relabel_noise", relabel_noise)
    alpha, outer = k / (k + r), np.outer(w, w)
    mean = [c * w]
    second = [c**2 * _sampled(outer, k + r, sigma)]
    for _ in range(last_generation(generations)):
        cross = np.outer(w, mean[-1])
        both = alpha * (1 - alpha) * (cross + cross.T)
        own = alpha**2 * _sampled(outer, k, sigma) if k else 0.0
        second.append(c**2 * (own + both + (1 - alpha) ** 2 * _sampled(second[-1], r, s)))
        mean.append(c * (alpha * w + (1 - alpha) * mean[-1]))
    return FreshPath(np.array(mean), np.array(second))


def attention_fresh_square(
    task: Num,
    weights: Num,
    kept: int,
    relabelled: int,
    gain: float,
    noise: float,
    relabel_noise: float,
) -> Floats:
    r"""E[|w_{g+1}|^2 | w_g] in the loop of `attention_fresh_context`.

    One step from known weights: a mean square without the rare large weights of many steps.

    Args:
        weights: w_g, [..., d].
        noise: sigma >= 0 of real labels.
    Returns: the conditional mean square, [...].
    Source: derived here, THEORY.md statement 58.
    """
    w, now = real("task", task), real("weights", weights)
    k, r, d = rows("kept", kept, 0), rows("relabelled", relabelled), now.shape[-1]
    sigma, s = _square("noise", noise), _square("relabel_noise", relabel_noise)
    alpha = k / (k + r)

    own, both, new = ((a * b).sum(axis=-1) for a, b in ((w, w), (w, now), (now, now)))
    total = 2 * alpha * (1 - alpha) * both
    total = total + (1 - alpha) ** 2 * (new * (1 + (d + 1) / r) + s * d / r)
    if k:
        total = total + alpha**2 * (own * (1 + (d + 1) / k) + sigma * d / k)
    square: Floats = float(positive("gain", gain)) ** 2 * total
    return square


def attention_fresh_factors(dim: int, kept: int, relabelled: int, gain: float) -> FreshFactors:
    r"""What a generation with new N(0, I) inputs does to the difference of two coupled loops.

    D_{g+1} = (1-alpha) c Sigma_R D_g: its mean is multiplied by (1-alpha) c, its mean square by
    (1-alpha)^2 c^2 (1 + (d+1)/r), and log |D| grows on average by log((1-alpha) c (2/r)) +
    (psi(r/2) + psi((r+d-1)/2))/2.

    Returns: FreshFactors; typical <= sqrt(square), so a loop may forget although its mean square
        grows.
    Source: derived here, THEORY.md statement 58.
    """
    d, r = rows("dim", dim), rows("relabelled", relabelled)
    mean = r / (rows("kept", kept, 0) + r) * float(positive("gain", gain))
    logarithm = (digamma(r / 2) + digamma((r + d - 1) / 2)) / 2
    return FreshFactors(mean, mean**2 * (1 + (d + 1) / r), float(mean * 2 / r * np.exp(logarithm)))


def ridge_on_kept(kept_xs: Num, kept_ys: Num, penalty: float) -> Floats:
    r"""Ridge on the kept examples alone: (X_K^T X_K + lam I)^{-1} X_K^T y_K.

    Without noise on new labels it is the fixed point of the loop, whatever the other inputs are.

    Returns: the weights, [..., d].
    Source: derived here, THEORY.md statement 59.
    """
    xs, ys = _examples(kept_xs, kept_ys, "kept_")
    return np.asarray(np.linalg.solve(_penalised(xs, penalty), _moment(xs, ys))[..., 0], float)


def ridge_modes(kept_xs: Num, xs: Num, penalty: float) -> Floats:
    r"""phi: eigenvalues of N^{-1/2} X_R^T X_R N^{-1/2}, N = X_K^T X_K + lam I.

    In the norm of N one generation contracts the distance to `ridge_on_kept` by the largest
    phi/(1 + phi); with fixed inputs each mode by its own.

    Returns: phi in ascending order, [..., d].
    Source: derived here, THEORY.md statement 59.
    """
    return _modes(_penalised(_inputs("kept_xs", kept_xs), penalty), _gram(_inputs("xs", xs)))[0]


def ridge_context(
    kept_xs: Num,
    kept_ys: Num,
    xs: Num,
    ys: Num,
    penalty: float,
    relabel_noise: float,
    generations: int,
) -> ContextPath:
    r"""Ridge with fixed inputs, mode by mode: factors (phi/(1+phi))^g around `ridge_on_kept`.

    In the coordinates N^{1/2} w the variance of a mode is s^2 phi/(1 + 2 phi) [1 - factor^{2g}],
    below s^2/2: noise on new labels adds less than s^2 N^{-1}/2.

    Returns: ContextPath: mean and covariance given all inputs and labels of generation 0.
    Source: derived here, THEORY.md statement 60.
    """
    kept, new = _examples(kept_xs, kept_ys, "kept_"), _examples(xs, ys, "")
    own, gram = _penalised(kept[0], penalty), _gram(new[0])
    fixed = np.linalg.solve(own, _moment(*kept))
    start = np.linalg.solve(own + gram, _moment(*kept) + _moment(*new))
    phi, back = _modes(own, gram)  # w = back @ coordinates, back back^T = N^{-1}
    away = back.swapaxes(-1, -2) @ own @ (start - fixed)
    g = np.arange(last_generation(generations) + 1)[:, None]
    powers = (phi / (1 + phi))[..., None, :] ** g
    noise = _square("relabel_noise", relabel_noise)
    spread = noise * (phi / (1 + 2 * phi))[..., None, :] * (1 - powers**2)
    mean = fixed.swapaxes(-1, -2) + (powers * away.swapaxes(-1, -2)) @ back.swapaxes(-1, -2)
    wide = back[..., None, :, :]
    return ContextPath(mean, (wide * spread[..., None, :]) @ wide.swapaxes(-1, -2))


def ridge_sensitivity(xs: Num, penalty: float) -> Floats:
    r"""Label sensitivity kappa = m max |d f(x_i)/d y_j| of ridge over its own inputs.

    f(x_i) = sum_j x_i^T (X^T X + lam I)^{-1} x_j y_j; least squares has kappa >= d.

    Args:
        xs: inputs of all m examples, [..., m, d].
    Returns: kappa, [...].
    Source: derived here, THEORY.md statement 63.
    """
    inputs = _inputs("xs", xs)
    hat = inputs @ np.linalg.solve(_penalised(inputs, penalty), inputs.swapaxes(-1, -2))
    largest: Floats = inputs.shape[-2] * np.abs(hat).max(axis=(-1, -2))
    return largest


def ols_context_walk(xs: Num, noise: float, generations: int) -> Floats:
    r"""Least squares without a kept example, fixed inputs: a random walk.

    Cov w_g = (g+1) sigma^2 (X^T X)^{-1} around the task, if new labels have the noise of real ones.

    Args:
        xs: inputs of all m examples, [..., m, d], spanning the space.
    Returns: the covariance given the inputs, [..., G+1, d, d].
    Source: derived here, THEORY.md statement 61.
    """
    single = variance(noise) * np.linalg.inv(_penalised(_inputs("xs", xs), 0.0))
    rounds = np.arange(1.0, last_generation(generations) + 2)
    path: Floats = rounds[:, None, None] * single[..., None, :, :]
    return path


def ols_fresh_context(
    kept: int, relabelled: int, dim: int, noise: float, generations: int
) -> Floats:
    r"""Least squares where every generation sees new N(0, I) inputs: E |w_g - w|^2.

    V_0 = sigma^2 d/(m-d-1), V_{g+1} = rho_2 V_g + V_0, m = k + r: the loop with new real rows,
    started from m real ones. Without kept examples (g + 1) V_0.

    Args:
        relabelled: r >= 0, examples that the generation before labels; k + r at least dim + 2.
    Returns: E |w_g - w|^2, [G+1].
    Source: derived here, THEORY.md statement 62.
    """
    factor = ols_fresh_context_factor(kept, relabelled, dim)
    single = variance(noise) * dim / (kept + relabelled - dim - 1)
    powers = factor ** np.arange(last_generation(generations) + 1.0)
    path: Floats = single * np.cumsum(powers)
    return path


def ols_fresh_context_factor(kept: int, relabelled: int, dim: int) -> float:
    r"""rho_2, the factor of the mean square of the difference of two coupled loops.

    rho_2 = a + b (m d - 2)/(m-d-1), b = r k/(m (m-1)(m+2)), a = r (r+2)/(m (m+2)) - b: above
    (1-alpha)^2 for alpha in (0, 1), 1 at alpha = 0.

    Args:
        relabelled: r >= 0, examples that the generation before labels; k + r at least dim + 2.
    Returns: rho_2.
    Source: derived here, THEORY.md statement 62.
    """
    k, r, d = rows("kept", kept, 0), rows("relabelled", relabelled, 0), rows("dim", dim)
    rows("kept + relabelled", k + r, d + 2, ", dim + 2: the mean error is infinite below")
    return float(pooled_factor(k, r, d))


def _sampled(second: Floats, count: int, added: float) -> Floats:
    """E b b^T for b = (1/count) sum x (x^T v + e), E v v^T = second, Var e = added."""
    isotropic = (float(np.trace(second)) + added) / count * np.eye(len(second))
    total: Floats = second * (1 + 1 / count) + isotropic
    return total


def _inputs(name: str, xs: Num) -> Floats:
    array = real(name, xs)
    if array.ndim < 2 or array.shape[-1] < 1:
        raise ValueError(f"{name} has shape {array.shape}, outside the admissible [..., rows, d]")
    return array


def _square(name: str, deviation: float) -> float:
    return float(nonnegative(name, deviation)) ** 2


def _examples(xs: Num, ys: Num, name: str) -> tuple[Floats, Floats]:
    inputs, labels = _inputs(f"{name}xs", xs), real(f"{name}ys", ys)
    if labels.shape != inputs.shape[:-1]:
        raise ValueError(
            f"{name}ys has shape {labels.shape}, outside the admissible {inputs.shape[:-1]}"
        )
    return inputs, labels


def _gram(xs: Floats) -> Floats:
    return xs.swapaxes(-1, -2) @ xs


def _moment(xs: Floats, ys: Floats) -> Floats:
    """X^T y as a column."""
    return xs.swapaxes(-1, -2) @ ys[..., None]


def _penalised(xs: Floats, penalty: float) -> Floats:
    own: Floats = _gram(xs) + float(nonnegative("penalty", penalty)) * np.eye(xs.shape[-1])
    if (np.linalg.eigvalsh(own)[..., 0] <= 0).any() or (
        penalty == 0 and xs.shape[-2] < xs.shape[-1]
    ):
        raise ValueError(
            f"penalty = {penalty!r} is outside the admissible range: positive, since the "
            f"{xs.shape[-2]} inputs do not span the space"
        )
    return own


def _layer(gamma: Num, dim: int) -> Floats:
    layer = real("gamma", gamma)
    layer = layer * np.eye(dim) if layer.ndim == 0 else layer
    if layer.shape != (dim, dim):
        raise ValueError(f"gamma has shape {layer.shape}, outside the admissible {(dim, dim)}")
    return layer


def _sandwich(outside: Floats, inside: Floats) -> Floats:
    return outside @ inside @ outside.swapaxes(-1, -2)


def _modes(own: Floats, gram: Floats) -> tuple[Floats, Floats]:
    """Values phi and N^{-1/2} Q, whose columns are the modes."""
    values, vectors = np.linalg.eigh(own)
    half = (vectors / np.sqrt(values)[..., None, :]) @ vectors.swapaxes(-1, -2)
    phi, turn = np.linalg.eigh(_sandwich(half, gram))
    return np.maximum(phi, 0.0), half @ turn


def _affine(
    step: Floats, constant: Floats, start: Floats, noise: Floats, generations: int
) -> ContextPath:
    """The loop w <- step w + constant + noise from a known start."""
    mean, covariance = [start[..., 0]], [np.zeros_like(noise)]
    for _ in range(last_generation(generations)):
        mean.append((step @ mean[-1][..., None] + constant)[..., 0])
        covariance.append(_sandwich(step, covariance[-1]) + noise)
    return ContextPath(np.stack(mean, axis=-2), np.stack(covariance, axis=-3))
