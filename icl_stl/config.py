"""Static descriptions: what is to be run, as validated numbers.

Everything here is a frozen dataclass: hashable (so it may be static under `jax.jit`), checked when
it is made, and free of JAX, so that a mistyped option is refused before anything heavy is loaded.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from numbers import Integral, Real
from typing import Any, Literal


def require(condition: bool, name: str, value: Any, admissible: str) -> None:
    """Raise a `ValueError` that names the setting, its value and what would be right."""
    if not condition:
        one = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
        plain = value.item() if one else value  # no `np.float64(2.0)`
        raise ValueError(f"{name} must be {admissible}, but it is {plain!r}")


def meant(word: object, known: Iterable[str]) -> str:
    """` (did you mean 'NEAREST'?)`, the nearest of the known words; empty if none is near."""
    words = {name.lower(): name for name in known}
    close = get_close_matches(str(word).lower(), words, 1)
    return f" (did you mean {words[close[0]]!r}?)" if close else ""


SINGLE = (2.0**-126, 2.0**127)
"""Smallest and largest size of a number in a program, which is in single precision; 0 is none."""

SQUARED = (1e-15, 1e15)
"""Smallest and largest scale of data: their squares, and sums of many, are in `SINGLE`, too."""

MOST_KAPPA = 1e4
"""Largest amplification of the share of ones."""

LEAST_NOISE = 1e-3
"""Smallest label noise beside tasks whose coordinates have the deviation 1: less is lost in the
rounding of labels and weights in single precision."""


def check_single(name: str, value: float) -> None:
    """Refuse a number that is 0 or infinite in single precision and else not."""
    low, high = SINGLE
    fine = value == 0 or low <= abs(value) <= high
    require(fine, name, value, f"0, or of a size from {low:.2g} to {high:.2g}")


# Arguments as they are used: each function refuses what is out of its range and gives a plain
# Python number, also for one of NumPy's.


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and no truth value."""
    real = not isinstance(value, bool) and isinstance(value, Real)
    try:
        return real and isfinite(value)
    except OverflowError:  # of a whole number that is no float
        return False


def number(name: str, value: Any) -> float:
    """A finite number, in single precision, too."""
    require(is_number(value), name, value, "a finite number")
    check_single(name, value)
    return float(value)


def positive(name: str, value: Any) -> float:
    """A positive number, in single precision, too."""
    require(is_number(value) and value > 0, name, value, "a positive number")
    return number(name, value)


def nonnegative(name: str, value: Any) -> float:
    """A number of at least 0."""
    require(is_number(value) and value >= 0, name, value, "a number of at least 0")
    return number(name, value)


def share(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    require(is_number(value) and 0 <= value <= 1, name, value, "in [0, 1]")
    return number(name, value)


def sampling_bias(name: str, value: Any) -> float:
    """The variance of what is generated over that of the fit, in (0, 1]."""
    require(is_number(value) and 0 < value <= 1, name, value, "in (0, 1]")
    return number(name, value)


def scale(name: str, value: Any) -> float:
    """A deviation of data: a positive number whose square is one in single precision, too."""
    found, (low, high) = positive(name, value), SQUARED
    require(low <= found <= high, name, value, f"from {low:g} to {high:g}, or be squared to 0 or ∞")
    return found


def amplification(value: Any) -> float:
    """κ of the amplifier: more than its largest makes whole numbers of the rounding of a share."""
    found = nonnegative("kappa", value)
    require(found <= MOST_KAPPA, "kappa", value, f"a number of at most {MOST_KAPPA:g}")
    return found


def injection(value: Any) -> float:
    """An error that is added to a probability."""
    found = number("injected", value)
    require(abs(found) <= 1, "injected", value, "in [-1, 1]")
    return found


def pseudo_counts(value: Any) -> float:
    """What is added to every count of a categorical law."""
    found = nonnegative("pseudo_count", value)
    require(found <= SQUARED[1], "pseudo_count", value, f"a number of at most {SQUARED[1]:g}")
    return found


def task_noise(value: Any, least: float = LEAST_NOISE) -> float:
    """The noise of labels beside tasks whose coordinates have the deviation 1."""
    found = scale("noise", value)
    beside = f"at least {least:g} beside tasks whose coordinates have the deviation 1"
    require(found >= least, "noise", value, beside)
    return found


def prior_noise(value: Any, prior_scale: float) -> float:
    """The noise of labels beside a prior: what is less cancels in single precision."""
    found = scale("noise", value)
    least = f"at least a hundredth of prior_scale ({prior_scale})"
    require(found >= 0.01 * prior_scale, "noise", value, least)
    return found


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    integral = isinstance(value, Integral) and not isinstance(value, bool)
    require(integral and value >= least, name, value, f"a whole number of at least {least}")
    return int(value)


def normalised(owner: object, **checks: Callable[..., Any]) -> None:
    """Check fields of a frozen dataclass, (name, value) -> what is kept, or value -> it."""
    for name, check in checks.items():
        value = getattr(owner, name)
        alone = check in (amplification, injection, pseudo_counts, task_noise)
        object.__setattr__(owner, name, check(value) if alone else check(name, value))


def counts(owner: object, **least: int) -> None:
    """Check whole numbers of a frozen dataclass: the least of each, by name."""
    for name, smallest in least.items():
        object.__setattr__(owner, name, whole(name, getattr(owner, name), smallest))


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is not among these words."""
    known = " or ".join(map(repr, choices))
    fine = isinstance(value, str) and value in choices
    require(fine, name, value, f"{known}{meant(value, choices)}")


def flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    require(isinstance(value, bool), name, value, "True or False")


def _check_shape(network: Any) -> None:
    counts(network, depth=1, width=1, heads=1)
    fits = network.heads <= network.width and network.width % network.heads == 0
    require(fits, "heads", network.heads, f"a divisor of the width ({network.width})")


@dataclass(frozen=True)
class Architecture:
    """A causal pre-norm transformer."""

    depth: int = 2
    """Layers."""
    width: int = 32
    """Dimension of the residual stream."""
    heads: int = 4
    """Attention heads of a layer; they share the width equally."""

    def __post_init__(self) -> None:
        _check_shape(self)


@dataclass(frozen=True)
class QueryArchitecture:
    """A residual network that reads labelled examples and answers a query: `query_models`."""

    depth: int = 2
    """Layers."""
    width: int = 32
    """Dimension of the residual stream."""
    heads: int = 2
    """Attention heads of a layer; they share the width equally."""
    mlp: int = 64
    """Hidden units of the MLP after attention; 0 for none."""
    attention: Literal["full", "causal"] = "full"
    """Every token reads all examples; or example k reads examples 1..k, and the query all."""
    kind: Literal["softmax", "linear"] = "softmax"
    """Softmax attention, or scores divided by the number of examples read."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the MLP."""
    norm: bool = False
    """Whether RMSNorm with ε = 1 stands before attention and before the MLP."""
    cap: float | None = None
    """Largest spectral norm of the embedding, of W_h, of U_h and of both matrices of an MLP."""

    def __post_init__(self) -> None:
        _check_shape(self)
        counts(self, mlp=0)
        for name, choices in (
            ("attention", ("full", "causal")),
            ("kind", ("softmax", "linear")),
            ("activation", ("gelu", "relu")),
        ):
            one_of(name, getattr(self, name), choices)
        flag("norm", self.norm)
        if self.cap is not None:
            normalised(self, cap=positive)


@dataclass(frozen=True)
class Training:
    """How one generation is fitted: Muon or NAdam, decoupled weight decay, warm-up, then cosine.

    The number of steps does not depend on the size of the training set: every generation of every
    regime starts afresh and gets the same budget.

    The defaults are a learner of d = 1, 4 examples that is limited by its data: excess over the
    Bayes predictor .0079 nats a label at n = 4000, .0062 at 16,000, total variation of whole
    prompts .076 and .070, in 1.3 of the time of 1000 steps of 64 by NAdam, 1.7 core-seconds; of
    800 steps .0098 and .086 at 4000. Source: measured, `paper_checks/TRAINING.md`.
    """

    steps: int = 1200
    """Optimiser steps of one fit."""
    batch: int = 64
    """Prompts a step."""
    learning_rate: float = 2e-2
    """Peak learning rate."""
    weight_decay: float = 0.3
    """Decoupled weight decay, of up to `prior_rows` rows."""
    warmup: float = 0.05
    """Share of the steps spent warming up."""
    shuffle_examples: bool = True
    """Show the examples of the prompts in a new random order in each step. The real law does not
    depend on their order, so this regularises without any knowledge beyond that symmetry."""
    optimiser: Literal["muon", "nadam"] = "muon"
    """NAdam; or Muon for kernels between embedding and head, and NAdam for all else."""
    prior_rows: float = 250.0
    """Of N rows beyond so many the decay is prior_rows/N of `weight_decay`, as the pull of a prior
    on the weights is; 0 if it does not depend on N. N is (Σ w)²/Σ w² of their weights w."""
    average: float = 0.15
    """Share of the steps that the fitted weights are averaged over, with an exponential memory,
    while the rate falls to a tenth of its peak; 0 for the last weights, the rate falling to 0."""
    once: bool = False
    """Read rows in their order, each once in the whole training if there are steps · batch of equal
    weight: with new rows in every generation a streamed learner, the limit of many rows."""

    def __post_init__(self) -> None:
        counts(self, steps=1, batch=1)
        normalised(self, learning_rate=positive, weight_decay=nonnegative, warmup=share)
        normalised(self, prior_rows=nonnegative, average=share)
        most = "at most 0.25, or the average would remember the start"
        require(self.average <= 0.25, "average", self.average, most)
        one_of("optimiser", self.optimiser, ("muon", "nadam"))
        for name in ("shuffle_examples", "once"):
            flag(name, getattr(self, name))


NADAM = Training(400, 32, 2e-2, 0.1, 0.1, optimiser="nadam", prior_rows=0.0, average=0.0)
"""NAdam with a decay that does not depend on the rows, to its last weights."""
