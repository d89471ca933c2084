"""How much synthetic data the bounds recommend, with a certificate of global optimality."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from icl_stl.bounds._check import (
    Constant,
    FloatArray,
    Provenance,
    constants,
    generation_index,
    nonnegative,
    positive,
    probability,
    real,
    sample_size,
    to_infinity,
)
from icl_stl.bounds._series import geometric

Objective = Literal["gap", "risk", "uniform"]

# Relative gap that the search proves, and what it sets aside for rounding in a bound.
_TOLERANCE = 2e-7
_ROUNDING = 1e-12
_MOST_INTERVALS = 200_000


class OptimalSize(NamedTuple):
    """Synthetic-to-real ratio of least bound, and the proof that no other ratio is better.

    Attributes:
        lam: lambda* = n_syn/n; 0 for no synthetic data, inf where the bound falls for ever.
        value: the bound at lambda* (its limit at inf).
        lower_bound: certified: no ratio admitted has a smaller bound; within 1e-6 of ``value``,
            relatively.
        regime: ``none``, ``interior``, ``unbounded``, or ``capped`` at the largest ratio allowed.
        description: the regime in words.
        sensitivities: d ln lambda*/d ln q for the constants q at an interior optimum, else empty.
        constants: the problem's constants and where they come from.
    """

    lam: float
    value: float
    lower_bound: float
    regime: str
    description: str
    sensitivities: Mapping[str, float]
    constants: tuple[Constant, ...]


class Shapes(NamedTuple):
    """The three functions of lambda that every objective is a positive combination of."""

    shift: FloatArray
    stability: FloatArray
    fluctuation: FloatArray


@dataclass(frozen=True)
class Landscape:
    """B(lambda) = A shift(lambda) + H stability(lambda) + G fluctuation(lambda).

    Attributes:
        A: M c n^{-a} for the gap, twice that for the excess risk.
        H: b/n.
        G: (M + 2b) sqrt(ln(1/delta)/(2n)) for the gap, 0 for the excess risk.
        kappa: generator stability.
        a: rate of the one-step error.
        generation: i >= 1 or inf.
    """

    A: float
    H: float
    G: float
    kappa: float
    a: float
    generation: float

    @to_infinity
    def value(self, lam: ArrayLike) -> FloatArray:
        """The objective at ``lam`` in [0, inf]; at inf its limit."""
        return self._combined(self.shapes(np.asarray(lam, dtype=np.float64)))

    @to_infinity
    def slope(self, lam: ArrayLike) -> FloatArray:
        """Derivative of the objective at finite ``lam``; inf where the objective is."""
        at = np.asarray(lam, dtype=np.float64)
        return np.where(np.isinf(self.value(at)), np.inf, self._combined(self.slopes(at)))

    def _combined(self, shapes: Shapes) -> FloatArray:
        total = np.zeros_like(shapes.shift)
        for weight, shape in zip((self.A, self.H, self.G), shapes, strict=True):
            total = total + weight * shape if weight > 0 else total
        return total

    def shapes(self, lam: FloatArray) -> Shapes:
        """Shift, stability and fluctuation at ``lam``, each 0, 1 and 1 without synthetic data."""
        mix = _Mixture.at(lam, self.kappa)
        influence, spread = self._influence(mix)
        return Shapes(
            self._shift(mix, mix),
            np.where(np.isinf(influence), np.inf, mix.alpha * influence + mix.product),
            np.hypot(influence, np.sqrt(mix.rho * spread)),
        )

    @to_infinity
    def lower(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """A number below the objective on all of [left, right], from monotone factors."""
        low, high = _Mixture.at(left, self.kappa), _Mixture.at(right, self.kappa)
        at_low, at_high = self._influence(low), self._influence(high)
        growing = self.kappa >= 1
        influence = (at_low if growing else at_high)[0]
        spread = at_high[1] if self.kappa <= 1 else self._least_spread(left, right)
        product = np.minimum(low.product, high.product)
        shapes = Shapes(
            self._shift(low, high),
            np.where(np.isinf(influence), np.inf, high.alpha * influence + product),
            np.hypot(influence, np.sqrt(low.rho * spread)),
        )
        return self._combined(shapes) * (1 - _ROUNDING)

    def _least_spread(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Alpha sum_{s<i} r^{2s} from below for kappa > 1: factor by factor, or kappa put to 1."""
        low, high = _Mixture.at(left, self.kappa), _Mixture.at(right, self.kappa)
        series = geometric(low.ratio, low.gap, np.asarray(self.generation))
        squares = series.total * (1 + series.power) / (1 + low.ratio)
        by_factors = np.where(high.alpha == 0, 0.0, high.alpha * squares)
        neutral = replace(self, kappa=1.0)._influence(_Mixture.at(right, 1.0))[1]
        return np.maximum(by_factors, neutral)

    def _shift(self, low: "_Mixture", high: "_Mixture") -> FloatArray:
        """Rho [P + w (1 - P)], P = rho^{i-1}, w = alpha^{a-1}, from below between two mixtures.

        It rises in rho and in w; in P it falls where w >= 1 (a <= 1) and rises where w <= 1.
        """
        slow = self.a <= 1
        weight = (low if slow else high).alpha ** (self.a - 1)
        at = high if slow else low
        old = _power(at, self.generation - 1)
        new = np.zeros_like(old) if self.generation == 1 else _one_minus_power(at, self)
        return low.rho * (old + np.where(new == 0, 0.0, weight * new))

    def _influence(self, mix: "_Mixture") -> tuple[FloatArray, FloatArray]:
        """N chi_i, and alpha sum_{s<i} r^{2s}."""
        i = np.asarray(self.generation)
        if np.isinf(i):
            reached = np.where((mix.gap > 0) | (self.kappa == 1), mix.injected, np.inf)
            return reached, reached / (1 + mix.ratio)
        series = geometric(mix.ratio, mix.gap, i)
        injected = np.where(mix.alpha == 0, 0.0, mix.alpha * series.total)
        square = np.where(injected == 0, 0.0, injected * (1 + series.power))
        return injected + series.power, square / (1 + mix.ratio)

    def slopes(self, lam: FloatArray) -> Shapes:
        """Derivatives of the three shapes in lambda, at finite ``lam``."""
        mix, i = _Mixture.at(lam, self.kappa), self.generation
        d_rho = mix.alpha**2
        scale = mix.rho * mix.alpha ** (self.a - 1)
        d_scale = d_rho * mix.alpha ** (self.a - 2) * (mix.alpha + (1 - self.a) * mix.rho)
        if np.isinf(i):
            d_shift = d_scale
        else:
            spent = 1 - _power(mix, i - 1) if i == 1 else -np.expm1((i - 1) * mix.log_rho)
            d_spent = -(i - 1) * _power(mix, i - 2) * d_rho if i > 1 else 0.0
            d_shift = i * _power(mix, i - 1) * d_rho + d_scale * spent + scale * d_spent
        influence, spread = self._influence(mix)
        d_influence, d_spread = self._influence_slopes(mix, d_rho)
        d_stability = mix.alpha * d_influence + d_rho * (mix.alpha - mix.rho - influence)
        fluctuation = np.hypot(influence, np.sqrt(mix.rho * spread))
        d_square = 2 * influence * d_influence + d_rho * spread + mix.rho * d_spread
        return Shapes(d_shift, d_stability, d_square / (2 * fluctuation))

    def _influence_slopes(
        self, mix: "_Mixture", d_rho: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Derivatives in lambda of the two results of `_influence`."""
        i, d_ratio = self.generation, self.kappa * d_rho
        if np.isinf(i):
            d_injected = -d_rho * (1 - self.kappa) / mix.gap**2
            injected = mix.alpha / mix.gap
            per = 1 + mix.ratio
            return d_injected, d_injected / per - injected * d_ratio / per**2
        total, d_total = _sum_and_slope(mix.ratio, mix.gap, i)
        d_power = i * mix.ratio ** (i - 1)
        squares, d_squares = _sum_and_slope(mix.ratio**2, mix.gap * (1 + mix.ratio), i)
        d_influence = -d_rho * total + (mix.alpha * d_total + d_power) * d_ratio
        d_spread = -d_rho * squares + mix.alpha * d_squares * 2 * mix.ratio * d_ratio
        return d_influence, d_spread


class _Mixture(NamedTuple):
    """What a ratio lambda makes of the shares; exact at 0 and at infinity."""

    alpha: FloatArray
    rho: FloatArray
    log_rho: FloatArray
    product: FloatArray
    ratio: FloatArray
    gap: FloatArray
    injected: FloatArray

    @staticmethod
    def at(lam: FloatArray, kappa: float) -> "_Mixture":
        alpha = 1 / (1 + lam)
        rho = 1 / (1 + 1 / lam)
        log_rho = -np.log1p(1 / lam)
        gap = np.where(np.isinf(lam), 1 - kappa, (1 + lam * (1 - kappa)) * alpha)
        # alpha/(1 - r) = 1/(1 + (1 - kappa) lambda), also where lambda is infinite
        injected = 1 / (1 + lam * (1 - kappa)) if kappa != 1 else np.ones_like(lam)
        return _Mixture(alpha, rho, log_rho, alpha * rho, kappa * rho, gap, injected)


def _power(mix: _Mixture, exponent: float) -> FloatArray:
    """rho^exponent; at infinity the limit of the loop comes before that of lambda, so 0."""
    if exponent == 0:
        return np.ones_like(mix.rho)
    return np.zeros_like(mix.rho) if np.isinf(exponent) else np.exp(exponent * mix.log_rho)


def _one_minus_power(mix: _Mixture, landscape: Landscape) -> FloatArray:
    """1 - rho^{i-1} without cancellation; 1 in the limit of the loop."""
    count = landscape.generation - 1
    return np.ones_like(mix.rho) if np.isinf(count) else -np.expm1(count * mix.log_rho)


def _sum_and_slope(
    ratio: FloatArray, gap: FloatArray, count: float
) -> tuple[FloatArray, FloatArray]:
    """S(r) = 1 + r + ... + r^{k-1} and dS/dr, by its series in 1 - r where that is small."""
    series = geometric(ratio, gap, np.asarray(count))
    slope = (series.total - count * ratio ** (count - 1)) / gap
    near, term = np.zeros_like(ratio), np.ones_like(ratio) * count * (count - 1) / 2
    for k in range(2, 12):
        near = near + (k - 1) * term
        term = term * (-gap) * (count - k) / (k + 1)
    return series.total, np.where(np.abs(gap) * count < 0.05, near, slope)


@to_infinity
def optimal_size(
    n: float,
    *,
    M: float,
    b: float,
    kappa: float,
    c: float,
    a: float,
    delta: float = 0.05,
    generation: float = np.inf,
    objective: Objective = "gap",
    log_size: float = 0.0,
    max_lam: float = np.inf,
    provenance: Provenance = "assumed",
) -> OptimalSize:
    r"""Synthetic-to-real ratio lambda that minimises a bound, found by branch and bound.

    gap: `generalization_gap_at_rate`; risk: `excess_risk_at_rate`; uniform:
    `uniform_convergence_gap` with discrepancy M times the drift; each at alpha = 1/(1 + lambda),
    lambda in [0, max_lam]. None of them is unimodal in general.

    Args:
        n: size of the real set, >= 1.
        M: largest loss, > 0.
        b: loss stability, >= 0; without effect on ``uniform``.
        kappa: generator stability, >= 0; without effect on ``uniform``.
        c: constant of the mean one-step error, >= 0.
        a: its rate, > 0.
        delta: probability of failure in (0, 1); without effect on ``risk``.
        generation: i >= 1, or inf for the loop's limit, the safer design.
        objective: ``gap``, ``risk`` or ``uniform``.
        log_size: logarithm of the class's size, >= 0, for ``uniform`` only.
        max_lam: largest ratio allowed, in [0, inf].
        provenance: how the constants are known.

    Returns:
        OptimalSize; its value at lam = inf is the objective's limit.

    Raises:
        ValueError: for an argument outside its range.

    Assumes:
        As the bound that is minimised; real set fixed, n given. The certificate holds up to
        rounding, for which 1e-12 is set aside.

    Source:
        derived here: THEORY.md statements 21 to 26. That there is a trade-off: paper,
        abstract-level claim.
    """
    problem = Problem(n, M, b, kappa, c, a, delta, generation, objective, log_size).checked()
    landscape = problem.landscape()
    cap = float(_number("max_lam", real("max_lam", max_lam, 0, np.inf)))
    search = branch_and_bound(landscape, cap)
    lam = polished(landscape, search, cap)
    regime = _regime(lam, cap)
    value = float(landscape.value(lam))
    return OptimalSize(
        lam,
        value,
        min(search.lower_bound, value),
        regime,
        _IN_WORDS[regime],
        problem.elasticities(lam) if regime == "interior" else {},
        constants(provenance, M=M, b=b, kappa=kappa, c=c, a=a),
    )


_IN_WORDS = {
    "none": "no synthetic data: the bound is smallest at lambda = 0",
    "interior": "interior: a finite ratio above 0 is best",
    "unbounded": "unbounded: the infimum is approached as lambda grows, not attained",
    "capped": "capped: the largest ratio allowed is best",
}


def _regime(lam: float, cap: float) -> str:
    if lam == 0:
        return "none"
    if np.isinf(lam):
        return "unbounded"
    return "capped" if lam == cap else "interior"


class Problem(NamedTuple):
    """The constants of `optimal_size`, one number each."""

    n: float
    M: float
    b: float
    kappa: float
    c: float
    a: float
    delta: float
    generation: float
    objective: str
    log_size: float

    def checked(self) -> "Problem":
        """The same problem, every constant one admissible number."""
        if self.objective not in ("gap", "risk", "uniform"):
            raise ValueError(
                f"objective = {self.objective!r} is outside the admissible range: "
                "gap, risk, uniform"
            )
        return Problem(
            n=_number("n", sample_size("n", self.n)),
            M=_number("M", positive("M", self.M)),
            b=_number("b", nonnegative("b", self.b)),
            kappa=_number("kappa", nonnegative("kappa", self.kappa)),
            c=_number("c", nonnegative("c", self.c)),
            a=_number("a", positive("a", self.a)),
            delta=_number("delta", probability("delta", self.delta)),
            generation=_number(
                "generation", generation_index("generation", self.generation, first=1)
            ),
            objective=self.objective,
            log_size=_number("log_size", nonnegative("log_size", self.log_size)),
        )

    def landscape(self) -> Landscape:
        """The objective as a function of lambda."""
        drift, change = self.M * self.c * self.n**-self.a, self.b / self.n
        logs = -np.log(self.delta)
        if self.objective == "risk":
            return Landscape(2 * drift, change, 0.0, self.kappa, self.a, self.generation)
        if self.objective == "uniform":
            weight = self.M * np.sqrt((logs + self.log_size) / (2 * self.n))
            return Landscape(drift, 0.0, float(weight), 0.0, self.a, self.generation)
        weight = (self.M + 2 * self.b) * np.sqrt(logs / (2 * self.n))
        return Landscape(drift, change, float(weight), self.kappa, self.a, self.generation)

    def elasticities(self, lam: float) -> dict[str, float]:
        """D ln lambda*/d ln q of an interior optimum, by the implicit function theorem."""
        step = 1e-5
        less, more = self.landscape().slope(np.asarray([lam * (1 - step), lam * (1 + step)]))
        if not more > less:
            return {}
        return {
            name: 0.0 - self._slope_change(name, lam, step) / float(more - less)
            for name in ("n", "M", "b", "kappa", "c", "a", "delta")
        }

    def _slope_change(self, name: str, lam: float, step: float) -> float:
        """Slope at ``lam`` with ln ``name`` raised, minus that with it lowered, by ``step``."""
        step = min(step, -np.log(self.delta) / 2) if name == "delta" else step
        changed: list[float] = []
        for factor in (np.exp(step), np.exp(-step)):
            fields = self._asdict()
            fields[name] = fields[name] * factor
            changed.append(float(Problem(**fields).landscape().slope(lam)))
        return changed[0] - changed[1]


def _number(name: str, value: FloatArray) -> float:
    if value.ndim:
        raise ValueError(f"{name} has shape {value.shape}: one number is admissible here")
    return float(value)


class Search(NamedTuple):
    """What branch and bound leaves: the best ratio tried, its neighbours, a certified minimum."""

    best: float
    below: float
    above: float
    lower_bound: float


@to_infinity
def branch_and_bound(landscape: Landscape, cap: float) -> Search:
    """Discard intervals of lambda whose lower bound is not below the best value found.

    The intervals are halved in ln(1 + lambda). What is certified: no lambda in [0, cap] has an
    objective below ``lower_bound``, up to rounding.
    """
    if cap == 0:
        return Search(0.0, 0.0, 0.0, float(landscape.value(0.0)) * (1 - _ROUNDING))
    edges = np.expm1(np.linspace(0, min(np.log1p(cap), 45.0), 129))
    edges = edges if edges[-1] >= cap * (1 - 1e-9) else np.append(edges, cap)
    edges[-1] = cap
    values = landscape.value(edges)
    left, right = edges[:-1], edges[1:]
    certified = np.inf
    while True:
        best = values.min()
        lower = landscape.lower(left, right)
        middle = _middle(left, right)
        settled = (lower >= best * (1 - _TOLERANCE)) | ~((left < middle) & (middle < right))
        if len(left) > _MOST_INTERVALS:
            settled[:] = True
        certified = min(certified, float(lower[settled].min(initial=np.inf)))
        left, middle, right = left[~settled], middle[~settled], right[~settled]
        if not len(left):
            break
        edges, values = np.append(edges, middle), np.append(values, landscape.value(middle))
        left, right = np.append(left, middle), np.append(middle, right)
    if np.isinf(cap) and best > 0 and values[edges == np.inf][0] <= best * (1 + 1e-14):
        # As good at infinity as anywhere, but for 0: the tail is flat to rounding.
        edges, values = (
            edges[(edges == 0) | np.isinf(edges)],
            values[(edges == 0) | np.isinf(edges)],
        )
    order = np.argsort(edges)
    edges, values = edges[order], values[order]
    k = int(values.argmin())
    below, above = edges[max(k - 1, 0)], edges[min(k + 1, len(edges) - 1)]
    return Search(float(edges[k]), float(below), float(above), min(certified, float(values[k])))


def _middle(left: FloatArray, right: FloatArray) -> FloatArray:
    """The middle in ln(1 + lambda); beyond the last finite edge the logarithm is doubled."""
    low = np.log1p(left)
    return np.expm1(np.where(np.isinf(right), 2 * low + 1, (low + np.log1p(right)) / 2))


@to_infinity
def polished(landscape: Landscape, search: Search, cap: float) -> float:
    """The stationary point next to the best ratio tried, or the end of the range it leans on."""
    if np.isinf(search.best):
        return float(np.inf)
    below, above = _bracket(landscape, search, cap)
    if below == above:
        return below
    while True:
        grid = np.linspace(below, above, 17)
        k = int(np.searchsorted(landscape.slope(grid[1:-1]) >= 0, True))
        if grid[k] <= below and grid[k + 1] >= above:
            break
        below, above = float(grid[k]), float(grid[k + 1])
        if above - below <= 1e-15 * above:
            break
    middle = (below + above) / 2
    rounding = 1 + 1e-14
    better = landscape.value(middle) <= landscape.value(search.best) * rounding
    return middle if better else search.best


def _bracket(landscape: Landscape, search: Search, cap: float) -> tuple[float, float]:
    """Two ratios between which the slope turns from negative to positive, or an end twice."""
    below, above, best = search.below, search.above, search.best
    step = best - below
    while below > 0 and landscape.slope(below) >= 0:
        below, step = max(0.0, below - step), 2 * step
    if below == 0 and landscape.slope(0.0) >= 0:
        return 0.0, 0.0
    above = above if np.isfinite(above) else 2 * best + 1
    step = max(above - best, best)
    while above < cap and landscape.slope(above) < 0:
        above, step = min(cap, above + step), 2 * step
    if above == cap and landscape.slope(cap) <= 0:
        return cap, cap
    return below, above


@to_infinity
def closed_form_size(  # noqa: PLR0911
    n: float,
    *,
    M: float,
    b: float,
    kappa: float,
    c: float,
    a: float,
    delta: float = 0.05,
    generation: float = np.inf,
    objective: Objective = "gap",
    log_size: float = 0.0,
) -> float | None:
    r"""Optimal ratio without a cap where a closed form is known, else None.

    kappa = 0, i = inf, a = 1/2: lambda* = y^2 - 1 with A y^3 + (A - G) y = 2 H, which is
    max(0, G/A - 2) for b = 0; kappa = 0 with i = 1 or a = 1: 0 or inf; kappa >= 1 with b = 0: 0;
    risk with 2 M c n^{1-a} >= b, i = inf, kappa <= 1, a <= 1: 0.

    Args:
        n: size of the real set, >= 1.
        M: largest loss, > 0.
        b: loss stability, >= 0.
        kappa: generator stability, >= 0.
        c: constant of the mean one-step error, >= 0.
        a: its rate, > 0.
        delta: probability of failure in (0, 1).
        generation: i >= 1 or inf.
        objective: ``gap``, ``risk`` or ``uniform``.
        log_size: logarithm of the class's size, >= 0, for ``uniform`` only.

    Returns:
        lambda*, or None.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        derived here: THEORY.md statements 21, 22, 24 and 26.
    """
    problem = Problem(n, M, b, kappa, c, a, delta, generation, objective, log_size).checked()
    A, H, G, follow, rate, i = _fields(problem.landscape())
    gains = A < G + H
    if follow >= 1 and H == 0:
        return 0.0
    if G == 0 and np.isinf(i) and follow <= 1 and rate <= 1 and A >= H:
        return 0.0
    if follow == 0 and (i == 1 or (np.isinf(i) and rate == 1)):
        return float(np.inf) if gains else 0.0
    if follow == 0 and np.isinf(i) and rate > 1:
        return float(np.inf) if max(H, G) > 0 else 0.0
    if follow == 0 and np.isinf(i) and rate == 0.5:
        if A == 0:
            return float(np.inf) if gains else 0.0
        return max(0.0, _cubic_root((A - G) / A, 2 * H / A) ** 2 - 1)
    return None


def _fields(landscape: Landscape) -> tuple[float, float, float, float, float, float]:
    at = landscape
    return at.A, at.H, at.G, at.kappa, at.a, at.generation


def _cubic_root(p: float, q: float) -> float:
    """The largest root of y^3 + p y = q for q >= 0."""
    if p == 0:
        return float(np.cbrt(q))
    scale = np.sqrt(abs(p) / 3)
    ratio = q / (2 * scale**3)
    if p > 0:
        return float(2 * scale * np.sinh(np.arcsinh(ratio) / 3))
    if ratio <= 1:
        return float(2 * scale * np.cos(np.arccos(ratio) / 3))
    return float(2 * scale * np.cosh(np.arccosh(ratio) / 3))


@to_infinity
def proved_directions(
    *, b: float, kappa: float, a: float, generation: float = np.inf
) -> dict[str, str]:
    r"""How every optimal ratio moves with the constants, where that is proved.

    Args:
        b: loss stability, >= 0.
        kappa: generator stability, >= 0.
        a: rate of the one-step error, > 0.
        generation: i >= 1 or inf.

    Returns:
        ``rises``, ``falls`` (weakly) or ``unmoved`` for each constant a statement exists for, as
        it grows; empty unless i = inf, kappa <= 1/2 and a < 1.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        derived here: THEORY.md statement 25.
    """
    change, rate = float(nonnegative("b", b)), float(positive("a", a))
    i = float(generation_index("generation", generation, first=1))
    if np.isfinite(i) or float(nonnegative("kappa", kappa)) > 0.5 or rate >= 1:
        return {}
    directions = {"delta": "falls", "b": "rises", "c": "falls"}
    directions["M"] = "falls" if change > 0 else "unmoved"
    if change == 0:
        directions["n"] = "unmoved" if rate == 0.5 else "rises" if rate > 0.5 else "falls"
    elif rate <= 0.5:
        directions["n"] = "falls"
    return directions
