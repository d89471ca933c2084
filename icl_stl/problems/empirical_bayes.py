"""The Bayes predictor with a fitted prior."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.config import flag, normalised, prior_noise, require, sampling_bias, scale, whole
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Biased, Scalar, Solvable
from icl_stl.problems.observed import sampled_drift, sampled_eps


@dataclass(frozen=True)
class Orthogonal(Biased, Solvable):
    """Prompts of the orthogonal design, squared error averaged over the labels of a prompt.

    Total variations are those of whole prompts; the real law always has the predictive deviation.
    """

    dim: int = 2
    """d, dimension of an input."""
    repeats: int = 4
    """n, visits of each direction: a prompt holds n d examples."""
    noise: float = 0.5
    """σ, label noise."""
    prior_scale: float = 1.0
    """τ, deviation of a coordinate of a task."""
    plug_in: bool = True
    """Write labels with the deviation σ instead of the predictive one."""

    def __post_init__(self) -> None:
        count = lambda name, value: whole(name, value, 1)  # noqa: E731
        normalised(self, dim=count, repeats=count, prior_scale=scale, sampling_bias=sampling_bias)
        normalised(self, noise=lambda name, value: prior_noise(value, self.prior_scale))
        flag("plug_in", self.plug_in)

    def size(self, rows: float, runs: float) -> float:
        return rows * self.dim * self.repeats

    def best(self, truth: Any) -> Any:
        from icl_stl.learners.orthogonal import bayes_shrinkage

        variance = self.prior_scale**2
        return bayes_shrinkage(variance, self.dim, self.repeats, self.noise, plug_in=False)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        from icl_stl.learners.orthogonal import sample_labels

        law = self.dim, self.repeats, self.noise, self.prior_scale
        return sample_labels(key, count, *law)

    def loss(self, params: Any, rows: Any) -> Any:
        from icl_stl.learners.orthogonal import label_law

        return jnp.mean((rows - label_law(params, rows).mean) ** 2, (-2, -1))

    def excess(self, truth: Any, params: Any) -> Scalar:
        before = jnp.maximum(jnp.arange(self.repeats), 1)
        squares = self.dim * self.prior_scale**2 + self.noise**2 / before  # E(mean of k labels)²
        apart = (params.factors - self.best(truth).factors) ** 2 * squares
        return jnp.sum(apart[1:]) / self.repeats

    def risk(self, truth: Any, params: Any) -> Scalar:
        return jnp.mean(self.best(truth).std ** 2) + self.excess(truth, params)

    def synthetic_risk(self, previous: Any, params: Any) -> Scalar:
        def read(square: Any, visit: Any) -> Any:  # E(sum of the labels before)²
            k, own, factor, std = visit
            before = square / jnp.maximum(k, 1) ** 2
            then = square * (1 + own / jnp.maximum(k, 1)) ** 2 + std**2
            return then, std**2 + (own - factor) ** 2 * before

        std = self.drawn(previous).std
        visits = (jnp.arange(self.repeats), previous.factors, params.factors, std)
        return jnp.mean(jax.lax.scan(read, jnp.float32(0.0), visits)[1])

    def drawn(self, params: Any) -> Any:
        return params._replace(std=self.sampling_bias**0.5 * params.std)

    def log_density(self, params: Any, rows: Any) -> Any:
        return _log_density(self.drawn(params), rows)

    def real_log_density(self, truth: Any, rows: Any) -> Any:
        return _log_density(self.best(truth), rows)

    drift, eps = sampled_drift, sampled_eps

    def implied(self, rows: Any, weights: Any) -> Scalar:
        from icl_stl.learners.orthogonal import implied_variance

        return implied_variance(rows, weights, self.noise)


def _log_density(law: Any, rows: Any) -> Any:
    from icl_stl.learners.orthogonal import label_law

    return jnp.sum(label_law(law, rows).log_density(rows), (-2, -1))


@dataclass(frozen=True)
class EmpiricalBayes(Orthogonal):
    """In-context regression by the Bayes predictor with a fitted prior, orthogonal design."""

    flat: ClassVar[Any] = {
        "empirical-bayes": {
            "dim": 2,
            "context": 8,
            "noise": 0.5,
            "plug_in": False,
            "sampling_bias": 1.0,
        }
    }

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "EmpiricalBayes":
        context = whole("context", options.pop("context"), 1)
        dim = whole("dim", options["dim"], 1)
        require(context % dim == 0, "context", context, f"a multiple of dim = {dim}")
        return cls(repeats=context // dim, **options)
