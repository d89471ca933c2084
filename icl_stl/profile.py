r"""A profile of collapse: which of eight definitions a loop meets, and by which generation.

Papers mean different things by "collapse". Each is here a predicate on the mean path of a loop,
relative to its generation 0, one fit of the real rows: `DEFINITIONS`. e_i is the mean excess risk.
A definition is met by generation T if it is at one of the generations 1..T; where loops are
measured, at one of those that were looked at. What follows from what: THEORY.md section 32.

Of a loss whose least value is unknown worse is simply more. Exact where closed forms of a problem
say it, else measured with an error probability of `intervals.LEVEL` for all verdicts of a loop
together, and then possibly undecided.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icl_stl.config import require, whole
from icl_stl.intervals import LEVEL, binomial_test, mean_tests
from icl_stl.problems import (
    Bernoulli,
    Categorical,
    Gaussian,
    GaussianMean,
    Ols,
    Problem,
    expected_excess,
    expected_quality,
)
from icl_stl.problems.base import bias_of
from icl_stl.problems.categorical import CHAINS
from icl_stl.references import Mixing, bernoulli
from icl_stl.regimes import RealOnly, Regime, Scheduled

Floats = NDArray[np.float64]
Word = Literal["met", "not met", "undecided"]

DOUBLED, MANY, WORSE = 2.0, 10.0, 1.05
"""Multiples of the error of one fit: an endless growth is seen, too large, worse."""
LEFT, HALF = 0.1, 0.5
"""What is left of a variance or of a tail that is lost; of symbols, and of loops with a tail."""
BEYOND = 0.05
"""Mass of the tails of the real law."""
AT = (10, 30, 100)
"""The generations that are looked at."""
FAR = 512
"""How far the increments of a closed form are followed for its limit."""
OF_ERROR = ("constant", "first", "real_only")
"""Definitions of the error alone."""
SHARES = {"constant": MANY, "first": WORSE, "real_only": WORSE, "variance": LEFT, "support": HALF}
SHARES |= {"task_variance": LEFT, "tails": HALF}
"""Thresholds: multiples of what generation 0 has, of the chance that tails are lost its value."""


class Definition(NamedTuple):
    """One meaning of collapse."""

    title: str
    rule: str
    """The predicate at generation i."""
    source: str
    """Who uses it."""


DEFINITIONS: dict[str, Definition] = {
    "unbounded": Definition(
        "error without bound",
        f"e_i grows without bound in i, and e_i > {DOUBLED:g} e_0",
        "recalled: Dohmatob et al. 2024, Gerstgrasser et al. 2024",
    ),
    "constant": Definition(
        "error above a constant",
        f"e_i > {MANY:g} e_0, so many times the error of one fit",
        "recalled: Gerstgrasser et al. 2024; the paper, abstract",
    ),
    "variance": Definition(
        "variance vanishes",
        f"the mean variance of generated rows is below {LEFT:g} of that of generation 0",
        "recalled: Shumailov et al. 2024, Alemohammad et al. 2023",
    ),
    "support": Definition(
        "support lost",
        f"fewer than {HALF:g} of the symbols of generation 0 are left, on average",
        "recalled: Shumailov et al. 2024",
    ),
    "tails": Definition(
        "tails lost",
        f"in more than {HALF:g} of the loops the tails of the real law, of mass {BEYOND:g} (beyond "
        f"its central 95 %; of symbols the rarest), have less than {LEFT:g} of it",
        "recalled: Shumailov et al. 2024, Dohmatob et al. 2024",
    ),
    "task_variance": Definition(
        "task variance lost",
        f"the task variance that prompts show is below {LEFT:g} of that of generation 0",
        "derived here",
    ),
    "first": Definition(
        "worse than the first", f"e_i > {WORSE:g} e_0", "recalled: Kazdan et al. 2024"
    ),
    "real_only": Definition(
        "worse than real rows only",
        f"e_i > {WORSE:g} times the error of a fit to all real rows seen up to generation i",
        "recalled: Alemohammad et al. 2023",
    ),
}
"""The definitions by name."""


class Verdict(NamedTuple):
    """What is known of one definition."""

    by: Mapping[int, Word]
    """Whether it is met by a generation."""
    exact: bool
    """From closed forms; else measured."""

    @property
    def first(self) -> int | None:
        """The first of these generations by which it is met."""
        return next((i for i, word in self.by.items() if word == "met"), None)


Profile = dict[str, Verdict]
"""Verdicts by definition; those of which nothing is known are left out."""


def margins(seen: Mapping[str, Any]) -> dict[str, Floats]:
    """How far each definition is met, above 0 where it is; linear in what was seen.

    Args:
        seen: Of one path or of every loop, [..., G+1] each, those that are known: ``excess``;
            ``alone``, that of a fit to all real rows up to i (generation 0's if not given);
            ``loss``, where no excess is known: a mean loss of held-out rows, of any sign;
            ``variance``; ``support``, symbols left; ``tails``, chance that the tails are lost, or
            whether they are; ``task_variance``.
    """
    known = {name: np.asarray(values, np.float64) for name, values in seen.items()}
    start = {name: values[..., :1] for name, values in known.items()}
    found = {}
    if "excess" in known:
        error, one = known["excess"], start["excess"]
        alone = known.get("alone", one)
        found = {name: error - SHARES[name] * one for name in OF_ERROR[:2]}
        found["real_only"] = error - SHARES["real_only"] * alone
    elif "loss" in known:  # of a loss a multiple says nothing
        found = dict.fromkeys(("first", "real_only"), known["loss"] - start["loss"])
    for name in ("variance", "support", "task_variance"):
        if name in known:
            found[name] = SHARES[name] * start[name] - known[name]
    if "tails" in known:
        found["tails"] = known["tails"] - SHARES["tails"]
    return found


def endless(error: Any) -> bool | None:
    """Whether a path of errors grows without bound, read from its increments; None if unclear.

    It does if they are not smaller in the end than in the middle, and does not if they fall faster
    than 1/i. Right of every e_i = a + b e_{i-1}, 0 <= b <= 1, unless b is so near 1 that it is
    unclear: THEORY.md statement 150.
    """
    path = np.asarray(error, np.float64)
    middle, last = (path[k] - path[k - 1] for k in (len(path) // 2, len(path) - 1))
    if not np.isfinite(path).all():
        return None
    if last <= 1e-12 * abs(path[-1]):
        return False
    ratio = last / middle
    return True if ratio >= 1 - 1e-9 else False if ratio < 0.45 else None


def tail_of(law: Floats) -> float:
    """Mass of the rarest symbols that together have at most `BEYOND`; 0 if there are none."""
    masses = np.cumsum(np.sort(law[law > 0]))
    return float(masses[masses <= BEYOND + 1e-12].max(initial=0.0))


def _tail_lost(problem: Categorical, regime: Regime, n: int, last: int) -> Any:
    """Chance that less than `LEFT` of the mass of the rare symbols is left, [G+1]; None unknown."""
    q, mixing = tail_of(problem.law), Mixing.of(regime, n, max(last, 1))
    if mixing is None or mixing.drawn or not 0 < q < 1:
        return None
    w, m = float(mixing.shares[1]), mixing.n_syn
    kept = w > 0 and not mixing.fresh
    if kept and LEFT * q * n <= mixing.shares[1:].min() + 1e-9:  # a single row is enough, and stays
        return np.full(last + 1, (1 - q) ** n)
    costly = m**2 * (last + n * (w > 0)) > CHAINS
    if kept or costly or mixing.history or not np.allclose(mixing.shares[1:], w):
        return None
    laws = bernoulli.last_laws(bernoulli.BernoulliLoop(n, m, q, weight=w), last)
    return np.array([law.probability[law.support < LEFT * q * (1 - 1e-9)].sum() for law in laws])


def expected(problem: Problem, regime: Regime, samples: int, generations: int) -> dict[str, Floats]:
    """What closed forms say of the mean path: the quantities of `margins`, [G+1] each.

    Args:
        samples: n, real rows.
        generations: G.
    Returns: Those that are known, of the package's problems; of others the error alone.
    """
    n, last = samples, generations
    error = expected_excess(problem, regime, n, last)
    found: dict[str, Any] = {"excess": error, "alone": np.full(last + 1, error[0])}
    if regime.fresh_real:
        seen = [n + i * regime.real_size(n) for i in range(last + 1)]
        found["alone"] = np.array([expected_excess(problem, RealOnly(), k, 0)[0] for k in seen])
    same, plain = np.ones(last + 1), bias_of(problem) == 1
    match problem:
        case GaussianMean() if plain:  # a shift of the mean only adds to both tails
            found |= {"variance": same, "support": same, "tails": 0 * same}
        case Ols():
            found |= {"variance": same, "support": same}
        case Gaussian():
            found |= {**expected_quality(problem, regime, n, last), "support": same}
        case Categorical() if plain and not problem.pseudo_count:
            if Mixing.of(regime, n, last) is not None:  # the mean law is the real one
                found["variance"] = 1 - problem.law @ problem.law - error
            found["support"] = problem.symbols_left(regime, n, last)
            found["tails"] = _tail_lost(problem, regime, n, last)
    return {k: v for k, v in found.items() if v is not None and np.isfinite(v).all()}


def _endless(problem: Problem, regime: Regime, n: int) -> bool | None:
    """Whether the mean error of a loop grows without bound; None where it is not known."""
    if isinstance(problem, Categorical | Bernoulli) or isinstance(regime, RealOnly):
        return False  # an error of at most 2, or that of one fit
    ours = type(problem) in (GaussianMean, Ols, Gaussian) and not isinstance(regime, Scheduled)
    if not ours or Mixing.of(regime, n, 1) is None:
        return None
    return endless(expected_excess(problem, regime, n, FAR))


def looked_at(generations: int) -> tuple[int, ...]:
    """The generations at which a loop of so many is looked at: `AT`, and its last."""
    last = whole("generations", generations, 0)
    return tuple(sorted({i for i in AT if i <= last} | ({last} if last else set())))


def exact(problem: Problem, regime: Regime, samples: int, generations: int = AT[-1]) -> Profile:
    """The definitions that a loop meets, from closed forms; those of which they say nothing are
    left out.

    Args:
        samples: n, real rows.
        generations: G; 1 at least.
    """
    at = looked_at(whole("generations", generations, 1))
    known = expected(problem, regime, samples, generations)
    met = {name: own > 1e-9 * np.abs(own[0]) for name, own in margins(known).items()}
    if "excess" in known:
        error, without = known["excess"], _endless(problem, regime, samples)
        if without is not None:
            met["unbounded"] = without & (error > DOUBLED * error[0])
    words: dict[str, dict[int, Word]] = {
        name: {i: "met" if own[1 : i + 1].any() else "not met" for i in at}
        for name, own in met.items()
    }
    return {name: Verdict(words[name], True) for name in DEFINITIONS if name in words}


def measured(seen: Mapping[str, Any], at: Sequence[int] | None = None) -> Profile:
    """The definitions that loops meet, measured; `unbounded` is none that a finite run can show.

    Args:
        seen: As `margins`, of every loop: [R, G+1] each, finite.
        at: The generations that are looked at; `looked_at` if not given.
    Returns: Verdicts; false ones have together a chance of at most `LEVEL` where the margins are
        as `intervals.mean_tests` assumes.
    """
    found = margins(seen)
    last = next(iter(found.values())).shape[-1] - 1 if found else 0
    places = looked_at(last) if at is None else tuple(at)
    fine = all(0 < i <= last for i in places)
    require(fine or not found, "at", places, f"generations from 1 to {last}")
    level = LEVEL / max(1, len(found) * len(places))
    profile = {}
    for name, own in found.items():
        here = own[:, list(places)]
        if name == "tails":
            against = np.array([binomial_test(column > 0, HALF)[::-1] for column in here.T]).T
        elif len(here) < 2:
            against = np.ones((2, len(places)))
        else:
            error = "excess" if "excess" in seen else "loss"
            size = np.abs(np.asarray(seen[error if name in OF_ERROR else name])).max()
            tests, zero = mean_tests(here, size, name), np.zeros(len(places))
            against = np.array([tests.against(zero)[0], tests.against(zero, sign=-1)[0]])
        above, below = against <= level
        profile[name] = Verdict(
            {
                i: "met"
                if above[: k + 1].any()
                else "not met"
                if below[: k + 1].all()
                else "undecided"
                for k, i in enumerate(places)
            },
            False,
        )
    return {name: profile[name] for name in DEFINITIONS if name in profile}


def of_loop(
    problem: Problem, regime: Regime, samples: int, generations: int, seen: Mapping[str, Any]
) -> Profile:
    """The profile of a loop that was run: exact where closed forms say it, measured elsewhere.

    Args:
        samples: n, real rows.
        generations: G.
        seen: As `measured`, of every loop; may be empty.
    """
    if generations < 1:
        return {}
    known = exact(problem, regime, samples, generations)
    found = measured(seen)
    if regime.fresh_real and "alone" not in seen:
        found.pop("real_only", None)  # nobody knows what all real rows alone would give
    both = found | known
    return {name: both[name] for name in DEFINITIONS if name in both}


def as_json(profile: Profile) -> dict[str, Any]:
    """A profile as JSON holds it."""
    return {
        name: {"by": {str(i): word for i, word in one.by.items()}, "exact": one.exact}
        for name, one in profile.items()
    }


def in_words(profile: Profile) -> list[str]:
    """Lines that say which definitions are met by when, which are not, and which are undecided."""
    groups: dict[str, list[str]] = {}
    for name, one in profile.items():
        last = [*one.by][-1]
        when = f"not met by generation {last}" if one.by[last] == "not met" else "undecided"
        when = when if one.first is None else f"met by generation {one.first}"
        own = DEFINITIONS[name].title + ("" if one.exact else " (measured)")
        groups.setdefault(when, []).append(own)
    return [f"collapse, {when}: {', '.join(names)}" for when, names in groups.items()]
