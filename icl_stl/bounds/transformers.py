"""Stability of transformers as in-context learners, from the norms of their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isinf, pi, prod, sqrt
from typing import NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, flag, generation_index, nonnegative, one, real
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, times, to_infinity
from icl_stl.bounds._series import common_shape, geometric, harmonic, one_minus_product
from icl_stl.bounds.stability import BoolArray

# sup |phi'|: none but ReLU's is 1.
ACTIVATION_SLOPES = {"relu": 1.0, "gelu": 1.1290, "gelu_tanh": 1.1290, "silu": 1.0999}


class Certificate(NamedTuple):
    """What replacing one in-context example can do to the prediction."""

    change: float
    """Bound on |f(S) - f(S^(j))|."""
    constant: float
    """``change`` times the number of examples, c in c/m."""
    label_sensitivity: float
    """kappa in |f - f'| <= (kappa/m) sum_l |y_l - y'_l|, over the labels of all examples (of the
    one position for a causal model).
    """
    radii: tuple[float, ...]
    """Bound on the token norms entering each layer, and leaving the last."""
    constants: tuple[Constant, ...]


@dataclass(frozen=True)
class RMSNorm:
    """A root-mean-square norm n(h) = g h / sqrt(|h|^2/p + eps) before attention and before MLP.

    Source: derived here, THEORY.md statement 36.
    """

    dim: int
    """p, width of a token, >= 1."""
    gain: float = 1.0
    """Largest |g|, >= 0."""
    eps: float = 1e-6
    """The constant under the root, >= 0."""
    least_norm: float = 0.0
    """rho, a proven or measured lower bound on the norm of tokens entering, >= 0."""

    def __post_init__(self) -> None:
        """Refuse what is no norm."""
        for name, value in vars(self).items():
            one(name, *checked(**{name: value}))

    @property
    def radius(self) -> float:
        """Largest norm that comes out: sqrt(p) |g|."""
        return sqrt(self.dim) * self.gain

    @property
    def lipschitz(self) -> float:
        """Largest stretch of a difference: |g| / sqrt(rho^2/p + eps); inf if both vanish."""
        below = sqrt(self.least_norm**2 / self.dim + self.eps)
        return _product(self.gain, 1 / below if below > 0 else inf)


@dataclass(frozen=True)
class SoftmaxLayer:
    """A residual attention block and its MLP, known by the norms of its weights.

    Source: derived here, THEORY.md statements 27, 28 and 36.
    """

    logits: tuple[float, ...]
    """|W_h| of every head, W_h = W_Q^T W_K / sqrt(d_head); [H], >= 0."""
    values: tuple[float, ...]
    """|U_h| of every head, U_h = W_O W_V; [H], >= 0."""
    mlp_in: float = 0.0
    """|M_1|, 0 without an MLP."""
    mlp_out: float = 0.0
    """|M_2|."""
    mlp_at_zero: float = 0.0
    """|MLP(0)|."""
    activation_slope: float = 1.0
    """sup |phi'|, see `ACTIVATION_SLOPES`."""
    norm: RMSNorm | None = None
    """The norm before attention and MLP, None without."""
    oscillations: tuple[float, ...] | None = None
    """For the first layer, sharper bounds on the spread of a query's logits over the keys, one a
    head; None for 2 |W_h| R^2.
    """
    diameters: tuple[float, ...] | None = None
    """Likewise on the diameter of the values U_h h; None for 2 |U_h| R."""

    def __post_init__(self) -> None:
        """Refuse norms that are none, and heads that do not match."""
        for name in ("logits", "values", "oscillations", "diameters"):
            norms = getattr(self, name)
            if norms is None:
                continue
            if len(norms) != len(self.values):
                raise ValueError(f"{name} = {norms!r}: one norm for each of the heads in values")
            nonnegative(name, norms)
        for name in ("mlp_in", "mlp_out", "mlp_at_zero", "activation_slope"):
            nonnegative(name, getattr(self, name))

    def growth(self, radius: float, keys: float) -> "_Growth":
        """How this layer passes on differences between tokens of norm at most ``radius``."""
        inside = self.norm.radius if self.norm else radius
        stretch = self.norm.lipschitz if self.norm else 1.0
        mlp = 1 + _product(stretch, self.activation_slope, self.mlp_in, self.mlp_out)
        own = other = 0.0
        direct: list[tuple[float, float]] = []
        for h, (logit, value) in enumerate(zip(self.logits, self.values, strict=True)):
            alignment = _product(logit, inside, inside)
            spread = self.oscillations[h] if self.oscillations else 2 * alignment
            weight = float(attention_cap(keys, spread)) * keys
            own += _product(value, alignment)
            other += _product(weight, value, 1 + 2 * alignment)
            width = self.diameters[h] if self.diameters else _product(2, inside, value)
            direct.append((_product(weight, width), _product(weight, value, 1 + 2 * alignment)))
        reach = _product(2, inside, sum(self.values))
        return _Growth(
            mlp=mlp,
            attended=_product(stretch, own),
            attending=_product(stretch, other),
            replaced=tuple((width, _product(stretch, slope)) for width, slope in direct),
            reach=reach,
            radius=self._next_radius(radius, inside),
        )

    def _next_radius(self, radius: float, inside: float) -> float:
        attended = radius + _product(sum(self.values), inside)
        slope = _product(self.activation_slope, self.mlp_in, self.mlp_out)
        fed = self.norm.radius if self.norm else attended
        return attended + _product(slope, fed) + self.mlp_at_zero


@dataclass(frozen=True)
class LinearLayer:
    """A residual layer of linear self-attention, h + (1/m) sum_l (h^T W h_l) U h_l.

    Source: derived here, THEORY.md statement 32.
    """

    logit: float
    """|W|, >= 0."""
    value: float
    """|U|, >= 0."""

    def __post_init__(self) -> None:
        """Refuse norms that are none."""
        nonnegative("logit", self.logit)
        nonnegative("value", self.value)

    def growth(self, radius: float, keys: float) -> "_Growth":
        """How this layer passes on differences; nothing exponential, but cubic in the radius."""
        del keys
        square = _product(self.logit, self.value, radius, radius)
        cube = _product(square, radius)
        return _Growth(
            mlp=1.0,
            attended=square,
            attending=2 * square,
            replaced=((cube, 2 * square),),
            reach=2 * cube,
            radius=radius + cube,
        )


Layer = SoftmaxLayer | LinearLayer


class _Growth(NamedTuple):
    """How differences between tokens grow in one layer."""

    mlp: float
    """mu, stretch by the residual MLP."""
    attended: float
    """What attention adds to a token's own difference, per unit of it."""
    attending: float
    """What it adds per unit of the mean difference of the keys."""
    replaced: tuple[tuple[float, float], ...]
    """For each head, how far m times the output can move with the replaced key: at most, and per
    unit of that key's difference.
    """
    reach: float
    """Diameter of all that attention can add to a token."""
    radius: float
    """Bound on the norm of the tokens that leave."""

    @property
    def own(self) -> float:
        """Growth of a token's own difference: r = mu (1 + beta)."""
        return _product(self.mlp, 1 + self.attended)

    @property
    def other(self) -> float:
        """Growth of the mean difference of the keys: b = mu chi."""
        return _product(self.mlp, self.attending)


@to_infinity
def attention_cap(keys: Num, oscillation: Num) -> Floats:
    r"""Largest attention weight one key can get: 1/(1 + (n-1) e^{-b}) = omega(n, b)/n.

    Args:
        keys: n >= 1.
        oscillation: b, largest minus smallest logit, in [0, inf].
    Returns: the weight in (0, 1]; attained when one logit exceeds all others by b.
    Source: derived here, THEORY.md statement 27.
    """
    (count,) = checked(keys=keys)
    return (1 / (1 + (count - 1) * np.exp(-real("oscillation", oscillation, 0, inf))))[()]


@to_infinity
def replace_one_path(
    layers: Sequence[Layer],
    *,
    examples: int,
    radius: float,
    readout: float,
    change: float | None = None,
    label_embedding: float = 1.0,
    provenance: Provenance = "certified",
) -> Certificate:
    r"""Replace-one stability of a deep transformer with full attention, every example alike.

    |f - f'| <= |w_o| [prod (r_l + b_l) - prod r_l] mean_l |Delta_l|, the difference summed without
    cancellation.

    Args:
        examples: m >= 1; the m example tokens are the keys (add 1 if the query is one too).
    Returns: Certificate; label sensitivity kappa = |w_o| |E_y| [prod (r + b) - prod r].
    Assumes: Example tokens are keys, the query token is the same in both prompts.
    Source: derived here, THEORY.md statement 29. That depth and weight norms enter exponentially:
        paper, abstract-level claim.
    """
    m, start, moved, out = _prompt(examples, radius, change, readout)
    query, mean, radii = 0.0, 1.0, [start]
    for layer in layers:
        growth = layer.growth(radii[-1], m)
        query = _product(growth.own, query) + _product(growth.other, mean)
        mean = _product(growth.own + growth.other, mean)
        radii.append(growth.radius)
    per_mean = _product(out, query)
    embedding = one("label_embedding", nonnegative("label_embedding", label_embedding))
    return Certificate(
        _product(per_mean, moved) / m,
        _product(per_mean, moved),
        _product(per_mean, embedding),
        tuple(radii),
        constants(provenance, radius=start, readout=out, change=moved),
    )


@to_infinity
def replace_one(
    layers: Sequence[Layer],
    *,
    examples: int,
    radius: float,
    readout: float,
    change: float | None = None,
    label_embedding: float = 1.0,
    provenance: Provenance = "certified",
) -> Certificate:
    r"""Replace-one stability of a deep transformer with full attention, refined.

    The replaced token is followed apart from the others: Q_l bounds the change of the query and
    of every other token, A_l that of the replaced one, both capped by the diameter 2 R_l. For one
    layer without MLP it is 2 R |w_o| sum_h |U_h| omega(m, 2 G_h)/m, which is attained.

    Args:
        label_embedding: |E_y|, >= 0, for the label sensitivity, which is that of
            `replace_one_path`.
    Returns: Certificate.
    Assumes: As `replace_one_path`.
    Source: derived here, THEORY.md statement 30.
    """
    m, start, moved, out = _prompt(examples, radius, change, readout)
    others, replaced, radii = 0.0, moved, [start]
    for layer in layers:
        growth = layer.growth(radii[-1], m)
        jump = sum(min(width, _product(slope, replaced)) for width, slope in growth.replaced) / m
        pushed = _product(growth.attended, replaced) + _product(growth.attending, others) + jump
        passed = growth.own + _product(growth.other, (m - 1) / m)
        replaced = _product(growth.mlp, replaced + min(growth.reach, pushed))
        others = _product(passed, others) + _product(growth.mlp, jump)
        radii.append(growth.radius)
        others, replaced = min(others, 2 * growth.radius), min(replaced, 2 * growth.radius)
    labels = replace_one_path(
        layers, examples=examples, radius=radius, readout=out, label_embedding=label_embedding
    )
    return Certificate(
        _product(out, others),
        _product(out, others, m),
        labels.label_sensitivity,
        tuple(radii),
        constants(provenance, radius=start, readout=out, change=moved),
    )


@to_infinity
def causal_replace_one(
    layers: Sequence[Layer],
    *,
    tokens: int,
    position: int,
    radius: float,
    readout: float,
    change: float | None = None,
    label_embedding: float = 1.0,
    provenance: Provenance = "certified",
) -> Certificate:
    r"""Replace-one stability of a causal transformer, by position of the replaced token.

    |f - f'| <= |w_o| |Delta| (prod_l (r_l I + b_l C))_{Tj}, C_kl = 1[l <= k]/k. From two layers on
    the first position costs a logarithm per extra layer: no O(1/T) certificate exists.

    Args:
        tokens: T >= 1; the prediction is read at the last one.
        position: j in 1..T, the replaced token.
    Returns: Certificate with ``constant`` = T ``change``.
    Assumes: Token k attends to tokens 1..k. An example of two tokens, x and y, needs both changes.
    Source: derived here, THEORY.md statement 31.
    """
    length, start, moved, out = _prompt(tokens, radius, change, readout, "tokens")
    j = one("position", generation_index("position", position, first=1))
    if j > length:
        raise ValueError(f"position = {position!r} is outside the admissible range [1, {tokens}]")
    reach = np.zeros(int(length))
    reach[-1] = 1.0
    counts, radii = np.arange(1, length + 1), [start]
    for layer in layers:
        growth = layer.growth(radii[-1], length)
        averaged = np.cumsum((reach / counts)[::-1])[::-1]
        kept = times(reach, np.asarray(growth.own))
        reach = kept + times(averaged, np.asarray(growth.other))
        radii.append(growth.radius)
    passed = _product(out, float(reach[int(j) - 1]))
    embedding = one("label_embedding", nonnegative("label_embedding", label_embedding))
    return Certificate(
        _product(passed, moved),
        _product(passed, moved, length),
        _product(passed, embedding, length),
        tuple(radii),
        constants(provenance, radius=start, readout=out, change=moved),
    )


@to_infinity
def causal_spread(tokens: Num, position: Num, layers: Num) -> Floats:
    r"""Bound on (C^s)_{Tj}, the share of token j in s causal averages: (H_T - H_{j-1})^{s-1}/T.

    Args:
        tokens: T >= 1.
        position: j in 1..T.
        layers: s >= 1, averages taken one after the other.
    Returns: the bound, exact for s = 1 and 2; at j = 1 the harmonic numbers give (1 + ln
        T)^{s-1}/T.
    Source: derived here, THEORY.md statement 31.
    """
    (last,) = checked(tokens=tokens)
    first = generation_index("position", position, first=1)
    if (first > last).any():
        raise ValueError(f"position = {position!r} is outside the admissible range [1, tokens]")
    spread = harmonic(last) - harmonic(first - 1)
    power = generation_index("layers", layers, first=1) - 1
    bound: Floats = np.power(spread, power) / last
    return bound[()]


@to_infinity
def linear_attention(
    examples: Num, gamma_norm: Num, input_radius: Num, label_radius: Num
) -> tuple[Floats, Floats]:
    r"""Replace-one stability and label sensitivity of linear attention, both exact.

    f = x_q^T Gamma (1/m) sum_i x_i y_i: worst change 2 |Gamma| B_x^2 B_y/m, kappa = |Gamma| B_x^2.

    Args:
        gamma_norm: spectral norm of Gamma, >= 0.
        input_radius: B_x, bound on |x|, >= 0.
        label_radius: B_y, bound on |y|, >= 0.
    Returns: the worst change of the prediction and the label sensitivity, both attained.
    Source: derived here, THEORY.md statement 32.
    """
    m, norm, labels = checked(examples=examples, gamma_norm=gamma_norm, label_radius=label_radius)
    kappa = norm * nonnegative("input_radius", input_radius) ** 2
    return (2 * kappa * labels / m)[()], kappa[()]


@to_infinity
def published_generic(examples: Num, logit_norm: Num, depth: Num) -> Floats:
    r"""A generic certificate for comparison: (2/(2m-1)) ((1 + G) e^G)^L.

    Args:
        examples: m >= 1, each of two tokens, and a query.
        logit_norm: G >= 0, twice the norm of the query-key product.
        depth: L >= 0.
    Returns: bound on the change of the prediction, inf where it overflows.
    Assumes: Tokens in the unit ball, one head, value norm and MLP norms at most 1, ReLU, no
        residual: it does not hold as it stands for trained networks with residuals.
    Source: recalled, not seen: Li, Ildiz, Papailiopoulos and Oymak 2023.
    """
    m, g, layers = checked(examples=examples, logit_norm=logit_norm, depth=depth)
    return (2 / (2 * m - 1) * np.exp(layers * (np.log1p(g) + g)))[()]


@to_infinity
def gaussian_head(mean_change: Num, log_scale_change: Num, least_scale: Num) -> Floats:
    r"""Total variation between Gaussian predictions whose mean and log scale moved a little.

    TV <= |Delta mu|/(sqrt(2 pi) s_min) + 2 phi(1) |Delta log s|.

    Args:
        mean_change: bound on |mu - mu'|, >= 0.
        log_scale_change: bound on |log s - log s'|, >= 0.
        least_scale: s_min > 0, lower bound on both standard deviations.
    Returns: the bound, not capped at 1; tight to first order.
    Source: derived here, THEORY.md statement 33.
    """
    moved, least, scale = checked(
        mean_change=mean_change, least_scale=least_scale, log_scale_change=log_scale_change
    )
    density = 1 / sqrt(2 * pi)
    return (density * (moved / least) + 2 * density * exp(-0.5) * scale)[()]


class ContextLoop(NamedTuple):
    """Recursive stability of a frozen model that relabels part of its own context."""

    gamma: Floats
    """Bound on the change of any prediction at generation g."""
    stable: BoolArray
    """q = (1-alpha) kappa < 1, under which gamma is bounded in g."""
    constants: tuple[Constant, ...]


@to_infinity
def context_loop(
    examples: Num,
    alpha: Num,
    generation: Num,
    *,
    c: Num,
    kappa: Num,
    kept: bool = True,
    provenance: Provenance = "assumed",
) -> ContextLoop:
    r"""Effect of one replaced real example after g rounds of relabelling the context.

    Kept example: gamma_g <= (c/m) (1 + q + ... + q^g), q = (1-alpha) kappa; relabelled one:
    gamma_g <= q^g c/m.

    Args:
        alpha: share of the examples whose real labels are kept, in [0, 1].
        c: replace-one constant, |f(x; S) - f(x; S^(j))| <= c/m, >= 0.
        kappa: label sensitivity, |f - f'| <= (kappa/m) sum |y - y'|, >= 0.
        kept: whether the replaced example is among the kept ones.
    Returns: ContextLoop in the broadcast shape; infinite at g = inf where q >= 1 and the example is
        kept. The threshold on alpha is `phase_threshold`.
    Assumes: Both runs share inputs and relabelling noise; labels clipped to where c and kappa hold.
    Source: derived here, THEORY.md statement 34. That a constant real share keeps it bounded:
        paper, abstract-level claim.
    """
    m, swapped = checked(examples=examples, c=c)
    gap, power, total = _context_powers(alpha, kappa, generation, extra=1)
    passed = total if flag("kept", kept) else power
    gamma, gap = common_shape(times(swapped / m, passed), gap)
    return ContextLoop(gamma, gap > 0, constants(provenance, c=c, kappa=kappa))


@to_infinity
def context_error(start: Num, one_round: Num, alpha: Num, generation: Num, *, kappa: Num) -> Floats:
    r"""Largest prediction error after g rounds of relabelling without noise.

    e_g <= q^g e_0 + eps_0 (1 - q^g)/(1 - q), q = (1-alpha) kappa; g eps_0 at q = 1.

    Args:
        start: e_0, error with the real context, >= 0.
        one_round: eps_0, error with the true function's labels in place of the relabelled ones.
        alpha: share of the examples whose real labels are kept, in [0, 1].
        kappa: label sensitivity, >= 0.
    Returns: the bound in the broadcast shape.
    Source: derived here, THEORY.md statement 35.
    """
    first, later = checked(start=start, one_round=one_round)
    _, power, total = _context_powers(alpha, kappa, generation, extra=0)
    return (times(first, power) + times(later, total))[()]


def _context_powers(
    alpha: Num, kappa: Num, generation: Num, extra: int
) -> tuple[Floats, Floats, Floats]:
    kept, follow, g = checked(alpha=alpha, kappa=kappa, generation=generation)
    gap, ratio = one_minus_product(kept, follow), (1 - kept) * follow
    return gap, geometric(ratio, gap, g).power, geometric(ratio, gap, g + extra).total


def _prompt(
    count: int, radius: float, change: float | None, readout: float, name: str = "examples"
) -> tuple[float, float, float, float]:
    m = one(name, generation_index(name, count, first=1))
    if isinf(m):
        raise ValueError(f"{name} = {count!r} is outside the admissible range [1, inf)")
    start = one("radius", nonnegative("radius", radius))
    widest = 2 * start
    moved = widest if change is None else one("change", real("change", change, 0, widest))
    return m, start, moved, one("readout", nonnegative("readout", readout))


def _product(*factors: float) -> float:
    """A product of norms in which 0 beats inf: a weight that vanishes passes nothing on."""
    return 0.0 if 0 in factors else float(prod(factors))
