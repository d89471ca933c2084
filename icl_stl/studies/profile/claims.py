"""The claim about the profile of collapse: loops meet the definitions that closed forms say.

`TABLE` is the table of loops with a closed form, `icl_stl.profile` what they meet.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from icl_stl import profile
from icl_stl.lab.experiments import Experiment, Loops, LoopSize, SizedLoops
from icl_stl.problems import Categorical, EmpiricalBayes, Gaussian, GaussianMean, Ols, Problem
from icl_stl.regimes import (
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Augment,
    AugmentSameInputs,
    FreshReal,
    RealOnly,
    Regime,
    Replace,
    real_share,
)
from icl_stl.studies.cells import above, below, constant, of_family, run_count, wide
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

ROWS = 40
"""n of all loops. Of 20 the squared error of a fitted normal law is so skewed by generation 30 that
no test of its mean decides."""
LAW = (0.19,) * 5 + (0.01,) * 5
"""A law on symbols, half of them rare."""
LAST = 30
"""G of the loops that are compared with the table."""
CLEAR = 0.1
"""Least margin of what is compared with loops, relative to the threshold: others are too near."""
KEPT = AccumulateFresh(), AccumulateSubsample()
MIXED = (Replace(), Augment(0.5), Augment(0.2), FreshReal(), *KEPT, RealOnly())
SAME = AugmentSameInputs(0.5), AugmentSameInputs(0.2)
FITTED = (Replace(), *SAME, FreshReal(), Accumulate(), RealOnly())
NARROWED = (Replace(), FreshReal(19.0), AccumulateFresh())
"""Regimes of the table, by problem."""
TABLE: tuple[tuple[str, Problem, tuple[Regime, ...]], ...] = (
    ("normal mean", GaussianMean(), MIXED),
    ("least squares", Ols(2, 0.5), FITTED),
    ("normal law", Gaussian(), MIXED),
    ("normal law, bias 0.1", Gaussian(sampling_bias=0.1), NARROWED),
    ("symbols", Categorical(LAW), MIXED),
)
"""Loops with a closed form."""


class Seen(NamedTuple):
    """A loop that is measured, its closed form and what the table calls it."""

    words: str
    problem: Problem
    regime: Regime
    values: Mapping[str, Any]
    """The quantities of `profile.margins`, of every loop: [R, G+1]."""


def in_words(regime: Regime) -> str:
    """A regime with its share of real rows, where that is constant."""
    share = real_share(regime, ROWS, 1)
    own = 0 < share < 1 and not regime.keeps_history
    name = regime.name.removesuffix("-same-inputs").removesuffix("-fresh")
    return f"{name} {share:g}" if own else name


def _row(words: str, regime: Regime, of: profile.Profile) -> Json:
    """A row of the table: each definition's verdicts by generation, and how they are known."""
    return {"loop": words, "regime": in_words(regime), "definitions": profile.as_json(of)}


@cache
def exact_rows() -> tuple[Json, ...]:
    """The table of loops with a closed form, n = `ROWS`."""
    return tuple(
        _row(words, regime, profile.exact(problem, regime, ROWS))
        for words, problem, regimes in TABLE
        for regime in regimes
    )


def _sized(preset: Preset) -> tuple[tuple[str, SizedLoops, tuple[Regime, ...]], ...]:
    """Loops that are compared with the table: their words, how they are run, their regimes."""
    last, runs = LAST, run_count(preset)
    beside = tuple(LoopSize(ROWS, ROWS, weight) for weight in (0.0, 0.5))
    fresh = (LoopSize(ROWS, ROWS, 0.5),)
    return (
        ("normal law", SizedLoops(Gaussian(), "fixed", beside, last, runs), MIXED[:2]),
        ("symbols", SizedLoops(Categorical(LAW), "fixed", beside, last, runs), MIXED[:2]),
        ("normal mean", SizedLoops(GaussianMean(), "fresh", fresh, last, runs), MIXED[3:4]),
    )


def _prompts(preset: Preset) -> Loops:
    """A loop without a law: prompts of the Bayes predictor with a fitted prior."""
    runs = run_count(preset, 0.03)
    return Loops(EmpiricalBayes(plug_in=False), Replace(), ROWS, LAST, runs, "implied")


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return (*(experiment for _, experiment, _ in _sized(preset)), _prompts(preset))


def _loops(evidence: Evidence) -> Iterator[Seen]:
    """What was seen of the loops with a closed form."""
    for words, experiment, regimes in _sized(evidence.preset):
        found = {
            name: wide(evidence, experiment, name) for name in evidence.experiments[experiment]
        }
        for k, regime in enumerate(regimes):
            own: dict[str, Any] = {"excess": found["excess"][:, k]}
            own |= {"variance": found["variance"][:, k]} if "variance" in found else {}
            own |= {"support": found["symbols_left"][:, k]} if "symbols_left" in found else {}
            if "precision" in found:
                outside = 1 - (1 - profile.BEYOND) * found["precision"][:, k]
                own["tails"] = outside < profile.LEFT * profile.BEYOND
            if regime.fresh_real:
                of = experiment.problem, regime, ROWS, experiment.generations
                own["alone"] = np.broadcast_to(profile.expected(*of)["alone"], own["excess"].shape)
            yield Seen(words, experiment.problem, regime, own)


def _judge(evidence: Evidence) -> Judged:
    cells: list[Cell] = []
    control: list[Cell] = []
    rows = [*exact_rows()]
    replaced: dict[str, dict[str, Any]] = {}
    for words, problem, regime, values in _loops(evidence):
        known = profile.expected(problem, regime, ROWS, LAST)
        exact, seen = profile.margins(known), profile.margins(values)
        exact = {name: own / _size(known, name) for name, own in exact.items() if name in seen}
        others = replaced.setdefault(words, exact)
        names = [*exact]
        for k, name in enumerate(names):
            for i in profile.looked_at(LAST):
                at: Json = {"loop": words, "regime": in_words(regime), "generation": i, "n": ROWS}
                at |= {"kind": name, "quantity": profile.DEFINITIONS[name].title}
                own, value = seen[name][:, i] / _size(known, name), exact[name][i]
                if abs(value) < CLEAR:
                    continue
                cells.append(_side(own, value, at))
                wrong = {
                    "another definition": exact[names[k - 1]][i],
                    "another generation": exact[name][profile.AT[0]],
                    "another regime": others[name][i],
                }
                control += [
                    of_family(_side(own, side, at), what)
                    for what, side in wrong.items()
                    if side * value < 0
                ]
        more = {name: values[name] for name in ("tails",) if name not in known and name in values}
        if more:
            found = profile.measured(more)
            lost = {"kind": "tails", "quantity": "share of loops that have lost their tails"}
            cells += _findings(words, regime, lost, np.asarray(values["tails"], float))
            (row,) = [r for r in rows if (r["loop"], r["regime"]) == (words, in_words(regime))]
            rows[rows.index(row)] = _row(
                words, regime, profile.exact(problem, regime, ROWS) | found
            )
    of = _prompts(evidence.preset)
    fitted, prompts = wide(evidence, of, "fitted"), "empirical Bayes"
    values = {"excess": wide(evidence, of, "excess"), "task_variance": fitted}
    rows.append(_row(prompts, of.regime, profile.measured(values)))
    left = {"kind": "task_variance", "quantity": "task variance over that of generation 0"}
    cells += _findings(prompts, of.regime, left, fitted / fitted[:, 0].mean())
    table = constant(f"profile, n = {ROWS}", rows, "certified where exact, else measured")
    return Judged(cells, control, [table])


def _size(known: Mapping[str, Any], name: str) -> float:
    """The threshold of a definition, that margins are relative to."""
    of = "excess" if name in profile.OF_ERROR else name
    start = 1.0 if name == "tails" else float(known[of][0])
    return start * profile.SHARES[name]


def _side(values: Any, side: float, keys: Json) -> Cell:
    """Margins that should be on this side of 0: the definition is met, or it is not."""
    return above(values, 0.0, keys) if side > 0 else below(values, 0.0, keys)


def _findings(words: str, regime: Regime, more: Json, values: Any) -> list[Cell]:
    """What is measured where no closed form is known."""
    keys: Json = {"loop": words, "regime": in_words(regime), "n": ROWS, **more}
    return [
        Cell(own, own, np.nan, {**keys, "generation": i}, finding=True)
        for i, own in ((i, values[:, i]) for i in profile.looked_at(LAST))
    ]


CLAIMS = (
    Claim(
        name="profile",
        statement="eight definitions of collapse, from an error without bound to worse than real "
        "rows only, are eight predicates on the mean path of a loop: loops of normal laws and of "
        f"symbols, n = {ROWS}, without real rows, beside a fixed real set and with new real rows, "
        "meet by generation 10 and 30 those, and only those, that their closed forms say, as far "
        "as a finite run can show it and no margin is near. "
        "What has no closed form is measured: tails of a fitted normal law, task variance",
        source="derived here: THEORY.md statements 150 to 155; definitions recalled from their "
        "papers",
        control="verdicts of another definition, of another generation, of the loop without real "
        "rows",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about the profile."""
