"""Rows of data: pytrees of arrays with one row each along the first axis, and their weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from icl_stl.config import require

Data = Any


def row_count(rows: Data) -> int:
    """How many rows there are."""
    return int(jax.tree.leaves(rows)[0].shape[0])


def in_turn(real: Data, count: int, samples: Any = None) -> Data:
    """So many of the first real rows, in turn."""
    rows = jnp.arange(count) % (row_count(real) if samples is None else samples)
    return jax.tree.map(lambda a: jnp.asarray(a)[rows], real)


def joined(*some: Data) -> Data:
    """Rows of all, one after the other, in the type that all of theirs promote to."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *in_one_type(*some))


def in_one_type(*some: Data) -> tuple[Data, ...]:
    """Rows of several sources in the type that all of theirs promote to."""

    def leaf(*leaves: Array) -> tuple[Array, ...]:
        dtype = jnp.result_type(*(a.dtype for a in leaves))
        return tuple(a.astype(dtype) for a in leaves)

    each = [leaf(*leaves) for leaves in zip(*map(jax.tree.leaves, some), strict=True)]
    structure = jax.tree.structure(some[0])
    return tuple(jax.tree.unflatten(structure, leaves) for leaves in zip(*each, strict=True))


def precision(rows: Data) -> Any:
    """The type of row weights: the precision of the rows, at least single."""
    types = [a.dtype for a in jax.tree.leaves(rows) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jnp.zeros(0, jnp.result_type(*types, jnp.float32) if types else None).real.dtype


def spread(share: Any, there: Any, places: int, dtype: Any) -> Float[Array, " N"]:
    """A share of the objective spread equally over the rows that are there, of so many places.

    Args:
        there: How many are, the first; or which, a mask `[places]`.
    """
    there = jnp.asarray(there)
    mask, count = (there, jnp.sum(there)) if there.ndim else (jnp.arange(places) < there, there)
    return jnp.where(mask, jnp.asarray(share / jnp.maximum(count, 1), dtype), 0)


def mixed(*parts: tuple[Data, Any, Any]) -> tuple[Data, Float[Array, " N"]]:
    """Rows of several sources, one after the other, and their weights.

    Args:
        parts: Rows, how many or which are there, their share of the objective: see `spread`.
    """
    used = [part for part in parts if jax.tree.leaves(part[0])]
    rows = joined(*(own for own, _, _ in used))
    dtype = precision(rows)
    weights = [spread(share, there, row_count(own), dtype) for own, there, share in used]
    return rows, jnp.concatenate(weights)


def drawn(
    key: Any, rows: Data, weights: Float[Array, " N"], count: int
) -> tuple[Data, Float[Array, " count"]]:
    """So many of the rows that have a weight, drawn without replacement, every one alike.

    All of them where there are fewer; the places of others have no weight.
    """
    lottery = jnp.where(weights > 0, jax.random.uniform(key, weights.shape), -1.0)
    chosen = jax.lax.top_k(lottery, count)[1]
    there = jnp.minimum(jnp.sum(weights > 0), count)
    return jax.tree.map(lambda a: a[chosen], rows), spread(1.0, there, count, weights.dtype)


def rows_of(function: str, rows: Data, like: Data, count: int, ahead: tuple[int, ...] = ()) -> Data:
    """Rows that a function returned, seen to be so many of the kind that they should be.

    Raises:
        ValueError: If they are others; the message names the function.
    """
    wanted, found = str(jax.tree.structure(like)), str(jax.tree.structure(rows))
    require(found == wanted, f"what {function} returns", found, f"of the structure {wanted}")
    leaves = zip(jax.tree_util.tree_leaves_with_path(rows), jax.tree.leaves(like), strict=True)
    for (path, leaf), other in leaves:
        shape = (*ahead, count, *jnp.shape(other)[1:])
        where = f"what {function} returns{jax.tree_util.keystr(path)}"
        own = jnp.shape(leaf)
        require(own == shape, where, own, f"{count} rows like the real ones, of the shape {shape}")
    return jax.tree.map(jnp.asarray, rows)
