r"""How much synthetic data, from pilots: the trade-off fitted, the best amount, and how sure it is.

A pilot is the measured loss of a generation of a loop of n real and m synthetic rows, N = n + m,
alpha = n/N, rho = 1 - alpha, lambda = m/n. What is fitted, of a learner whose refits keep the part
k of an error of the predictor that wrote their rows, in units of the loss (r = rho k):

    loss_i = least + n^-p data S^2 + N^-p (rho data + seed) K + n^-p seed r^(2i) + refits,
    S = alpha (1 - r^i)/(1 - r) + r^i,  K = (1 - r^(2i))/(1 - r^2),  L = rho (1 - r^i)/(1 - r),

beside a fixed real set; with new real rows least + n^-p data r^(2i) + N^-p data K + refits, where
seeds are part of the data. Generation 0, and every one without synthetic rows, is the error law
least + c n^-p with c = data + seed. Errors of refits add in squares, refit rho^2 K, or straight,
2 aligned L + refit L^2 (`bounds.plateau_in_squares` and `plateau_prediction` for k = 1): both forms
are fitted, for every k of `KEPT`, and weigh by their fit (see `weights_of`). Exact for affine
learners in the squared loss: THEORY.md statement 97; else a description that pilots may contradict
(`misfit`). ``least`` is the best loss and the error floor in one: only the former, given, tells
them apart, and the best amount does not depend on it.

Given p and k the law is linear in its constants, each at least 0: least squares, solved exactly by
every choice of constants that are 0. Pilots of different generations of one amount are taken to be
of the same loops, which may depend on each other in whatever way: for what is said of uncertainty
their standard errors count sqrt(their number) times. Needs no JAX.
"""

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl.bounds._kinds import Num
from icl_stl.bounds._series import geometric
from icl_stl.config import require
from icl_stl.intervals import Floats
from icl_stl.planning.error_law import SIZE
from icl_stl.planning.plan import MOST, NEARLY_ALL
from icl_stl.tables import Quantity, number_of, read, rows_of

QUANTITIES = {
    "n_real": SIZE,
    "n_synthetic": Quantity(
        "a whole number of at least 0 and at most 2^53",
        lambda value: 0 <= value <= 2**53 and value % 1 == 0,
    ),
    "generation": Quantity(
        "a whole number of at least 0 and at most 2^53",
        lambda value: 0 <= value <= 2**53 and value % 1 == 0,
    ),
    "loss": Quantity(f"a number between -{MOST:g} and {MOST:g}", lambda value: abs(value) <= MOST),
    "stderr": Quantity(
        f"a positive number of at least {1 / MOST:g} and at most {MOST:g}",
        lambda value: 1 / MOST <= value <= MOST,
    ),
}
"""The columns of a table of pilots, and what stands in them."""
SPREAD = 1e4
"""Largest ratio of standard errors: a more precise pilot would be the only one that counts."""
ROUNDED = 1e9
"""Largest loss in standard errors: of a more precise one rounding would be seen."""
KEPT = tuple(k / 10 for k in range(10, -1, -1))
"""k that are tried: 1, a refit that keeps every error, is as likely as all others together."""
RATES = (0.25, 0.5, 0.75, 1.0)
"""p that are tried where pilots without synthetic data have at least three sizes."""
INSIDE = 3.84
"""Chi-squared quantile, 95 %, one degree of freedom."""
DRAWN = 200
"""Pilots that might have been measured instead."""
TINY = 1e-30
"""Real share that stands for the limit 0 in the limit of the loop, which is taken first."""
FORMS = {"squares": ("refit",), "straight": ("aligned", "refit")}
"""How errors of refits add, and their constants."""


class Pilots(NamedTuple):
    """Measured losses, `[K]` each."""

    real: Floats
    """n, real rows."""
    synthetic: Floats
    """m, synthetic rows."""
    generation: Floats
    """i; 0 learns from real rows alone."""
    loss: Floats
    """Mean loss on real rows that no generation learned from."""
    stderr: Floats
    """Its standard error."""


class Form(NamedTuple):
    """One law that is fitted: what is not linear in it."""

    name: str
    """How errors of refits add: `FORMS`."""
    kept: float
    """k, what a refit keeps of an error."""
    rate: float
    """p, at which the error of a fit falls with its rows."""


class Next(NamedTuple):
    """A pilot that is worth running."""

    lam: float
    """Synthetic rows per real one."""
    generation: float
    """Measured in this generation."""
    left: float
    """What is left of the variance of ln(1 + lambda*) when it is known too, linearised."""


class PilotPlan(NamedTuple):
    """The best amount of synthetic data by pilots, each pair of ends a 95 % set."""

    n: int
    """Real rows that are planned for."""
    generation: float
    """i that is planned for."""
    fresh: bool
    """Whether every generation draws n new real rows."""
    largest: float
    """Synthetic rows per real one of the pilot with most."""
    lam: float
    """Where the fitted loss is least, synthetic rows per real one; see `plan_pilots`."""
    low: float
    high: float
    loss: tuple[float, float, float]
    """Fitted there, with its ends."""
    gain: tuple[float, float, float]
    """Loss without synthetic data less that, with its ends."""
    least: tuple[float, float, float]
    """What no amount of data removes: the best loss and the floor of the learner; with its ends."""
    excess: float | None
    """Fitted loss there above the best loss, where that is given."""
    beside: tuple[float, float, float] | None
    """Loss at another amount, where one is asked about, less that; with its ends."""
    forms: dict[str, float]
    """Weights of the two forms."""
    kept: float
    """k, its mean by weight."""
    keeps_all: float
    """The weight of k = 1."""
    constants: dict[str, float]
    """Those of the likeliest law, in loss; data and seed at n rows."""
    fixed: dict[str, float]
    """Constants that so few pilots cannot show, and the values they were given."""
    misfit: float | None
    """Chi-squared of the likeliest law by degree of freedom; None if there is none."""
    next_pilots: tuple[Next, ...]
    against: float
    """The amount that lam has to be told from: 0, or if that is best the likeliest other one."""
    replicates: float
    """How many times as many loops of each pilot would tell the two apart; inf if none would."""
    other: str
    """What would change an advice of none; empty if there is none."""

    @property
    def share(self) -> float:
        """Real share of what a generation learns from."""
        return 1 / (1 + self.lam)

    @property
    def nothing(self) -> bool:
        """Whether the pilots say that no synthetic data is best."""
        return self.high == 0


def read_pilots(path: Path) -> Pilots:
    """The pilots of a table with the columns `QUANTITIES`, by the rules of `tables`."""
    rows = read(path, "pilots", lambda text: rows_of(text, tuple(QUANTITIES)))
    found = []
    for line, cells in rows:
        place = f"{path}, line {line}: "
        found.append([number_of(place + n, cells[n], QUANTITIES[n]) for n in QUANTITIES])
        fine = found[-1][2] > 0 or found[-1][1] == 0
        right = "0 in generation 0, which learns from real rows alone"
        require(fine, f"{place}n_synthetic", cells["n_synthetic"], right)
    pilots = Pilots(*np.array(found).T)
    spread = max(pilots.stderr.max() / SPREAD, np.abs(pilots.loss).max() / ROUNDED)
    for (line, cells), value in zip(rows, pilots.stderr, strict=True):
        right = f"at least {spread:.3g}: 1/{SPREAD:g} of the largest, and 1/{ROUNDED:g} of a loss"
        require(value >= spread, f"{path}, line {line}: stderr", cells["stderr"], right)
    _points(pilots, str(path))
    return pilots


def _points(pilots: Pilots, place: str) -> int:
    """At how many places the law is seen; enough of them."""
    lam = pilots.synthetic / pilots.real
    when = np.where(lam > 0, pilots.generation, 0)
    places = {*zip(pilots.real, lam, when, strict=True)}
    shares = sorted({*lam.tolist()})
    right = "of at least two different ratios of synthetic to real rows"
    require(len(shares) > 1, f"{place}: pilots", f"all of {shares[0]:g}", right)
    what = "at three different amounts or generations at least, for as many constants"
    require(len(places) > 2, f"{place}: pilots", f"at {len(places)}", what)
    return len(places)


def terms(form: Form, fresh: bool, size: Num, lam: Num, generation: Num, unit: float) -> Floats:
    """What each constant adds, `[..., constants]`: least, data, (seed,) and those of refits.

    Data and seed are in the loss of a fit to ``unit`` real rows, so that they are comparable.
    """
    size, lam, i = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (size, lam, generation))
    )
    with np.errstate(invalid="ignore", over="ignore"):
        alpha = np.maximum(1 / (1 + lam), np.where(np.isinf(i), TINY, 0))
        rho = np.where(np.isinf(lam), 1.0, lam / (1 + lam))
        ratio = rho * form.kept
        gap = alpha + rho * (1 - form.kept)
        whole, squares = geometric(ratio, gap, i), geometric(ratio**2, gap * (2 - gap), i)
        few = (size / unit) ** -form.rate
        many, passed = few * alpha**form.rate, squares.power
        data = few * (alpha * whole.total + whole.power) ** 2 + rho * many * squares.total
        seed = few * passed + many * squares.total
        refits = {
            "squares": [rho**2 * squares.total],
            "straight": [2 * rho * whole.total, (rho * whole.total) ** 2],
        }
        columns = [np.ones_like(rho), *([seed] if fresh else [data, seed]), *refits[form.name]]
        return np.asarray(np.nan_to_num(np.stack(columns, axis=-1), nan=MOST, posinf=MOST))


class _Family(NamedTuple):
    """Laws with the same constants."""

    names: tuple[str, ...]
    forms: tuple[Form, ...]
    prior: Floats
    """ln of the weights before the pilots are seen, `[M]`; see `weights_of`."""

    def terms(self, fresh: bool, *where: Any) -> Floats:
        """`terms` of every law, `[M, X, constants]`."""
        every = ("least", "data", *(() if fresh else ("seed",)), *FORMS[self.forms[0].name])
        chosen = [every.index(name) for name in self.names]
        return np.stack([terms(form, fresh, *where)[..., chosen] for form in self.forms])


def _families(pilots: Pilots, fresh: bool) -> tuple[list[_Family], dict[str, float]]:
    """The laws that so many pilots can tell apart, and what is fixed in all of them.

    Constants are set free in turn, as many as there are places: least, data and refit; the seed
    beside a fixed real set; then the second form; p where real rows alone have three sizes. Every k
    is tried and weighed, however few there are: k = 1 alone could not say that rows help.
    """
    places = _points(pilots, "pilots")
    alone = pilots.synthetic == 0
    rates = RATES if len({*pilots.real[alone].tolist()}) >= 3 else (1.0,)
    seed = ("seed",) if not fresh and places > 4 else ()
    names = tuple(FORMS) if places > (4 if fresh else 5) else ("squares",)
    fixed = {"p": 1.0} if len(rates) == 1 else {}
    fixed |= {"seed": 0.0} if not fresh and not seed else {}
    fixed |= {"aligned": 0.0} if len(names) == 1 else {}
    found, shared = [], math.log(len(KEPT) - 1)
    for at, name in enumerate(names):
        forms = tuple(Form(name, k, p) for k in KEPT for p in rates)
        prior = np.array([-at - (1 + shared) * (form.kept < 1) for form in forms])
        found.append(_Family(("least", "data", *seed, *FORMS[name]), forms, prior))
    return found, fixed


def weights_of(prior: Floats, misfit: Floats) -> Floats:
    """Weights of laws, exp(prior - chi-squared/2), together 1.

    Akaike's: a constant more costs a factor e, that of k shared among the values that are tried.
    """
    score = prior - misfit / 2
    weights: Floats = np.exp(score - score.max())
    weights /= weights.sum()
    return weights


def _least_squares(design: Floats, values: Floats, free: bool) -> tuple[Floats, Floats]:
    """Constants `[M, B, C]` of designs `[M, K, C]` for values `[B, K]`, and chi-squared `[M, B]`.

    Both are in units of the standard errors. Constants are at least 0, the first of any sign if
    ``free``. The best ones solve the equations of those that are not 0: every choice is tried.
    """
    count, shape = design.shape[-1], (len(design), len(values))
    best, constants = np.full(shape, np.inf), np.zeros((*shape, count))
    choices = [list(c) for size in range(count + 1) for c in combinations(range(count), size)]
    for chosen in (c for c in choices if not free or 0 in c):
        own = design[..., chosen]
        found = np.einsum("msk,bk->mbs", np.linalg.pinv(own, rcond=1e-9), values)
        misfit = ((values - np.einsum("mks,mbs->mbk", own, found)) ** 2).sum(-1)
        fine = (found[..., int(free) :] >= 0).all(-1) & (misfit < best * (1 - 1e-9) - 1e-12)
        full = np.zeros_like(constants)
        full[..., chosen] = found
        constants = np.where(fine[..., None], full, constants)
        best = np.where(fine, misfit, best)
    return constants, best


class Fitted(NamedTuple):
    """Laws `[M]` fitted to pilots, the first of `[B]`; the others might have been measured."""

    forms: tuple[Form, ...]
    fixed: dict[str, float]
    """Constants that so few pilots cannot show, and the values they are given."""
    constants: tuple[dict[str, float], ...]
    """Of the pilots, by law."""
    weights: Floats
    """Of the laws, `[M]`."""
    curves: Floats
    """Loss at the grid, `[M, B, X]`."""
    misfit: Floats
    """Chi-squared of the pilots under each law, `[M, B]`, in units of ``scale``."""
    likeliest: NDArray[np.intp]
    """The law of most weight for each of `[B]`."""
    scale: float | None
    """Chi-squared by degree of freedom of the likeliest law; None if there is no degree."""
    least: Floats
    """What no amount of data removes, `[M, B]`."""

    @property
    def drawn(self) -> Floats:
        """Loss at the grid of what might have been measured, each by its likeliest law."""
        curves: Floats = self.curves[self.likeliest, np.arange(len(self.likeliest))]
        return curves[1:]

    @property
    def curve(self) -> Floats:
        """Loss at the grid, its mean over the laws by weight."""
        mean: Floats = self.weights @ self.curves[:, 0]
        return mean

    def ends(self, values: Floats, also: float) -> tuple[float, float]:
        """Least and largest of values `[M, B]` that a likelihood ratio at 5 % does not reject."""
        inside = values[self.misfit <= self.misfit.min() + INSIDE]
        return min(also, float(inside.min())), max(also, float(inside.max()))


def fit(
    pilots: Pilots,
    lams: Floats,
    *,
    n: float,
    generation: Num,
    fresh: bool = False,
    best_loss: float | None = None,
    draws: int = 0,
    seed: int = 0,
) -> Fitted:
    """Fit every law: its loss at amounts ``lams`` of a generation, or each of one; n real rows.

    Weights take the pilots' standard errors as they are. What might have been measured, and
    chi-squared, has them sqrt(generations) times as large, see above, and sqrt(chi-squared by
    degree of freedom) times where that is above 1.
    """
    families, fixed = _families(pilots, fresh)
    ratio, free = pilots.synthetic / pilots.real, best_loss is None
    base = 0.0 if best_loss is None else best_loss
    values = (pilots.loss - base)[None]
    designs = [f.terms(fresh, pilots.real, ratio, pilots.generation, n) for f in families]
    forms = tuple(form for family in families for form in family.forms)
    prior = np.concatenate([family.prior for family in families])

    def solved(drawn: Floats, spread: Floats) -> tuple[list[Floats], Floats]:
        units = [(design / spread[:, None], drawn / spread) for design in designs]
        found = [_least_squares(*unit, free) for unit in units]
        return [one for one, _ in found], np.concatenate([misfit for _, misfit in found])

    own, misfit = solved(values, pilots.stderr)
    weights = weights_of(prior, misfit[:, 0])
    best = int(weights.argmax())
    constants = tuple(
        dict(zip(family.names, row.tolist(), strict=True))
        for family, found in zip(families, own, strict=True)
        for row in found[:, 0]
    )
    left = len(pilots.loss) - len(constants[best]) - 1  # k
    scale = float(misfit[best, 0]) / left if left > 0 else None
    spread = pilots.stderr * np.sqrt(_alike(pilots) * max(1.0, scale or 1.0))
    every, chi = own, misfit
    if draws:
        noise = np.random.default_rng(seed).standard_normal((draws, values.size))
        others, more = solved(values + spread * noise, spread)
        every = [np.concatenate(pair, axis=1) for pair in zip(own, others, strict=True)]
        chi = np.concatenate([misfit, more], axis=1)
    seen = [np.einsum("mkc,mbc->mbk", *pair) for pair in zip(designs, every, strict=True)]
    known = (((values[0] - np.concatenate(seen)) / spread) ** 2).sum(-1)
    shown = [family.terms(fresh, n, lams, generation, n) for family in families]
    curves = [np.einsum("mxc,mbc->mbx", *pair) for pair in zip(shown, every, strict=True)]
    likeliest = (prior[:, None] - chi / 2).argmax(0)
    return Fitted(
        *(forms, fixed, constants, weights, np.concatenate(curves) + base, known),
        *(likeliest, scale, np.concatenate([one[..., 0] for one in every]) + base),
    )


def _alike(pilots: Pilots) -> Floats:
    """How many generations there are pilots of, with the rows of each pilot."""
    rows = list(zip(pilots.real.tolist(), pilots.synthetic.tolist(), strict=True))
    when = pilots.generation.tolist()
    count = {row: len({i for r, i in zip(rows, when, strict=True) if r == row}) for row in rows}
    return np.array([float(count[row]) for row in rows])


def amounts(pilots: Pilots, max_lam: float = math.inf) -> Floats:
    """The grid of ratios: 0 to the largest allowed, evenly in ln(1 + lambda), 1 % apart at most.

    Without a limit to 100 times the largest pilot's, at least 1000, and infinity.
    """
    seen = float((pilots.synthetic / pilots.real).max())
    last = max(1000.0, 100 * seen) if math.isinf(max_lam) else max_lam
    steps = max(2, math.ceil(math.log1p(last) / 0.02))
    grid = np.expm1(np.linspace(0, math.log1p(last), steps))
    grid[-1] = last
    return np.append(grid, math.inf) if math.isinf(max_lam) else grid


def best_of(lams: Floats, curve: Floats) -> float:
    """Where a curve is least; without a limit where `NEARLY_ALL` of what ever more saves is."""
    at = int(curve.argmin())
    if math.isfinite(lams[at]):
        return float(lams[at])
    enough = curve <= curve[at] + (1 - NEARLY_ALL) * (curve[0] - curve[at])
    short = np.flatnonzero(~enough)
    return float(lams[short[-1] + 1]) if short.size else 0.0


def plan_pilots(
    pilots: Pilots,
    *,
    n: int | None = None,
    generation: float | None = None,
    fresh: bool = False,
    best_loss: float | None = None,
    max_lam: float = math.inf,
    beside: float | None = None,
    draws: int = DRAWN,
    seed: int = 0,
) -> PilotPlan:
    """The best amount of synthetic data for a generation with n real rows.

    ``lam`` is where the mean of the fitted laws by weight is least, its 95 % set what is best under
    any law and constants that a likelihood ratio of one degree of freedom does not reject, among
    those fitted to ``draws`` pilots that might have been measured. Sets of losses likewise.

    Args:
        n: Real rows; those of the largest pilot if not given.
        generation: i >= 1; that of the last pilot if not given; inf for the limit of the loop.
        fresh: Whether every generation draws n new real rows.
        best_loss: The least loss that any predictor has, if known.
        max_lam: Largest ratio that can be afforded.
        beside: Another amount, whose loss is to be compared.
    """
    last = float(pilots.generation.max())
    n = int(pilots.real.max()) if n is None else n
    when = last if generation is None else generation
    lams = np.unique([*amounts(pilots, max_lam), *([] if beside is None else [beside])])
    options: dict[str, Any] = {"n": n, "fresh": fresh, "best_loss": best_loss}
    options |= {"draws": draws, "seed": seed}
    found = fit(pilots, lams, generation=when, **options)
    shown = found if when < math.inf else fit(pilots, lams, generation=last, **options)
    curve, curves = found.curve, found.curves
    lam = best_of(lams, curve)
    at, likeliest = int(np.flatnonzero(lams == lam)[0]), int(found.weights.argmax())

    def known(of: Callable[[Floats], Any]) -> tuple[float, float, float]:
        value = float(of(curve))
        return value, *found.ends(of(curves), value)

    low, high = found.ends(lams[curves.argmin(-1)], lam)
    forms = dict.fromkeys(FORMS, 0.0)
    for form, weight in zip(found.forms, found.weights.tolist(), strict=True):
        forms[form.name] += weight
    kept = np.array([form.kept for form in found.forms])
    base = float(found.weights @ found.least[:, 0])
    against, times = _told_apart(pilots, lams, found, at)
    decided = low > 0 if lam > 0 else high == 0
    form, constants = found.forms[likeliest], found.constants[likeliest]
    return PilotPlan(
        *(n, when, fresh, max(_ratios(pilots)), lam, low, high, known(lambda x: x[..., at])),
        known(lambda x: x[..., 0] - x[..., at]),
        (base, *found.ends(found.least, base)),
        None if best_loss is None else float(curve[at]) - best_loss,
        None if beside is None else known(lambda x: x[..., lams == beside][..., 0] - x[..., at]),
        *(forms, float(found.weights @ kept), float(found.weights @ (kept == 1))),
        {**constants, "k": form.kept, "p": form.rate},
        *(found.fixed, found.scale),
        _next_pilots(pilots, lams, found, shown, min(when, last)),
        *(against, 1.0 if decided else max(2.0, times)),
        _otherwise(form, constants, fresh, n, when, lams) if lam == 0 else "",
    )


def _told_apart(pilots: Pilots, lams: Floats, found: Fitted, at: int) -> tuple[float, float]:
    """The amount that the best one is hardest told from, and how many times the loops it takes.

    The standard error of a difference falls with the root of their number. Of the best amount 0
    that is said beside each pilot's.
    """
    others = [0] if at else [int(np.abs(lams - x).argmin()) for x in {*_ratios(pilots)} if x > 0]
    more = found.curve[others] - found.curve[at]
    spread = (found.drawn[:, others] - found.drawn[:, [at]]).std(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(more > 0, (1.96 * spread / more) ** 2, np.inf)
    hardest = int(times.argmax())
    return float(lams[others[hardest]]), float(np.ceil(times[hardest]))


def _ratios(pilots: Pilots) -> list[float]:
    ratios: list[float] = (pilots.synthetic / pilots.real).tolist()
    return ratios


def _next_pilots(
    pilots: Pilots, lams: Floats, found: Fitted, shown: Fitted, generation: float
) -> tuple[Next, ...]:
    """The two pilots after which ln(1 + lambda*) varies least, by linear regression on the draws.

    Each as precise as the pilots are in the middle; up to four times the largest ratio of theirs.
    """
    largest = 4 * max(_ratios(pilots))
    tried = np.flatnonzero(lams <= largest)[:: max(1, int((lams <= largest).sum()) // 40)]
    where = np.minimum(lams[found.drawn.argmin(-1)], lams[np.isfinite(lams)].max())
    both = np.column_stack([np.log1p(where), shown.drawn[:, tried]])
    spread = np.cov(both.T)
    whole, error, chosen = spread[0, 0], float(np.median(pilots.stderr)) ** 2, []
    for _ in range(2 if whole > 0 else 0):
        saved = spread[0, 1:] ** 2 / (np.diag(spread)[1:] + error)
        k = 1 + int(saved.argmax())
        spread = spread - np.outer(spread[:, k], spread[k]) / (spread[k, k] + error)
        chosen.append(Next(float(lams[tried[k - 1]]), generation, float(spread[0, 0] / whole)))
    return tuple(chosen)


def _otherwise(
    form: Form, constants: Mapping[str, float], fresh: bool, n: int, when: float, lams: Floats
) -> str:
    """What would make some synthetic data best, if the likeliest law holds."""

    def best(form: Form, fresh: bool) -> float:
        own = dict(constants)
        if fresh:  # seeds are part of the data
            own["data"] += own.pop("seed", 0.0)
        else:
            own.setdefault("seed", 0.0)
        value = terms(form, fresh, n, lams, when, n) @ np.array(list(own.values()))
        return best_of(lams, value)

    said = []
    if not fresh and (lam := best(form, True)):
        said.append(f"new real rows in every generation (then about {lam:.2g} per real one)")
    smaller = [k for k in KEPT if k < form.kept and best(form._replace(kept=k), fresh)]
    if smaller:
        said.append(f"refits that keep at most {smaller[0]:g} of an error, not {form.kept:g}")
    return " or ".join(said) or "nothing that this law knows"


def in_words(made: PilotPlan) -> str:
    """The plan in plain words."""
    low, high = (_amount(end) for end in (made.low, made.high))
    where = "new real rows" if made.fresh else "a fixed real set"
    when = "in the limit" if math.isinf(made.generation) else f"in generation {made.generation:g}"
    at = f"beside {where} of {made.n:,} rows, {when}"
    apart = _amount(made.against)
    if math.isinf(made.replicates):
        more = f"no number of loops would tell it from {apart}, as far as is fitted"
    else:
        more = f"about {made.replicates:g} times the loops of each pilot would tell it from {apart}"
    if made.nothing:
        return (
            f"Generate nothing {at}: 95 % of what the pilots allow has its best at 0. "
            f"What would change it: {made.other}."
        )
    if made.lam == 0:
        text = f"So far nothing is best {at}, but up to {high} per real row may be better (95 %)"
        return f"{text}: {more}. What would change it: {made.other}."
    text = f"Generate about {_amount(made.lam)} synthetic rows per real one {at} (95 % {low} to "
    text += f"{high}), a real share of {made.share:.3g}"
    saved, least, most = made.gain
    text += f": the loss falls by {saved:.3g} (95 % {least:.3g} to {most:.3g})"
    text += "." if made.low > 0 else f". Nothing may be as good: {more}."
    if made.lam > made.largest:
        text += f" No pilot has more than {made.largest:.3g} per real one: try the next ones first."
    return text


def _amount(lam: float) -> str:
    return "no limit" if math.isinf(lam) else f"{lam:.3g}"
