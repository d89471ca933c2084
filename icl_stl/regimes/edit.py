"""The real rows with some of their labels edited in every generation."""

from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, ClassVar, Literal

from icl_stl.config import one_of, require
from icl_stl.lazily import jax, jnp
from icl_stl.regimes.base import Regime, Step

__all__ = ["Edit"]

ROUNDING = 1e-6
"""How far below the threshold a chance may lie: shares of counts round."""


@dataclass(frozen=True)
class Edit(Regime):
    """The rows of the generation before, a part of whose labels the last model edits.

    Generation i is trained on the n rows of generation i - 1 with the labels M_i edited: y <- f + e
    there (`replace`), f the prediction of generation i - 1 and e noise as its generator adds; or
    y <- y + e (`additive`), the difference of two labels that it writes over sqrt(2). A label is
    one of a row, of an example in a prompt, or a symbol; it is predicted from what stands before it
    in its row. Where a learner cannot do that, or rows have no labels, whole rows are edited.

    Source: recalled: Zhu et al. 2024 (ToEdit); its laws derived here: THEORY.md statements 110 to
        113.
    """

    edits: tuple[float, ...] = ()
    """Rows whose labels are edited, drawn by lot: in every generation if one number, else of one
    generation after the other and then none. Below 1 a share; in prompts and texts the labels of as
    many rows, wherever they stand. All if not given."""
    edit_model: Literal["replace", "additive"] = "replace"
    """What becomes of an edited label: `replace`, a new one; `additive`, noise is added to it."""
    threshold: float | None = None
    """Edit only symbols that the model gives at least this probability, where they stand."""
    name: ClassVar[str] = "edit"
    reuses_inputs: ClassVar[bool] = True
    keeps_training_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("edit_model", self.edit_model, ("replace", "additive"))
        object.__setattr__(self, "edits", tuple(self.edits))  # a file of settings has lists
        for one in self.edits:
            fine = isfinite(one) and (0 <= one < 1 or one == int(one) >= 1)
            require(fine, "edits", self.edits, "whole numbers of rows, or shares in [0, 1)")
        if self.threshold is not None:
            inside = 0 < self.threshold <= 1
            require(inside, "threshold", self.threshold, "in (0, 1], or not given")
            right = "'replace' with a threshold, since symbols are no numbers"
            require(self.edit_model == "replace", "edit_model", self.edit_model, right)

    def synthetic_size(self, samples: int) -> int:
        few = all(one <= samples for one in self.edits)
        require(few, "edits", self.edits, f"at most samples = {samples} of the rows")
        return samples if self.edit_model == "replace" else 2 * samples

    def share(self, generation: int) -> float:
        """0: which of the labels are still real is known of none."""
        return 0.0

    def training_size(self, samples: int, generation: int) -> int:
        return samples

    def counts(self, samples: int, generations: int, labels: int | None = None) -> list[int]:
        """Labels edited in generation 1, ..., G, of so many (n, if not given)."""
        places = samples if labels is None else labels
        rows = self.edits or (float(samples),)
        rows = rows * generations if len(rows) == 1 else rows
        shares = [one if one < 1 else one / samples for one in rows[:generations]]
        return [round(one * places) for one in shares] + [0] * (generations - len(shares))

    def mix(self, step: Step) -> tuple[Any, Any]:
        listed, labels = max(1, len(self.edits)), prod(_places(step))
        counts = jnp.array([0, *self.counts(_places(step)[0], listed + 1, labels)])
        count = counts[jnp.minimum(step.index, listed + 1)]
        return self.edited(step, count, self.edit_model == "additive")

    def edited(self, step: Step, count: Any, additive: Any) -> tuple[Any, Any]:
        """The rows with so many labels edited, and their weights; both may be traced."""
        shape, leaves = _places(step), jax.tree.leaves(step.real)
        n, symbols = shape[0], all(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in leaves)
        if additive is True:
            right = "'replace' for a learner of symbols, to which no noise can be added"
            require(not symbols, "edit_model", self.edit_model, right)
        lottery = jax.random.uniform(step.key, (prod(shape),))
        edited = (jnp.argsort(jnp.argsort(lottery)) < count).reshape(shape)
        if self.threshold is not None:
            right = "left out, except with a learner that says how likely each symbol is"
            require(symbols and step.sure is not None, "threshold", self.threshold, right)
            edited &= step.sure >= self.threshold - ROUNDING

        def leaf(old: Any, made: Any) -> Any:
            new = made[:n]
            if additive is not False:
                new = jnp.where(additive, old + (new - made[n:]) / 2**0.5, new)
            return jnp.where(edited.reshape(shape + (1,) * (old.ndim - len(shape))), new, old)

        return step.mixed((jax.tree.map(leaf, step.kept, step.synthetic), n, 1.0))


def _places(step: Step) -> tuple[int, ...]:
    """The shape of all labels: `[N, m]`, or `[N]` where whole rows are edited."""
    return (len(jax.tree.leaves(step.real)[0]),) if step.sure is None else step.sure.shape
