"""Plant faults in formulas, loops and claims and report which of them the tests notice.

Each fault is one that a hand makes: a wrong constant, a dropped factor 2, i for i - 1, n for N,
alpha for 1 - alpha, a missing square. Run from the repository root:

    python paper_checks/mutants.py [--short] [--jobs 2]

A fault is caught if a test that is named for it fails, after it passed without the fault. Before
any is planted, all of them are looked at: each has one place in the code, each test that is named
exists, and those of the faults to be tried pass. What ends otherwise than with a failed test (the
module cannot be imported, the interpreter dies, nothing ends) is no fault that a test notices but
one that is badly planted. Exit status 1 if fewer than 95 % are caught, if any is badly planted, or
if the list no longer fits the code or the tests.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 900
"""Seconds after which tests of a fault do not end any more."""


class Mutant(NamedTuple):
    """A fault: in ``file`` of ``room`` ``old`` becomes ``new``.

    ``test`` must notice it; a fault in the bounds is also caught by any other test of bounds. Where
    ``old`` is there several times ``count`` says which one is meant, from 1 on.
    """

    file: str
    old: str
    new: str
    test: str
    count: int | None = None
    room: str = "bounds/"

    def __str__(self) -> str:
        return f"{self.room}{self.file}: {self.old!r} -> {self.new!r}"


D, S, G, C, P, T = (
    f"tests/test_bounds_{room}.py"
    for room in (
        "drift",
        "stability",
        "generalization",
        "calculator",
        "optimum",
        "transformers",
    )
)

OUT = "tests/test_arguments.py::test_what_is_outside_its_range_is_refused_by_name_and_value"

MUTANTS = (
    # drift
    Mutant("_series", "weights[i, :i] @ inverse[:i]", "weights[i - 1, :i] @ inverse[:i]", D),
    Mutant("drift", "terms = resolvent(shares) *", "terms = resolvent(shares).T *", D),
    Mutant(
        "drift",
        "geometric(1 - real_share, real_share, i)",
        "geometric(1 - real_share, real_share, np.maximum(i - 1, 0))",
        D,
    ),
    Mutant(
        "drift",
        "geometric(1 - real_share, real_share, i)",
        "geometric(real_share, 1 - real_share, i)",
        D,
    ),
    Mutant("drift", "np.arange(count) + 2.0", "np.arange(count) + 1.0", D),
    Mutant("drift", "harmonic(i + 1) - 1", "harmonic(i) - 1", D),
    Mutant("drift", "1 / (i + 1), (len(i)", "1 / (i + 2), (len(i)", D),
    Mutant("drift", "np.maximum(i, 1)", "np.maximum(i + 1, 1)", D),
    Mutant("drift", "factor = np.sqrt(1 - real_share)", "factor = 1 - real_share", D),
    Mutant("drift", "real_share / (1 + factor)", "real_share / 2", D),
    Mutant("drift", "np.sqrt(shares[i, :i]) * total", "shares[i, :i] * total", D),
    Mutant(
        "drift",
        "np.minimum(total[..., :i] @ shares[i, :i], cap[i])",
        "total[..., :i] @ shares[i, :i]",
        D,
    ),
    Mutant("drift", "(k + np.sqrt(k / 2)) / w", "(k + np.sqrt(k)) / w", D),
    Mutant("drift", "(k + np.sqrt(k / 2)) / w", "k + np.sqrt(k / 2)", D),
    Mutant("drift", "np.sqrt(-np.expm1(-k))", "-np.expm1(-k)", D),
    Mutant("drift", "own = error * (i + 1) ** -a", "own = error * (i + 2) ** -a", D),
    Mutant("drift", "np.log1p(-real_share) + log_product", "log_product", D),
    Mutant("drift", "synthetic = 1 - np.atleast_1d", "synthetic = np.atleast_1d", D),
    Mutant("_check", "totals > 1 + 1e-12", "totals > 2", D),
    # series
    Mutant("_series", "-1 / 720", "1 / 720", D),
    Mutant("_series", "float(k) ** -exponent / (k + 1)", "float(k) ** -exponent / k", D),
    Mutant("_series", "for j in range(12)", "for j in range(4)", D),
    Mutant("_series", "total + (carry + (rest + tail))", "total", S),
    Mutant("_series", "-np.expm1(exponent)", "1 - np.exp(exponent)", D),
    Mutant("_series", "for j in range(1, 20)", "for j in range(1, 5)", S),
    # stability
    Mutant("stability", "times(weight, total)", "total", S),
    Mutant("stability", "ratio = (1 - weight) * kappa", "ratio = weight * kappa", S),
    Mutant("stability", "(1 + power) / (1 + ratio)", "(1 + power) / (1 + ratio**2)", S),
    Mutant(
        "stability",
        "synthetic = times(1 - alpha, spread.injected)",
        "synthetic = spread.injected",
        S,
    ),
    Mutant(
        "stability",
        "deviation(real_share, spread) ** 2 / size",
        "deviation(real_share, spread) / size",
        S,
    ),
    Mutant("stability", "gap > 0, variance", "gap >= 0, variance", S),
    Mutant("stability", "np.maximum(limit.influence, 1.0)", "limit.influence", S),
    Mutant("stability", "(1 - w) ** 2 / synthetic, spread", "(1 - w) / synthetic, spread", S),
    Mutant("stability", "(1 - w) ** 2 / synthetic, spread", "(1 - w) ** 2 / size, spread", S),
    Mutant("stability", "batch = w**2 / size", "batch = w / size", S),
    Mutant("stability", "spread.power**2 / size", "spread.power / size", S),
    Mutant("stability", "log_product(follow - 1, i + 1)", "log_product(follow - 1, i)", S),
    Mutant("stability", "np.sqrt(1 + 4 * ratio)", "np.sqrt(1 + 2 * ratio)", S),
    Mutant("stability", "(follow - 1) / np.maximum(follow, 1)", "follow - 1", S),
    Mutant("stability", "times(real_share, spread.power) / size", "spread.power / size", S),
    Mutant("stability", "times(kappa, influence), variance", "influence, variance", S),
    Mutant("stability", "corner = np.isinf(i)", "corner = np.isnan(i)", S),
    # generalization
    Mutant("generalization", "-np.log(probability", "np.log(2) - np.log(probability", G),
    Mutant(
        "generalization",
        "np.sqrt(_log_odds(delta) / (2 * size))\n",
        "np.sqrt(_log_odds(delta) / size)\n",
        G,
        1,
    ),
    Mutant(
        "generalization",
        "later = alpha * (spread.influence + (1 - alpha))",
        "later = alpha * spread.influence",
        G,
    ),
    Mutant(
        "generalization",
        "later = alpha * (spread.influence + (1 - alpha))",
        "later = spread.influence + (1 - alpha)",
        G,
    ),
    Mutant(
        "generalization", "2.0, 1.0) * loss + 2 * sensitivity", "2.0, 1.0) * loss + sensitivity", G
    ),
    Mutant("generalization", "pathwise), 2.0", "pathwise), 3.0", G),
    Mutant("generalization", "loss + 2 * sensitivity, delta", "loss + sensitivity, delta", G),
    Mutant("generalization", "np.maximum(i - 1, 0)", "i", G),
    Mutant("generalization", "times(real_share**rate, earlier.total)", "earlier.total", G),
    Mutant("generalization", "times(rho, transient + later)", "transient + later", G),
    Mutant("generalization", "real_share ** (rate - 1)", "real_share**rate", G),
    Mutant("generalization", "_gap(2 * gap.shift", "_gap(gap.shift", G, 1),
    Mutant("generalization", "_gap(2 * gap.shift", "_gap(gap.shift", G, 2),
    Mutant("generalization", "cover = 2 * nonnegative", "cover = nonnegative", G),
    Mutant("generalization", "real_share * logs / (2 * size)", "logs / (2 * size)", G),
    Mutant("generalization", "np.log1p(2 * reach", "np.log1p(reach", G),
    Mutant("generalization", "(2 * size * change + loss)", "(size * change + loss)", G),
    Mutant("generalization", "change * (2 + levels)", "change * (1 + levels)", G),
    Mutant("generalization", "np.sqrt(2) * np.e", "np.e", G),
    Mutant("generalization", "np.maximum(2.0, logs)", "logs", G),
    Mutant("generalization", "mantissa == 0.5, exponent - 1", "mantissa == 0.5, exponent", G),
    Mutant("generalization", 'probability("delta", delta) / 2', 'probability("delta", delta)', G),
    Mutant("generalization", "(np.pi * i) ** 2", "np.pi * i**2", G),
    Mutant("generalization", "w**2 / size if fresh", "w / size if fresh", G),
    # convergence
    Mutant("convergence", "real_share ** (rate - 1)", "real_share ** (1 - rate)", G),
    Mutant("convergence", "rate - decay * (1 - rate)", "rate - decay", G),
    Mutant("convergence", "size * worst.influence + (1 - real_share)", "size * worst.influence", G),
    Mutant("convergence", "stable, decay = follow <= 1", "stable, decay = follow < 1", G),
    # optimum
    Mutant("optimum", "growing = self.kappa >= 1", "growing = self.kappa < 1", P),
    Mutant("optimum", "low.rho * (old", "high.rho * (old", P),
    Mutant("optimum", "at = high if slow else low", "at = low if slow else high", P),
    Mutant(
        "optimum",
        "np.minimum(low.product, high.product)",
        "np.maximum(low.product, high.product)",
        P,
    ),
    Mutant("optimum", "_TOLERANCE = 2e-7", "_TOLERANCE = 2e-5", P),
    Mutant(
        "optimum",
        "certified = min(certified, float(lower[settled].min(initial=np.inf)))",
        "certified = min(certified, best)",
        P,
    ),
    Mutant("optimum", "i * _power(mix, i - 1) * d_rho", "_power(mix, i - 1) * d_rho", P),
    Mutant("optimum", "(mix.alpha + (1 - self.a) * mix.rho)", "(mix.alpha + mix.rho)", P),
    Mutant("optimum", "2 * mix.ratio * d_ratio", "mix.ratio * d_ratio", P),
    Mutant("optimum", "Landscape(2 * drift", "Landscape(drift", P),
    Mutant("optimum", "(self.M + 2 * self.b)", "(self.M + self.b)", P),
    Mutant(
        "optimum",
        "change = self.M * self.c * self.n**-self.a, self.b / self.n",
        "change = self.M * self.c * self.n**-self.a, self.b / self.n**2",
        P,
    ),
    Mutant("optimum", "2 * H / A) ** 2 - 1", "2 * H / A) ** 2 - 2", P),
    Mutant("optimum", "gains = A < G + H", "gains = A < G / 2 + H", P),
    Mutant("optimum", 'directions["M"] = "falls"', 'directions["M"] = "rises"', P),
    Mutant("optimum", "near = near + (k - 1) * term", "near = near + k * term", P),
    Mutant("optimum", "self._floor(low)", "self._floor(high)", P),
    Mutant("optimum", "_OVERFLOW = 1e308", "_OVERFLOW = np.inf", P),
    Mutant("optimum", "self._first(low)", "self._first(high)", P),
    Mutant(
        "optimum",
        "mix.alpha, np.asarray(self.generation)).total",
        "mix.alpha, np.asarray(self.generation - 1)).total",
        P,
    ),
    Mutant("optimum", "*law, 2 * stays", "*law, stays", P),
    Mutant("optimum", "np.clip(1 / share - 1, left, right)", "left", P),
    Mutant(
        "generalization",
        "geometric(rho, real_share, i).total",
        "geometric(rho, real_share, i + 1).total",
        G,
    ),
    # transformers
    Mutant("transformers", "(count - 1) * np.exp(-real", "count * np.exp(-real", T),
    Mutant("transformers", "else 2 * alignment", "else alignment", T),
    Mutant("transformers", "1 + 2 * alignment)\n", "1 + alignment)\n", T),
    Mutant(
        "transformers",
        "_product(weight, value, 1 + 2 * alignment)))",
        "_product(weight, value, 1 + alignment)))",
        T,
    ),
    Mutant("transformers", "widest = 2 * start", "widest = start", T),
    Mutant(
        "transformers",
        "passed = growth.own + _product(growth.other, (m - 1) / m)",
        "passed = growth.own + growth.other",
        T,
    ),
    Mutant("transformers", "min(growth.reach, pushed)", "pushed", T),
    Mutant("transformers", "attending=2 * square", "attending=square", T),
    Mutant(
        "transformers", "replaced=((cube, 2 * square),)", "replaced=((2 * cube, 2 * square),)", T
    ),
    Mutant("transformers", "(2 * kappa * labels / m)", "(kappa * labels / m)", T),
    Mutant("transformers", "2 * density * exp(-0.5)", "density * exp(-0.5)", T),
    Mutant("transformers", "sqrt(self.dim) * self.gain", "self.dim * self.gain", T),
    Mutant("transformers", "self.least_norm**2 / self.dim", "self.least_norm**2", T),
    Mutant("transformers", '"gelu": 1.1290', '"gelu": 1.0', T),
    Mutant("transformers", "geometric(ratio, gap, g + extra)", "geometric(ratio, gap, g)", T),
    Mutant("transformers", "harmonic(first - 1)", "harmonic(first)", T),
    Mutant(
        "transformers",
        "np.cumsum((reach / counts)[::-1])[::-1]",
        "np.cumsum(reach[::-1])[::-1] / counts",
        T,
    ),
    # the paper's forms and the calculator
    Mutant("paper_forms", "size**-0.25", "size**-0.5", C),
    Mutant("paper_forms", "np.asarray(2.0), i", "np.asarray(1.0), i", C),
    Mutant("__main__", "commands[options.command].error(str(problem))", "return 1", C),
    Mutant("__main__", 'return "inf" if value > 0', 'return "-inf" if value > 0', C),
    Mutant("__main__", "bool(bound.total > 1)", "False", C),
    Mutant("_check", "above = array > low if open_low", "above = array >= low if open_low", OUT),
)


Fault = tuple[str, str, str, str] | tuple[str, str, str, str, int]


def planted_in(room: str, *faults: Fault) -> tuple[Mutant, ...]:
    """Faults of one room, each with the tests that must notice it."""
    return tuple(Mutant(*fault, room=room) for fault in faults)


MEAN, SQUARES, SYMBOLS = (
    f"tests/test_references_{room}.py" for room in ("gaussian", "regression", "discrete")
)
FINDS = "paper_checks/check_references.py::test_every_problem_finds_its_closed_form"
CERTIFIED, QUERIES = "tests/test_certificates.py", "tests/test_query_models.py"
ATTAINED = f"{CERTIFIED}::test_one_softmax_layer_attains_its_certificate"
LINEAR = f"{CERTIFIED}::test_linear_layers_attain_their_certificates"
CAUSAL = f"{CERTIFIED}::test_causal_queries_are_certified_by_position"
FIRST_LAYER = f"{CERTIFIED}::test_first_layer_bounds_are_suprema"
EFFECTS = f"{CERTIFIED}::test_effects_are_changes_and_difference_quotients"
NETWORK = f"{QUERIES}::test_the_law_equals_a_literal_loop"
FACTORS = f"{QUERIES}::test_the_weights_that_act_are_products_of_trained_factors"
CAPS = f"{QUERIES}::test_caps_hold_and_leave_small_matrices_alone"
JUDGED = "tests/test_claims_solvable.py"
KNOWN_BEFORE, VACUOUS, EXCEEDED = (
    f"{JUDGED}::test_{name}"
    for name in (
        "what_counts_as_equal_in_the_gap_identity_was_known_before",
        "a_bound_above_the_largest_loss_is_vacuous_and_never_judged",
        "exceedances_of_a_vacuous_bound_are_vacuous",
    )
)
CONTEXT, RELABEL, IN_CONTEXT = (
    f"tests/test_{room}.py" for room in ("references_context", "context_loops", "claims_context")
)
HANDED_IN = "tests/test_handed_in.py::test_any_learner_in_any_regime_learns_from_what_is_mixed"
NEVER, SHARES, NO_WEIGHTS, NO_NOTICE, ONE_TYPE = (
    f"tests/test_handed_in.py::test_{name}"
    for name in (
        "places_without_a_row_hold_harmless_rows",
        "the_one_step_error_is_that_of_the_share_of_its_own_generation",
        "inside_a_program_a_fit_without_weights_is_refused_too",
        "a_fit_that_sees_rows_of_weight_0_is_refused",
        "rows_have_the_type_that_real_and_generated_ones_promote_to",
    )
)
REGIMES, LOOPS, PROBLEMS = (f"tests/test_{room}.py" for room in ("regimes", "loops", "solvable"))
ERRORS = f"{PROBLEMS}::test_one_step_errors_of_numbers_are_exact_or_unbiased"
SHIFTED = f"{PROBLEMS}::test_the_drift_of_a_mean_is_that_of_shifted_normal_laws"
OWN_REGIMES = f"{PROBLEMS}::test_a_regime_of_ones_own_has_no_closed_form_of_its_parent"
UNBIASED = "tests/test_problems.py::test_what_is_not_known_is_measured_without_bias_or_left_out"
NOT_NEEDED, WRONG_WEIGHTS = (
    f"tests/test_mix.py::test_{name}"
    for name in (
        "chunks_of_places_that_no_row_needs_are_not_generated",
        "weights_that_do_not_sum_to_one_are_refused_or_seen",
    )
)

LOOP_MUTANTS = (
    *planted_in(
        "",
        (
            "references/_common",
            "** (2 * np.arange(1.0, last + 1))",
            "** np.arange(1.0, last + 1)",
            MEAN,
        ),
        (
            "references/gaussian",
            "square / m * batch_gain(shares)",
            "square / n * batch_gain(shares)",
            MEAN,
        ),
        ("references/gaussian", "fresh_limit(0.0, 1.0, w) / m", "fresh_limit(0.0, 1.0, w)", MEAN),
        ("references/regression", "(1 + gain / _repeats(", "(1 + gain * _repeats(", SQUARES),
        ("references/discrete", "/ m * (1 - 1 / n) * powers", "/ m * powers", SYMBOLS),
        (
            "references/discrete",
            "c**2 * (before + (1 - before)",
            "c * (before + (1 - before)",
            SYMBOLS,
        ),
        ("problems/gaussian_mean", "_augment(*loop, regime.weight)", "_augment(*loop)", FINDS),
        (
            "references/bernoulli",
            "(1 - w) * gamma[:-1]",
            "gamma[:-1]",
            "tests/test_references_bernoulli.py",
        ),
    ),
    *planted_in(
        "",
        ("regimes/base", "(1 - share) / (generation - first)", "(1 - share) / generation", REGIMES),
        ("regimes/accumulate", "(1 + generation * self.lam)", "(1 + self.lam)", REGIMES),
        ("regimes/base", "step.index * step.n_syn", "step.n_syn", LOOPS),
        ("rows", "% (row_count(real) if", "// (row_count(real) if", LOOPS),
        ("loops", "return copies() if known else made()", "return made()", HANDED_IN),
        ("loops", "jax.lax.cond(is_first, filled, made)", "made()", NEVER),
        ("loops", "share=None if shares is None else shares[index]", "share=None", SHARES, 1),
        ("loops", "and any(rows) and not weights", "and not rows", NO_WEIGHTS),
        ("loops", "or _alike(one[1], other[1])", "or True", NO_NOTICE),
        ("loops", "types != [a.dtype for a in leaves]", "False", ONE_TYPE),
        (
            "problems/bernoulli",
            "share * truth - (1 - share)",
            "(1 - share) * truth - share",
            ERRORS,
        ),
        ("problems/normal", "(8**0.5 * self.noise)", "(2**0.5 * self.noise)", SHIFTED),
        ("problems/base", "not ours or type(regime) in KNOWN", "True", OWN_REGIMES),
        ("problems/observed", "jnp.mean(losses(held_out))", "jnp.mean(losses(rows))", UNBIASED),
        ("loops", "part * AT_ONCE < there", "part * AT_ONCE <= there", NOT_NEEDED),
        ("loops", "jnp.where(fine, weights, jnp.nan)", "weights", WRONG_WEIGHTS),
    ),
    *planted_in(
        "",
        ("studies/judging", 'not in ("exact", "undecided")', '!= "undecided"', JUDGED),
        ("studies/judging", "all(one.rejected", "any(one.rejected", JUDGED),
        ("studies/judging", "np.maximum(above, below)", "np.minimum(above, below)", JUDGED),
        ("studies/judging", "fine.get(experiment.runs, True) & finite", "finite", JUDGED),
        ("studies/judging", "(claim.proved and cell.proved)", "claim.proved", JUDGED),
        ("studies/cells", "count * whole - (count - 1) * statistic", "statistic", JUDGED),
        ("studies/solvable/claims", "(gap > limits)", "(gap < limits)", JUDGED, 1),
        (
            "studies/solvable/claims",
            "WITHIN * scale",
            "WITHIN * abs(float(gap.mean()))",
            KNOWN_BEFORE,
        ),
        ("studies/solvable/claims", "bits.constants(loop, loss).M", "1.0", VACUOUS),
        ("studies/solvable/claims", "limit=float(limits.mean())", "limit=None", EXCEEDED),
    ),
    *planted_in(
        "",
        (
            "studies/certificates/networks",
            "oscillation = 2 * (domain",
            "oscillation = (domain",
            ATTAINED,
        ),
        (
            "studies/certificates/networks",
            "2 * _dual(values, domain)",
            "_dual(values, domain)",
            ATTAINED,
        ),
        ("studies/certificates/networks", "2 * b * by * mixed_x", "b * by * mixed_x", LINEAR),
        (
            "studies/certificates/networks",
            "np.linalg.norm(x)) * b**2",
            "np.linalg.norm(x)) * b",
            LINEAR,
        ),
        ("studies/certificates/networks", "mixed_x * b + 2 * c_y", "2 * c_y", LINEAR),
        ("studies/certificates/networks", "position=j + 1", "position=m - j", CAUSAL),
        ("studies/certificates/networks", "sensitivities.mean()", "sensitivities.max()", CAUSAL),
        (
            "studies/certificates/networks",
            "fixed[-1] = scores[-2]",
            "fixed[-1] = scores[-1]",
            FIRST_LAYER,
        ),
        (
            "studies/certificates/networks",
            "replaced = here & (target == 0)",
            "replaced = here",
            EFFECTS,
        ),
        ("models/query", "/ query.shape[-1] ** 0.5", "/ query.shape[-1]", FACTORS),
        ("models/query", "keepdims=True) + 1)", "keepdims=True))", NETWORK),
        ("models/query", "jnp.arange(m)[None] <= rows", "jnp.arange(m)[None] < rows", NETWORK),
        ("models/query", "1.0, cap / schatten_norm(matrix)", "1.0, schatten_norm(matrix)", CAPS),
    ),
)
FORGETS, LOSES = (f"tests/test_{room}_collapse.py" for room in ("references", "solvable"))

COLLAPSE_MUTANTS = (
    *planted_in(
        "",
        ("references/collapse", "polygamma(1, 1 + c) -", "polygamma(1, c) -", FORGETS),
        ("references/collapse", "polygamma(1, 1 + c + n))", "polygamma(1, c + n))", FORGETS),
        ("references/collapse", "variance / (variance + spread) if own", "1.0 if own", FORGETS),
        ("references/collapse", "kept * start + (1 - kept) * max(", "kept * start + max(", FORGETS),
        (
            "references/collapse",
            "digamma(c + n + 1) - digamma(c + 1)",
            "digamma(c + n) - digamma(c)",
            FORGETS,
        ),
        (
            "references/collapse",
            "(1 + 1 / (u * n)) ** 2 * _squares",
            "(1 + 1 / (u * n)) * _squares",
            FORGETS,
        ),
        ("references/collapse", "(u + 1 / np.arange(1.0, n))", "u", FORGETS),
        ("references/collapse", "h ** (2 * g)", "h**g", FORGETS),
        (
            "references/collapse",
            "path[g - 1] ** 2 / (1 + path[g - 1])",
            "path[g - 1] ** 2 / 2",
            FORGETS,
        ),
    ),
    *planted_in(
        "",
        (
            "learners/orthogonal",
            "own = 0.0 if plug_in else",
            "own = 0.0 if not plug_in else",
            LOSES,
        ),
        ("learners/orthogonal", "- noise**2 / (repeats * dim)", "- noise**2 / repeats", LOSES),
        (
            "problems/orthogonal",
            "own / jnp.maximum(k, 1)) ** 2 + std**2",
            "own) ** 2 + std**2",
            LOSES,
        ),
        (
            "studies/collapse/loops",
            "samples * jnp.sqrt(own * shrunk)",
            "samples * jnp.sqrt(own) * shrunk",
            LOSES,
        ),
        ("studies/collapse/loops", "plug_in=True", "plug_in=False", LOSES),
    ),
)
MOST_INFLUENCE = "test_a_bound_above_the_largest_influence_in_ridge_is_vacuous"
APART = "test_the_control_of_convergence_asks_where_thresholds_lie_apart"
RANGE_OF_LABELS = (
    "tests/test_certificates.py::test_a_certificate_from_the_range_of_labels_on_is_vacuous"
)
CONTEXT_MUTANTS = (
    *planted_in(
        "",
        ("references/context", "phi / (1 + 2 * phi)", "phi / (1 + phi)", CONTEXT),
        ("references/context", "(1 - powers**2)", "(1 - powers)", CONTEXT),
        ("references/context", "mean**2 * (1 + (d + 1) / r)", "mean**2 * (1 + d / r)", CONTEXT),
        ("references/context", "digamma((r + d - 1) / 2)", "digamma((r + d) / 2)", CONTEXT),
        (
            "references/context",
            "isotropic = (float(np.trace(second)) + added)",
            "isotropic = added",
            CONTEXT,
        ),
        (
            "references/context",
            "relabel_noise)) ** 2 * _sandwich",
            "relabel_noise)) * _sandwich",
            CONTEXT,
            1,
        ),
        ("references/_common", "(total * dim - 2)", "(total * dim)", CONTEXT),
    ),
    *planted_in(
        "",
        ("loops", "jnp.arange(count) < kept", "jnp.arange(count) <= kept", RELABEL),
        ("loops", "own.xs, xs)", "xs, xs)", RELABEL),
        ("loops", "noise * standard_normal(keys.generate", "noise * standard_normal(key", RELABEL),
        ("studies/context_loop/loops", "xs.T @ ys / ys.shape[0]", "xs.T @ ys", RELABEL),
        ("studies/context_loop/loops", "drawn[:, d])", "drawn[:, 0])", RELABEL),
    ),
    *planted_in(
        "",
        ("studies/context_loop/claims", "0.5 - added", "0.9 - added", IN_CONTEXT),
        ("studies/context_loop/claims", "TIGHT - np.abs(values / limits - 1)", "TIGHT", IN_CONTEXT),
        (
            "studies/context_loop/claims",
            "limits + slack - values",
            "np.abs(limits + slack - values)",
            IN_CONTEXT,
        ),
        (
            "studies/context_loop/claims",
            "np.sqrt(g + 1)",
            "np.inf",
            f"{IN_CONTEXT}::{MOST_INFLUENCE}",
        ),
        ("studies/context_loop/claims", "TASK.dim <= k < m", "0 < k < m", f"{IN_CONTEXT}::{APART}"),
        ("studies/certificates/claims", "**data), trivial)", "**data))", RANGE_OF_LABELS),
    ),
)
PAIRS, JUDGED_PAIRS = "tests/test_stability.py", "tests/test_claims_stability.py"
TERMS = f"{PAIRS}::test_contraction_terms_are_those_of_the_statement"
PASSING = f"{PAIRS}::test_a_swap_of_generation_0_alone_is_passed_on_by_the_generator"
COMPARED = f"{PAIRS}::test_a_model_differs_from_itself_by_nothing_and_from_others_as_it_should"
COUPLED = f"{PAIRS}::test_a_maximal_coupling_has_its_laws_and_differs_as_little_as_can_be"
ITERATED = f"{PAIRS}::test_contraction_equals_literal_iteration"
STABILITY_MUTANTS = planted_in(
    "",
    ("bounds/stability", "bound[-1]) + put[..., i])", "bound[-1]))", ITERATED),
    ("learners/laws", "coin * first[rows] < law[rows]", "coin * law[rows] < first[rows]", COUPLED),
    (
        "loops",
        "jnp.where(index == 0, a.astype(b.dtype), b), first_reals",
        "jnp.where(index > 0, a.astype(b.dtype), b), first_reals",
        PASSING,
    ),
    ("studies/stability/loops", '"contraction": c / (1 + c)', '"contraction": c', TERMS),
    (
        "studies/stability/loops",
        "weights[0] * jnp.linalg.norm(first",
        "jnp.linalg.norm(first",
        TERMS,
    ),
    ("measure", "loss_max=jnp.max(change, axis=1)", "loss_max=jnp.mean(change, axis=1)", COMPARED),
    (
        "studies/stability/claims",
        "left[1] / left[0] / (1 - share)",
        "left[1] / left[0]",
        JUDGED_PAIRS,
    ),
    (
        "studies/stability/claims",
        "n * (bound - distance)[:, i], n * float(bound",
        "n * (bound + distance)[:, i], n * float(bound",
        JUDGED_PAIRS,
    ),
)
HOW_MUCH = "tests/test_claims_synthetic.py"
FRESH_GAP = (
    "tests/test_references_gaussian.py"
    "::test_gap_with_new_real_rows_and_its_parts_equal_linear_algebra"
)
SYNTHETIC_MUTANTS = planted_in(
    "",
    ("references/gaussian", "(1 - 2 * w) * before", "(1 - w) * before", FRESH_GAP),
    (
        "references/gaussian",
        "np.roll(mean_fresh(n, m, noise, last, w), 1)",
        "mean_fresh(n, m, noise, last, w)",
        FRESH_GAP,
    ),
    (
        "studies/synthetic/claims",
        "(1 - rho ** (2 * generation))",
        "(1 - rho**generation)",
        HOW_MUCH,
    ),
    ("studies/synthetic/claims", "-first / (2 * second)", "first / (2 * second)", HOW_MUCH),
    ("studies/synthetic/claims", "1 + 2 * generation * (1 + rho)", "1 + 2 * generation", HOW_MUCH),
    (
        "studies/synthetic/claims",
        "REGRET * values - values[:, [at]]",
        "REGRET * values[:, [at]] - values",
        HOW_MUCH,
    ),
    (
        "studies/synthetic/claims",
        "(margins.mean(0) / error).argmin()",
        "(margins.mean(0) / error).argmax()",
        HOW_MUCH,
    ),
    ("studies/synthetic/claims", "p > LEVEL / (len(p) - 1)", "p > LEVEL", HOW_MUCH),
    ("studies/synthetic/claims", "1 + int(eps[:, k, 1:].mean", "int(eps[:, k, 1:].mean", HOW_MUCH),
    (
        "studies/synthetic/claims",
        "margins = values[:, highest] - values[:, index]",
        "margins = np.abs(values[:, highest] - values[:, index])",
        HOW_MUCH,
    ),
    ("studies/synthetic/claims", "mirror, objective, n", "world, objective, n", HOW_MUCH),
    ("studies/synthetic/claims", "-1 if at == 0 else 0", "0", HOW_MUCH),
    ("studies/judging", "among * less", "less", HOW_MUCH),
    ("studies/judging", "level / cell.among", "level", HOW_MUCH),
)
OVER_SIZES, PARTS, SHIFTED_PARTS = (
    "tests/test_sizes.py",
    "tests/test_claims_convergence.py",
    "tests/test_measure.py::test_the_parts_of_the_gap_are_unbiased",
)
INPUTS = f"{OVER_SIZES}::test_inputs_are_those_of_the_rows_there_are"
NO_WEIGHT = f"{OVER_SIZES}::test_rows_beyond_the_sizes_have_no_weight"
SUM_OF_PARTS = f"{OVER_SIZES}::test_the_gap_is_the_sum_of_its_parts"
OWN_RISK = "tests/test_measure.py::test_own_risk_is_the_loss_of_labels_from_the_law"
SIZES_MUTANTS = planted_in(
    "",
    ("rows", "jnp.arange(places) < there", "jnp.arange(places) <= there", NO_WEIGHT),
    ("loops", "if sizes is None else sizes[:2]", "if sizes is None else sizes[:1] * 2", NO_WEIGHT),
    ("loops", "in_turn(real, n_syn, samples))", "in_turn(real, n_syn))", INPUTS),
    (
        "loops",
        "share = jnp.where(is_first, 1.0, share)",
        "share = jnp.where(is_first, share, share)",
        SUM_OF_PARTS,
    ),
    (
        "loops",
        "jax.lax.cond(jnp.logical_and(fresh, ~is_first), new,",
        "jax.lax.cond(~is_first, new,",
        f"{OVER_SIZES}::test_full_places_are_the_loop_of_the_regime",
    ),
    (
        "studies/convergence/loops",
        "np.arange(experiment.places.samples) == k",
        "np.arange(experiment.places.samples) == 0",
        OVER_SIZES,
    ),
    ("measure", "GapParts(on_test - on_real, ", "GapParts(on_test + on_real, ", SHIFTED_PARTS),
    ("measure", "- on_written - own_risk(task, own)", "- on_written", SHIFTED_PARTS),
    ("measure", "below = c * (inside - t *", "below = c * (inside + t *", OWN_RISK),
    (
        "studies/convergence/claims",
        "margins = large - small",
        "margins = small - large",
        PARTS,
    ),
    ("studies/convergence/claims", "mean[chosen] / mean[best]", "mean[best] / mean[chosen]", PARTS),
    (
        "studies/convergence/claims",
        "(1 - experiment.size.share) * shift",
        "experiment.size.share * shift",
        PARTS,
        1,
    ),
)
KNOWN, OF_LOOPS = "tests/test_known_loops.py", "tests/test_claims.py"
MEASURED_RIGHT = f"{KNOWN}::test_what_measures_the_transformer_measures_them_right"
NOTICED = f"{OF_LOOPS}::test_known_total_variations_are_measured_right_and_wrong_factors_noticed"
NORMAL_LAWS = f"{KNOWN}::test_known_total_variations_are_those_of_normal_laws"
GROWN = f"{OF_LOOPS}::test_growth_is_shown_beside_what_the_recursion_allows_and_not_judged"
KNOWN_MUTANTS = planted_in(
    "",
    ("measure", "jnp.log1p(-real_share) + log_mixture", "log_mixture", MEASURED_RIGHT),
    ("measure", "jnp.log(real_share) + prefix", "prefix", MEASURED_RIGHT),
    ("studies/transformer/loops", "law.mean + shift * law.std", "law.mean + shift", MEASURED_RIGHT),
    (
        "studies/transformer/loops",
        "(rows.ys - law.mean) / law.std",
        "rows.ys - law.mean",
        f"{KNOWN}::test_shifts_follow_their_recursion",
    ),
    ("studies/transformer/claims", "np.sqrt(labels)", "labels", NORMAL_LAWS),
    ("studies/transformer/claims", "- logit(1 - alpha)", "- logit(alpha)", NORMAL_LAWS),
    ("studies/transformer/claims", "own = ratio / factor", "own = ratio", NOTICED),
    ("studies/transformer/claims", "total - start[:, None]", "total", GROWN),
)
MEANS = "tests/test_judging.py"
BY_HAND, UNSURE, FORMULA = (
    f"{MEANS}::{name}"
    for name in (
        "test_skewness_by_hand",
        "test_what_few_cells_do_not_know_counts_below_the_level_alone",
        "test_student_with_known_skew_is_its_formula",
    )
)
WHO, SIGNS, BOUNDED, POOLED = (
    f"{MEANS}::{name}"
    for name in (
        "test_what_decides",
        "test_two_values_are_not_decided_by_their_signs_alone",
        "test_bernstein_is_the_level_at_which_the_bound_is_0",
        "test_skew_is_pooled_over_a_family_of_cells_with_spread",
    )
)
ALONE, NEVER_JUDGED, FAMILIES, UNSEEN = (
    f"{MEANS}::{name}"
    for name in (
        "test_a_claim_holds_if_every_cell_does_at_the_level_and_cells_alone_by_holm",
        "test_what_is_vacuous_or_true_by_definition_is_never_judged",
        "test_every_family_of_a_control_is_needed",
        "test_forty_loops_without_the_rare_event_decide_nothing",
    )
)
JUDGING_MUTANTS = planted_in(
    "",
    ("intervals", "np.sqrt(r * (r - 1)) / (r - 2)", "1", BY_HAND),
    ("intervals", "np.maximum(0, -np.asarray(skew", "np.maximum(0, np.asarray(skew", FORMULA),
    ("intervals", "(2 * x**2 + 1) * mills", "(x**2 + 1) * mills", FORMULA),
    ("intervals", "np.log(8 * (r - 1)) / 2", "np.log(8 * r) / 2", FORMULA),
    ("intervals", "np.log(LEVEL) - own) / 2", "np.log(LEVEL) - own) / 3", UNSURE),
    ("intervals", "(growth**2 - usual**2)", "growth**2", UNSURE),
    ("intervals", "(seen**2 * np.asarray(cells))", "seen**2", UNSURE),
    ("intervals", "25 * np.square(skew)", "np.square(skew)", f"{MEANS}::test_cochrans_rule"),
    ("intervals", "r, 1 - np.exp(-1))", "r, 0.5)", f"{MEANS}::test_log_concave_by_hand"),
    (
        "intervals",
        "sums >= sums[0] - near",
        "sums > sums[0] + near",
        f"{MEANS}::test_sign_flips_by_hand",
    ),
    ("intervals", "2 * np.exp(-(root**2))", "np.exp(-(root**2))", BOUNDED),
    ("intervals", "7 * (high - low) / (3 * (r - 1))", "7 * (high - low) / (3 * r)", BOUNDED),
    ("intervals", 'chosen & (by == "none") & self.spread', 'chosen & (by == "none")', UNSEEN),
    (
        "intervals",
        "skew = sign * self.skew",
        "skew = self.skew",
        f"{MEANS}::test_skew_counts_where_it_is_adverse",
    ),
    (
        "intervals",
        "(r >= MANY) & (np.abs",
        "(np.abs",
        f"{MEANS}::test_few_replicates_are_not_decided_by_signs",
    ),
    (
        "intervals",
        "near * (near / r) ** (r - 2)",
        "(near / r) ** (r - 1)",
        f"{MEANS}::test_positive_margins_that_are_near_to_each_other_say_more",
    ),
    ("intervals", "np.maximum(10 * log_concave_p", "np.minimum(10 * log_concave_p", SIGNS),
    ("intervals", "low, high = sorted(", "high, low = sorted(", WHO),
    ("intervals", "(total / seen)[family]", "total[family]", POOLED),
    ("studies/judging", "(p_for <= LEVEL).all()", "(p_for <= LEVEL).any()", ALONE),
    ("studies/judging", 'and set(untested) <= {"holds"}', "", ALONE),
    ("studies/judging", "if whole:", "if False:", ALONE),
    ("studies/judging", ">= self.ceiling", "> self.ceiling", NEVER_JUDGED),
    ("studies/judging", "self.finding or self.by_definition or", "self.finding or", NEVER_JUDGED),
    (
        "studies/judging",
        'if "family" not in cell.keys:',
        "if False:",
        f"{MEANS}::test_a_control_without_family_is_refused",
    ),
    ("studies/judging", "bool(families) and not failed", "not failed", FAMILIES),
    (
        "studies/judging",
        "families.setdefault(cell.family, [])",
        'families.setdefault("", [])',
        FAMILIES,
    ),
)
SHORT = (
    *JUDGING_MUTANTS[4::8],
    *SIZES_MUTANTS[8:],
    *KNOWN_MUTANTS[6:],
    *SYNTHETIC_MUTANTS[2::6],
    *STABILITY_MUTANTS[:1],
    *COLLAPSE_MUTANTS[::9],
    *MUTANTS[::5],
    *LOOP_MUTANTS[2::7],
    *CONTEXT_MUTANTS[:8:7],
)


EVERY = (
    *(*MUTANTS, *LOOP_MUTANTS, *CONTEXT_MUTANTS, *COLLAPSE_MUTANTS),
    *(*STABILITY_MUTANTS, *SYNTHETIC_MUTANTS, *SIZES_MUTANTS),
    *(*KNOWN_MUTANTS, *JUDGING_MUTANTS),
)


def path_of(mutant: Mutant, root: Path) -> Path:
    """The file in which a fault is planted."""
    return root / "icl_stl" / mutant.room / f"{mutant.file}.py"


def misplaced(mutant: Mutant, root: Path) -> str:
    """Why a fault has no place in the code; nothing if it has one."""
    path = path_of(mutant, root)
    found = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
    if mutant.count is None and found != 1:
        return f"in the code {found} times, not once"
    if mutant.count is not None and not 1 <= mutant.count <= found:
        return f"in the code {found} times, {mutant.count} is none of them"
    return ""


def plant(mutant: Mutant, root: Path) -> None:
    """Put a fault into the code."""
    path = path_of(mutant, root)
    pieces = path.read_text(encoding="utf-8").split(mutant.old)
    at = mutant.count or 1
    text = mutant.old.join(pieces[:at]) + mutant.new + mutant.old.join(pieces[at:])
    path.write_text(text, encoding="utf-8")


def copied(root: Path, folder: Path) -> None:
    """Copy what tests need into a folder."""
    for name in ("icl_stl", "tests", "paper_checks"):
        if (root / name).is_dir():
            shutil.copytree(
                root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    shutil.copy(root / "pyproject.toml", folder)


class Run(NamedTuple):
    """How a run of tests ended: exit status (None: it did not), outcomes by test, what it said."""

    status: int | None
    outcomes: dict[str, str]
    said: str

    def of(self, test: str) -> set[str]:
        """Outcomes of a test, or of the tests of a file."""
        return {
            outcome
            for name, outcome in self.outcomes.items()
            if name.startswith((f"{test}::", f"{test}[")) or name == test
        }


def run(folder: Path, tests: Iterable[str], *options: str) -> Run:
    """Run tests in a folder, in a process of its own."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-o", "junit_family=xunit1", f"--junitxml={report}", *options, *tests]
    # Programs are compiled once for all faults that leave them as they are.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **cache},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return Run(None, {}, f"no end within {PATIENCE} s")
    outcomes = {}
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            name = f"{case.get('file')}::{case.get('name')}"
            # What fails while it is torn down is there twice.
            outcomes[name] = min(kinds | {outcomes.get(name, "passed")}, key=_BADNESS.index)
    return Run(done.returncode, outcomes, done.stdout + done.stderr)


_BADNESS = ("error", "failure", "skipped", "passed")


def unfit(
    mutants: Sequence[Mutant], every: Sequence[Mutant], root: Path, folder: Path
) -> list[str]:
    """Why faults say nothing about tests, before any is planted; empty if all is well.

    Args:
        mutants: Those to be tried: their tests are run without any fault.
        every: All of them: their places and tests have to exist.
        root: The repository.
        folder: A copy of it.
    """
    if wrong := [f"{mutant}: {why}" for mutant in every if (why := misplaced(mutant, root))]:
        return wrong
    names = sorted({mutant.test for mutant in every})
    collected = run(folder, names, "--collect-only")
    if collected.status != 0:
        said = [line for line in collected.said.splitlines() if line.startswith("ERROR")]
        return said or [f"tests cannot be collected: {collected.said}"]
    tried = sorted({test for mutant in mutants for test in tests_of(mutant)})
    sound = run(folder, tried)
    for test in tried:
        if bad := sound.of(test) & {"failure", "error"}:
            wrong.append(f"{test}: {', '.join(sorted(bad))} without any fault")
        elif "passed" not in sound.of(test):
            wrong.append(f"{test}: nothing of it is run")
    if sound.status != 0 and not wrong:
        wrong.append(f"tests without any fault end with status {sound.status}: {sound.said}")
    return wrong


def tests_of(mutant: Mutant) -> list[str]:
    """The tests that may notice a fault, those of its own room first."""
    rest = {D, S, G, C, P, T} if mutant.room == "bounds/" else set()
    return [mutant.test, *sorted(rest - {mutant.test})]


def tried(mutant: Mutant, root: Path, parent: Path) -> str:
    """What becomes of a fault: `caught`, `survived`, or why it is badly planted."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        copied(root, folder)
        plant(mutant, folder)
        own, *rest = tests_of(mutant)
        for tests in ([own], rest):
            found = run(folder, tests, "-x") if tests else Run(0, {}, "")
            if found.status == 1 and "failure" in found.outcomes.values():
                return "caught"
            if found.status != 0:
                last = " ".join(found.said.split()[-40:])
                return f"badly planted, tests end with status {found.status}: {last}"
    return "survived"


def judge(
    mutants: Sequence[Mutant], every: Sequence[Mutant], root: Path = ROOT, jobs: int = 1
) -> int:
    """Try these faults of all; the exit status."""
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        whole = parent / "whole"
        whole.mkdir()
        copied(root, whole)
        if wrong := unfit(mutants, every, root, whole):
            print("\n".join(wrong))
            return 1
        with ThreadPoolExecutor(jobs) as pool:
            ended = list(pool.map(lambda mutant: tried(mutant, root, parent), mutants))
    for mutant, what in zip(mutants, ended, strict=True):
        if what != "caught":
            print(f"{mutant}: {what}")
    caught, survived = ended.count("caught"), ended.count("survived")
    print(f"{caught} of {len(mutants)} faults caught ({caught / len(mutants):.1%})")
    return int(caught < 0.95 * len(mutants) or caught + survived < len(mutants))


def main() -> int:
    """Run the mutants and print those that no test notices."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="every fifth fault only")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    options = parser.parse_args()
    return judge(SHORT if options.short else EVERY, EVERY, jobs=options.jobs)


if __name__ == "__main__":
    sys.exit(main())
