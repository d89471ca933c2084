"""What a problem is: a real law, a learner of it and its loss; and what may be known exactly.

A problem is a frozen dataclass: hashed by value, its fields are its options. Beside `learner`,
`draw` and `loss` it may know more; what it does not know is None, and is measured on held-out rows
or not at all. Needs no JAX until it is used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from icl_stl.config import nonnegative, require
from icl_stl.lazily import jax
from icl_stl.regimes import REGIMES, Regime

if TYPE_CHECKING:
    from icl_stl.learners import Learner

Scalar = Any
"""A number of JAX."""

HELD_OUT = 2000
"""Held-out rows of the real law, on which a risk is measured that is not known."""


@dataclass(frozen=True)
class Problem:
    """A real law, a learner of it and its loss. What a subclass must have, what it may know.

    Must have: `learner` (a field or a property), `draw`, `loss`. All functions are pure and written
    for one loop; keys are JAX's, rows pytrees of arrays `[N, ...]`.
    """

    name: ClassVar[str]
    """Its name on the command line and in results; the class's in lower case if not given."""
    flat: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Words that stand for it (`--learner WORD`), each with its options then, and defaults."""
    flat_help: ClassVar[Mapping[str, str]] = {}
    """What those of these options mean that are no fields."""
    refits: ClassVar[bool] = True
    """Whether every generation is fitted afresh, to its own rows alone."""
    usual_runs: ClassVar[int] = 1000
    """Loops, where nobody says how many."""

    if TYPE_CHECKING:

        @property
        def learner(self) -> Learner:
            """What is trained: `fit` and `generate`."""

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "Problem":
        """The problem that a word of `flat` and its options stand for."""
        return cls(**options)

    @property
    def fewest(self) -> int:
        """Rows that a fit needs."""
        return 1

    @property
    def costly(self) -> bool:
        """Whether its fits are of this package and take long: they are not tried out first."""
        return False

    @property
    def usual_samples(self) -> int | None:
        """Real rows, where nobody says how many."""
        return None

    def check(self, regime: Regime, samples: int, generations: int) -> None:
        """Refuse loops that cannot be, with a `ValueError`; needs no JAX."""

    def size(self, rows: float, runs: float) -> float:
        """About how many numbers there are at once, for so many rows of each of so many loops."""
        return rows * runs

    real_law: ClassVar[Any] = None
    """The `laws.Law` that rows are drawn from, if it is one; else the problem draws them itself."""

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        """So many rows of the real law."""
        if self.real_law is None:
            raise NotImplementedError
        return self.real_law.draw(key, truth, count)

    def loss(self, params: Any, rows: Any) -> Any:
        """ℓ(θ, row) of every row: `[N]`."""
        raise NotImplementedError

    def truth(self, key: Any) -> Any:
        """The parameter of the real law of one loop; () where it is the same for all."""
        return () if self.real_law is None else self.real_law.truth(key)

    def best(self, truth: Any) -> Any:
        """The θ of least risk."""
        return truth

    def start(self, key: Any, samples: int) -> tuple[Any, Any, Any, Any]:
        """One loop: its key, its truth, n real rows, held-out rows (() where none are needed)."""
        from icl_stl.rows import rows_of

        def drawn(key: Any, count: int) -> Any:
            rows = self.draw(key, truth, count)
            return rows_of("problem.draw", rows, rows, count)

        key_truth, key_real, key_loop = jax.random.split(key, 3)
        truth = self.truth(key_truth)
        real, held_out = drawn(key_real, samples), ()
        if self.risk is None or (self.log_density and not self.real_log_density):
            held_out = drawn(jax.random.fold_in(key, 2**31 - 1), HELD_OUT)
        return key_loop, truth, real, held_out

    def most_samples(self, share: float) -> int | None:
        """Largest n of which such a share can be replaced by other real rows; None for any."""
        return None

    def draw_others(self, key: Any, truth: Any, samples: int, count: int) -> Any:
        """So many real rows that are none of the n of the loop."""
        return self.draw(key, truth, count)

    def to_score(self, key: Any, truth: Any, held_out: Any) -> Any:
        """Real rows whose `loss` is looked at, which no generation sees."""
        there = jax.tree.leaves(held_out)
        return held_out if there else self.draw(key, truth, HELD_OUT)

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, *, one_step: bool = True
    ) -> dict[str, Any]:
        """What is recorded of a generation, numbers by name: `observed.numbers`."""
        from icl_stl.problems.observed import numbers

        return numbers(self, key, truth, held_out, generation, one_step=one_step)

    def completed(self, held_out: Any, seen: dict[str, Any]) -> dict[str, Any]:
        """What was observed of a generation of many loops, with what no program can measure.

        Args:
            held_out: Their held-out rows, `[R, ...]`.
            seen: What `observe` returned of each: arrays `[R, ...]`.
        """
        return seen

    risk: ClassVar[Any] = None
    """truth, θ -> E ℓ(θ, z) under the real law."""
    excess: ClassVar[Any] = None
    """truth, θ -> how much worse θ is than the best."""
    drift: ClassVar[Any] = None
    """key, truth, θ -> TV(D_θ, D_0), exact or an unbiased estimate."""
    eps: ClassVar[Any] = None
    """key, truth, θ', θ, α -> TV(D_θ, α D_0 + (1 - α) D_θ'), exact or an unbiased estimate."""
    log_density: ClassVar[Any] = None
    """θ, rows -> ln p_θ(row), up to what all laws of the problem share: `[N]`."""
    real_log_density: ClassVar[Any] = None
    """truth, rows -> ln p_0(row), up to the same; with `log_density` it gives drift and eps."""
    synthetic_risk: ClassVar[Any] = None
    """θ', θ -> E ℓ(θ, z) under D_θ'."""
    implied: ClassVar[Any] = None
    """rows, weights -> the task variance that prompts show."""
    quality: ClassVar[Any] = None
    """truth, θ -> how good and how diverse rows of D_θ are, numbers by name."""
    quality_form: ClassVar[Any] = None
    """regime, n, G -> means of these by closed form, `[G + 1]` by name, of those that have one."""
    closed_form: ClassVar[Any] = None
    """regime, n, G -> mean excess risk of every generation, `[G + 1]`; None where it is unknown."""

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def words(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ")


def expected_excess(
    problem: Problem, regime: Regime, samples: int, generations: int
) -> NDArray[np.float64]:
    """Mean excess risk of every generation by its closed form, `[G + 1]`; nan where unknown.

    It is known of the class that defines it, not of one derived from that, which may be another
    problem; and what a problem of this package knows, it knows of the regimes of the package alone.
    """
    kind, found = type(problem), None
    ours = kind.__module__.startswith(f"{__package__}.")
    if vars(kind).get("closed_form") is not None and (not ours or type(regime) in KNOWN):
        found = problem.closed_form(regime, samples, generations)
    if found is None:
        return np.full(generations + 1, np.nan)
    known, shape = np.asarray(found, float), (generations + 1,)
    where = f"what closed_form of the problem {problem.name!r} returns"
    require(known.shape == shape, where, known.shape, f"None or of the shape {shape}")
    return known


def expected_quality(
    problem: Problem, regime: Regime, samples: int, generations: int
) -> Mapping[str, Any]:
    """Means of what `quality` says, `[G + 1]` each, of those that have a closed form."""
    known: Mapping[str, Any] = {}
    if problem.quality_form is not None and type(regime) in KNOWN:
        known = problem.quality_form(regime, samples, generations)
    return known


KNOWN = frozenset(REGIMES.values())
"""The regimes of the package: below, a regime is one of these and no other."""


def from_first(first: float, generations: int, *, stays: bool = False) -> NDArray[np.float64]:
    """A closed form of which generation 0 alone is known, or which stays as it is."""
    return np.concatenate([[first], np.full(generations, first if stays else np.nan)])


class Solvable(Problem):
    """A problem of the package: its learner is made once, and the risks are known exactly."""

    @property
    def fewest(self) -> int:
        return 2

    def size(self, rows: float, runs: float) -> float:
        return rows

    @property
    def learner(self) -> "Learner":
        return learner_of(self)

    def make_learner(self) -> "Learner":
        """The learner: the function of `learners` of its name here, of those fields it takes."""
        from icl_stl import learners

        ours = (k for k in type(self).__mro__ if k.__module__.startswith(f"{__package__}."))
        make = getattr(learners, vars(next(ours))["name"])
        known = filter(partial(hasattr, self), signature(make).parameters)
        learner: Learner = make(**{name: getattr(self, name) for name in known})
        return learner

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        if self.real_law is not None:
            return super().draw(key, truth, count)
        changed = bias_of(self) != 1 or foreign_of(self) is not None
        own = self.make_learner() if changed else self.learner
        return own.generate(key, truth, count)

    def synthetic_risk(self, previous: Any, params: Any) -> Any:
        return self.risk(previous, params)


@dataclass(frozen=True)
class Biased(Problem):
    """A problem whose learner is sampled with a bias, if that is asked for: `learners.tempered`."""

    sampling_bias: float = field(default=1.0, kw_only=True)
    """Variance of generated rows over that of the fit, in (0, 1]; of symbols their p^(1/bias)."""

    def drawn(self, params: Any) -> Any:
        """The parameters of the law that rows are drawn from; by default those of the fit."""
        return params


@dataclass(frozen=True)
class Foreign(Problem):
    """A problem whose synthetic rows another model writes, if that is asked for."""

    foreign: float | None = field(default=None, kw_only=True)
    """c, distance from the truth of a fixed other model that writes all synthetic rows; if not
    given, the last generation writes them."""

    def other(self) -> Any:
        """The parameters of that model, as NumPy's: they are asked for inside of programs."""
        raise NotImplementedError

    def writer(self, previous: Any) -> Any:
        """The parameters of the model that wrote the synthetic rows after generation i - 1."""
        return previous if self.foreign is None else self.other()


def distance(name: str, value: Any) -> float | None:
    """C of `Foreign`."""
    return None if value is None else nonnegative(name, value)


def foreign_of(problem: Any) -> float | None:
    """How far from the truth the model is that writes a problem's synthetic rows; None: its own."""
    return getattr(problem, "foreign", None)


def bias_of(problem: Any) -> float:
    """The sampling bias of a problem; 1 where it has none."""
    return float(getattr(problem, "sampling_bias", 1.0))


@lru_cache(maxsize=256)
def learner_of(problem: Any, own: bool = False) -> "Learner":
    """What `make_learner` of an equal problem made first, with its sampling bias.

    One object, so that programs are kept. Another model writes its rows if the problem says so and
    they are not to be its `own`.
    """
    from icl_stl.learners import foreign, tempered

    found = tempered(problem.make_learner(), bias_of(problem))
    return found if own or foreign_of(problem) is None else foreign(found, problem.other())
