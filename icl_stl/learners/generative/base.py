"""What the learners of rows share: options as fields, columns in their own units, drawn rows.

Rows of weight 0 are not there. Arithmetic is in units of each column, z = (row - centre)/scale: the
weighted mean and deviation, the scale 1 where a column is constant. Such a column is generated as
it is; its density is that of the model in its own unit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from icl_stl.config import require, whole
from icl_stl.lazily import jax, jnp

if TYPE_CHECKING:
    from icl_stl.learners.learner import Learner

Array = Any
"""An array of JAX."""


class Functions(NamedTuple):
    """What a member is, as pure functions: see `Learner`."""

    fit: Callable[[Array, Array, Array], Any]
    generate: Callable[..., Array]
    """key, parameters, count and, by name, the sampling bias."""
    log_density: Callable[[Any, Array], Array] | None = None
    redraw: Callable[[Array, Any, Array], tuple[Array, Array]] | None = None


@dataclass(frozen=True)
class Generative:
    """A learner of the law of rows `[N, columns]`, described by its options.

    A subclass defines `functions`; its `name` is the class's in lower case.
    """

    name: ClassVar[str]
    """Its name on the command line."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__.lower()

    @property
    def takes_bias(self) -> bool:
        """Whether it has a variance or a temperature: `learners.tempered`."""
        return True

    def functions(self, columns: int) -> Functions:
        """The functions, for rows of so many columns."""
        raise NotImplementedError

    def make(self, columns: int) -> "Learner":
        """The learner: one object for equal options, so that programs are kept.

        Raises:
            ValueError: If `columns` is no whole number of at least 1; in a fit, if rows are not of
                the shape `[N, columns]`.
        """
        return _made(self, whole("columns", columns, 1))


@lru_cache(maxsize=256)
def _made(member: Generative, columns: int) -> "Learner":
    from icl_stl.learners.learner import Learner

    own = member.functions(columns)

    def fit(key: Array, rows: Array, weights: Array) -> Any:
        fine = rows.ndim == 2 and rows.shape[1] == columns
        require(fine, f"rows of {member.name}", rows.shape, f"of the shape [N, {columns}]")
        return own.fit(key, rows, weights)

    def relabel(key: Array, params: Any, rows: Array, **how: Any) -> Array:
        return own.generate(key, params, rows.shape[0], **how)

    return Learner(
        fit,
        own.generate,
        relabel=relabel,
        redraw=own.redraw,
        log_density=own.log_density,
        takes_bias=member.takes_bias,
    )


class Units(NamedTuple):
    """The units of columns."""

    centre: Array
    """Weighted mean, `[c]`."""
    deviation: Array
    """Weighted deviation, `[c]`; 0 where all differences are rounding."""

    @property
    def scale(self) -> Array:
        """The deviation; 1 where it is 0."""
        return jnp.where(self.deviation > 0, self.deviation, 1)

    def within(self, rows: Array) -> Array:
        """Rows in these units, `[N, c]`."""
        return (rows - self.centre[None]) / self.scale[None]

    def back(self, z: Array) -> Array:
        """Rows from these units; constant columns as they are."""
        return self.centre[None] + z * self.deviation[None]

    def log_density(self, of_z: Array) -> Array:
        """The log density of rows from that in these units, `[N]`."""
        return of_z - jnp.sum(jnp.log(self.scale))


def units(rows: Array, weights: Array) -> tuple[Units, Array]:
    """The units of columns, and the rows in them; 0 for a row without weight.

    Squares are taken in a unit near the largest, twice around the mean: a column far from 0 loses
    nothing but its rounding.
    """
    from icl_stl.learners.learner import with_weight

    rows = with_weight(rows, weights)
    centre = weights @ rows
    centre = centre + weights @ with_weight(rows - centre[None], weights)
    apart = with_weight(rows - centre[None], weights)
    most = jnp.max(jnp.abs(apart), axis=0)
    shares = apart / jnp.where(most > 0, most, 1)[None]
    deviation = most * jnp.sqrt(weights @ shares**2)
    deviation = jnp.where(deviation > 1e-6 * jnp.abs(centre), deviation, 0)
    found = Units(centre, deviation)
    return found, with_weight(found.within(rows), weights)


def chosen(points: Array, weights: Array) -> Array:
    """Which row each point of [0, 1) falls on, in the cumulated weights; none of weight 0."""
    from icl_stl.learners.laws import cumulated_shares

    sums = cumulated_shares(weights)
    last = jnp.searchsorted(sums, sums[-1])
    return jnp.minimum(jnp.searchsorted(sums, points * sums[-1], side="right"), last)


def drawn_rows(key: Array, weights: Array, count: int) -> Array:
    """So many rows drawn by their weights, with replacement: which."""
    return chosen(jax.random.uniform(key, (count,)), weights)


LOG_ROOT = 0.9189385332046727
"""ln √(2π)."""
