"""The claim about token editing: which of the statements about it hold, and which need what.

Least squares by both models of an edit, symbols of which the surest are edited, and, as findings,
an n-gram of rows of a Markov chain beside replacement and augmentation.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.problems import Categorical, Chain, Ols, expected_excess
from icl_stl.regimes import Augment, Edit, Regime, Replace
from icl_stl.studies.cells import (
    above,
    below,
    constant,
    equal,
    exact,
    formula,
    of_family,
    run_count,
    where,
    wide,
)
from icl_stl.studies.editing.experiments import Schedules
from icl_stl.studies.judging import Cell, Claim, Evidence, Judged
from icl_stl.studies.presets import Preset

ROWS, ROUNDS = 30, 8
FALLING = (12.0, 6.0, 3.0, 2.0, 1.0)
"""Labels edited in each round, 24 of 30 in all."""
SCHEDULES: dict[str, Edit] = {
    "additive, falling": Edit(FALLING, "additive"),
    "additive, constant": Edit((6.0,), "additive"),
    "replace, falling": Edit(FALLING),
    "replace, constant": Edit((6.0,)),
    "full replacement": Edit(),
}
SHOWN = (1, 2, 4, 8)
BOUND = 2.0
"""The finite bound over the error of one fit, 2 sigma² d/(n - d - 1) over s_n."""

SYMBOLS, SURE = Categorical((0.95, 0.03, 0.02)), Edit(threshold=0.9)
LATER = (2, 3, 5)
"""Generations of the symbols: their error is no longer that of the real rows alone."""

TEXT = Chain()
TEXTS: dict[str, Regime] = {
    "edit the surest": Edit(threshold=0.99),
    "replace": Replace(),
    "augment": Augment(0.5),
}
NUMBERS = {
    "drift": "total variation of the next symbol",
    "support": "symbols that may come next",
    "entropy": "entropy of the next symbol, nats",
}


def least_squares(preset: Preset) -> Schedules:
    """All schedules of edits, one program."""
    regimes = tuple(SCHEDULES.values())
    return Schedules(Ols(8), regimes, ROWS, ROUNDS, run_count(preset))


def texts(preset: Preset) -> dict[str, Loops]:
    """Loops of the chain, by what is done to the text."""
    runs = run_count(preset, 0.02)
    return {name: Loops(TEXT, one, 50, 10, runs, "risks") for name, one in TEXTS.items()}


def surest(preset: Preset) -> Loops:
    """Loops on symbols, the surest of which are edited."""
    return Loops(SYMBOLS, SURE, 100, max(LATER), run_count(preset), "risks")


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return (least_squares(preset), surest(preset), *texts(preset).values())


def _least_squares_cells(evidence: Evidence) -> Judged:
    experiment = least_squares(evidence.preset)
    n, d = experiment.samples, experiment.problem.dim
    excess, cells, control = wide(evidence, experiment, "excess"), [], []
    laws = {
        name: expected_excess(experiment.problem, regime, n, ROUNDS)
        for name, regime in SCHEDULES.items()
    }
    single = laws["full replacement"][0]
    other = {"additive": "replace", "replace": "additive"}
    for k, (name, regime) in enumerate(SCHEDULES.items()):
        seen, law = excess[:, k] / single, laws[name] / single
        model, _, rate = name.partition(", ")
        keys: dict[str, Any] = {"loop": "ols", "regime": name, "n": n}
        for i in SHOWN:
            here = {**keys, "generation": i, "kind": "error", "curve": law.tolist()}
            here["quantity"] = "excess risk over that of one fit"
            cells.append(equal(seen[:, i], float(law[i]), here))
            if rate:
                wrong = equal(seen[:, i], float(laws[f"{other[model]}, {rate}"][i] / single), here)
                control.append(of_family(wrong, f"the law of {other[model]}"))
            if model == "replace":
                between = references.ols_edit_replace_bounds(
                    n, d, experiment.problem.noise, regime.counts(n, ROUNDS)
                )
                here = {**here, "kind": "between", "quantity": "exact law, between its bounds"}
                low = {**here, "direction": "at least"}
                cells.append(exact(float(between.low[i] / single), float(law[i]), low))
                cells.append(exact(float(law[i]), float(between.high[i] / single), here))
        here = {**keys, "generation": ROUNDS, "kind": "finite bound"}
        here["quantity"] = "excess risk against the finite bound, over that of one fit"
        holds, broken = below(seen[:, -1], BOUND, here), above(seen[:, -1], BOUND, here)
        cells.append(holds if law[-1] < BOUND else broken)
        control.append(of_family(broken if law[-1] < BOUND else holds, "the finite bound"))
    return Judged(cells, control, [])


def _symbol_cells(evidence: Evidence) -> Judged:
    experiment = surest(evidence.preset)
    n, law = experiment.samples, np.array(SYMBOLS.probabilities)
    seen = wide(evidence, experiment, "excess")
    known = references.law_edit_sure(law, n, 0.9, max(LATER))
    by_lot = references.law_edit(law, n, [95] * max(LATER))
    cells, control = [], []
    for i in LATER:
        keys = where(experiment, i, kind="surest", quantity="squared distance of the law")
        cells.append(equal(seen[:, i], float(known[i]), keys))
        control.append(of_family(equal(seen[:, i], float(by_lot[i]), keys), "as many by lot"))
    return Judged(cells, control, [])


def _text_cells(evidence: Evidence) -> list[Cell]:
    chain = TEXT.laws()[1][: TEXT.symbols]
    share, sure = 0.1, references.chain_edit(chain, 1.0, 0.99)
    moved = [
        np.abs(one - chain).sum(1).max() / 2 for one in (references.chain_edit(chain, share), sure)
    ]
    keys: dict[str, Any] = {
        "loop": TEXT.words,
        "regime": "edit",
        "generation": 1,
        "kind": "one round",
    }
    keys["quantity"] = "largest total variation after one round of a long text, by lot (a tenth)"
    cells = [formula(float(moved[0]), float(moved[1]), {**keys, "surest": float(moved[1])})]
    for name, experiment in texts(evidence.preset).items():
        for what, words in NUMBERS.items():
            seen = wide(evidence, experiment, what)
            for i in range(experiment.generations + 1):
                keys = where(experiment, i, kind=what, quantity=words)
                cell = equal(seen[:, i], float(seen[:, 0].mean()), {**keys, "regime": name})
                cells.append(replace(cell, finding=True))
    return cells


def _judge(evidence: Evidence) -> Judged:
    squares, symbols = _least_squares_cells(evidence), _symbol_cells(evidence)
    return Judged(
        [*squares.cells, *symbols.cells, *_text_cells(evidence)],
        [*squares.control, *symbols.control],
        [
            constant(
                "labels edited at a falling rate, share in all", sum(FALLING) / ROWS, "certified"
            ),
            constant("threshold of symbols, of text", [0.9, 0.99], "certified"),
        ],
    )


CLAIMS = (
    Claim(
        name="token_editing",
        statement="least squares: an edit that adds noise gives the error of one fit times 1 + "
        "edited labels over n, so that the finite bound, twice that of one fit, holds if and only "
        "if they are at most n: at a falling rate, not at a constant one. An edit that replaces a "
        "label by a prediction gives more, and here breaks the bound at either; all replaced: "
        "linear. Symbols, the surest redrawn: the exact law. Text, beside replacement and "
        "augmentation: a finding",
        source="derived here: laws of edited labels and symbols. Setting and additive model: Zhu "
        "et al. 2024 (ToEdit), recalled; the finite bound: published, its abstract",
        control="each model by the law of the other; the finite bound on the other side; symbols "
        "edited by lot",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about token editing."""
