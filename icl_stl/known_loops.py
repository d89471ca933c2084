"""Loops of a learner in context whose total variations are known, to calibrate `measure` with.

The generator writes labels with the Bayes predictive law, each mean shifted by c predictive
deviations. The standardised residuals z_k of its labels are then i.i.d. N(c, 1), those of real ones
N(0, 1), so that total variations are those of normal laws on a line:
`claims.transformer.known_total_variation`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.config import LinearRegression
from icl_stl.devices import over_replicates
from icl_stl.experiments import KnownLoops
from icl_stl.learners import Learner
from icl_stl.loops import Generation, Sizes, self_consume
from icl_stl.measure import measure_generation
from icl_stl.models import InContextModel, bayes, generate_labels
from icl_stl.regimes import Augment
from icl_stl.results import Arrays
from icl_stl.runs import Replicate, draw_replicate
from icl_stl.tasks import Normal, Prompts, sample_inputs


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


def run_experiment(experiment: KnownLoops, seed: int) -> Arrays:
    """Run the loops of all shares from the same real sets, measured as the transformer's are.

    Returns:
        `shift`, c of each generation, `[runs, shares, G + 1]`; `drift` and `eps`, its measured
        total variations by prefix, `[runs, shares, G + 1, P]`.
    """
    task, n = experiment.task, experiment.samples
    learner = shifted_learner(task, experiment.injected)

    def loop(replicate: Replicate, share: Any) -> dict[str, Any]:
        def observe(key: PRNGKeyArray, generation: Generation) -> dict[str, Any]:
            seen = measure_generation(
                task,
                learner,
                replicate.held_out,
                key,
                generation,
                real_share=generation.real_share,
            )
            assert seen.eps is not None
            return {
                "shift": generation.params,
                "drift": seen.drift.mean,
                "eps": seen.eps.mean,
            }

        found: dict[str, Any] = self_consume(
            replicate.key,
            learner,
            replicate.real,
            experiment.generations,
            regime=Augment(0.5),
            observe=observe,
            sizes=Sizes(n, n, share),
        )
        return found

    def loops(index: Any, seed: Any, shares: Any) -> dict[str, Any]:
        replicate = draw_replicate(task, n, experiment.held_out, index, seed)
        found: dict[str, Any] = jax.lax.map(partial(loop, replicate), shares)
        return found

    spread = over_replicates(loops, shared=2, quick_compilation=True)
    indices = np.arange(experiment.runs, dtype=np.int32)
    found: Arrays = spread(indices, np.int32(seed), np.array(experiment.shares, np.float32))
    return jax.tree.map(np.asarray, found)  # type: ignore[no-any-return]
