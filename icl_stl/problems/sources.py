"""A law on symbols, learned from stages of rows whose sources are hidden."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl import references, regimes
from icl_stl.config import one_of, require
from icl_stl.lazily import jnp
from icl_stl.problems.base import Scalar, Solvable, from_first
from icl_stl.problems.categorical import Categorical
from icl_stl.references.sources import ESTIMATORS, Estimator


@dataclass(frozen=True)
class Sources(Solvable):
    """A law on K symbols from stages of rows, real or of the last estimate; squared distance."""

    probabilities: tuple[float, ...] = (0.1,) * 10
    """The real law."""
    estimator: Estimator = "interpolating"
    """What is made of all stages: every row alike (pooled); what is left of a stage without the
    last estimate (interpolating); the rows that are real, as nobody can know (oracle)."""

    refits: ClassVar[bool] = False
    flat: ClassVar[Any] = {
        "sources": {
            **{n: Categorical.flat["categorical"][n] for n in ("symbols", "probabilities")},
            "estimator": "interpolating",
        }
    }
    flat_help: ClassVar[Any] = Categorical.flat_help

    def __post_init__(self) -> None:
        one_of("estimator", self.estimator, ESTIMATORS)
        object.__setattr__(self, "probabilities", Categorical(self.probabilities).probabilities)

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "Sources":
        estimator = options.pop("estimator")
        return cls(Categorical.from_flat("categorical", **options).probabilities, estimator)

    @property
    def fewest(self) -> int:
        return 1

    def check(self, regime: regimes.Regime, samples: int, generations: int) -> None:
        right = "one that keeps no rows, with the learner 'sources', which adds them up itself"
        require(not regime.keeps_history, "regime", regime.name, f"{right}, as 'hidden'")

    def size(self, rows: float, runs: float) -> float:
        return rows * len(self.probabilities)

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.hidden_sources(len(self.probabilities), self.estimator)

    def truth(self, key: Any) -> Any:
        return jnp.array(self.probabilities, jnp.float32)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        from icl_stl.learners.sources import Marked

        symbols = Categorical(self.probabilities).draw(key, truth, count)
        return Marked(symbols, jnp.ones(count, bool))

    def loss(self, params: Any, rows: Any) -> Any:
        return 1 - 2 * params.law[rows.symbol] + params.law @ params.law

    def risk(self, truth: Any, params: Any) -> Scalar:
        return 1 - 2 * truth @ params.law + params.law @ params.law

    def excess(self, truth: Any, params: Any) -> Scalar:
        return jnp.sum((params.law - truth) ** 2)

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return 0.5 * jnp.sum(jnp.abs(params.law - truth))

    def closed_form(self, regime: regimes.Regime, samples: int, generations: int) -> Any:
        law, last = Categorical(self.probabilities).law, generations
        shares = regimes.real_shares(regime, samples, last)[1:]
        match regime:
            case regimes.Hidden():
                sizes = [samples, *regime.sizes(samples, last)]
                return references.sources_error(self.estimator, law, sizes, shares)
            case regimes.FreshReal(weight=None):
                sizes = [samples] + [samples + regime.synthetic_size(samples)] * last
                return references.sources_error(self.estimator, law, sizes, shares, by_lot=False)
        return from_first((1 - float(law @ law)) / samples, last)
