"""Rows of symbols from a Markov chain, and an n-gram that learns them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from icl_stl.config import counts, normalised, pseudo_counts, require, whole
from icl_stl.lazily import jnp
from icl_stl.learners.generative.markov import Markov
from icl_stl.problems.base import Scalar, Solvable


@dataclass(frozen=True)
class Chain(Solvable):
    """A chain on K symbols: after u comes u + 1 with a chance s_u, all others are equally likely.

    Rows of `length` symbols, the first uniform. The learner is an n-gram of k symbols before one;
    its numbers are means over the contexts that the real chain shows, exact given the fit: `excess`
    E |q - p|² of the fitted law q of the next symbol (Brier loss), `drift` its total variation,
    `entropy` of q in nats, `support` the symbols that q can write.
    """

    symbols: int = 6
    """K."""
    follows: tuple[float, ...] = (0.995, 0.9, 0.7)
    """s_u, of the symbols in turn."""
    length: int = 20
    """Symbols in a row."""
    order: int = 1
    """k, symbols before one that the learner looks at."""
    pseudo_count: float = 0.0
    """Added to the count of every symbol: see the learner `markov`."""

    flat: ClassVar[Any] = {
        "chain": {"symbols": 6, "follows": (0.995, 0.9, 0.7), "length": 20, "order": 1}
        | {"pseudo_count": 0.0}
    }

    def __post_init__(self) -> None:
        counts(self, symbols=2, order=0)
        whole("length", self.length, 2)
        normalised(self, pseudo_count=pseudo_counts)
        fine = bool(self.follows) and all(0 <= one <= 1 for one in self.follows)
        require(fine, "follows", self.follows, "chances in [0, 1], at least one")
        self.model  # noqa: B018  (refuses an order that is too large)

    @property
    def model(self) -> Markov:
        """The learner's description."""
        return Markov(self.symbols, self.order, self.pseudo_count)

    def make_learner(self) -> Any:
        return self.model.make(self.length)

    def size(self, rows: float, runs: float) -> float:
        return rows * self.length + (self.symbols + 1.0) ** self.order * self.symbols

    def laws(self) -> tuple[Any, Any]:
        """How often each context occurs in a row of the real chain, and what follows: `[C, K]`.

        Contexts are those of the learner, the newest symbol as the last digit to the base K + 1, K
        where a row has not begun.
        """
        k, base, size = self.symbols, self.symbols + 1, (self.symbols + 1) ** self.order
        chances = np.array([self.follows[u % len(self.follows)] for u in range(k)])
        after = np.repeat((1 - chances[:, None]) / (k - 1), k, axis=1)
        after[np.arange(k), (np.arange(k) + 1) % k] = chances
        after = np.vstack([after, np.full(k, 1 / k)])
        deep = max(self.order, 1)
        now = np.zeros(base**deep)
        now[-1] = 1.0
        code, weights, mean = np.arange(base**deep), np.zeros(size), np.zeros((size, k))
        for _ in range(self.length):
            joint = now[:, None] * after[code % base]
            np.add.at(weights, code % size, now / self.length)
            np.add.at(mean, code % size, joint / self.length)
            now = np.zeros(base**deep)
            np.add.at(now, (code[:, None] * base + np.arange(k)) % base**deep, joint)
        return weights, mean / np.where(weights > 0, weights, 1)[:, None]

    def truth(self, key: Any) -> Any:
        return jnp.array(self.laws()[1], jnp.float32)

    def best(self, truth: Any) -> Any:
        return truth

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return Markov(self.symbols, 1).make(self.length).generate(key, self._one_before(), count)

    def _one_before(self) -> Any:
        """The real chain as parameters of an n-gram that looks at one symbol."""
        return jnp.array(Chain(self.symbols, self.follows, self.length).laws()[1], jnp.float32)

    def _mean(self, values: Any) -> Scalar:
        return jnp.array(self.laws()[0], jnp.float32) @ values

    def loss(self, params: Any, rows: Any) -> Any:
        """The Brier loss of a symbol, mean over the places of a row."""
        contexts = self.model.contexts(rows)
        laws = params[contexts]
        own = jnp.take_along_axis(laws, rows[..., None], -1)[..., 0]
        return jnp.mean(1 - 2 * own + jnp.sum(laws**2, -1), -1)

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self._mean(1 - 2 * jnp.sum(truth * params, -1) + jnp.sum(params**2, -1))

    def excess(self, truth: Any, params: Any) -> Scalar:
        return self._mean(jnp.sum((params - truth) ** 2, -1))

    def drift(self, key: Any, truth: Any, params: Any) -> Scalar:
        return self._mean(jnp.sum(jnp.abs(params - truth), -1) / 2)

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, **more: Any
    ) -> dict[str, Any]:
        """Numbers of any problem, the support and the entropy."""
        law = generation.params
        nats = -jnp.sum(jnp.where(law > 0, law * jnp.log(jnp.where(law > 0, law, 1)), 0), -1)
        seen = super().observe(key, truth, held_out, generation, **more)
        return {**seen, "support": self._mean(jnp.sum(law > 0, -1)), "entropy": self._mean(nats)}
