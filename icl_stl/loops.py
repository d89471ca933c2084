"""The self-consuming loop: one function for every learner and every data regime; one in context.

Generation 0 is fitted on the real set. Generation i >= 1 is fitted on what its regime mixes from
real rows and the rows that earlier generations made. Pure in (key, real set): generation i uses
`fold_in(key, i)`, so a shorter run is a prefix of a longer one and a stopped run continues.

What functions of a user return is looked at where it enters (`rows_of`, `regimes.real_share`). The
rows of a loop have one type: what the types of the real rows and of those that `generate`,
`relabel` and `draw_real` return promote to (`jax.numpy.promote_types`); row weights have the
precision of the rows, at least single. Places without a row hold copies of real rows, weight 0.

`relabel_context` is the loop of a model whose weights are frozen: it consumes its own context.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from icl_stl.config import require, whole
from icl_stl.laws.prompts import Prompts, standard_normal
from icl_stl.learners import Data, Learner
from icl_stl.models.causal import Params
from icl_stl.regimes import Regime, Replace, Step, real_share, real_shares, synthetic_size
from icl_stl.rows import in_one_type, in_turn, joined, precision, row_count, rows_of, spread

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
    """The rows of all generations so far, or those of this one, for a regime that keeps them."""
    real_share: Any = 1.0
    """α_i, the share of the real law in the training law of this generation; 1 for i = 0."""
    finite: Bool[Array, "*K"] | bool = True
    """Whether all numbers in θ_i are finite."""


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


def _known(value: Any) -> Any:
    """A number or array that is known now, as NumPy's; None if it is traced."""
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return None


def real_rows(real: Data, name: str = "real", axes: int = 1) -> Data:
    """The real set as JAX's arrays.

    Args:
        real: A pytree of arrays with one row each along the first axis.
        name: What it is called in a message.
        axes: 2 for several real sets side by side, `[K, n, ...]`.

    Raises:
        ValueError: If it is no such pytree, has no rows, or holds what is no finite number of
            JAX's types; the message says where.
    """
    found = jax.tree_util.tree_leaves_with_path(real)
    shape = "[n, ...]" if axes == 1 else "[K, n, ...]"
    right = f"an array {shape} of rows, or a pytree of such arrays with equally many"
    require(bool(found), name, real, right)
    leaves = []
    for path, leaf in found:
        where = name + jax.tree_util.keystr(path)
        kind = getattr(getattr(leaf, "dtype", None), "kind", None)
        if kind is None or leaf.ndim < axes:
            what = type(leaf).__name__ if kind is None else f"an array of shape {leaf.shape}"
            raise ValueError(
                f"{where} must be {right}, but it is {what}: make it one, as by jnp.array(...)"
            )
        numbers = jnp.issubdtype(leaf.dtype, jnp.number) or kind == "b"
        require(numbers, where, leaf.dtype, f"{right}, of numbers")
        with np.errstate(over="ignore"):  # seen below
            leaves.append(jnp.asarray(leaf))
        counts = {a.shape[:axes] for a in leaves}
        fine = len(counts) == 1 and leaf.shape[axes - 1] >= 1
        require(fine, where, leaf.shape, f"{right}, at least one")
        _same_numbers(where, leaf, leaves[-1], axes)
    return jax.tree.unflatten(jax.tree.structure(real), leaves)


def _same_numbers(where: str, given: Any, taken: Array, axes: int) -> None:
    """Refuse what is not finite, or is lost in JAX's type."""
    before, after = _known(given), _known(taken)
    if before is None or after is None:
        return
    if jnp.issubdtype(after.dtype, jnp.inexact):
        bad = ~np.isfinite(after.astype(np.complex128))
    else:
        bad = before != after
    if bad.any():
        row = np.argwhere(bad)[0]
        raise ValueError(
            f"{where} must hold finite numbers of the type {after.dtype}, but in row "
            f"{row[axes - 1]} it has {before[tuple(row)]}"
        )


def _check(
    learner: Learner, regime: Regime, draw_real: DrawReal | None, sizes: Sizes | None = None
) -> None:
    """Refuse what the regime cannot do with these."""
    others = regime.keeps_history or _chooses(regime) or isinstance(regime, Replace)
    if sizes is not None and others:
        raise ValueError(
            "regime must mix real rows with those of the last generation where sizes are given, "
            f"but it is {regime.name!r}"
        )
    if regime.fresh_real and draw_real is None:
        raise ValueError(f"draw_real must be given in the regime {regime.name!r}")
    if (regime.reuses_inputs or regime.keeps_training_set) and learner.relabel is None:
        raise ValueError(
            f"learner must be able to relabel given inputs in the regime {regime.name!r}, but its "
            "relabel is None"
        )


def _check_sizes(sizes: Sizes, samples: int, n_syn: int) -> None:
    """Refuse sizes beyond their places, as far as they are known now."""
    for name, most in (("samples", samples), ("n_syn", n_syn)):
        value = _known(getattr(sizes, name))
        if value is not None:
            least = int(name == "samples")
            fine = value.dtype.kind in "iu" and bool(np.all((least <= value) & (value <= most)))
            require(fine, f"sizes.{name}", value.tolist(), f"a whole number in {least}..{most}")
    share, made = _known(sizes.share), _known(sizes.n_syn)
    if share is not None:
        inside = bool(np.all((share >= 0) & (share <= 1)))
        require(inside, "sizes.share", share.tolist(), "in [0, 1]")
        if made is not None:
            alone = bool(np.all((made > 0) | (share == 1)))
            require(alone, "sizes.share", share.tolist(), "1 where n_syn is 0")


class Start(NamedTuple):
    """What a loop starts from."""

    real: Data
    """Real rows, in the type of all rows."""
    params: Params
    """Zeros in place of parameters before generation 0; nothing is made of them."""


def _shares(regime: Regime, samples: int, generations: int) -> Float[Array, " i"]:
    """α_0, ..., α_G; a regime may compute them with JAX, also where all else is traced."""
    with jax.ensure_compile_time_eval():
        return jnp.asarray(real_shares(regime, samples, generations))


def start_of_loop(
    key: PRNGKeyArray,
    learner: Learner,
    regime: Regime,
    real: Data,
    generations: int,
    draw_real: DrawReal | None,
    generate_jointly: GenerateJointly | None = None,
) -> Start:
    """What a loop starts from; what it would not show by itself is refused.

    A fit that takes no weights is refused, and, where rows are known now, wrong weights of a mix
    and a fit that takes notice of rows of weight 0.
    """
    start = _typed_start(key, learner, regime, real, generations, draw_real, generate_jointly)
    check_mix(key, learner, regime, start.real, generations)
    _check_weights(key, learner, regime, start.real, generations)
    return start


def _typed_start(
    key: PRNGKeyArray,
    learner: Learner,
    regime: Regime,
    real: Data,
    generations: int,
    draw_real: DrawReal | None,
    generate_jointly: GenerateJointly | None,
) -> Start:
    """Find types and shapes, without any computation; refuse a fit that takes no weights."""
    n = row_count(real)
    n_syn, keys = synthetic_size(regime, n), generation_keys(key, 0)
    places = _places(keys.fit, learner, regime, real, generations)
    program, params = jax.make_jaxpr(
        lambda rows, weights: learner.fit(keys.fit, rows, weights), return_shape=True
    )(
        jax.eval_shape(lambda: in_turn(real, places)),
        jax.ShapeDtypeStruct((places,), precision(real)),
    )

    def sources(params: Params) -> list[Data]:
        some = [real]
        if regime.fresh_real and draw_real is not None:
            some.append(_drawn(draw_real, keys.real, real))
        if n_syn and generate_jointly is None:
            some.append(_synthetic_rows(keys, learner, regime, real, n_syn, params, n))
        elif n_syn and generate_jointly is not None:
            alone = jax.tree.map(lambda a: a[None], params)
            joint = _joint(generate_jointly, keys.generate, alone, real, n_syn, 1)
            some.append(jax.tree.map(lambda a: a[0], joint))
        return some

    leaves, structure = jax.tree.flatten(real)
    each = map(jax.tree.leaves, jax.eval_shape(sources, params))
    types = [jnp.result_type(*(a.dtype for a in own)) for own in zip(*each, strict=True)]
    if types != [a.dtype for a in leaves]:
        typed = [a.astype(dtype) for a, dtype in zip(leaves, types, strict=True)]
        other = jax.tree.unflatten(structure, typed)
        return _typed_start(key, learner, regime, other, generations, draw_real, generate_jointly)

    used = {id(var) for step in program.jaxpr.eqns for var in step.invars}
    used |= {id(var) for var in program.jaxpr.outvars}
    *rows, weights = (id(var) in used for var in program.jaxpr.invars)
    if places > n and any(rows) and not weights:
        raise ValueError(
            "learner.fit must weigh rows by its third argument, since rows of weight 0 are not "
            "there, but it takes no notice of it"
        )
    return Start(real, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), params))


def _places(key: PRNGKeyArray, learner: Learner, regime: Regime, real: Data, last: int) -> int:
    """How many rows a fit sees, those without weight too."""
    n, n_syn = row_count(real), synthetic_size(regime, row_count(real))
    if not _chooses(regime):
        return n + (max(1, last) if regime.keeps_history else 1) * n_syn

    def some() -> Data:
        params = learner.fit(key, real, spread(1.0, n, n, precision(real)))
        kept, rows = room_for_rows(regime, real, last), in_turn(real, n_syn) if n_syn else ()
        places, sure = real_places(regime, real), _sure(key, learner, regime, params, kept)
        return _mixed(regime, Step(key, 1, params, places, rows, kept, 0.5, n, n_syn, sure))[0]

    return row_count(jax.eval_shape(some))


def _chooses(regime: Regime) -> bool:
    """Whether it has a `mix` of its own."""
    return type(regime).mix is not Regime.mix


def _mixed(regime: Regime, step: Step) -> tuple[Data, Float[Array, " N"]]:
    """What the regime mixes; where it chooses, of real rows alone in generation 0.

    There are places for all real rows, then. Wrong weights are refused where they are known; inside
    a program they are NaN.
    """
    rows, weights = regime.mix(step)
    if not _chooses(regime):
        return rows, weights
    count, places = step.samples, row_count(rows)
    name = f"mix of the regime {regime.name!r}"
    rows, weights = rows_of(name, rows, step.real, places), jnp.asarray(weights)
    right = f"weights of the shape ({places},), one a row"
    require(weights.shape == (places,), f"what {name} returns", weights.shape, right)
    weights, is_first = weights.astype(precision(rows)), jnp.asarray(step.index) == 0
    fine = is_first | (jnp.all(weights >= 0) & (jnp.abs(jnp.sum(weights) - 1) < 1e-3))
    _refuse_weights(regime, step.index, fine)
    weights = jnp.where(fine, weights, jnp.nan)
    if places < count:
        rows = joined(rows, in_turn(step.real, count - places))
        weights = jnp.concatenate([weights, jnp.zeros(count - places, weights.dtype)])
    total = row_count(rows)
    alone = in_turn(step.real, total), spread(1.0, count, total, weights.dtype)
    rows, weights = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), alone, (rows, weights))
    return rows, weights


def _refuse_weights(regime: Regime, index: Any, fine: Any) -> None:
    """Refuse weights that a regime chose of rows, if it is known now that they are not `fine`."""
    known = _known(fine)
    if known is not None and not known.all():
        first = int(np.argmin(known)) if known.ndim else int(index)
        raise ValueError(
            f"mix of the regime {regime.name!r} must return weights of at least 0 that sum to 1, "
            f"but in generation {first} it returned others"
        )


def check_mix(
    key: PRNGKeyArray, learner: Learner, regime: Regime, real: Data, generations: int
) -> None:
    """Refuse wrong weights of the first three generations and the last before a program hides them.

    Only where rows are known now. The parameters that `mix` sees are zeros; weights that are not
    finite for these are let pass.

    Args:
        key: Key of the loop.
        learner: The learner.
        regime: The data regime.
        real: The real set.
        generations: G.
    """
    if not _chooses(regime) or any(_known(leaf) is None for leaf in jax.tree.leaves(real)):
        return
    n, n_syn = row_count(real), synthetic_size(regime, row_count(real))
    even = spread(1.0, n, n, precision(real))
    params = jax.eval_shape(lambda rows: learner.fit(key, rows, even), real)
    params = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), params)
    kept, rows = room_for_rows(regime, real, generations), in_turn(real, n_syn) if n_syn else ()
    like = jax.eval_shape(lambda: _sure(key, learner, regime, params, kept))
    sure = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    for index in sorted(k for k in {1, 2, 3, generations} if 1 <= k <= generations):
        share = real_share(regime, n, index)
        places = real_places(regime, real)
        step = Step(key, index, params, places, rows, kept, share, n, n_syn, sure)
        weights = _known(regime.mix(step)[1])
        if weights is not None and np.isfinite(weights).all():
            _mixed(regime, step)


_HEEDING: "WeakKeyDictionary[Any, set[Any]]" = WeakKeyDictionary()
"""Fits that were seen to take no notice of rows of weight 0, with the shapes of rows."""


def _check_weights(
    key: PRNGKeyArray, learner: Learner, regime: Regime, real: Data, generations: int
) -> None:
    """Refuse a fit whose generator changes with what rows of weight 0 hold.

    Four fits, of one program, and only where rows are known now (not under `jit` or `vmap`); once
    for each fit and shape of rows. Places of weight 0 hold the first real row, then another one. A
    fit that changes as much with the last digits of the weights, such as a quantile, is let pass.
    """
    count, rows = row_count(real), [_known(leaf) for leaf in jax.tree.leaves(real)]
    if any(leaf is None for leaf in rows):
        return
    empty = _places(key, learner, regime, real, generations) - count
    if not empty:
        return
    shape = empty, *((leaf.shape, leaf.dtype) for leaf in rows)
    with suppress(TypeError):  # not everything can be remembered
        if shape in _HEEDING.get(learner.fit, ()):
            return
    apart = np.any([(a != a[:1]).reshape(count, -1).any(axis=1) for a in rows], axis=0)
    if not apart.any():
        return
    even = jnp.arange(count + empty) < count
    weights = (even / count).astype(precision(real))
    keys, n_syn = generation_keys(key, 0), synthetic_size(regime, count)

    @jax.jit
    def made(other: Array, weights: Array) -> tuple[Params, Data]:
        filled = jax.tree.map(
            lambda a: jnp.concatenate([a, jnp.broadcast_to(a[other], (empty, *a.shape[1:]))]), real
        )
        params = learner.fit(keys.fit, filled, weights)
        return params, learner.generate(keys.generate, params, n_syn)

    first, another = jnp.array(0), jnp.array(int(np.argmax(apart)))
    turn = 1e-5 * (-1) ** jnp.arange(count + empty)
    try:
        heeds = _same_generator(made(first, weights), made(another, weights))
        digits = heeds or all(
            _same_generator(made(first, weights), made(first, (1 + sign * turn) * weights))
            for sign in (1, -1)
        )
    except jax.errors.TracerArrayConversionError:
        return  # the key or the learner is traced
    if not heeds and digits:
        raise ValueError(
            "learner.fit must take no notice of rows of weight 0, which are not there, but what it "
            "returns changes with what they hold: use the weights wherever rows are used"
        )
    with suppress(TypeError):
        _HEEDING.setdefault(learner.fit, set()).add(shape)


def _same_generator(one: tuple[Params, Data], other: tuple[Params, Data]) -> bool:
    """Whether parameters are the same but for rounding, or if not, what is generated is."""
    return _alike(one[0], other[0]) or _alike(one[1], other[1])


def _alike(one: Any, other: Any) -> bool:
    """Whether numbers are the same but for rounding."""

    def close(a: Any, b: Any) -> bool:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        size = np.max(np.abs(a), initial=0, where=np.isfinite(a.astype(complex)))
        return bool(np.allclose(a, b, rtol=1e-3, atol=1e-5 * size, equal_nan=True))

    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(close(jnp.asarray(a), jnp.asarray(b)) for a, b in pairs)


def room_for_rows(regime: Regime, real: Data, generations: int) -> Data:
    """Places for the rows that G generations will make, or those of one, if the regime keeps them.

    Real rows stand there, in turn, until there are others.
    """
    if regime.keeps_training_set:
        return real
    if not regime.keeps_history:
        return ()
    return in_turn(real, max(1, generations) * synthetic_size(regime, row_count(real)))


def real_places(regime: Regime, real: Data) -> Data:
    """Places for the real rows of a generation, the first ones the real set."""
    most = regime.real_size(row_count(real)) if regime.fresh_real else row_count(real)
    return real if most == row_count(real) else in_turn(real, most)


def _all_finite(params: Params) -> Bool[Array, ""]:
    """Whether all numbers are finite."""
    leaves = [jnp.asarray(a) for a in jax.tree.leaves(params)]
    own = [jnp.all(jnp.isfinite(a)) for a in leaves if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jnp.all(jnp.array(own, bool))


def first_generation(
    key: PRNGKeyArray, learner: Learner, real: Data, *, kept: Data = ()
) -> Generation:
    """Generation 0: fitted on the real set alone, the same in every regime."""
    count = row_count(real)
    weights = spread(1.0, count, count, precision(real))
    params = learner.fit(generation_keys(key, 0).fit, real, weights)
    return Generation(params, params, real, weights, jnp.array(0), kept, finite=_all_finite(params))


def _drawn(draw_real: DrawReal, key: PRNGKeyArray, real: Data) -> Data:
    """New real rows, as many as there are."""
    count = row_count(real)
    return rows_of("draw_real", draw_real(key, count), real, count)


def _joint(
    generate: GenerateJointly, key: PRNGKeyArray, params: Params, real: Data, n_syn: int, loops: int
) -> Data:
    """Rows of several loops, made together: `[K, n_syn, ...]`."""
    return rows_of("generate_jointly", generate(key, params, n_syn), real, n_syn, (loops,))


AT_ONCE = 1024
"""Places of synthetic rows that are filled together, where sizes say how many are needed."""


def _synthetic_rows(
    keys: Keys,
    learner: Learner,
    regime: Regime,
    real: Data,
    n_syn: int,
    previous: Params,
    samples: Any,
    there: Any = None,
) -> Data:
    """What θ_{i-1} leaves behind: so many first rows that are `there`, or all n_syn places.

    Places that none of them needs may hold copies of real rows.
    """
    if regime.keeps_training_set and learner.redraw is not None:
        made, _ = learner.redraw(keys.generate, previous, in_turn(real, n_syn))
        return rows_of("learner.redraw", made, real, n_syn)
    if (regime.reuses_inputs or regime.keeps_training_set) and learner.relabel is not None:
        made = learner.relabel(keys.generate, previous, in_turn(real, n_syn, samples))
        return rows_of("learner.relabel", made, real, n_syn)

    def generated(key: PRNGKeyArray, count: int) -> Data:
        return rows_of("learner.generate", learner.generate(key, previous, count), real, count)

    if n_syn <= AT_ONCE or there is None:
        return generated(keys.generate, n_syn)
    types = jax.eval_shape(lambda: generated(keys.generate, AT_ONCE))

    def some(part: Any) -> Data:
        return jax.lax.cond(
            part * AT_ONCE < there,
            lambda: generated(jax.random.fold_in(keys.generate, part), AT_ONCE),
            lambda: jax.tree.map(lambda a, b: a.astype(b.dtype), in_turn(real, AT_ONCE), types),
        )

    parts = jax.lax.map(some, jnp.arange(-(-n_syn // AT_ONCE)))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n_syn], parts)


def _sure(
    key: PRNGKeyArray, learner: Learner, regime: Regime, params: Params, rows: Data
) -> Array | None:
    """What the learner says of the labels that there are; see `Step.sure`."""
    if not regime.keeps_training_set or learner.redraw is None:
        return None
    return learner.redraw(key, params, rows)[1]


def _unless_first(is_first: Any, made: Callable[[], Data], copies: Callable[[], Data]) -> Data:
    """What was made; something else in generation 0, where there is nothing to make it of.

    Harmless rows without weight: of parameters that do not exist yet, a generator might make NaN,
    or never end.
    """
    known = _known(is_first)
    if known is not None:
        return copies() if known else made()
    types = jax.eval_shape(made)

    def filled() -> Data:
        return jax.tree.map(lambda a, b: a.astype(b.dtype), copies(), types)

    return jax.lax.cond(is_first, filled, made)


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
    share: Any | None = None,
    fresh: Any = True,
) -> Generation:
    """Generation i >= 1: let θ_{i-1} generate, mix as the regime says, fit afresh or go on.

    Args:
        key: Key of the whole loop; generation i uses `fold_in(key, i)`.
        learner: The learner.
        regime: Which rows make up the training set, with which weights.
        real: The real set, n rows.
        previous: θ_{i-1}.
        generation: i >= 1; may be traced, so that one compilation serves all generations.
        kept: For a regime that keeps rows: `kept` of the generation before, which started from
            `room_for_rows`.
        draw_real: (key, count) -> that many rows of the real law, for a regime with fresh real
            rows.
        synthetic: Rows that θ_{i-1} has made already, jointly with other loops; None to let it
            generate.
        from_first: Let i = 0 be generation 0, in whose training set synthetic rows have places but
            no weight, whatever `previous` is: then one program serves all generations.
        sizes: How many rows there are, if fewer than the real set and the regime have places for;
            their share then takes the place of the regime's.
        share: α_i if it is known already, as it must be where i is traced.
        fresh: Whether real rows are new, in a regime in which they are; may be traced.

    Raises:
        ValueError: If the regime needs more than the learner or the arguments give, or if a
            function returns other rows, or a share, than it should; the message names it.
    """
    real = jax.tree.map(jnp.asarray, real)
    n = row_count(real)
    keys = generation_keys(key, generation)
    n_syn = synthetic_size(regime, n)
    _check(learner, regime, draw_real, sizes)
    index = _known(generation)
    if sizes is not None:
        _check_sizes(sizes, n, n_syn)
        share = sizes.share
    elif share is None and index is not None:
        share = real_share(regime, n, int(index))
    elif share is None:
        raise ValueError("share must be given where generation is traced, but it is None")
    samples, made = (n, n_syn) if sizes is None else sizes[:2]
    if regime.keeps_rows and not jax.tree.leaves(kept):
        raise ValueError(
            f"kept must be the rows of the generations before in the regime {regime.name!r}, "
            "starting from room_for_rows, but it is empty"
        )
    is_first = jnp.asarray(generation) == 0
    if from_first:
        share = jnp.where(is_first, 1.0, share)
    seen = real_places(regime, real)
    if draw_real is not None and regime.fresh_real:
        seen = _fresh_or_not(draw_real, keys.real, seen, fresh, from_first & is_first)
    rows = synthetic
    if n_syn and rows is None:
        rows = _unless_first(
            is_first,
            lambda: _synthetic_rows(
                keys,
                learner,
                regime,
                kept if regime.keeps_training_set else seen,
                n_syn,
                previous,
                samples,
                None if sizes is None else made,
            ),
            lambda: in_turn(real, n_syn),
        )
    if regime.keeps_history and n_syn:
        offset = jnp.maximum(generation - 1, 0) * n_syn
        kept, rows = in_one_type(kept, rows)
        put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, offset, 0)  # noqa: E731
        kept = jax.tree.map(put, kept, rows)
    rows = () if rows is None else rows
    sure = _sure(keys.generate, learner, regime, previous, kept)
    step = Step(keys.choose, generation, previous, seen, rows, kept, share, samples, made, sure)
    training_set, row_weights = _mixed(regime, step)
    if regime.keeps_training_set:
        kept = training_set
    of, update = (training_set, row_weights), learner.update
    params = (
        learner.fit(keys.fit, *of)
        if update is None
        else _unless_first(
            is_first,
            lambda: update(keys.fit, previous, *of, share),
            lambda: learner.fit(keys.fit, *of),
        )
    )
    if from_first:
        previous = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), params, previous)
    return Generation(
        params, previous, training_set, row_weights, generation, kept, share, _all_finite(params)
    )


def _fresh_or_not(
    draw_real: DrawReal, key: PRNGKeyArray, real: Data, fresh: Any, is_first: Any
) -> Data:
    """New real rows, except in generation 0 and where they are not to be new."""
    like = jax.eval_shape(lambda: _drawn(draw_real, key, real))
    real = jax.tree.map(lambda a, b: a.astype(jnp.promote_types(a.dtype, b.dtype)), real, like)

    def new() -> Data:
        return jax.tree.map(lambda a, b: a.astype(b.dtype), _drawn(draw_real, key, real), real)

    return jax.lax.cond(jnp.logical_and(fresh, ~is_first), new, lambda: real)


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
        generation 0 the places of synthetic rows are filled with copies of real rows, without
        weight.

    Raises:
        ValueError: If `generations` is no whole number of at least 0, the regime does not fit the
            size of `real`, it needs more than the learner or the arguments give, a function returns
            what it should not, or the fit takes notice of rows of weight 0.

    Warns:
        RuntimeWarning: If parameters are not finite, with the first such generation; under `jit`
            and `vmap`, where nobody can be warned, `observe` sees it as `Generation.finite`.
    """
    whole("generations", generations, 0)
    real = real_rows(real)
    n = row_count(real)
    synthetic_size(regime, n)
    _check(learner, regime, draw_real, sizes)
    shares = None if sizes else _shares(regime, n, generations)
    real, params = start_of_loop(key, learner, regime, real, generations, draw_real)

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
            share=None if shares is None else shares[index],
        )
        seen = observe(generation_keys(key, index).observe, generation)
        return (generation.params, generation.kept), (seen, _flags(generation))

    start = params, room_for_rows(regime, real, generations)
    seen, flags = jax.lax.scan(advance, start, jnp.arange(generations + 1))[1]
    _say_what_is_wrong(regime, *flags)
    return seen


def _flags(generation: Generation) -> tuple[Any, Any]:
    """Whether the weights of all rows are numbers, and the parameters."""
    return ~jnp.any(jnp.isnan(generation.row_weights)), generation.finite


def _say_what_is_wrong(regime: Regime, fine: Any, finite: Any) -> None:
    """Refuse wrong weights, warn of parameters that are not finite, `[G + 1, ...]`, if known.

    What a regime makes of parameters that are not finite is not its fault.
    """
    known = _known(finite)
    if known is None:
        return
    known = known.reshape(len(known), -1).all(axis=1)
    _refuse_weights(regime, None, fine | ~np.roll(np.logical_and.accumulate(known), 1))
    if not known.all():
        first = int(np.argmin(known))
        warnings.warn(
            "learner.fit returned parameters that are not finite, first in generation "
            f"{first}: unless they are meant to be, what is seen from there on means nothing",
            RuntimeWarning,
            stacklevel=3,
        )


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
    sizes: Sizes | None = None,
    over: Callable[..., Any] = jax.vmap,
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
        sizes: See `next_generation`.
        over: Maps a function over the first axis of its arguments, the loops: side by side, or one
            after the other, as a training on a CPU is faster.

    Returns:
        The observations, `[G + 1, ...]`.

    Raises:
        ValueError: As `self_consume`.

    Warns:
        RuntimeWarning: As `self_consume`.
    """
    whole("generations", generations, 0)
    reals = real_rows(reals, "reals", axes=2)
    loops, n = jax.tree.leaves(reals)[0].shape[:2]
    n_syn = synthetic_size(regime, n)
    _check(learner, regime, draw_real, sizes)
    shares = None if sizes else _shares(regime, n, generations)
    first = jax.tree.map(lambda a: a[0], reals)
    real, params = start_of_loop(
        key, learner, regime, first, generations, draw_real, generate_jointly
    )
    reals = jax.tree.map(lambda a, b: a.astype(b.dtype), reals, real)

    def advance(carry: tuple[Params, Data], index: Any) -> tuple[tuple[Params, Data], Observations]:
        params, kept = carry
        keys = generation_keys(key, index)
        rows = None
        if generate_jointly is not None and n_syn:
            rows = _unless_first(
                index == 0,
                lambda: _joint(generate_jointly, keys.generate, params, real, n_syn, loops),
                lambda: jax.vmap(lambda real: in_turn(real, n_syn))(reals),
            )

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
                share=None if shares is None else shares[index],
            )

        found = over(one)(reals, params, kept, rows)
        return (found.params, found.kept), (observe(keys.observe, found), _flags(found))

    start = params, room_for_rows(regime, real, generations)
    start = jax.tree.map(lambda a: jnp.broadcast_to(a, (loops, *a.shape)), start)
    seen, flags = jax.lax.scan(advance, start, jnp.arange(generations + 1))[1]
    _say_what_is_wrong(regime, *flags)
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
        ValueError: If a number is out of range, or a function returns what it should not; the
            message names it.
    """
    start = Prompts(*real_rows(start, "start"))
    start = jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, precision(a))), start)
    count = row_count(start)
    whole("generations", generations, 0)
    if (known := _known(kept)) is not None:
        fine = known.dtype.kind in "iu" and bool(np.all((known >= 0) & (known <= count)))
        require(fine, "kept", kept, f"a whole number in 0..{count}")
    for name, value, least in (("noise", noise, True), ("clip", clip, False)):
        if value is not None and (known := _known(value)) is not None:
            fine = bool(np.isfinite(known).all() and (known >= 0).all() and (least or known.all()))
            right = "a number of at least 0" if least else "a positive number, or None"
            require(fine, name, value, right)
    real = jnp.arange(count) < kept

    def relabelled(context: Prompts, index: Any) -> Prompts:
        keys = generation_keys(key, index)
        xs = context.xs
        if draw_inputs is not None:
            xs = rows_of("draw_inputs", draw_inputs(keys.choose, count), xs, count)
        own = context if draw_real is None else _drawn(draw_real, keys.real, context)
        xs = jnp.where(real[:, None], own.xs, xs)
        made = jax.vmap(lambda query: predict(context.xs, context.ys, query))(xs)
        made = rows_of("predict", made, context.ys, count)
        if _known(noise) is None or noise:
            made = made + noise * standard_normal(keys.generate, count)
        if clip is not None:
            made = jnp.clip(made, -clip, clip)
        return Prompts(xs, jnp.where(real, own.ys, made))

    # One more relabelling than is seen: one program for all generations.
    def advance(context: Prompts, index: Any) -> tuple[Prompts, Observations]:
        seen = observe(generation_keys(key, index).observe, context)
        return relabelled(context, index + 1), seen

    return jax.lax.scan(advance, start, jnp.arange(generations + 1))[1]
