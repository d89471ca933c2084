"""Fits to independent real sets: squared bias and variance without a fit that the loops lack."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_stl.devices import Spread, over_replicates
from icl_stl.lab.results import Arrays
from icl_stl.measure import normal_kl, predictions
from icl_stl.problems import InContext
from icl_stl.studies.plateau.experiments import SingleFits


@lru_cache(maxsize=8)
def _fits(problem: InContext, places: int) -> Spread:
    """(index of a run, n, seed) -> its predicted means, excess NLL, and the Bayes means."""

    def fit(index: Any, samples: Any, seed: Any) -> tuple[Any, ...]:
        root = jax.random.key(seed)
        key_real, key_fit = jax.random.split(jax.random.fold_in(root, index))
        test, bayes = problem.draw_held_out(jax.random.fold_in(root, 2**31 - 3), ())
        real = problem.draw(key_real, (), places)
        weights = (jnp.arange(places) < samples) / samples
        laws = predictions(problem.learner, problem.learner.fit(key_fit, real, weights), test)
        return laws.mean, jnp.mean(normal_kl(bayes, laws)), bayes.mean

    return over_replicates(fit, shared=1)


def run_fits(experiment: SingleFits, seed: int) -> Arrays:
    """`[runs, sizes]`: `squared_bias` and `variance`, whose sum has the mean of `excess`, the mean
    squared difference from the Bayes predictor; `excess_nll`, nats a label.

    With f_r the fit of run r and f̄ the mean of the others: <f_r - f*, f̄ - f*>, a U-statistic over
    runs, and <f_r, f_r - f̄>; means over prompts and positions.
    """
    e, runs = experiment, np.arange(experiment.runs, dtype=np.int32)
    program, found = _fits(e.problem, max(e.samples)), []
    for n in e.samples:
        sizes = np.full(e.runs, n, np.int32)
        means, nll, bayes = map(np.asarray, program(runs, sizes, np.int32(seed)))
        errors = (means - bayes).astype(np.float64)
        others = (errors.sum(0) - errors) / (e.runs - 1)
        squares = {
            "excess": errors**2,
            "squared_bias": errors * others,
            "variance": errors * (errors - others),
        }
        own = {name: square.mean((1, 2)) for name, square in squares.items()}
        found.append({**own, "excess_nll": nll.astype(np.float64)})
    return {name: np.stack([one[name] for one in found], axis=1) for name in found[0]}
