"""Linear self-attention in context."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from icl_stl.config import flag, normalised, one_of, positive, whole
from icl_stl.laws import LinearRegression
from icl_stl.lazily import jnp
from icl_stl.problems.base import Scalar, Solvable


class AttentionLaw(NamedTuple):
    """What the best linear self-attention reaches: risk R* + s_h |Γ - g I|²."""

    scale: float
    """g, the best Γ is g I."""
    curvature: float
    """s_h = E|h|²/d."""
    risk: float
    """R*, squared error of the best."""


def attention_law(task: LinearRegression) -> AttentionLaw:
    """The population optimum of linear self-attention on k = context - 1 examples and a query.

    s_h = E|h|²/d = (τ² (k - 1 + f) + σ²)/k, E[x xᵀ x xᵀ] = f I: f = d + 2 for normal inputs, d on
    the sphere; g = τ²/s_h; R* = σ² + τ² d (1 - g).
    Source: derived here: THEORY.md, linear attention.
    """
    k, d = task.context - 1, task.dim
    fourth = d if task.inputs == "sphere" else d + 2  # E[x xᵀ x xᵀ] = fourth · I
    variance = task.prior_scale**2
    curvature = (variance * (k - 1 + fourth) + task.noise**2) / k
    scale = variance / curvature
    return AttentionLaw(scale, curvature, task.noise**2 + variance * d * (1 - scale))


def attention_task(
    dim: int, examples: int, noise: float, law: Literal["gaussian", "sphere"]
) -> LinearRegression:
    """The real law of prompts of k examples and a query."""
    if law == "gaussian":
        return LinearRegression(dim, examples + 1, noise)
    return LinearRegression(
        dim,
        examples + 1,
        noise,
        prior_scale=dim**-0.5,
        inputs="sphere",
        tasks="sphere",
        noise_law="uniform",
    )


@dataclass(frozen=True)
class LinearAttention(Solvable):
    """Linear self-attention on the squared error of the query's label.

    With the generator `query` the labels have the deviation √R* of the best predictor's error; the
    risk under D_Γ' is then s² + s_h |Γ - Γ'|². With `autoregressive` it is not known.
    """

    dim: int = 4
    """d, dimension of an input."""
    examples: int = 20
    """k, examples before the query."""
    noise: float = 0.5
    """σ, label noise."""
    law: Literal["gaussian", "sphere"] = "sphere"
    """gaussian: inputs, tasks N(0, I_d) and noise normal; sphere: inputs on the sphere of radius
    √d, unit tasks, uniform noise, as the certificate assumes."""
    penalty: float = 1e-3
    """ρ beside the mean loss."""
    total: bool = False
    """Whether the penalty stands beside the sum of the losses."""
    generator: Literal["query", "autoregressive"] = "query"
    """Which labels are written: the query's, or all."""

    flat: ClassVar[Any] = {
        "lsa": {
            **{"dim": 2, "context": 8, "noise": 0.5, "penalty": 1e-3},
            **{"generator": "query", "law": "gaussian"},
        }
    }
    flat_help: ClassVar[Any] = {"context": "Examples in a prompt before the query."}

    def __post_init__(self) -> None:
        count = lambda name, value: whole(name, value, 1)  # noqa: E731
        normalised(self, dim=count, examples=count, penalty=positive)
        one_of("law", self.law, ("gaussian", "sphere"))
        one_of("generator", self.generator, ("query", "autoregressive"))
        flag("total", self.total)
        _ = self.task

    @property
    def task(self) -> LinearRegression:
        """The real law of prompts."""
        return attention_task(self.dim, self.examples, self.noise, self.law)

    @property
    def real_law(self) -> LinearRegression:
        """Prompts."""
        return self.task

    @property
    def population(self) -> AttentionLaw:
        """What the best reaches."""
        return attention_law(self.task)

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "LinearAttention":
        return cls(examples=whole("context", options.pop("context"), 1), **options)

    def size(self, rows: float, runs: float) -> float:
        return rows * (self.examples * (self.dim + 1) + self.dim**2) + self.dim**4

    def make_learner(self) -> Any:
        from icl_stl import learners

        return learners.linear_attention(
            self.task,
            std=self.population.risk**0.5,
            penalty=self.penalty,
            total=self.total,
            generator=self.generator,
        )

    def loss(self, params: Any, rows: Any) -> Any:
        from icl_stl.learners.attention import features

        return (rows.ys[:, -1] - features(rows) @ params.ravel()) ** 2

    def best(self, truth: Any) -> Any:
        return self.population.scale * jnp.eye(self.dim)

    def excess(self, truth: Any, params: Any) -> Scalar:
        return self.population.curvature * jnp.sum((params - self.best(truth)) ** 2)

    def risk(self, truth: Any, params: Any) -> Scalar:
        return self.population.risk + self.excess(truth, params)

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        if self.generator == "autoregressive":
            return jnp.full((), jnp.nan)
        apart = jnp.sum((params - previous) ** 2)
        return self.population.risk + self.population.curvature * apart
