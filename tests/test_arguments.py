"""Arguments of formulas: what is no number, or outside its range, is refused in all of them."""

import inspect
import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from icl_stl import bounds, references
from icl_stl.bounds import SoftmaxLayer
from icl_stl.bounds._check import numbers
from icl_stl.planning import error_law
from icl_stl.references import (
    absorption,
    attention,
    bernoulli,
    biased,
    collapse,
    context,
    curated,
    discrete,
    editing,
    foreign,
    gaussian,
    maximum,
    moments,
    regression,
    resampling,
    sources,
    verified,
)
from icl_stl.regimes import Augment, Replace

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
    **dict.fromkeys(("bandwidth", "smoothings", "inflation", "decay"), 0.5),
    **dict.fromkeys(("sigma", "contraction", "real_share", "rate", "generator_noise", "p"), 0.5),
    **dict.fromkeys(("delta", "eps0", "penalty", "error", "threshold", "discrepancy"), 0.1),
    **dict.fromkeys(("cover_radius", "eta", "kl", "excess", "beta", "beta_real", "ridge"), 0.1),
    **dict.fromkeys(("injected", "sensitivity", "to_optimum", "to_previous", "tolerance"), 0.1),
    **dict.fromkeys(("mean_change", "log_scale_change", "logit_norm", "one_round"), 0.1),
    **dict.fromkeys(("error_floor", "floor", "c", "change", "least_scale"), 0.1),
    **dict.fromkeys(("bias", "kappa_c", "o", "q", "reach", "s", "spread"), 0.1),
    **dict.fromkeys(("v_a", "r_a", "v_b", "r_b", "v_real", "v_syn", "shift", "empirical"), 0.1),
    **dict.fromkeys(("training_loss", "synthetic_loss", "held_out_loss", "curvature"), 0.1),
    **dict.fromkeys(("rows", "held_out", "bits"), 20),
    **dict.fromkeys(("xs", "kept_xs", "inputs"), XS),
    **dict.fromkeys(("ys", "kept_ys"), YS),
    **{"context": 8, "examples": 6, "max_lam": 9.0, "level": 0.9, "gamma": MATRIX, "other": MATRIX},
    **{"eps": [0.1, 0.2, 0.1], "weights": [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]], "start": 0.1},
    **{"alphas": [0.5, 0.5], "kappas": [0.5, 0.5], "noises": [0.5, 0.5], "law": [0.5, 0.3, 0.2]},
    **{"task": [1.0, 0.5], "factors": [0.5, 0.4, 0.3], "variance": [0.1], "distance": [0.1]},
    **{"sizes": [20, 20, 20], "edits": [5, 3], "symbols": 3, "order": 3},
    **{"away": 0.3, "wrong": 0.4, "kept_right": 0.9, "kept_wrong": 0.5, "slope": 0.5},
    **{"seen": [1, 1, 0], "reward": [0.0, 0.5, 1.0], "mean": 0.3},
    **{"chance": [0.1, 0.2], "intensity": 0.5, "mixing": references.Mixing.of(Replace(), 20, 3)},
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
    "law_edit_sure": {"threshold": 0.9},
    "curated_normal": {"reward": [0.3]},
    "ols_foreign": {"mixing": references.Mixing.of(Augment(0.5), 20, 3)},
    **{name: {"sizes": [20, 20]} for name in ("law_varying", "mean_varying")},
    "chain_edit": {"transition": [[0.9, 0.1], [0.3, 0.7]]},
    "sources_error": {"estimator": "pooled"},
    "attention_fresh_square": {"weights": [1.0, 0.5]},
    **{name: {"distance": 0.5} for name in ("mean_foreign", "ols_foreign", "foreign_crossover")},
    "refit": {"gamma": 0.5, "noises": 0.5, "signal": 1.0},
}
"""Those that a function reads in its own way."""

ROOMS = bounds, absorption, attention, bernoulli, collapse, context, discrete, gaussian
ROOMS += (
    biased,
    curated,
    editing,
    foreign,
    maximum,
    moments,
    regression,
    resampling,
    sources,
    verified,
)

FUNCTIONS = [
    function
    for room in ROOMS
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


NOT_0 = {
    *("M", "a", "context", "delta", "dim", "dimension", "examples", "gain", "keys", "labels", "n"),
    *("least_scale", "prior_scale", "position", "rate", "real_share", "repeats", "ridge"),
    *("samples", "tau", "tokens", "tolerance", "rows", "held_out"),
}
NOT_ABOVE_1 = {"alpha", "alphas", "delta", "level", "probability", "real_share", "weight", "chance"}
COUNTS = {"count", "generation", "generations", "kept", "lag", "layers", "relabelled", "repeats"}
COUNTS |= {"position", "samples"}
MAY_BE_INFINITE = {"discrepancy", "generation", "kl", "lag", "lam", "layers", "max_lam"}
MAY_BE_INFINITE |= {"oscillation", "repeats"}
OF_ANY_SIGN = {"gamma", "threshold", "xs", "ys", "kept_xs", "kept_ys", "inputs", "task", "eta"}
OF_ANY_SIGN |= {"other", "factors", "weights", "shift", "reward", "mean", "slope"}


def outside(name):
    """Numbers outside the range of an argument, whatever the function."""
    if name in OF_ANY_SIGN:
        return []
    found = [-7.0] + [0.0] * (name in NOT_0) + [1.0] * (name == "delta")
    found += [1.5] * (name in NOT_ABOVE_1 | COUNTS)
    return found + [math.inf] * (name not in MAY_BE_INFINITE)


@pytest.mark.parametrize("function", CASES)
def test_what_is_outside_its_range_is_refused_by_name_and_value(function):
    given = arguments_of(function)
    for name, value in given.items():
        if isinstance(value, int | float | list) and value is not LAYERS:
            for wrong in outside(name):
                if (name, wrong) == ("a", 0) and function.__module__.endswith("plateau"):
                    continue  # there it is an error and no rate
                bad = [wrong] * len(value) if isinstance(value, list) else wrong
                with pytest.raises(ValueError, match=rf"\b{name}.*{wrong:g}"):
                    function(**{**given, name: bad})


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


def table_of(package):
    """What the docstring of a package says of arguments by name, and of their range."""
    rows = re.findall(r"^``(\w+)`` +(\S.*?)  +(\S.*)$", package.__doc__, re.MULTILINE)
    return {name: (meaning, admissible) for name, meaning, admissible in rows}


@pytest.mark.parametrize("function", CASES)
def test_every_argument_is_described(function):
    """By the function, or by the table of its package; bits are described by `BernoulliLoop`."""
    document = inspect.getdoc(function)
    own = re.search(r"^Args:\n((?:    .+\n)+)", document, re.MULTILINE)
    said = set(re.findall(r"^    (\w+): \S", own[1], re.MULTILINE)) if own else set()
    if function.__module__ != bernoulli.__name__:
        package = bounds if function.__module__.startswith(bounds.__name__) else references
        assert set(inspect.signature(function).parameters) <= said | set(table_of(package))
        assert re.findall("^(Returns|Source): ", document, re.MULTILINE) == ["Returns", "Source"]
    assert said <= set(inspect.signature(function).parameters)


def test_the_tables_describe_nothing_else():
    known = [(one.__module__, set(inspect.signature(one).parameters)) for one in FUNCTIONS]
    for package in (bounds, references):
        used = set().union(*(names for room, names in known if room.startswith(package.__name__)))
        assert set(table_of(package)) - used == set()
        assert len(table_of(package)) > 25


@pytest.mark.parametrize("function", CASES)
def test_the_range_that_a_table_states_is_the_one_that_is_held(function):
    """Its ends are admitted, what is just outside is refused: unless the function says another."""
    given = arguments_of(function)
    package = bounds if function.__module__.startswith(bounds.__name__) else references
    outside = {">= 0": -1e-9, "> 0": 0.0, "[0, 1]": 1 + 1e-9, "(0, 1)": 1.0, "whole, >= 1": 0}
    ends = {">= 0": [0.0], "[0, 1]": [0.0, 1.0]}
    document = inspect.getdoc(function)
    for name, (_, admissible) in table_of(package).items():
        plain = isinstance(given.get(name), int | float) and f"    {name}: " not in document
        if plain and admissible in outside:
            with pytest.raises(ValueError, match=f"^{name} = "):
                function(**{**given, name: outside[admissible]})
        plain &= name not in ("error", "radius")  # which others limit further
        for end in ends.get(admissible, ()) if plain else ():
            function(**{**given, name: end})


def test_there_are_functions_to_try():
    assert len(FUNCTIONS) > 150
    assert len(FLAGGED) > 10


COUNTED = [
    (gaussian.mean_replace, {"n_syn": 20, "noise": 0.5, "generations": 3}, "samples", 20),
    (gaussian.mean_replace, {"samples": 20, "n_syn": 20, "noise": 0.5}, "generations", 3),
    (regression.ols_single_fit, {"samples": 20, "noise": 0.5}, "dim", 2),
    (collapse.shrinkage, {"signal": 1.0}, "repeats", 3),
    (attention.gaussian_moments, {"dim": 2, "tau": 1.0, "sigma": 0.5}, "context", 8),
    (bernoulli.drift, {"loop": LOOP}, "generations", 2),
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


ONES, HALVES = np.ones((2, 3)), [0.5, 0.5]
SIZE = {"n": 9, "M": 1, "b": 1, "kappa": 1, "c": 0.1, "a": 0.5}
READ = {"layers": [], "radius": 1, "readout": 1}
BETWEEN_ARGUMENTS = [
    (lambda: bounds.drift_varying_share([0.1, 0.1], HALVES), "alphas has 2"),
    (lambda: bounds.drift_recursion([], np.zeros((0, 0))), "eps has no generations"),
    (lambda: bounds.influence_from_stability(10, 0.5, 1.5), "gamma = 1.5"),
    (lambda: bounds.optimal_size(**SIZE | {"c": HALVES}), r"c has shape \(2,\)"),
    (lambda: bounds.optimal_size(**SIZE, floor=HALVES), r"floor has shape \(2,\)"),
    (lambda: SoftmaxLayer((1.0, 2.0), (1.0,)), "logits = .* one norm for each"),
    (lambda: SoftmaxLayer((-1.0,), (1.0,)), "logits = -1.0"),
    (lambda: SoftmaxLayer((1.0,), (1.0,), mlp_in=math.nan), "mlp_in = nan"),
    (lambda: SoftmaxLayer((1.0,), (1.0,), diameters=(1.0, 2.0)), "diameters"),
    (lambda: bounds.LinearLayer(-1.0, 0.0), "logit = -1.0"),
    (lambda: bounds.RMSNorm(0), "dim = 0"),
    (lambda: bounds.RMSNorm(4, eps=-1.0), "eps = -1.0"),
    (lambda: bounds.replace_one(**READ, examples=3, change=3), r"change = 3.0 .* \[0, 2\]"),
    (lambda: bounds.causal_replace_one(**READ, tokens=3, position=4), r"position = 4 .* \[1, 3\]"),
    (lambda: bounds.causal_spread(3, 4, 1), "position = 4"),
    (lambda: context.ridge_on_kept(ONES, ONES[:, 0], 0.0), "penalty"),
    (lambda: context.ridge_on_kept(ONES, ONES[0], 1.0), "kept_ys"),
    (lambda: context.ridge_modes(ONES[0], ONES, 1.0), "kept_xs"),
    (lambda: context.attention_context(*[ONES, ONES[:, 0]] * 2, np.eye(2), 0.1, 2), "gamma"),
    (lambda: context.ols_context_walk(ONES, 1.0, 2), "penalty"),
    (lambda: context.ols_fresh_context(1, 3, 3, 1.0, 2), "kept \\+ relabelled"),
    (lambda: discrete.law_replace([0.5, 0.6], 2, 2, 1), r"law = \[0\.5, 0\.6\] .*sum 1"),
    (lambda: discrete.one_sided_replace(0.2, 9), "error = 0.2 .*generation 9 .*at most 0.1 "),
    (lambda: discrete.one_sided_accumulate(0.2, 2, 0.0), "lam = 0.0"),
    (lambda: gaussian.mean_augment(2, 0, 1.0, 3), "n_syn = 0 .* from 1 on"),
    (lambda: gaussian.mean_augment(2, 2, 0.0, 3), r"noise = 0\.0 .*\(0, inf\)"),
    (lambda: gaussian.mean_loop([[0, 1], [0, 0]], 2, 2, 1.0), r"weights\[0, 1\] = 1\.0"),
    (lambda: gaussian.mean_loop([[0, 0], [2, 0]], 2, 2, 1.0), r"weights\[1\] sums to 2\.0"),
    (lambda: gaussian.mean_loop([0.0, 0.0], 2, 2, 1.0), r"shape \(2,\).*\[G\+1, G\+1\]"),
    (lambda: gaussian.mean_loop([[0, 0], [-1, 0]], 2, 2, 1.0), "weights = -1.0"),
    (lambda: gaussian.log_variance_replace(2, 1, 1.0, 1), "n_syn = 1 .* from 2 on"),
    (lambda: gaussian.mean_linear_gap_quantile(1.0, 1.0), r"level = 1\.0 .*\(0, 1\)"),
    (lambda: regression.ols_single_fit(4, 3, 1.0), r"samples = 4 .* from 5 on, dim \+ 2"),
    (lambda: regression.ols_replace(9, 4, 3, 1.0, 2), r"n_syn = 4 .* from 5 on, dim \+ 2"),
    (lambda: regression.ols_fresh_real(4, 9, 3, 1.0, 2), "samples = 4 "),
    (
        lambda: regression.ols_augment_same_inputs(9, 12, 3, 1.0, 2),
        "n_syn = 12 .*multiples of samples = 9",
    ),
    (lambda: regression.ols_augment_upper_bound(9, 9, 3, 1.0, 2, 0.0), r"weight = 0\.0 .*\(0, 1\]"),
]


@pytest.mark.parametrize(
    ("call", "message"), BETWEEN_ARGUMENTS, ids=lambda v: v[:30] if isinstance(v, str) else ""
)
def test_arguments_that_do_not_go_together_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["n", "m", "p", "kappa", "weight", "centre", "error"])
def test_a_loop_of_bits_is_of_numbers(name):
    outer = {"n": 0, "m": 0, "p": 1.2, "weight": 1.2, "centre": 1.2}.get(name, math.inf)
    for wrong in (True, "1", math.nan, -2 if name != "error" else math.inf, outer):
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
