"""Linear self-attention fitted to its own prompts: a gap bound that is not vacuous.

A prompt holds k examples (x_j, y_j), y_j = w^T x_j + sigma e_j, and a query x with label y. Inputs
are uniform on the sphere of radius sqrt(d), w is uniform on the unit sphere, e_j is uniform on
[-sqrt(3), sqrt(3)]. With h = (1/k) sum_j x_j y_j the layer predicts x^T Gamma h = <Gamma, x h^T>:
a linear model of p = d^2 features. Parameters are measured in the Frobenius norm.
"""

from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, nonnegative, probability
from icl_stl.bounds._kinds import Constant, Floats, Num, constants, times, to_infinity
from icl_stl.bounds._series import common_shape, geometric
from icl_stl.bounds.generalization import bernstein, summed
from icl_stl.bounds.stability import BoolArray

_NOISE_FOURTH = 9 / 5  # E e^4 of the uniform law on [-sqrt(3), sqrt(3)]
_NOISE_REACH = np.sqrt(3)
_EVENTS = 6  # three deviations for the real set, three for the synthetic batch


class SphereMoments(NamedTuple):
    """What a prompt's law decides, inputs on the sphere; r = y - <Gamma*, x h^T>."""

    square: Floats
    """E|h|^2."""
    fourth: Floats
    """E|h|^4."""
    scale: Floats
    """s_h = E|h|^2/d; the features x h^T have second moment s_h I."""
    optimum: Floats
    """g = 1/E|h|^2; the best layer is Gamma* = g I."""
    risk: Floats
    """R* = sigma^2 + 1 - g, its risk; R(Gamma) = R* + s_h |Gamma - Gamma*|^2."""
    residual_fourth: Floats
    """E r^4."""
    leverage: Floats
    """E r^2 |x h^T|^2."""


class LinearAttentionGap(NamedTuple):
    """Bound on the gap of linear attention, real and synthetic part bounded apart."""

    shift: Floats
    """Difference of the risks on the real law and on the generator's law, exact for the distances
    given; may be negative.
    """
    real: Floats
    """Fluctuation of the real set."""
    synthetic: Floats
    """Fluctuation of the synthetic batch."""
    total: Floats
    vacuous: BoolArray
    """Whether the total exceeds 1 + sigma^2, the risk of predicting 0."""
    constants: tuple[Constant, ...]


@to_infinity
def sphere_moments(dim: Num, context: Num, sigma: Num) -> SphereMoments:
    r"""Moments of a prompt whose inputs and task are uniform on spheres.

    E|h|^2 = 1 + (d - 1 + sigma^2 d)/k; the others are polynomials in 1/k, sigma^2 and g.
    Returns: SphereMoments in the broadcast shape.
    Source: derived here, THEORY.md statement 48.
    """
    d, k, noise = checked(dim=dim, context=context, sigma=sigma)
    v = noise**2
    # Moments of t = w^T x and y = t + sigma e, and of xi = x y - w through |xi|^2 and w^T xi.
    t4 = 3 * d / (d + 2)
    y4, t2y2, ty3 = t4 + 6 * v + _NOISE_FOURTH * v**2, t4 + v, t4 + 3 * v
    size = d * (1 + v) - 1
    along = t2y2 - 1
    mixed = d * ty3 - 2 * t2y2 - d * (1 + v) + 2
    quartic = d**2 * y4 + 4 * t2y2 + 1 - 4 * d * ty3 + 2 * d * (1 + v) - 4
    trace = along**2 + times(size - along, (size - along) / np.maximum(d - 1, 1))
    # zeta = h - w is the mean of k independent copies of xi.
    zeta2, across2, across3 = size / k, along / k, mixed / k**2
    zeta4 = quartic / k**3 + (k - 1) / k**3 * (size**2 + 2 * trace)

    def fourth(a: Floats | float, c: Floats | float) -> Floats:
        """E|a w + c zeta|^4."""
        return (
            a**4 + a**2 * c**2 * (4 * across2 + 2 * zeta2) + 4 * a * c**3 * across3 + c**4 * zeta4
        )

    square = 1 + zeta2
    g = 1 / square
    risk = v + 1 - g
    h4 = fourth(1.0, 1.0)
    miss = 1 - g  # E|w - g h|^2
    r4 = t4 * fourth(1 - g, -g) + 6 * v * miss + _NOISE_FOURTH * v**2
    weighted = (1 + v) * square - 2 * g * (1 + zeta2 + 2 * across2 + across3) + g**2 * h4
    return SphereMoments(*common_shape(square, h4, square / d, g, risk, r4, d * weighted))


class _Deviations(NamedTuple):
    """What the empirical risk around a centre may fall short by: t_a + 2 |v| t_b + |v|^2 t_c."""

    square: Floats
    cross: Floats
    spread: Floats


class _Problem(NamedTuple):
    """The law of prompts, the generator's noise and how much confidence one event costs."""

    moments: SphereMoments
    dim: Floats
    noise: Floats
    label: Floats
    log: Floats  # ln(events/delta)

    @property
    def feature(self) -> Floats:
        """Largest |x h^T|."""
        return self.dim * self.label

    @property
    def matrix_log(self) -> Floats:
        return self.log + np.log(self.dim**2)

    def spread(self, size: Floats) -> Floats:
        """t_c: how much the features' second moment may be underestimated; never above s_h."""
        scale = self.moments.scale
        variance = self.moments.fourth - scale**2
        return np.minimum(scale, bernstein(variance, scale, size, self.matrix_log))

    def excess(self, size: Floats) -> Floats:
        """t_u: how much it may be overestimated."""
        variance = self.moments.fourth - self.moments.scale**2
        return bernstein(variance, self.feature**2, size, self.matrix_log)

    def real(self, size: Floats) -> _Deviations:
        moments, vector_log = self.moments, self.log + np.log(2)
        variance = moments.residual_fourth - moments.risk**2
        residual = self.label * (1 + moments.optimum * self.dim)
        return _Deviations(
            np.minimum(moments.risk, bernstein(variance, moments.risk, size, self.log)),
            bernstein(moments.leverage, residual * self.feature, size, vector_log),
            self.spread(size),
        )

    def synthetic(self, size: Floats) -> _Deviations:
        energy, vector_log = self.noise**2, self.log + np.log(2)
        variance = (_NOISE_FOURTH - 1) * energy**2
        reach = _NOISE_REACH * self.noise * self.feature
        leverage = energy * self.dim * self.moments.square
        return _Deviations(
            np.minimum(energy, bernstein(variance, energy, size, self.log)),
            bernstein(leverage, reach, size, vector_log),
            self.spread(size),
        )


def _problem(
    dim: Num,
    context: Num,
    sigma: Num,
    delta: Num,
    generator_noise: Num | None,
    events: Floats | float,
) -> _Problem:
    moments = sphere_moments(dim, context, sigma)
    d, noise = checked(dim=dim, sigma=sigma)
    spread = np.sqrt(moments.risk) if generator_noise is None else generator_noise
    return _Problem(
        moments,
        d,
        nonnegative("generator_noise", spread),
        np.sqrt(d) + _NOISE_REACH * noise,
        np.log(events) - np.log(probability("delta", delta)),
    )


def _certificate(
    problem: _Problem,
    size: Floats,
    synthetic: Floats,
    to_optimum: Floats,
    to_previous: Floats,
    distances: str,
) -> LinearAttentionGap:
    moments = problem.moments
    alpha, rho = size / (size + synthetic), synthetic / (size + synthetic)
    excess = moments.risk - problem.noise**2 + moments.scale * (to_optimum**2 - to_previous**2)
    known = moments._asdict() | {"generator_noise": problem.noise}
    reached = {"to_optimum": to_optimum, "to_previous": to_previous}
    return summed(
        LinearAttentionGap,
        moments.risk + moments.optimum,
        constants("certified", **known) + constants(distances, **reached),
        times(rho, excess),
        alpha * _at(problem.real(size), to_optimum),
        times(rho, _at(problem.synthetic(synthetic), to_previous)),
    )


def _at(deviations: _Deviations, distance: Floats) -> Floats:
    cross = times(distance, deviations.cross)
    return deviations.square + 2 * cross + times(distance**2, deviations.spread)


@to_infinity
def linear_attention_gap(
    n: Num,
    n_syn: Num,
    *,
    dim: Num,
    context: Num,
    sigma: Num,
    delta: Num,
    to_optimum: Num,
    to_previous: Num,
    generator_noise: Num | None = None,
) -> LinearAttentionGap:
    r"""Gap of linear attention trained on prompts whose last label its predecessor wrote.

    Gap_i <= (1-alpha) [R* - s^2 + s_h (D^2 - E^2)] + alpha [t_a + 2 D t_b + D^2 t_c]
    + (1-alpha) [t'_a + 2 E t'_b + E^2 t'_c] with probability at least 1 - delta, where
    D = |Gamma_i - Gamma*|, E = |Gamma_i - Gamma_{i-1}| and the t are Bernstein deviations of n
    real and m synthetic prompts.

    Args:
        n_syn: synthetic prompts of generation i, m >= 0; 0 for generation 0.
        to_optimum: D, realised Frobenius distance to the best layer, >= 0.
        to_previous: E, realised Frobenius distance to generation i-1, >= 0.
        generator_noise: s >= 0, standard deviation of the generator's uniform noise; by default
            sqrt(R*), the best layer's residual, for which the shift of Gamma* vanishes.
    Returns: LinearAttentionGap in the broadcast shape.
    Assumes: The law of prompts of this module; generation i's synthetic prompts have the real law
        except for the query's label, <Gamma_{i-1}, x h^T> + s e; their inputs, contexts and noise
        are independent of everything before. Nothing of the learner. One generation, chosen
        beforehand: for every generation give ``delta_for_every_generation(delta, i)``.
    Source: derived here, THEORY.md statement 50 (scalar: Bernstein; vectors: Pinelis 1994;
        matrices: Tropp 2012).
    """
    problem = _problem(dim, context, sigma, delta, generator_noise, _EVENTS)
    synthetic = nonnegative("n_syn", n_syn)
    size, best, before = checked(n=n, to_optimum=to_optimum, to_previous=to_previous)
    return _certificate(problem, size, synthetic, best, before, "measured")


@to_infinity
def linear_attention_gap_prior(
    n: Num,
    n_syn: Num,
    generation: Num,
    *,
    dim: Num,
    context: Num,
    sigma: Num,
    delta: Num,
    ridge: Num,
    generator_noise: Num | None = None,
) -> LinearAttentionGap:
    r"""The same bound before the loop is run, for ridge regression.

    Both distances are bounded through the fixed point of the noiseless loop, of which generation 0
    misses O(ridge) and to which every generation contracts: see the statement.

    Args:
        ridge: penalty per training prompt, > 0: a fit to N prompts minimises the sum of squares
            plus N ridge |Gamma|^2.
        generator_noise: s >= 0, by default sqrt(R*).
    Returns: LinearAttentionGap in the broadcast shape; the distances in ``constants`` are
        certified.
    Assumes: As `linear_attention_gap`, and that every generation is fitted by ridge regression.
    Source: derived here, THEORY.md statement 51.
    """
    i, penalty, size, synthetic = checked(generation=generation, ridge=ridge, n=n, n_syn=n_syn)
    events = np.where(i == 0, 3, 2 * i + 5)
    problem = _problem(dim, context, sigma, delta, generator_noise, events)
    synthetic = np.where(i == 0, 0.0, synthetic)
    alpha, rho = size / (size + synthetic), synthetic / (size + synthetic)
    moments, real, drawn = problem.moments, problem.real(size), problem.synthetic(synthetic)
    pull = penalty * moments.optimum * np.sqrt(problem.dim)
    known = moments.scale - real.spread
    first = (real.cross + pull) / (penalty + known)
    floor = penalty + alpha * known
    fixed = (alpha * real.cross + pull) / floor
    # Distances to the fixed point in the norm of the real part's curvature.
    start = times(rho, penalty * first + pull) / np.sqrt(floor)
    noise = times(rho, drawn.cross) / np.sqrt(floor)
    drag = times(rho, moments.scale + problem.excess(synthetic)) / floor
    ratio, gap = drag / (1 + drag), 1 / (1 + drag)

    def distance(count: Floats) -> Floats:
        series = geometric(ratio, gap, count)
        return times(start, series.power) + times(noise, series.total)

    last, before = distance(i), distance(np.maximum(i - 1, 0))
    to_optimum = np.where(i == 0, first, fixed + last / np.sqrt(floor))
    step = np.where(i == 0, 0.0, (last + before) / np.sqrt(floor))
    to_previous = np.minimum(step, drawn.cross / (moments.scale - drawn.spread))
    return _certificate(problem, size, synthetic, to_optimum, to_previous, "certified")
