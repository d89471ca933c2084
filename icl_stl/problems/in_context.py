"""In-context learners of prompts: the transformer, and the Bayes predictor that knows the law."""

from dataclasses import dataclass
from typing import Any, ClassVar

from icl_stl.config import (
    Architecture,
    QueryArchitecture,
    Training,
    flag,
    normalised,
    sampling_bias,
    whole,
)
from icl_stl.laws import LinearRegression
from icl_stl.lazily import jax
from icl_stl.problems.base import Biased, Scalar, learner_of

TASK, NETWORK, TRAINING = LinearRegression(), Architecture(), Training()
OF_TASK, OF_NETWORK = ("dim", "context", "noise"), ("depth", "width", "heads")
OF_TRAINING = ("steps", "batch", "learning_rate", "weight_decay")


@dataclass(frozen=True)
class InContext(Biased):
    """Prompts of a linear regression and a network that learns from them in context.

    The loss is the clipped squared error of a prompt, in [0, 1]: `measure.bounded_loss`. What is
    recorded of a generation is what `measure.observation` says.
    """

    task: LinearRegression = TASK
    """The real law of prompts."""
    architecture: Architecture | QueryArchitecture | None = NETWORK
    """The network; none is the Bayes predictor, which ignores its data."""
    training: Training = TRAINING
    """How one generation is fitted."""
    held_out: int = 2000
    """Fresh real prompts, and as many generated ones, on which a generation is measured."""
    plug_in: bool = False
    """Write labels with the noise alone, not the predictive deviation."""

    usual_runs: ClassVar[int] = 4
    flat: ClassVar[Any] = {
        "transformer": {
            **{n: getattr(TASK, n) for n in OF_TASK},
            **{n: getattr(NETWORK, n) for n in OF_NETWORK},
            **{n: getattr(TRAINING, n) for n in OF_TRAINING},
            "held_out": 2000,
            "sampling_bias": 1.0,
        },
        "bayes": {
            **{n: getattr(TASK, n) for n in OF_TASK},
            **{"held_out": 2000, "sampling_bias": 1.0},
        },
    }

    @classmethod
    def from_flat(cls, word: str, **options: Any) -> "InContext":
        def some(names: Any) -> dict[str, Any]:
            return {name: options[name] for name in names if name in options}

        network = Architecture(**some(OF_NETWORK)) if word == "transformer" else None
        training = Training(**some(OF_TRAINING))
        task = LinearRegression(**some(OF_TASK))
        return cls(task, network, training, **some(("held_out", "sampling_bias")))

    def size(self, rows: float, runs: float) -> float:
        task, training, network = self.task, self.training, self.architecture
        prompts = runs * (rows + 2 * self.held_out) * task.context * (task.dim + 1)
        if network is None:
            return prompts
        weights = 36 * network.depth * network.width**2 * runs  # with two moments of each
        scores = training.batch * network.heads * task.context**2
        return prompts + weights + training.steps * training.batch + scores

    @property
    def costly(self) -> bool:
        return True

    def __post_init__(self) -> None:
        whole("held_out", self.held_out, 2)
        flag("plug_in", self.plug_in)
        normalised(self, sampling_bias=sampling_bias)

    @property
    def learner(self) -> Any:
        return learner_of(self)

    def make_learner(self, learning_rate: Any = None, weight_decay: Any = None) -> Any:
        """The learner; with other rates than the training's if they are given, maybe traced."""
        from icl_stl import learners

        if self.architecture is None:
            return learners.bayes_learner(self.task, plug_in=self.plug_in)
        rates = {"learning_rate": learning_rate, "weight_decay": weight_decay}
        of = self.task, self.architecture, self.training
        return learners.adam_transformer(*of, plug_in=self.plug_in, **rates)

    @property
    def real_law(self) -> LinearRegression:
        """Prompts."""
        return self.task

    def draw_held_out(self, key: Any, truth: Any) -> Any:
        """Held-out prompts, and what the Bayes predictor says of them."""
        from icl_stl.measure import draw_held_out

        return draw_held_out(self.task, key, self.held_out)

    def loss(self, params: Any, rows: Any) -> Any:
        from icl_stl.measure import bounded_loss, predictions

        return bounded_loss(self.task, predictions(self.learner, params, rows), rows)

    def start(self, key: Any, samples: int) -> Any:
        """Key of the loop, truth, real rows, held-out rows of one loop."""
        key_loop, key_real, key_held_out = jax.random.split(key, 3)
        real = self.draw(key_real, (), samples)
        return key_loop, (), real, self.draw_held_out(key_held_out, ())

    def to_score(self, key: Any, truth: Any, held_out: Any) -> Any:
        return held_out[0]

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, **more: Any
    ) -> dict[str, Scalar]:
        """Everything that `measure.observation` measures."""
        from icl_stl.measure import observation

        return observation(self.task, self.learner, held_out, key, generation, **more)
