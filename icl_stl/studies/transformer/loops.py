"""Loops of a learner in context whose total variations are known, to calibrate `measure` with.

The generator writes labels with the Bayes predictive law, each mean shifted by c predictive
deviations. The standardised residuals z_k of its labels are then i.i.d. N(c, 1), those of real ones
N(0, 1), so that total variations are those of normal laws on a line:
`claims.transformer.known_total_variation`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.lab.results import Arrays
from icl_stl.lab.runs import at_shares
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Normal, Prompts, sample_inputs
from icl_stl.learners import Learner
from icl_stl.models.causal import InContextModel, bayes, generate_labels
from icl_stl.problems import InContext
from icl_stl.studies.transformer.experiments import KnownLoops


def shifted_bayes(task: LinearRegression) -> InContextModel:
    """The Bayes predictor with every mean shifted by c deviations; its parameter is c."""
    exact = bayes(task)

    def moved(shift: Float[Array, ""], law: Normal) -> Normal:
        return law._replace(mean=law.mean + shift * law.std)

    def step(shift: Any, state: Any, k: Any, token: Any) -> Any:
        state, law = exact.step((), state, k, token)
        return state, moved(shift, law)

    return InContextModel(
        init=lambda key: jnp.zeros(()),
        predict=lambda shift, prompts: moved(shift, exact.predict((), prompts)),
        start=exact.start,
        step=step,
    )


def shifted_learner(task: LinearRegression, injected: float) -> Learner:
    """A learner of the shift c that adds an error to it.

    c = injected + Σ_rows weight · mean_k (y_k - mean_k)/std_k, mean and std the Bayes predictor's.
    Its mean is injected + (1 - α) c' on a share α of real rows beside rows of the shift c'.

    Args:
        task: The real law.
        injected: The error of one fit, in predictive deviations.
    """
    exact, model = bayes(task), shifted_bayes(task)

    def fit(key: PRNGKeyArray, rows: Prompts, weights: Float[Array, " N"]) -> Float[Array, ""]:
        law = exact.predict((), rows)
        return injected + weights @ jnp.mean((rows.ys - law.mean) / law.std, axis=1)

    def generate(key: PRNGKeyArray, shift: Float[Array, ""], count: int) -> Prompts:
        key_xs, key_ys = jax.random.split(key)
        xs = sample_inputs(task, key_xs, count, task.context)
        return generate_labels(model, shift, key_ys, xs)

    return Learner(fit, generate, model.predict)


@dataclass(frozen=True)
class Shifted(InContext):
    """Prompts and that learner, whose shift is observed too."""

    injected: float = 0.0
    """The error of one fit, in predictive deviations."""

    def make_learner(self, learning_rate: Any = None, weight_decay: Any = None) -> Learner:
        return shifted_learner(self.task, self.injected)

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, **more: Any
    ) -> dict[str, Any]:
        seen = super().observe(key, truth, held_out, generation, **more)
        return {"shift": generation.params, **seen}


def run_experiment(experiment: KnownLoops, seed: int) -> Arrays:
    """Run the loops of all shares from the same real sets, measured as the transformer's are.

    Returns:
        `shift`, c of each generation, `[runs, shares, G + 1]`; `drift` and `eps`, its measured
        total variations by prefix, `[runs, shares, G + 1, P]`.
    """
    e = experiment
    problem = Shifted(e.task, None, held_out=e.held_out, injected=e.injected)
    seen = at_shares(problem, e.samples, e.shares, e.generations, e.runs, seed)
    return {name: seen[name] for name in ("shift", "drift", "eps")}
