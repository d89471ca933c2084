"""Arguments of formulas: true, text, NaN and half a row are no numbers in any of them."""

import inspect
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from icl_stl import bounds
from icl_stl.bounds import SoftmaxLayer
from icl_stl.bounds._check import numbers
from icl_stl.planning.plan import error_law
from icl_stl.references import (
    attention,
    bernoulli,
    collapse,
    context,
    discrete,
    gaussian,
    regression,
)

XS = [[0.5, -1.0], [1.5, 0.25], [-0.75, 2.0], [1.0, 1.0], [0.0, -0.5], [2.0, 0.5]]
YS = [1.0, -1.0, 0.5, 2.0, 0.0, 1.5]
MATRIX = [[0.5, 0.0], [0.25, 0.5]]
LAYERS = [SoftmaxLayer((0.1,), (0.3,), 0.2, 0.2)]
LOOP = bernoulli.BernoulliLoop(4, 5, 0.3)

VALUES = {
    **dict.fromkeys(("n", "n_syn", "samples"), 20),
    **dict.fromkeys(("dim", "depth", "position", "layers"), 2),
    **dict.fromkeys(("generation", "generations", "repeats", "dimension", "lag"), 3),
    **dict.fromkeys(("kept", "relabelled"), 4),
    **dict.fromkeys(("tokens", "keys", "count", "labels"), 5),
    **dict.fromkeys(("M", "b", "lam", "log_size", "lipschitz", "signal", "oscillation"), 1.0),
    **dict.fromkeys(("prior_scale", "tau", "radius", "readout", "pseudo_count"), 1.0),
    **dict.fromkeys(("input_radius", "label_radius", "gamma_norm", "label_embedding"), 1.0),
    **dict.fromkeys(("alpha", "kappa", "a", "noise", "weight", "gain", "relabel_noise"), 0.5),
    **dict.fromkeys(("sigma", "contraction", "real_share", "rate", "generator_noise", "p"), 0.5),
    **dict.fromkeys(("delta", "eps0", "penalty", "error", "threshold", "discrepancy"), 0.1),
    **dict.fromkeys(("cover_radius", "eta", "kl", "excess", "beta", "beta_real", "ridge"), 0.1),
    **dict.fromkeys(("injected", "sensitivity", "to_optimum", "to_previous", "tolerance"), 0.1),
    **dict.fromkeys(("mean_change", "log_scale_change", "logit_norm", "one_round"), 0.1),
    **dict.fromkeys(("error_floor", "floor", "c", "change", "least_scale"), 0.1),
    **dict.fromkeys(("xs", "kept_xs", "inputs"), XS),
    **dict.fromkeys(("ys", "kept_ys"), YS),
    **{"context": 8, "examples": 6, "max_lam": 9.0, "level": 0.9, "gamma": MATRIX, "other": MATRIX},
    **{"eps": [0.1, 0.2, 0.1], "weights": [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]], "start": 0.1},
    **{"alphas": [0.5, 0.5], "kappas": [0.5, 0.5], "noises": [0.5, 0.5], "law": [0.5, 0.3, 0.2]},
    **{"task": [1.0, 0.5], "factors": [0.5, 0.4, 0.3], "variance": [0.1], "distance": [0.1]},
    **{"moments": attention.gaussian_moments(2, 8, 1.0, 0.5), "loop": LOOP, "probability": [0.5]},
}
"""An admissible value of every argument, by its name."""

OF_LAYERS = ("replace_one", "replace_one_path", "causal_replace_one")
OF_INPUTS = ("second_moments", "kl_divergence", "total_variation_bound")
OWN = {
    **{name: {"layers": LAYERS} for name in OF_LAYERS},
    **{name: {"law": "gaussian"} for name in OF_INPUTS},
    **{name: {"law": bernoulli.gap_law(LOOP, 1)} for name in ("exceedance", "quantile")},
    "contraction_stability": {"contraction": [0.5, 0.5], "injected": [0.1, 0.1]},
    "drift_kl": {"eta": [0.1, 0.2, 0.1]},
    "convergence_exponents": {"p": None},
    "attention_fresh_square": {"weights": [1.0, 0.5]},
    "refit": {"gamma": 0.5, "noises": 0.5, "signal": 1.0},
}
"""Those that a function reads in its own way."""

FUNCTIONS = [
    function
    for room in (bounds, attention, bernoulli, collapse, context, discrete, gaussian, regression)
    for name, function in vars(room).items()
    if inspect.isfunction(function)
    and (name in bounds.__all__ if room is bounds else function.__module__ == room.__name__)
    and not name.startswith("_")
    and name not in ("squared_loss", "value_loss", "model", "constants")  # of what the loop makes
]


def arguments_of(function):
    """An admissible call."""
    known = VALUES | OWN.get(function.__name__, {})
    parameters = inspect.signature(function).parameters.values()
    return {
        one.name: known[one.name]
        for one in parameters
        if one.default is one.empty or (one.name in known and not isinstance(one.default, bool))
    }


CASES = [
    pytest.param(function, id=f"{function.__module__.rpartition('.')[2]}.{function.__name__}")
    for function in FUNCTIONS
]


@pytest.mark.parametrize("function", CASES)
def test_what_is_no_number_is_refused_by_name(function):
    given = arguments_of(function)
    function(**given)
    numeric = [
        name
        for name, value in given.items()
        if isinstance(value, int | float | list) and value is not LAYERS
    ]
    assert numeric
    for name in numeric:
        for wrong in (True, np.True_, "1", math.nan, 1j, [True], ["1"], b"1"):
            with pytest.raises(ValueError, match=name):
                function(**{**given, name: wrong})


FLAGGED = [
    pytest.param(one.values[0], name, id=f"{one.id}-{name}")
    for one in CASES
    for name, parameter in inspect.signature(one.values[0]).parameters.items()
    if isinstance(parameter.default, bool)
]


@pytest.mark.parametrize(("function", "name"), FLAGGED)
def test_what_is_neither_true_nor_false_is_refused(function, name):
    given = arguments_of(function)
    for right in (True, np.False_):
        function(**{**given, name: right})
    for wrong in ("no", "", 1, 0.0, None, math.nan, [True]):
        with pytest.raises(ValueError, match=f"^{name} = .* is neither True nor False$"):
            function(**{**given, name: wrong})


def test_there_are_functions_to_try():
    assert len(FUNCTIONS) > 150
    assert len(FLAGGED) > 10


COUNTED = [
    (gaussian.mean_replace, {"n_syn": 20, "noise": 0.5, "generations": 3}, "samples", 20),
    (gaussian.mean_replace, {"samples": 20, "n_syn": 20, "noise": 0.5}, "generations", 3),
    (regression.ols_single_fit, {"samples": 20, "noise": 0.5}, "dim", 2),
    (collapse.shrinkage, {"signal": 1.0}, "repeats", 3),
    (attention.gaussian_moments, {"dim": 2, "tau": 1.0, "sigma": 0.5}, "context", 8),
    (bernoulli.model_laws, {"loop": LOOP}, "generations", 2),
    (bernoulli.binomial_law, {"probability": 0.5}, "count", 4),
]


@pytest.mark.parametrize(("function", "others", "name", "count"), COUNTED)
def test_what_is_counted_is_whole(function, others, name, count):
    """A whole number as a float is that number; a fraction is none."""
    whole, other = (function(**others, **{name: some}) for some in (count, float(count)))
    assert repr(whole) == repr(other)
    for wrong in (count + 0.5, -1, math.inf, [count, count]):
        with pytest.raises(ValueError, match=f"^{name} "):
            function(**others, **{name: wrong})


@pytest.mark.parametrize("name", ["n", "m", "p", "kappa", "weight", "centre", "error"])
def test_a_loop_of_bits_is_of_numbers(name):
    for wrong in (True, "1", math.nan, -2 if name != "error" else math.inf):
        with pytest.raises(ValueError, match=f"^{name} = "):
            bernoulli.drift(LOOP._replace(**{name: wrong}), 2)


def test_numbers_of_any_kind_are_numbers():
    for value in (2, 2.0, np.float32(2), np.int8(2), np.array(2), Fraction(2), Decimal(2)):
        assert numbers("x", value) == 2
    assert numbers("x", [1, np.float64(2.5), Fraction(1, 2)]).tolist() == [1, 2.5, 0.5]
    for value in ([1, True], [[1], ["2"]], np.array([1, "2"], object), {"a": 1}, [[1], [1, 2]]):
        with pytest.raises(ValueError, match=r"^x = .* is not a real number or an array of them"):
            numbers("x", value)


@pytest.mark.parametrize("wrong", [True, 2.5, 9.0, math.nan, "9", -1])
@pytest.mark.parametrize("name", ["count", "seed"])
def test_draws_of_laws_are_counted(name, wrong):
    with pytest.raises(ValueError, match=f"^{name} must be a whole number .* but it is {wrong!r}$"):
        error_law.resampled_laws([100, 400], [0.2, 0.1], [0.1, 0.1], **{name: wrong})
