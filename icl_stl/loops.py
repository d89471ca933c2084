"""The self-consuming loop: one function for every learner and every data regime; one in context.

Generation 0 is fitted on the real set. Generation i >= 1 is fitted on what its regime mixes from
real rows and the rows that earlier generations made. Pure in (key, real set): generation i uses
`fold_in(key, i)`, so a shorter run is a prefix of a longer one and a stopped run continues.

`relabel_context` is the loop of a model whose weights are frozen: it consumes its own context.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl_stl.learners import Data, Learner
from icl_stl.models import Params
from icl_stl.regimes import Regime, Replace
from icl_stl.tasks import Prompts, standard_normal

Observations = Any
DrawReal = Callable[[PRNGKeyArray, int], Data]
GenerateJointly = Callable[[PRNGKeyArray, Params, int], Data]
Predict = Callable[[Float[Array, "m d"], Float[Array, " m"], Float[Array, " d"]], Float[Array, ""]]
"""(xs, ys, query) -> the mean of the query's label: a frozen model that reads one prompt."""


class Generation(NamedTuple):
    """One generation of a loop, with all that there is to observe of it."""

    params: Params
    """θ_i."""
    previous: Params
    """θ_{i-1}, which made the newest synthetic rows (θ_0 itself for generation 0)."""
    training_set: Data
    """The N rows that θ_i was fitted on; where a regime keeps the rows of all generations, also
    the places of those still to come, which have no weight. Real rows come first, unless they
    were drawn by lot."""
    row_weights: Float[Array, " N"]
    """Their weights, summing to 1."""
    index: Any = 1
    """i; generation 0 learned from the real law alone, whatever the regime."""
    kept: Data = ()
    """The rows of all generations so far, for a regime that keeps them."""


class Sizes(NamedTuple):
    """How many rows there are, where arrays have places for more; numbers that may be traced.

    One program then serves many sizes: rows beyond them have places but no weight. Loops of several
    sizes under one key share their rows as far as they go (common random numbers).
    """

    samples: Any
    """n, the first real rows."""
    n_syn: Any
    """The first synthetic rows of each generation; 0 for a loop of real rows alone."""
    share: Any
    """Share of the real law in the objective, 1 where there are no synthetic rows."""


def equal_rows(samples: Any, n_syn: Any) -> Sizes:
    """Sizes of a loop in which every row counts alike: the share is n/(n + n_syn)."""
    return Sizes(samples, n_syn, samples / (samples + n_syn))


def row_count(data: Data) -> int:
    """How many rows there are."""
    return int(jax.tree.leaves(data)[0].shape[0])


class Keys(NamedTuple):
    """The streams of one generation; observing more or less never changes the loop."""

    fit: PRNGKeyArray
    generate: PRNGKeyArray
    observe: PRNGKeyArray
    real: PRNGKeyArray
    choose: PRNGKeyArray


def generation_keys(key: PRNGKeyArray, generation: Any) -> Keys:
    """The streams of generation i of the loop with this key."""
    return Keys(*jax.random.split(jax.random.fold_in(key, generation), 5))


def room_for_rows(regime: Regime, real: Data, generations: int) -> Data:
    """Zeros in place of the rows that G generations will make, if the regime keeps them."""
    if not regime.keeps_history:
        return ()
    count = max(1, generations) * regime.synthetic_size(row_count(real))
    return jax.tree.map(lambda a: jnp.zeros((count, *a.shape[1:]), a.dtype), real)


def _spread(share: Any, rows: Any, places: int) -> Float[Array, " N"]:
    """A share of the objective spread equally over the first rows of so many places."""
    each = jnp.asarray(share / jnp.maximum(rows, 1), jnp.float32)
    return jnp.where(jnp.arange(places) < rows, each, 0.0)


def first_generation(
    key: PRNGKeyArray, learner: Learner, real: Data, *, kept: Data = ()
) -> Generation:
    """Generation 0: fitted on the real set alone, the same in every regime."""
    weights = jnp.full(row_count(real), 1 / row_count(real))
    params = learner.fit(generation_keys(key, 0).fit, real, weights)
    return Generation(params, params, real, weights, jnp.array(0), kept)


def _no_parameters(key: PRNGKeyArray, learner: Learner, real: Data) -> Params:
    """Zeros in place of parameters before generation 0."""
    shapes = jax.eval_shape(lambda: first_generation(key, learner, real).params)
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)


def _check(
    learner: Learner, regime: Regime, draw_real: DrawReal | None, sizes: Sizes | None = None
) -> None:
    """Refuse what the regime cannot do with these."""
    if sizes is not None and (regime.keeps_history or isinstance(regime, Replace)):
        raise ValueError(
            "regime must mix real rows with those of the last generation where sizes are given, "
            f"but it is {regime.name!r}"
        )
    if regime.fresh_real and draw_real is None:
        raise ValueError(f"draw_real must be given in the regime {regime.name!r}")
    if regime.reuses_inputs and learner.relabel is None:
        raise ValueError(
            f"learner must be able to relabel given inputs in the regime {regime.name!r}, but its "
            "relabel is None"
        )


def _synthetic_rows(
    keys: Keys, learner: Learner, regime: Regime, real: Data, previous: Params, samples: Any
) -> Data:
    """What θ_{i-1} leaves behind."""
    n_syn = regime.synthetic_size(row_count(real))
    if not regime.reuses_inputs or learner.relabel is None:
        return learner.generate(keys.generate, previous, n_syn)
    in_turn = jnp.arange(n_syn) % samples
    inputs = jax.tree.map(lambda a: a[in_turn], real)
    return learner.relabel(keys.generate, previous, inputs)


def next_generation(
    key: PRNGKeyArray,
    learner: Learner,
    regime: Regime,
    real: Data,
    previous: Params,
    generation: Any,
    *,
    kept: Data = (),
    draw_real: DrawReal | None = None,
    synthetic: Data | None = None,
    from_first: bool = False,
    sizes: Sizes | None = None,
) -> Generation:
    """Generation i >= 1: let θ_{i-1} generate, mix as the regime says, fit afresh.

    Args:
        key: Key of the whole loop; generation i uses `fold_in(key, i)`.
        learner: The learner.
        regime: Which rows make up the training set, with which weights.
        real: The real set, n rows.
        previous: θ_{i-1}.
        generation: i >= 1; may be traced, so that one compilation serves all generations.
        kept: For a regime that keeps all rows: `kept` of the generation before, which started from
            `room_for_rows`.
        draw_real: (key, count) -> that many rows of the real law, for a regime with fresh real
            rows.
        synthetic: Rows that θ_{i-1} has made already, jointly with other loops; None to let it
            generate.
        from_first: Let i = 0 be generation 0, in whose training set synthetic rows have places but
            no weight, whatever `previous` is: then one program serves all generations.
        sizes: How many rows there are, if fewer than the real set and the regime have places for;
            their share then takes the place of the regime's.

    Raises:
        ValueError: If the regime needs more than the learner or the arguments give.
    """
    n = row_count(real)
    keys = generation_keys(key, generation)
    n_syn = regime.synthetic_size(n)
    there = sizes or Sizes(n, n_syn, regime.real_share(n, generation))
    share = there.share
    _check(learner, regime, draw_real, sizes)
    if regime.keeps_history and not jax.tree.leaves(kept):
        raise ValueError(
            f"kept must be the rows of the generations before in the regime {regime.name!r}, "
            "starting from room_for_rows, but it is empty"
        )
    is_first = jnp.asarray(generation) == 0
    if from_first:
        share = jnp.where(is_first, 1.0, share)
    if draw_real is not None and regime.fresh_real:
        fresh = draw_real(keys.real, n)
        real = jax.tree.map(lambda a, b: jnp.where(from_first & is_first, a, b), real, fresh)
    parts, weights = [real], [_spread(share, there.samples, n)]
    if isinstance(regime, Replace) and not from_first:
        parts, weights = [], []
    if n_syn:
        rows = synthetic
        if rows is None:
            rows = _synthetic_rows(keys, learner, regime, real, previous, there.samples)
        own = _spread(1 - share, there.n_syn, n_syn)
        if regime.keeps_history:
            if from_first:
                offset = jnp.maximum(generation - 1, 0) * n_syn
                rows = jax.tree.map(lambda a: jnp.where(is_first, jnp.zeros_like(a), a), rows)
            else:
                offset = (generation - 1) * n_syn
            put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, offset, 0)  # noqa: E731
            kept = rows = jax.tree.map(put, kept, rows)
            made = jnp.arange(row_count(kept)) < generation * n_syn
            own = jnp.where(made, (1 - share) / (generation * n_syn), 0.0).astype(jnp.float32)
        parts.append(rows)
        weights.append(own)
    training_set = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    row_weights = jnp.concatenate(weights)
    if regime.subsamples:
        lottery = jax.random.uniform(keys.choose, row_weights.shape)
        lottery = jnp.where(row_weights > 0, lottery, -1.0)
        chosen = jax.lax.top_k(lottery, n)[1]
        training_set = jax.tree.map(lambda a: a[chosen], training_set)
        row_weights = jnp.full(n, 1 / n)
    params = learner.fit(keys.fit, training_set, row_weights)
    if from_first:
        previous = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), params, previous)
    return Generation(params, previous, training_set, row_weights, generation, kept)


def self_consume(
    key: PRNGKeyArray,
    learner: Learner,
    real: Data,
    generations: int,
    *,
    regime: Regime,
    observe: Callable[[PRNGKeyArray, Generation], Observations],
    draw_real: DrawReal | None = None,
    sizes: Sizes | None = None,
) -> Observations:
    """Run one self-consuming loop and record what `observe` sees of every generation.

    Args:
        key: Randomness of the whole loop.
        learner: The learner.
        real: The real set S_0: n rows.
        generations: G >= 0, the generations after generation 0.
        regime: The data regime.
        observe: (key, generation) -> a pytree of arrays.
        draw_real: (key, count) -> rows of the real law, for a regime with fresh real rows.
        sizes: See `next_generation`; map over them for loops of many sizes with shared randomness.

    Returns:
        The observations, stacked along a new first axis: `[G + 1, ...]`. In the training set of
        generation 0 the places of synthetic rows are filled with what has no weight.

    Raises:
        ValueError: If `generations` is negative, the regime does not fit the size of `real`, or it
            needs more than the learner or the arguments give.
    """
    if generations < 0:
        raise ValueError(f"generations must be at least 0, but it is {generations!r}")
    regime.synthetic_size(row_count(real))
    _check(learner, regime, draw_real, sizes)

    # One program for all generations, the first one too: a fit is compiled once.
    def advance(carry: tuple[Params, Data], index: Any) -> tuple[tuple[Params, Data], Observations]:
        params, kept = carry
        generation = next_generation(
            key,
            learner,
            regime,
            real,
            params,
            index,
            kept=kept,
            draw_real=draw_real,
            from_first=True,
            sizes=sizes,
        )
        seen = observe(generation_keys(key, index).observe, generation)
        return (generation.params, generation.kept), seen

    start = _no_parameters(key, learner, real), room_for_rows(regime, real, generations)
    return jax.lax.scan(advance, start, jnp.arange(generations + 1))[1]


def coupled(
    key: PRNGKeyArray,
    learner: Learner,
    reals: Data,
    generations: int,
    *,
    regime: Regime,
    observe: Callable[[PRNGKeyArray, Generation], Observations],
    draw_real: DrawReal | None = None,
    generate_jointly: GenerateJointly | None = None,
    first_reals: Data | None = None,
    sizes: Sizes | None = None,
) -> Observations:
    """Run loops from neighbouring real sets with all their randomness shared.

    All loops have one key: the same initialisation, batch order and draws of the generators (common
    random numbers). Loops that share draws stay near in their parameters, but every synthetic row
    of a continuous law may then differ a little: for statements about how many rows differ, let
    `generate_jointly` draw rows that are equal as often as possible (a maximal coupling).

    Args:
        key: Randomness of every loop.
        learner: The learner.
        reals: K real sets of n rows, `[K, n, ...]`; the first is the one the others differ from.
        generations: G >= 0.
        regime: The data regime.
        observe: (key, the K loops' generation, every leaf `[K, ...]`) -> a pytree of arrays.
        draw_real: See `self_consume`; loops share the fresh real rows.
        generate_jointly: (key, K parameters, count) -> rows `[K, count, ...]` to use instead of
            `learner.generate`.
        first_reals: Real sets for generation 0 alone, `[K, n, ...]`, if they are others: what
            differs there and nowhere else is passed on by the generators alone.
        sizes: See `next_generation`.

    Returns:
        The observations, `[G + 1, ...]`.

    Raises:
        ValueError: As `self_consume`.
    """
    if generations < 0:
        raise ValueError(f"generations must be at least 0, but it is {generations!r}")
    real = jax.tree.map(lambda a: a[0], reals)
    n_syn = regime.synthetic_size(row_count(real))
    _check(learner, regime, draw_real, sizes)

    def advance(carry: tuple[Params, Data], index: Any) -> tuple[tuple[Params, Data], Observations]:
        params, kept = carry
        keys = generation_keys(key, index)
        rows = generate_jointly(keys.generate, params, n_syn) if generate_jointly else None

        def one(real: Data, params: Params, kept: Data, synthetic: Data) -> Generation:
            return next_generation(
                key,
                learner,
                regime,
                real,
                params,
                index,
                kept=kept,
                draw_real=draw_real,
                synthetic=synthetic,
                from_first=True,
                sizes=sizes,
            )

        own = reals
        if first_reals is not None:
            own = jax.tree.map(lambda a, b: jnp.where(index == 0, a, b), first_reals, reals)
        found = jax.vmap(one)(own, params, kept, rows)
        return (found.params, found.kept), observe(keys.observe, found)

    loops = jax.tree.leaves(reals)[0].shape[0]
    room = room_for_rows(regime, real, generations)
    start = (_no_parameters(key, learner, real), room)
    start = jax.tree.map(lambda a: jnp.broadcast_to(a, (loops, *a.shape)), start)
    _, seen = jax.lax.scan(advance, start, jnp.arange(generations + 1))
    return seen


def relabel_context(
    key: PRNGKeyArray,
    predict: Predict,
    start: Prompts,
    generations: int,
    *,
    kept: Any,
    observe: Callable[[PRNGKeyArray, Prompts], Observations],
    noise: float = 0.0,
    clip: float | None = None,
    draw_inputs: Callable[[PRNGKeyArray, int], Float[Array, "m d"]] | None = None,
    draw_real: Callable[[PRNGKeyArray, int], Prompts] | None = None,
) -> Observations:
    """Let a frozen model relabel its own context and record what `observe` sees of it.

    y_i <- f(x_i; S_{g-1}) + s ξ_i for all but the first k examples, which keep their real labels.
    Two loops with one key share all randomness, whatever they start from and however many examples
    they keep.

    Args:
        key: Randomness of the whole loop; generation g uses `fold_in(key, g)`.
        predict: The frozen model f, a function of one prompt and one query.
        start: S_0: m examples, those that are kept first.
        generations: G >= 0, the generations after generation 0.
        kept: k, a whole number in 0..m; may be traced, so that one compilation serves all shares.
        observe: (key, context of this generation) -> a pytree of arrays.
        noise: s, deviation of the noise on new labels.
        clip: Largest size of a new label, if there is one.
        draw_inputs: (key, count) -> new inputs of the relabelled examples in every generation;
            without it they stay where they are.
        draw_real: (key, count) -> new real examples for the kept ones in every generation; without
            it they stay.

    Returns:
        The observations, stacked along a new first axis: `[G + 1, ...]`.

    Raises:
        ValueError: If `generations` or `kept` is out of range.
    """
    count = row_count(start)
    if generations < 0:
        raise ValueError(f"generations must be at least 0, but it is {generations!r}")
    if isinstance(kept, int) and not 0 <= kept <= count:
        raise ValueError(f"kept must be a whole number in 0..{count}, but it is {kept!r}")
    real = jnp.arange(count) < kept

    def relabelled(context: Prompts, index: Any) -> Prompts:
        keys = generation_keys(key, index)
        xs = context.xs if draw_inputs is None else draw_inputs(keys.choose, count)
        own = context if draw_real is None else draw_real(keys.real, count)
        xs = jnp.where(real[:, None], own.xs, xs)
        made = jax.vmap(lambda query: predict(context.xs, context.ys, query))(xs)
        if noise:
            made = made + noise * standard_normal(keys.generate, count)
        if clip is not None:
            made = jnp.clip(made, -clip, clip)
        return Prompts(xs, jnp.where(real, own.ys, made))

    # One more relabelling than is seen: one program for all generations.
    def advance(context: Prompts, index: Any) -> tuple[Prompts, Observations]:
        seen = observe(generation_keys(key, index).observe, context)
        return relabelled(context, index + 1), seen

    return jax.lax.scan(advance, start, jnp.arange(generations + 1))[1]
