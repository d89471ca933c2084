"""Rows of a file as a real law: what a loop learns from, and what is held out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from icl_stl.config import (
    Architecture,
    Training,
    is_number,
    normalised,
    one_of,
    require,
    sampling_bias,
    whole,
)
from icl_stl.data import FromFile, Header, Outside, Sheet, read_rows, spread
from icl_stl.laws import LinearRegression
from icl_stl.lazily import jax, jnp
from icl_stl.problems.base import Biased, Scalar, learner_of
from icl_stl.problems.in_context import NETWORK, TRAINING, InContext
from icl_stl.regimes import Regime, real_share, training_size

MOST_COMPARED = 1000
"""Held-out rows that generated ones are compared with, at most: distances take their square."""

LEAST_COMPARED = 8
"""As many at least: a classifier learns from some of them and is judged by the others."""


class Drawn(NamedTuple):
    """What one loop knows of its file."""

    rows: Any
    """All rows that are not held out: `[M, columns]`."""
    log_scale: Scalar
    """Σ ln of the columns' scales: -ln p in units of the file is that of a learner, plus it."""


@dataclass(frozen=True)
class Table(Biased):
    """Rows of a file, some of them held out, and any generative learner.

    Every loop orders the rows by its own key: the first are held out, seen by no generation; the
    next n are its real rows, and fresh real rows are drawn, without replacement, from all that are
    not held out. A learner of JAX sees columns whose n real rows have mean 0 and deviation 1, in
    single precision; a model outside JAX sees the numbers of the file. The held-out loss is the
    mean of -ln p of a row, in nats, in the units of the file either way: a change of all units by s
    shifts it by Σ ln s; it is that of the fit, whatever its sampling bias. Categories are numbers,
    0 for the first word (`icl_stl.data.reading`).
    """

    real: str
    """A file, or the name of a shipped table."""
    model: Any
    """A member of `learners.GENERATIVE`, or a model outside JAX."""
    held_out_share: float = 0.2
    """Share of the file's rows that no generation sees."""
    categories: tuple[str, ...] = ()
    """Columns whose values are words, though they may be numbers."""
    header: Header = "auto"
    """Whether the first line of a CSV file names the columns; auto: if none of it is a number."""
    length: int = 32
    """Characters in a row of a text."""
    digest: str = field(init=False, default="")
    """Of the rows."""

    name: ClassVar[str] = "rows of a file"  # no problem by name: it is what --real names
    usual_runs: ClassVar[int] = 8

    def __post_init__(self) -> None:
        share = self.held_out_share
        check_parting(share, self.header)
        whole("length", self.length, 2)
        normalised(self, sampling_bias=sampling_bias)
        model = getattr(self.model, "kind", self.model)
        takes = not self.outside and getattr(model, "takes_bias", False)
        right = "1 for a model whose rows are drawn in one way only"
        require(takes or self.sampling_bias == 1, "sampling_bias", self.sampling_bias, right)
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "digest", self.sheet.digest)
        fits = bool(self.sheet.symbols) == (getattr(self.model, "name", "") == "markov")
        right = "a text (.txt) for the learner 'markov', and a table for all others"
        require(self.outside or fits, "real", self.real, right)
        if fits and self.sheet.symbols and not self.outside:
            model = replace(self.model, symbols=len(self.sheet.symbols))
            object.__setattr__(self, "model", model)
        count = len(self.sheet.rows)
        right = f"one that holds out at least {LEAST_COMPARED} of {count} rows and leaves 2 or more"
        few = LEAST_COMPARED <= self.held_out <= count - 2
        require(few, "held_out_share", share, right)

    @property
    def sheet(self) -> Sheet:
        """The rows of the file."""
        own = {name: getattr(self, name) for name in ("categories", "header", "length")}
        return read_rows(self.real, **own)

    @property
    def outside(self) -> bool:
        """Whether the model is outside JAX."""
        return isinstance(self.model, Outside) and not getattr(self.model, "is_learner", False)

    @property
    def held_out(self) -> int:
        """How many rows are held out."""
        return round(float(self.held_out_share) * len(self.sheet.rows))

    @property
    def usual_samples(self) -> int:
        return len(self.sheet.rows) - self.held_out

    def check(self, regime: Regime, samples: int, generations: int) -> None:
        most = self.usual_samples
        right = f"at most {most}, the rows of {self.real} that are not held out"
        require(samples <= most, "samples", samples, right)
        if not self.outside or self.model.takes_weights:
            return
        for i in range(1, generations + 1):
            # Rows of weight 0 are left out; is the rest equal?
            share, count = real_share(regime, samples, i), training_size(regime, samples, i)
            if count is None:  # only its mix knows
                return
            even = share == 0 or abs(share * count / samples - 1) < 1e-9
            right = (
                f"one whose rows all count alike, since {self.model.words!r} takes no weights, but "
                f"in generation {i} real rows have {share:g} of the weight and are {samples} of "
                f"{count} rows"
            )
            if not even:
                raise ValueError(f"regime must be {right}: it is {regime.name!r}")

    @property
    def fewest(self) -> int:
        return 2

    def size(self, rows: float, runs: float) -> float:
        sheet = self.sheet
        return runs * len(sheet.names) * (rows + 2 * len(sheet.rows))

    @property
    def learner(self) -> Any:
        return learner_of(self)

    def make_learner(self) -> Any:
        """The learner of JAX."""
        if isinstance(self.model, FromFile):
            return self.model.kind
        return self.model.make(self.sheet.rows.shape[1])

    @property
    def costly(self) -> bool:
        return not isinstance(self.model, Outside)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return jax.random.permutation(key, truth.rows)[:count]

    def most_samples(self, share: float) -> int | None:
        return int(self.usual_samples / (1 + share))

    def draw_others(self, key: Any, truth: Any, samples: int, count: int) -> Any:
        return jax.random.permutation(key, truth.rows[samples:])[:count]

    def loss(self, params: Any, rows: Any) -> Any:
        """-ln p of each row, in the units of the learner."""
        return -self.learner.log_density(params, rows)

    def start(self, key: Any, samples: int) -> tuple[Any, Any, Any, Any]:
        """Key of the loop, its rows that are not held out, the first n of these, held-out rows."""
        sheet, held = self.sheet, self.held_out
        key_loop, key_order = jax.random.split(key)
        rows: Any = sheet.rows
        log_scale: Any = 0.0
        as_they_are = self.outside or bool(sheet.symbols)
        if self.outside:
            rows = rows.astype(np.float64)
        if not as_they_are:  # twice, first in double precision: large numbers stay apart
            rows, scale = standardised(np, rows, rows)
            log_scale = float(np.log(scale).sum())
        order = jax.random.permutation(key_order, len(rows))
        rows = jnp.asarray(rows)[order]
        if not as_they_are:
            rows, scale = standardised(jnp, rows, rows[held : held + samples])
            log_scale = log_scale + jnp.sum(jnp.log(scale))
        truth = Drawn(rows[held:], jnp.asarray(log_scale, jnp.float32))
        return key_loop, truth, rows[held : held + samples], rows[:held]

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, *, one_step: bool = True
    ) -> dict[str, Any]:
        """Held-out loss and gap, where there is a density, and rows to compare."""
        seen, params = {}, generation.params
        density = getattr(self.learner, "log_density", None)
        if density is not None:
            rows, weights = generation.training_set, generation.row_weights
            loss = truth.log_scale - jnp.mean(density(params, held_out))
            training = truth.log_scale - weights @ jnp.where(weights > 0, density(params, rows), 0)
            seen = {"held_out_loss": loss, "gap": loss - training}
        count = min(len(held_out), MOST_COMPARED)
        key, key_before = jax.random.split(key)
        seen["rows"] = self.learner.generate(key, params, count)
        if one_step:
            seen["before"] = self.learner.generate(key_before, generation.previous, count)
            seen["share"] = generation.real_share
        return seen

    def completed(self, held_out: Any, seen: dict[str, Any]) -> dict[str, Any]:
        rows = np.asarray(seen.pop("rows"))
        before, share = (seen.pop(name, None) for name in ("before", "share"))
        each = []
        with threads_of_arrays():
            for r, (real, made) in enumerate(zip(np.asarray(held_out), rows, strict=True)):
                past = None if before is None else (np.asarray(before[r]), float(share[r]))
                each.append(self.distances(real[:MOST_COMPARED], made, past))
        return seen | {name: np.array([one[name] for one in each]) for name in each[0]}

    def distances(
        self, held_out: Any, rows: Any, past: tuple[Any, float] | None = None
    ) -> dict[str, Any]:
        """How far rows that were generated are from held-out ones; nan if one is not finite.

        Args:
            past: Rows of the generation before, and the share of the real law in the training law:
                the one-step error, too.
        """
        from icl_stl.distances import energy, one_step, tv_lower

        sets = [held_out, rows, *past[:1]] if past else [held_out, rows]
        if not all(np.isfinite(a).all() for a in sets):
            named = ("energy", "tv_value", "tv_low", *(("eps_value", "eps_low") if past else ()))
            return dict.fromkeys(named, np.nan)
        if self.sheet.symbols:
            sets = [spread(self.sheet._replace(rows=a))[0] for a in sets]
        held_out, rows = sets[:2]
        bound = tv_lower(held_out, rows, level=LEVEL)
        found = {"energy": energy(held_out, rows), "tv_value": bound.value, "tv_low": bound.low}
        if past:
            bound = one_step(held_out, sets[2], rows, past[1], level=LEVEL)
            found |= {"eps_value": bound.value, "eps_low": bound.low}
        return found


@dataclass(frozen=True)
class TablePrompts(Biased):
    """Prompts of rows of a file, and a transformer that learns from them in context.

    A prompt is m rows, no row twice: the inputs are all columns but one, the label is that one, all
    of mean 0 and deviation 1 over the rows that are not held out. Which rows are held out is the
    same in all loops; which prompts are drawn is not. Of what a loop generates the labels are the
    model's, the inputs are drawn from rows that are not held out. Nothing is known of the law, so
    there is no excess; the held-out loss is the mean of -ln p of a label given what precedes it, in
    nats a label, in the units of the file, p the law that the model writes labels by.
    """

    prompts_from: str
    """A file, or the name of a shipped table with `target` as a column."""
    target: str
    """The column that is the label."""
    context: int = 8
    """m, rows in a prompt."""
    held_out_share: float = 0.2
    """Share of the file's rows that no generation sees."""
    categories: tuple[str, ...] = ()
    """Columns whose values are words, though they may be numbers."""
    header: Header = "auto"
    """Whether the first line of a CSV file names the columns; auto: if none of it is a number."""
    held_out: int = 500
    """Prompts of held-out rows on which a generation is measured."""
    architecture: Architecture = NETWORK
    """The network."""
    training: Training = TRAINING
    """How one generation is fitted."""
    digest: str = field(init=False, default="")
    """Of the rows."""

    name: ClassVar[str] = "prompts of a file"
    usual_runs: ClassVar[int] = 4

    def __post_init__(self) -> None:
        check_parting(self.held_out_share, self.header)
        whole("context", self.context, 2)
        whole("held_out", self.held_out, 2)
        normalised(self, sampling_bias=sampling_bias)
        sheet = self.sheet
        object.__setattr__(self, "digest", sheet.digest)
        require(not sheet.symbols, "prompts_from", self.prompts_from, "a table, and no text")
        known = f"a column of {self.prompts_from} ({', '.join(sheet.names[:20])})"
        require(self.target in sheet.names, "target", self.target, known)
        others = f"one with columns beside the target {self.target!r}"
        require(len(sheet.names) > 1, "prompts_from", self.prompts_from, others)
        few = min(len(rows) for rows in self.parts[:2])
        right = f"at most {few}, since the fewest of held-out rows and others are so many"
        require(self.context <= few, "context", self.context, right)

    @property
    def costly(self) -> bool:
        return True

    @property
    def sheet(self) -> Sheet:
        """The rows of the file."""
        own = {"categories": self.categories, "header": self.header}
        return read_rows(self.prompts_from, "prompts_from", target=True, **own)

    @property
    def parts(self) -> tuple[Any, Any, float]:
        """Rows that are not held out, the label last, held-out rows, ln of the label's unit."""
        rows = self.sheet.rows
        at = self.sheet.names.index(self.target)
        rows = np.column_stack([np.delete(rows, at, axis=1), rows[:, at]])
        order = np.random.default_rng(int(self.digest[:8], 16)).permutation(len(rows))
        held = round(self.held_out_share * len(rows))
        rows, scale = standardised(np, rows, rows[order[held:]])
        return rows[order[held:]], rows[order[:held]], float(np.log(scale[0, -1]))

    @property
    def task(self) -> LinearRegression:
        """What the network is made for: inputs and labels of deviation 1."""
        d = len(self.sheet.names) - 1
        return LinearRegression(d, self.context, 0.5, prior_scale=(0.75 / d) ** 0.5)

    def size(self, rows: float, runs: float) -> float:
        network = InContext(self.task, self.architecture, self.training, self.held_out)
        return network.size(rows, runs)

    @property
    def learner(self) -> Any:
        return learner_of(self)

    def make_learner(self) -> Any:
        """The transformer; inputs of what it generates are those of the file."""
        from icl_stl.laws.prompts import Prompts
        from icl_stl.learners import adam_transformer

        learner = adam_transformer(self.task, self.architecture, self.training)

        def generate(key: Any, params: Any, count: int, **how: float) -> Any:
            key_xs, key_ys = jax.random.split(key)
            xs, ys = self.draw(key_xs, (), count)
            assert learner.relabel is not None
            return learner.relabel(key_ys, params, Prompts(xs, jnp.zeros_like(ys)), **how)

        return replace(learner, generate=generate)

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        return self._prompts(key, self.parts[0], count)

    def _prompts(self, key: Any, rows: Any, count: int) -> Any:
        from icl_stl.laws.prompts import Prompts

        def one(key: Any) -> Any:
            return jax.random.choice(key, len(rows), (self.context,), replace=False)

        chosen = jnp.asarray(rows, jnp.float32)[jax.vmap(one)(jax.random.split(key, count))]
        return Prompts(chosen[..., :-1], chosen[..., -1])

    def loss(self, params: Any, rows: Any) -> Any:
        """The mean of -ln p of a label of each prompt."""
        from icl_stl.measure import predictions

        laws = predictions(self.learner, params, rows)
        return self.parts[2] - jnp.mean(laws.log_density(rows.ys), axis=-1)

    def start(self, key: Any, samples: int) -> tuple[Any, Any, Any, Any]:
        """Key of the loop, nothing, n prompts, prompts of held-out rows."""
        key_loop, key_real, key_held_out = jax.random.split(key, 3)
        held_out = self._prompts(key_held_out, self.parts[1], self.held_out)
        return key_loop, (), self.draw(key_real, (), samples), held_out

    def observe(
        self, key: Any, truth: Any, held_out: Any, generation: Any, *, one_step: bool = True
    ) -> dict[str, Any]:
        """Held-out loss, and how much that of the training set is less."""
        params, weights = generation.params, generation.row_weights
        loss = jnp.mean(self.loss(params, held_out))
        own = self.loss(params, generation.training_set)
        training = weights @ jnp.where(weights > 0, own, 0)
        return {"held_out_loss": loss, "gap": loss - training}


def check_parting(share: Any, header: Any) -> None:
    """Refuse a share of held-out rows that is none, before a file is read."""
    require(is_number(share) and 0 < share < 1, "held_out_share", share, "in (0, 1)")
    one_of("header", header, ("auto", "yes", "no"))


LEVEL = 0.95
"""Of the lower bound on the total variation of one loop."""


@contextmanager
def threads_of_arrays(count: int = 1) -> Iterator[None]:
    """Linear algebra and loops of packages of arrays in so many threads: of few numbers, handing
    parts to others may take 70 times as long. PyTorch is told by `data.outside`.

    Where `threadpoolctl` is installed, as it is with scikit-learn; else nothing is changed.
    """
    try:
        threads: Any = import_module("threadpoolctl")
    except ImportError:
        yield
        return
    pools = threads.ThreadpoolController()
    paths = [pool.filepath for pool in pools.lib_controllers]
    arrays = [path for path in paths if "torch" not in Path(path).parts]
    with pools.select(filepath=arrays).limit(limits=count):
        yield


def standardised(xp: Any, rows: Any, some: Any) -> tuple[Any, Any]:
    """Rows in units in which some of them have mean 0 and deviation 1 in every column, the units.

    A column that does not change keeps its unit.
    """
    mean, scale = (take(some, axis=0, keepdims=True) for take in (xp.mean, xp.std))
    scale = xp.where(scale > 1e-6 * xp.abs(mean), scale, 1.0)
    return (rows - mean) / scale, scale
