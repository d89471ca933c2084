"""An n-gram of symbols."""

from dataclasses import dataclass
from typing import Any

from icl_stl.config import counts, normalised, pseudo_counts, require
from icl_stl.lazily import jax, jnp
from icl_stl.learners.generative.base import Array, Functions, Generative, chosen

MOST = 2**24
"""Largest number of probabilities."""


@dataclass(frozen=True)
class Markov(Generative):
    """Law of the next symbol given the k before it, each order smoothed towards the one below.

    p_k(b | u) = (n(u b) + K a p_{k-1}(b | u')) / (n(u) + K a) for K symbols, u' the context u
    without its oldest symbol, p_{-1} = 1/K; where that is 0/0, the order below. n is N times the
    weighted share of the rows with a weight, N how many these are. Places before a row hold a
    symbol of their own. Rows are symbols 0..K-1, `[N, length]`; order 0 is `categorical` on all of
    them.

    Source: published (a hierarchical Dirichlet language model; MacKay and Bauman Peto 1995, with
    the weights of every order fixed). Loops: THEORY.md, statement 96.
    """

    symbols: int
    """K."""
    order: int = 2
    """k, symbols before one on which it depends."""
    pseudo_count: float = 0.1
    """a, added to the count of every symbol, spread as the order below says."""

    def __post_init__(self) -> None:
        counts(self, symbols=2, order=0)
        normalised(self, pseudo_count=pseudo_counts)
        size = (self.symbols + 1) ** self.order * self.symbols
        most = f"an order for which (symbols + 1)^order · symbols is at most {MOST}"
        require(size <= MOST, "order", self.order, most)

    def contexts(self, rows: Array) -> Array:
        """The context of every place, the newest symbol as the last digit to the base K + 1."""
        order, columns = self.order, rows.shape[1]
        before = jnp.pad(rows, ((0, 0), (order, 0)), constant_values=self.symbols)
        code = jnp.zeros_like(rows)
        for back in range(order, 0, -1):
            code = code * (self.symbols + 1) + before[:, order - back : order - back + columns]
        return code

    def functions(self, columns: int) -> Functions:
        symbols, order, base, contexts = self.symbols, self.order, self.symbols + 1, self.contexts

        def fit(key: Any, rows: Array, weights: Array) -> Array:
            from icl_stl.learners.learner import with_weight

            rows = with_weight(rows, weights)
            code = contexts(rows)
            held = (weights * jnp.sum(weights > 0))[:, None] * jnp.ones((1, columns))
            law = jnp.full((1, symbols), 1 / symbols)
            for known in range(order + 1):
                size = base**known
                seen = jnp.zeros((size, symbols)).at[code % size, rows].add(held)
                below = jnp.tile(law, (size // len(law), 1))
                total = jnp.sum(seen, axis=1, keepdims=True) + symbols * self.pseudo_count
                law = (seen + symbols * self.pseudo_count * below) / jnp.where(total > 0, total, 1)
                law = jnp.where(total > 0, law, below)
            return law

        from icl_stl.learners.laws import powered

        def generate(key: Any, law: Array, count: int, bias: Any = 1.0) -> Array:
            law = powered(law, bias)

            def step(code: Array, points: Array) -> tuple[Array, Array]:
                new = jax.vmap(chosen)(points, law[code]).astype(jnp.int32)
                return (code * base + new) % base**order, new

            start = jnp.full(count, base**order - 1, jnp.int32)
            points = jax.random.uniform(key, (columns, count))
            return jax.lax.scan(step, start, points)[1].T

        def log_density(law: Array, rows: Array) -> Array:
            return jnp.sum(jnp.log(law[contexts(rows), rows]), axis=1)

        def redraw(key: Any, law: Array, rows: Array, bias: Any = 1.0) -> tuple[Array, Array]:
            laws = powered(law, bias)[contexts(rows)]
            points = jax.random.uniform(key, rows.shape)
            drawn = jax.vmap(jax.vmap(chosen))(points, laws).astype(rows.dtype)
            return drawn, jnp.take_along_axis(laws, rows[..., None], -1)[..., 0]

        return Functions(fit, generate, log_density, redraw)
