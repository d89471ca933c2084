"""What combinators share that choose among the synthetic rows of another regime."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from icl_stl.config import require
from icl_stl.lazily import jax, jnp
from icl_stl.regimes.base import Regime, Step
from icl_stl.regimes.replace import Replace


def surest(key: Any, far: Any, there: Any, rate: Any) -> Any:
    """Which of the candidates that are `there` are the share `rate` of least `far`: a mask, `[N]`.

    round(rate count) of them, at least one; of equal ones by lot.
    """
    far = jnp.where(there, far, jnp.inf)
    count = jnp.maximum(jnp.round(rate * jnp.sum(there)), 1).astype(jnp.int32)
    edge = jnp.sort(far)[count - 1]
    lot = jax.random.uniform(jax.random.fold_in(key, 1), far.shape)
    lot = jnp.where(there & (far == edge), lot, jnp.inf)  # equal ones
    left = count - jnp.sum(far < edge)
    return (far < edge) | (lot <= jnp.sort(lot)[left - 1])


@dataclass(frozen=True)
class Selecting(Regime):
    """The rows of another regime, of which the synthetic ones are weighed by a rule.

    Every synthetic row that the other regime would train on is a candidate; `weigh` gives it a
    weight v >= 0. The share of the objective that the candidates have is spread over them in
    proportion to v times what the other regime gives them; the real rows keep theirs. If no
    candidate has a weight the real rows have all; if there is no real row either, there is nothing
    to learn from: the weights are NaN, and the loop counts as one that failed. Where the other
    regime keeps the rows of all generations, all of them are judged anew in each.

    A subclass defines `weigh`, and a `name` of its own, which makes it a member.
    """

    inner: Regime = field(default=Replace())
    """The other regime; its `mix` must take rows as pytrees, whatever is in them."""

    keeps_history: ClassVar[Any] = property(lambda self: self.inner.keeps_history)
    reuses_inputs: ClassVar[Any] = property(lambda self: self.inner.reuses_inputs)
    fresh_real: ClassVar[Any] = property(lambda self: self.inner.fresh_real)

    def __post_init__(self) -> None:
        fine = isinstance(self.inner, Regime) and not isinstance(self.inner, Selecting)
        fine = fine and not self.inner.keeps_training_set
        right = "a regime that makes whole rows and selects none itself"
        require(fine, "of", getattr(self.inner, "name", self.inner), right)

    def weigh(self, step: Step, rows: Any, there: Any) -> Any:
        """The weight v >= 0 of every row, `[N]`; used where a candidate is `there`, a mask `[N]`.

        θ_{i-1} is `step.params`; how likely it calls rows, `step.log_density(rows)`. Randomness is
        to be drawn from `step.key`, folded in with a number.
        """
        raise NotImplementedError

    def synthetic_size(self, samples: int) -> int:
        return self.inner.synthetic_size(samples)

    def real_size(self, samples: int) -> int:
        return self.inner.real_size(samples)

    def share(self, generation: int) -> float:
        return self.inner.share(generation)

    def mix(self, step: Step) -> tuple[Any, Any]:
        def marked(rows: Any, made: bool) -> Any:
            leaves = jax.tree.leaves(rows)
            return (rows, jnp.full(len(leaves[0]), made)) if leaves else rows

        seen = step._replace(
            real=marked(step.real, False),
            synthetic=marked(step.synthetic, True),
            kept=marked(step.kept, True),
        )
        (rows, made), weights = self.inner.mix(seen)
        there = made & (weights > 0)
        chosen = jnp.where(there, weights * self.weigh(step, rows, there), 0)
        total, real = jnp.sum(chosen), jnp.where(made, 0, weights)
        share = jnp.sum(jnp.where(there, weights, 0))
        some = total > 0
        new = jnp.where(made, chosen * (share / jnp.where(some, total, 1)), real)
        return rows, jnp.where(some, new, real / jnp.sum(real))
