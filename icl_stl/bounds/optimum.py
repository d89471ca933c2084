"""How much synthetic data the bounds recommend, with a certificate of global optimality.

Generations count from 1; the limit, inf, is the safer design. ``b``, ``kappa`` and ``fresh`` are
without effect on ``uniform``, ``delta`` on ``risk``, ``log_size`` on both ``gap`` and ``risk``. The
one-step error of ``c``, ``a`` and ``floor`` is a mean, for ``uniform`` that of every loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from icl_stl.bounds._check import checked, flag, generation_index, nonnegative, one, positive
from icl_stl.bounds._kinds import Constant, Floats, Num, Provenance, constants, to_infinity
from icl_stl.bounds._series import geometric
from icl_stl.bounds.generalization import Gap

Objective = Literal["gap", "risk", "uniform"]

# Relative gap that the search proves, and what it sets aside for rounding in a bound: up to
# generation 200 and in the limit, and beyond, where powers of many generations round more.
_TOLERANCE = 2e-7
_ROUNDING = 1e-12
_ROUNDING_LATE = 1e-10
_LATE = 200
_MOST_INTERVALS = 200_000
# What overflows is at least so large; a lower bound must not be infinite for it.
_OVERFLOW = 1e308


class OptimalSize(NamedTuple):
    """Synthetic-to-real ratio of least bound, and the proof that no other ratio is better."""

    lam: float
    """lambda* = n_syn/n; 0 for no synthetic data, inf where the bound falls for ever."""
    value: float
    """The bound at lambda* (its limit at inf)."""
    lower_bound: float
    """Certified: no ratio admitted has a smaller bound; within 1e-6 of ``value``, relatively,
    unless the search ends early, after 200,000 intervals (seen for kappa some 1e-9 above 1 and
    generations around 1e5: 1.4e-6).
    """
    regime: str
    """``none``, ``interior``, ``unbounded``, or ``capped`` at the largest ratio allowed."""
    description: str
    """The regime in words."""
    sensitivities: Mapping[str, float]
    """d ln lambda*/d ln q for the constants q at an interior optimum, else empty."""
    constants: tuple[Constant, ...]


class Shapes(NamedTuple):
    """The functions of lambda that every objective is a positive combination of.

    ``shift`` is that of the decaying error, ``floor`` that of the error which stays.
    """

    shift: Floats
    floor: Floats
    stability: Floats
    fluctuation: Floats


@dataclass(frozen=True)
class Landscape:
    """B = A shift(lambda) + F floor(lambda) + H stability(lambda) + G fluctuation(lambda)."""

    A: float
    """M c n^{-a} for the gap, twice that for the excess risk."""
    H: float
    """b/n."""
    G: float
    """(M + 2b) sqrt(ln(1/delta)/(2n)) for the gap, 0 for the excess risk."""
    kappa: float
    """Generator stability."""
    a: float
    """Rate of the one-step error."""
    generation: float
    """i >= 1 or inf."""
    F: float = 0.0
    """M times the error floor for the gap, twice that for the excess risk."""
    fresh: bool = False
    """Whether every generation draws new real rows."""

    @to_infinity
    def parts(self, lam: Num) -> tuple[Floats, Floats, Floats]:
        """Shift, stability and fluctuation of the objective at ``lam`` in [0, inf]."""
        return self._weighted(self.shapes(np.asarray(lam, dtype=np.float64)))

    @to_infinity
    def value(self, lam: Num) -> Floats:
        """The objective at ``lam`` in [0, inf]; at inf its limit."""
        return self._combined(self.shapes(np.asarray(lam, dtype=np.float64)))

    @to_infinity
    def slope(self, lam: Num) -> Floats:
        """Derivative of the objective at finite ``lam``; inf where the objective is."""
        at = np.asarray(lam, dtype=np.float64)
        return np.where(np.isinf(self.value(at)), np.inf, self._combined(self.slopes(at)))

    def _weighted(self, shapes: Shapes) -> tuple[Floats, Floats, Floats]:
        weights = (self.A, self.F, self.H, self.G)
        shift, floor, stability, fluctuation = (
            weight * shape if weight > 0 else np.zeros_like(shape)
            for weight, shape in zip(weights, shapes, strict=True)
        )
        return shift + floor, stability, fluctuation

    def _combined(self, shapes: Shapes) -> Floats:
        shift, stability, fluctuation = self._weighted(shapes)
        return shift + stability + fluctuation

    def shapes(self, lam: Floats) -> Shapes:
        """The shapes at ``lam``: 0, 0, 1 and 1 without synthetic data."""
        mix = _Mixture.at(lam, self.kappa)
        influence, spread = self._influence(mix)
        shift, floor = self._shift(mix, mix), self._floor(mix)
        if self.fresh:
            return Shapes(shift, floor, mix.alpha, np.hypot(self._first(mix), np.sqrt(spread)))
        return Shapes(
            shift,
            floor,
            np.where(np.isinf(influence), np.inf, mix.alpha * influence + mix.product),
            np.hypot(influence, np.sqrt(mix.rho * spread)),
        )

    @property
    def rounded_down(self) -> float:
        """Factor that takes from a lower bound what rounding may have added."""
        late = _LATE < self.generation < np.inf
        return 1 - (_ROUNDING_LATE if late else _ROUNDING)

    def _floor(self, mix: "_Mixture") -> Floats:
        """Shift of a constant error, rho + rho^2 + ... + rho^i; it rises in lambda."""
        return mix.rho * geometric(mix.rho, mix.alpha, np.asarray(self.generation)).total

    def _first(self, mix: "_Mixture") -> Floats:
        """Influence r^i of the first real rows, which new ones replace; it rises in lambda."""
        if np.isinf(self.generation):
            return np.where((mix.gap > 0) | (self.kappa == 1), 0.0, np.inf)
        return geometric(mix.ratio, mix.gap, np.asarray(self.generation)).power

    @to_infinity
    def lower(self, left: Floats, right: Floats) -> Floats:
        """A number below the objective on all of [left, right], from monotone factors."""
        low, high = _Mixture.at(left, self.kappa), _Mixture.at(right, self.kappa)
        at_low, at_high = self._influence(low), self._influence(high)
        growing = self.kappa >= 1
        influence = (at_low if growing else at_high)[0]
        spread = at_high[1] if self.kappa <= 1 else self._least_spread(left, right)
        product = np.minimum(low.product, high.product)
        shift, floor = self._shift(low, high), self._floor(low)
        if self.fresh:
            if np.isinf(self.generation):
                spread = self._influence(_Mixture.at(self._turn(left, right), self.kappa))[1]
            fluctuation = np.hypot(self._first(low), np.sqrt(spread))
            return self._combined(Shapes(shift, floor, high.alpha, fluctuation)) * self.rounded_down
        shapes = Shapes(
            shift,
            floor,
            np.where(np.isinf(influence), np.inf, high.alpha * influence + product),
            np.hypot(influence, np.sqrt(low.rho * spread)),
        )
        return self._combined(shapes) * self.rounded_down

    def _turn(self, left: Floats, right: Floats) -> Floats:
        """Where alpha/(1 - r^2) is least: it falls while alpha^2 > 1 - 1/kappa^2, then rises."""
        if self.kappa <= 1:
            return right
        share = np.sqrt(self.kappa - 1) * np.sqrt(self.kappa + 1) / self.kappa
        return np.asarray(np.clip(1 / share - 1, left, right))

    def _least_spread(self, left: Floats, right: Floats) -> Floats:
        """Squares alpha sum r^{2s} from below for kappa > 1: by factors, or with kappa put to 1."""
        low, high = _Mixture.at(left, self.kappa), _Mixture.at(right, self.kappa)
        series = geometric(low.ratio, low.gap, np.asarray(self.generation))
        product = np.minimum(series.total * (1 + series.power), _OVERFLOW)
        squares = product / (1 + low.ratio)
        by_factors = np.where(high.alpha == 0, 0.0, high.alpha * squares)
        neutral = replace(self, kappa=1.0)._influence(_Mixture.at(right, 1.0))[1]
        return np.maximum(by_factors, neutral)

    def _shift(self, low: "_Mixture", high: "_Mixture") -> Floats:
        """Shift rho [P + w (1 - P)], P = rho^{i-1}, w = alpha^{a-1}, from below on an interval.

        It rises in rho and in w; in P it falls where w >= 1 (a <= 1) and rises where w <= 1.
        """
        slow = self.a <= 1
        weight = (low if slow else high).alpha ** (self.a - 1)
        at = high if slow else low
        old = _power(at, self.generation - 1)
        new = np.zeros_like(old) if self.generation == 1 else _one_minus_power(at, self)
        return low.rho * (old + np.where(new == 0, 0.0, weight * new))

    def _influence(self, mix: "_Mixture") -> tuple[Floats, Floats]:
        """Influence n chi_i, and squares alpha sum_{s<i} r^{2s}."""
        i = np.asarray(self.generation)
        if np.isinf(i):
            reached = np.where((mix.gap > 0) | (self.kappa == 1), mix.injected, np.inf)
            return reached, reached / (1 + mix.ratio)
        series = geometric(mix.ratio, mix.gap, i)
        injected = np.where(mix.alpha == 0, 0.0, mix.alpha * series.total)
        square = np.where(injected == 0, 0.0, injected * (1 + series.power))
        return injected + series.power, square / (1 + mix.ratio)

    def slopes(self, lam: Floats) -> Shapes:
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
        d_floor = np.ones_like(lam)
        if not np.isinf(i):
            d_floor = d_rho * _sum_and_slope(mix.rho, mix.alpha, i + 1)[1]
        influence, spread = self._influence(mix)
        d_influence, d_spread = self._influence_slopes(mix, d_rho)
        if self.fresh:
            fluctuation = np.hypot(self._first(mix), np.sqrt(spread))
            if not np.isinf(i):
                d_spread = d_spread + 2 * i * mix.ratio ** (2 * i - 1) * self.kappa * d_rho
            return Shapes(d_shift, d_floor, -d_rho, d_spread / (2 * fluctuation))
        d_stability = mix.alpha * d_influence + d_rho * (mix.alpha - mix.rho - influence)
        fluctuation = np.hypot(influence, np.sqrt(mix.rho * spread))
        d_square = 2 * influence * d_influence + d_rho * spread + mix.rho * d_spread
        return Shapes(d_shift, d_floor, d_stability, d_square / (2 * fluctuation))

    def _influence_slopes(self, mix: "_Mixture", d_rho: Floats) -> tuple[Floats, Floats]:
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
    """What a ratio lambda makes of the shares; exact at 0 and at infinity.

    ``gap`` = 1 - r is plain float64. For kappa <= 1 it is a sum of two numbers that are not
    negative; for kappa > 1 they cancel where r is near 1, and the influence is wrong by about its
    own size times 1e-16, relatively.
    """

    alpha: Floats
    rho: Floats
    log_rho: Floats
    product: Floats
    ratio: Floats
    gap: Floats
    injected: Floats

    @staticmethod
    def at(lam: Floats, kappa: float) -> "_Mixture":
        alpha = 1 / (1 + lam)
        rho = 1 / (1 + 1 / lam)
        log_rho = -np.log1p(1 / lam)
        gap = alpha + rho * (1 - kappa)
        # alpha/(1 - r) = 1/(1 + (1 - kappa) lambda), also where lambda is infinite
        injected = 1 / (1 + lam * (1 - kappa)) if kappa != 1 else np.ones_like(lam)
        return _Mixture(alpha, rho, log_rho, alpha * rho, kappa * rho, gap, injected)


def _power(mix: _Mixture, exponent: float) -> Floats:
    """rho^exponent; at infinity the limit of the loop comes before that of lambda, so 0."""
    if exponent == 0:
        return np.ones_like(mix.rho)
    return np.zeros_like(mix.rho) if np.isinf(exponent) else np.exp(exponent * mix.log_rho)


def _one_minus_power(mix: _Mixture, landscape: Landscape) -> Floats:
    """1 - rho^{i-1} without cancellation; 1 in the limit of the loop."""
    count = landscape.generation - 1
    return np.ones_like(mix.rho) if np.isinf(count) else -np.expm1(count * mix.log_rho)


def _sum_and_slope(ratio: Floats, gap: Floats, count: float) -> tuple[Floats, Floats]:
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
    floor: float = 0.0,
    fresh: bool = False,
    provenance: Provenance = "assumed",
) -> OptimalSize:
    r"""Synthetic-to-real ratio lambda that minimises a bound, found by branch and bound.

    The bound is that of `synthetic_trade_off`, lambda in [0, max_lam]. It is not unimodal in
    general.

    Args:
        max_lam: largest ratio allowed, in [0, inf].
    Returns: OptimalSize; its value at lam = inf is the objective's limit.
    Assumes: As the bound that is minimised (`synthetic_trade_off`); n given. The certificate holds
        up to rounding, for which 1e-12 is set aside, and 1e-10 in finite generations beyond 200.
    Source: derived here, THEORY.md statements 21 to 26 and 73 to 77. That there is a trade-off:
        paper, abstract-level claim.
    """
    problem = Problem(
        n, M, b, kappa, c, a, delta, generation, objective, log_size, floor, fresh
    ).checked()
    landscape = problem.landscape()
    cap = one("max_lam", *checked(max_lam=max_lam))
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
        problem.record(provenance),
    )


@to_infinity
def synthetic_trade_off(
    n: float,
    lam: Num,
    *,
    M: float,
    b: float,
    kappa: float,
    c: float,
    a: float,
    floor: float = 0.0,
    delta: float = 0.05,
    generation: float = np.inf,
    objective: Objective = "gap",
    fresh: bool = False,
    log_size: float = 0.0,
    provenance: Provenance = "assumed",
) -> Gap:
    r"""What `optimal_size` minimises, by parts, at synthetic-to-real ratios lambda.

    gap: `generalization_gap_at_rate`; risk: `excess_risk_at_rate`; uniform:
    `uniform_convergence_gap` with discrepancy M times the drift; each at alpha = 1/(1 + lambda).
    With fresh real rows (n new ones beside lambda n synthetic ones, every row alike) gap and risk
    are those of `weighted_gap` with weight alpha: stability b/N and n V = alpha sum r^{2s} +
    r^{2i}.

    Args:
        lam: lambda = n_syn/n, in [0, inf], any shape; inf is the limit.
    Returns: Gap in the shape of ``lam``; ``fluctuation`` is 0 for ``risk``, ``stability`` for
        ``uniform``.
    Assumes: As the bound evaluated, and one-step errors: for ``gap`` and ``risk`` in the mean, E
        eps_0 <= e + c n^{-a} and E eps_i <= e + c N^{-a}; for ``uniform`` surely, eps_0 <= e + c
        n^{-a} and eps_i <= e + c N^{-a} in every loop: nothing concentrates the realised errors
        around their mean there, and with a law of mean errors the number is no bound.
    Source: derived here, THEORY.md statements 12, 14, 17, 18, 73 and 76.
    """
    problem = Problem(
        n, M, b, kappa, c, a, delta, generation, objective, log_size, floor, fresh
    ).checked()
    parts = problem.landscape().parts(*checked(lam=lam))
    shift, stability, fluctuation = (part[()] for part in parts)
    total = shift + stability + fluctuation
    record = problem.record(provenance)
    return Gap(shift, stability, fluctuation, total, total > problem.M, record)


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
    floor: float = 0.0
    fresh: bool = False

    def checked(self) -> "Problem":
        """The same problem, every constant one admissible number."""
        if self.objective not in ("gap", "risk", "uniform"):
            raise ValueError(
                f"objective = {self.objective!r} is outside the admissible range: "
                "gap, risk, uniform"
            )
        numbers = self._asdict()
        fresh = flag("fresh", numbers.pop("fresh"))
        del numbers["objective"]
        generation_index("generation", self.generation, first=1)
        for name, value in zip(numbers, checked(**numbers), strict=True):
            numbers[name] = one(name, value)
        return self._replace(fresh=fresh, **numbers)

    def record(self, provenance: Provenance) -> tuple[Constant, ...]:
        """The constants and where they come from."""
        names = ("M", "b", "kappa", "c", "a", "floor")
        return constants(provenance, **{name: getattr(self, name) for name in names})

    def landscape(self) -> Landscape:
        """The objective as a function of lambda."""
        drift, change = self.M * self.c * self.n**-self.a, self.b / self.n
        stays, logs = self.M * self.floor, -np.log(self.delta)
        law, loop = (self.kappa, self.a, self.generation), (stays, self.fresh)
        if self.objective == "risk":
            return Landscape(2 * drift, change, 0.0, *law, 2 * stays, self.fresh)
        if self.objective == "uniform":
            weight = self.M * np.sqrt((logs + self.log_size) / (2 * self.n))
            return Landscape(drift, 0.0, float(weight), 0.0, self.a, self.generation, stays)
        weight = (self.M + 2 * self.b) * np.sqrt(logs / (2 * self.n))
        return Landscape(drift, change, float(weight), *law, *loop)

    def elasticities(self, lam: float) -> dict[str, float]:
        """Elasticities d ln lambda*/d ln q at an interior optimum: implicit function theorem."""
        step = 1e-5
        less, more = self.landscape().slope(np.asarray([lam * (1 - step), lam * (1 + step)]))
        if not more > less:
            return {}
        names = ("n", "M", "b", "kappa", "c", "a", "delta", *(("floor",) * (self.floor > 0)))
        return {
            name: 0.0 - self._slope_change(name, lam, step) / float(more - less) for name in names
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
        return Search(0.0, 0.0, 0.0, float(landscape.value(0.0)) * landscape.rounded_down)
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


def _middle(left: Floats, right: Floats) -> Floats:
    """The middle in ln(1 + lambda); beyond the last finite edge the logarithm is doubled."""
    low = np.log1p(left)
    return np.expm1(np.where(np.isinf(right), 2 * low + 1, (low + np.log1p(right)) / 2))


@to_infinity
def polished(landscape: Landscape, search: Search, cap: float) -> float:
    """The stationary point next to the best ratio tried, or the end of the range it leans on."""
    if np.isinf(search.best):
        return float(np.inf)
    below, above = _bracket(landscape, search, cap)
    while above - below > 1e-15 * above:
        grid = np.linspace(below, above, 17)
        k = int(np.searchsorted(landscape.slope(grid[1:-1]) >= 0, True))
        if grid[k] <= below and grid[k + 1] >= above:
            break
        below, above = float(grid[k]), float(grid[k + 1])
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
    floor: float = 0.0,
    fresh: bool = False,
) -> float | None:
    r"""Optimal ratio without a cap where a closed form is known, else None.

    kappa = 0, i = inf, a = 1/2: lambda* = y^2 - 1 with A y^3 + (A - G) y = 2 H, which is
    max(0, G/A - 2) for b = 0; kappa = 0 with i = 1 or a = 1: 0 or inf; kappa >= 1 with b = 0: 0;
    risk with 2 M (e + c n^{-a}) >= b/n and a <= 1: 0. With a floor, F = M e
    (2 M e for the risk): 0 wherever it is 0 without one, and for i = inf where F >= G/2 + H;
    kappa = 0, i = inf, c = 0: max(0, (G/(2F))^{2/3} - 1) for H = 0, max(0, (H/F)^{1/2} - 1) for
    G = 0. Fresh real rows change nothing for kappa = 0; for the risk kappa then plays no part.

    Returns: lambda*, or None.
    Source: derived here, THEORY.md statements 21, 22, 24, 26, 74, 75 and 77.
    """
    problem = Problem(
        n, M, b, kappa, c, a, delta, generation, objective, log_size, floor, fresh
    ).checked()
    at = problem.landscape()
    if at.fresh and at.G == 0:
        at = replace(at, kappa=0.0)
    if _none_is_best(at):
        return 0.0
    A, H, G, F, rate, i = at.A, at.H, at.G, at.F, at.a, at.generation
    if at.kappa > 0:
        return None
    if i == 1:
        return float(np.inf) if A + F < G + H else 0.0
    if np.isfinite(i):
        return None
    if F > 0:
        return _with_a_floor(A, F, H, G)
    gains = A < G + H
    if rate == 1:
        return float(np.inf) if gains else 0.0
    if rate > 1:
        return float(np.inf) if max(H, G) > 0 else 0.0
    if rate == 0.5:
        if A == 0:
            return float(np.inf) if gains else 0.0
        return max(0.0, _cubic_root((A - G) / A, 2 * H / A) ** 2 - 1)
    return None


def _none_is_best(at: Landscape) -> bool:
    """Whether lambda = 0 is known to be best before anything is solved."""
    if at.kappa >= 1 and at.H == 0 and not at.fresh:
        return True
    if at.G == 0 and at.a <= 1 and at.A + at.F >= at.H:
        return True
    return bool(np.isinf(at.generation)) and at.G / 2 + at.H <= at.F != 0


def _with_a_floor(A: float, F: float, H: float, G: float) -> float | None:
    """The minimiser for kappa = 0 and i = inf where the error does not decay and one part pays."""
    if A > 0 or (G > 0 and H > 0):
        return None
    root = np.sqrt(H / F) if G == 0 else np.cbrt(G / (2 * F)) ** 2
    return max(0.0, float(root) - 1)


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
    *,
    b: float,
    kappa: float,
    a: float,
    generation: float = np.inf,
    floor: float = 0.0,
    fresh: bool = False,
) -> dict[str, str]:
    r"""How every optimal ratio moves with the constants, where that is proved.

    Returns: ``rises``, ``falls`` (weakly) or ``unmoved`` for each constant a statement exists for,
        as it grows; ``floor`` where it is above 0. No other is there unless i = inf, a < 1 and
        kappa <= 1/2 (kappa <= 1 with fresh real rows).
    Source: derived here, THEORY.md statements 25, 75 and 77.
    """
    change, rate = float(nonnegative("b", b)), float(positive("a", a))
    i = float(generation_index("generation", generation, first=1))
    stays, follow = float(nonnegative("floor", floor)) > 0, float(nonnegative("kappa", kappa))
    directions = {"floor": "falls"} if stays else {}
    highest = 1.0 if flag("fresh", fresh) else 0.5
    if np.isfinite(i) or follow > highest or rate >= 1:
        return directions
    directions |= {"delta": "falls", "b": "rises", "c": "falls"}
    directions["M"] = "falls" if change > 0 else "unmoved"
    if stays:
        if rate <= 0.5:
            directions["n"] = "falls"
    elif change == 0:
        directions["n"] = "unmoved" if rate == 0.5 else "rises" if rate > 0.5 else "falls"
    elif rate <= 0.5:
        directions["n"] = "falls"
    return directions
