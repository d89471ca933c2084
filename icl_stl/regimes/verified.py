"""Synthetic rows that a verifier keeps."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, Literal

from icl_stl.config import one_of, require
from icl_stl.lazily import jax, jnp
from icl_stl.regimes.base import Step
from icl_stl.regimes.selecting import Selecting, surest

__all__ = ["Verified"]


RULES = {
    "keep_rate": ("confidence",),
    "keep_radius": ("region", "oracle"),
    "keep_centre": ("region", "oracle"),
    "keep_symbols": ("region", "oracle", "part"),
    "keep_right": ("oracle",),
    "keep_wrong": ("oracle",),
    "keep_from": ("part",),
}
"""Which rules an option is of."""


@dataclass(frozen=True)
class Verified(Selecting):
    """The rows of another regime, of which a verifier keeps some synthetic ones.

    `region`: it calls a row right if its label is within `keep_radius` of that of the verifier's
    task, |y - <x, c>| <= r; of numbers |z - c| <= r; of symbols, if it is one of `keep_symbols`.
    `oracle`: the same, but it keeps what is right with probability `keep_right`, what is wrong with
    `keep_wrong`. `part`: it sees a part of the law, the numbers of at least `keep_from`, labels
    whose input has a first coordinate of at least that, or `keep_symbols`, and drops the rest.
    `confidence`: the share `keep_rate` of the candidates that θ_{i-1} calls most likely, at least
    one; of equal ones by lot.
    Source: derived here, settings of Feng et al. 2024 (oracle), Yi et al. 2025 (region), Fu, Wang,
        Chen, Shen and Tao 2025 (confidence): THEORY.md section 27.
    """

    keep: Literal["region", "confidence", "oracle", "part"] = "confidence"
    """Which synthetic rows are kept: right ones, the model's surest, with errors, those seen."""
    keep_rate: float = 0.5
    """q in (0, 1], with `confidence`."""
    keep_radius: float = 1.0
    """r, with `region` and `oracle`."""
    keep_centre: tuple[float, ...] = (0.0,)
    """c: the verifier's number, or task; one number stands for all coordinates."""
    keep_symbols: tuple[int, ...] = ()
    """Symbols that are right, or seen."""
    keep_right: float = 1.0
    """φ, with `oracle`."""
    keep_wrong: float = 0.0
    """ψ, with `oracle`."""
    keep_from: float = 0.0
    """The least number that is seen, with `part`."""
    name: ClassVar[str] = "verified"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("keep", self.keep, ("region", "confidence", "oracle", "part"))
        for name in ("keep_centre", "keep_symbols"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("keep_rate", "keep_right", "keep_wrong"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "in [0, 1]")
        require(self.keep_rate > 0, "keep_rate", self.keep_rate, "in (0, 1]")
        for name in ("keep_centre", "keep_from"):
            value = getattr(self, name)
            fine = all(map(isfinite, value if name == "keep_centre" else [value]))
            require(fine, name, value, "of finite numbers")
        require(bool(self.keep_centre), "keep_centre", self.keep_centre, "one number or several")
        inside = isfinite(self.keep_radius) and self.keep_radius > 0
        require(inside, "keep_radius", self.keep_radius, "a positive number")
        for name, rules in RULES.items():
            fine = self.keep in rules or getattr(self, name) == getattr(type(self), name)
            require(fine, "keep", self.keep, f"{' or '.join(rules)} where {name} is given")

    def weigh(self, step: Step, rows: Any, there: Any) -> Any:
        if self.keep == "confidence":
            return surest(step.key, -step.log_density(rows), there, self.keep_rate)
        right = self._seen(rows) if self.keep == "part" else self._right(rows)
        if self.keep == "oracle":
            lot = jax.random.uniform(jax.random.fold_in(step.key, 1), right.shape)
            right = lot < jnp.where(right, self.keep_right, self.keep_wrong)
        return right

    def _right(self, rows: Any) -> Any:
        if jnp.issubdtype(jax.tree.leaves(rows)[0].dtype, jnp.integer):
            return self._symbols(rows)
        ys, centre = getattr(rows, "ys", rows), jnp.asarray(self.keep_centre, jnp.float32)
        of = rows.xs if hasattr(rows, "xs") else ys.reshape(len(ys), -1)
        fine = len(centre) in (1, of.shape[-1])
        require(fine, "keep_centre", self.keep_centre, f"one number, or {of.shape[-1]} of them")
        centre = jnp.broadcast_to(centre, of.shape[-1:])
        away = ys - rows.xs @ centre if hasattr(rows, "xs") else of - centre[None]
        away = jnp.abs(away) <= self.keep_radius
        return jnp.all(away.reshape(len(away), -1), axis=1)

    def _seen(self, rows: Any) -> Any:
        if jnp.issubdtype(jax.tree.leaves(rows)[0].dtype, jnp.integer):
            return self._symbols(rows)
        first = getattr(rows, "xs", rows)
        return first.reshape(len(first), -1)[:, 0] >= self.keep_from

    def _symbols(self, rows: Any) -> Any:
        require(bool(self.keep_symbols), "keep_symbols", self.keep_symbols, "some of the symbols")
        kept = jnp.isin(rows, jnp.asarray(self.keep_symbols, jnp.int32))
        return jnp.all(kept.reshape(len(kept), -1), axis=1)
