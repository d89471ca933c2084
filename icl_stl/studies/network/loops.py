"""Measuring a network for bounds on its risk: losses, rounded weights, noise on the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from icl_stl.lab.experiments import NOWHERE, Kept
from icl_stl.lab.results import Arrays
from icl_stl.lab.runs import follow, numbers_of_size
from icl_stl.learners import Fitted
from icl_stl.measure import bounded_loss, predictions
from icl_stl.models.causal import Params
from icl_stl.rows import joined
from icl_stl.studies.convergence.loops import Compared, shared
from icl_stl.studies.network.experiments import BITS, NOISE, PART, RANGE, MeasuredNetworks

FEW = 128
"""Rows of each kind on which a changed network is compared with the network itself."""


def rounded(weights: Float[Array, " q"], bits: int) -> Float[Array, " q"]:
    """The nearest points of the grid of 2^bits points, the middles of equal parts of the range."""
    step = 2 * RANGE / 2**bits
    part = jnp.clip(jnp.floor((weights + RANGE) / step), 0, 2**bits - 1)
    return jnp.asarray((part + 0.5) * step - RANGE)


def changed(key: Any, weights: Float[Array, " q"]) -> Float[Array, "V q"]:
    """The weights, rounded ones for `BITS`, with noise of `NOISE`: a draw and its opposite each."""
    some = [weights, *(rounded(weights, bits) for bits in BITS)]
    for k, scale in enumerate(NOISE):
        noise = scale * jax.random.normal(jax.random.fold_in(key, k), weights.shape)
        some += [weights + noise, weights - noise]
    return jnp.stack(some)


def _mean(values: Array, there: Array) -> Array:
    return jnp.sum(jnp.where(there, values, 0), -1) / jnp.maximum(jnp.sum(there), 1)


def _spread(values: Array, there: Array) -> Array:
    """Variance of the rows that are there."""
    return _mean(values**2, there) - _mean(values, there) ** 2


@dataclass(frozen=True)
class Measured(Compared):
    """Prompts and network, of which is observed what bounds on the risk of generation 1 ask for.

    The loss is `measure.bounded_loss`; alpha = 1/2, and half of the places are for real rows.
    Changed networks are seen on the first `FEW` rows of four kinds: of the training set real and
    synthetic ones, new real ones, new ones of generation 0.
    """

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, **more: Any
    ) -> dict[str, Any]:
        fitted, rows, learner = generation.params, generation.training_set, self.learner
        half, test = len(generation.row_weights) // 2, self.held_out
        left = -(-half // PART)
        key_real, key_made, key_noise = jax.random.split(key, 3)
        made = learner.generate(key_made, generation.previous, left + test)
        ends = np.cumsum((0, half, half, left, left, test, test))
        kinds = [slice(int(start), int(end)) for start, end in pairwise(ends)]
        pool = joined(
            rows,
            self.draw(key_real, truth, left),
            jax.tree.map(lambda a: a[:left], made),
            held_out.prompts,
            jax.tree.map(lambda a: a[left:], made),
        )
        there = generation.row_weights > 0
        kept = jnp.arange(left) * PART < jnp.sum(there[:half])
        there = jnp.concatenate([there, kept, kept, jnp.full(2 * test, True)])
        there &= jnp.asarray(generation.index) > 0  # of generation 0 nothing is asked

        def losses(params: Params, rows: Any, there: Array) -> Array:
            return bounded_loss(self.task, predictions(learner, params, rows, there), rows)

        own = losses(fitted, pool, there)
        real, made_, kept_real, kept_made, new_real, new_made = (
            _mean(own[kind], there[kind]) for kind in kinds
        )
        weights, together = ravel_pytree(_weights(fitted))
        before, _ = ravel_pytree(_weights(generation.previous))

        few = [slice(k.start, min(k.stop, k.start + FEW)) for k in (*kinds[:2], *kinds[4:])]
        some = joined(*(jax.tree.map(lambda a, k=k: a[k], pool) for k in few))
        seen = jnp.concatenate([there[k] for k in few])
        of_changed = jax.lax.map(
            lambda one: losses(_with(fitted, together(one)), some, seen),
            changed(key_noise, weights),
        )
        cuts = np.cumsum([k.stop - k.start for k in few])[:-1]
        parts = list(zip(jnp.split(of_changed, cuts, axis=1), jnp.split(seen, cuts), strict=True))
        means, spreads = (
            jnp.stack([f(own, there) for own, there in parts], axis=1) for f in (_mean, _spread)
        )
        rise = means[1:] - means[:1]
        found = {
            "risk": new_real,
            "training": (real + made_) / 2,
            "synthetic": made_,
            "held_out": (kept_real + kept_made) / 2,
            "held_out_rows": 2 * jnp.sum(kept),
            "shift": new_real - new_made,
            "variance": sum(_spread(own[kind], there[kind]) for kind in kinds[4:]) / 2,
            "dimension": jnp.array(weights.size),
            "norm": jnp.linalg.norm(weights),
            "distance": jnp.linalg.norm(weights - before),
            "diverged_at": fitted.diverged_at if isinstance(fitted, Fitted) else jnp.array(-1),
        }
        count = len(BITS)
        for name, values in (("rise", rise), ("variance", spreads[1:])):
            found[f"rounded_{name}"] = values[:count]
            found[f"noisy_{name}"] = values[count:].reshape(len(NOISE), 2, -1).mean(1)
        return found


def _weights(params: Params) -> Params:
    return params.weights if isinstance(params, Fitted) else params


def _with(params: Params, weights: Params) -> Params:
    return params._replace(weights=weights) if isinstance(params, Fitted) else weights


def run_experiment(
    experiment: MeasuredNetworks,
    seed: int,
    kept: Kept = NOWHERE,
    tell: Callable[[int], None] = lambda finished: None,
) -> Arrays:
    """What is measured of generation 1, `[runs, ...]` by name; the loss lies in [0, 1].

    `risk`, on new real rows; `training`, mean loss over the N rows, `synthetic` over those that
    generation 0 wrote; `held_out` over `held_out_rows` new ones, half of them real; `shift`, the
    risk less that on the law of generation 0; `variance` of the loss, mean of both laws;
    `dimension`, how many weights; `norm`, their length, `distance`, from those of generation 0;
    `rounded_rise`, `noisy_rise`, what the mean loss rises by on each of the four kinds of
    `Measured`, `[runs, changes, 4]`; `rounded_variance`, `noisy_variance`, the variance there.
    """
    program, replicates = shared(experiment, seed, Measured)
    numbers = numbers_of_size(experiment.size).each(experiment.runs)
    found = follow(program.step, replicates, program.nothing, numbers, 1, kept, tell)
    return {name: values[:, 1] for name, values in found.items()}
