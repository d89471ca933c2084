"""The claim about prompts that a generator keeps of its own, those that it is surest of."""

from dataclasses import replace

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Experiment
from icl_stl.lab.results import Floats
from icl_stl.problems import EmpiricalBayes, InContext
from icl_stl.studies.cells import below, constant, equal, of_family, run_count, together
from icl_stl.studies.confidence.experiments import FilteredLoops, Rule
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

RATES = (0.5, 0.8)
RULES: tuple[Rule, ...] = tuple((rate, own) for own in (True, False) for rate in RATES)
"""Keep rates, by the model's own confidence and by lot."""

PRIOR, NOISE, DIM, REPEATS = 1.0, 0.5, 2, 4
"""τ, σ, d and n of the solvable learner's design."""

PROMPTS, LAST = 40, 2
"""Prompts and generations of its loops: before any fit is cut off at 0."""


def _solvable(preset: Preset) -> FilteredLoops:
    problem = EmpiricalBayes(DIM, REPEATS, NOISE, PRIOR, plug_in=False)
    return FilteredLoops(problem, RULES, PROMPTS, LAST, run_count(preset, 0.25))


def _transformer(preset: Preset) -> FilteredLoops:
    size = preset.confidence
    problem = InContext(preset.task, preset.architecture, size.training, size.held_out)
    return FilteredLoops(problem, RULES, size.samples, size.generations, size.replicates)


def _words(rule: Rule) -> str:
    rate, own = rule
    return f"{rate:.0%} kept {'by confidence' if own else 'by lot'}"


def _keys(experiment: FilteredLoops, rule: Rule, generation: int, kind: str, words: str) -> Json:
    return {
        **{"loop": experiment.problem.words, "regime": "replace", "generation": generation},
        **{"alpha": 0.0, "n": experiment.samples, "kind": kind, "rate": rule[0], "own": rule[1]},
        "quantity": f"{words}, {_words(rule)}",
    }


def _seen(evidence: Evidence, experiment: FilteredLoops, name: str) -> dict[Rule, Floats]:
    values = evidence.experiments[experiment][name].astype(np.float64)
    return {rule: values[:, k] for k, rule in enumerate(experiment.rules)}


def _judge_solvable(evidence: Evidence) -> Judged:
    experiment, cells, control = _solvable(evidence.preset), [], []
    design = PRIOR, DIM, REPEATS, NOISE, PROMPTS
    for rule, values in _seen(evidence, experiment, "task_variance").items():
        faded = references.task_variance_surest(*design, rule[0], LAST)
        law, other = (faded, PRIOR**2) if rule[1] else (np.full(LAST + 1, PRIOR**2), faded)
        for i in range(1, LAST + 1):
            keys = _keys(experiment, rule, i, "law", "task variance of the kept prompts")
            cells.append(equal(values[:, i], float(law[i]), keys))
            wrong = equal(values[:, i], float(np.broadcast_to(other, law.shape)[i]), keys)
            control.append(of_family(wrong, _words(rule), "what the other filter does"))
    factors = {
        f"{q:g}": references.surest_moment(PROMPTS, round(q * PROMPTS), DIM * REPEATS)
        for q in RATES
    }
    what = "what one generation leaves of the second moments of prompts"
    return Judged(cells, control, [constant(what, factors, "certified")])


def _judge_transformer(evidence: Evidence) -> Judged:
    experiment, cells, control = _transformer(evidence.preset), [], []
    variance = _seen(evidence, experiment, "task_variance")
    excess = _seen(evidence, experiment, "excess_nll")
    last = experiment.generations
    for rate in RATES:
        own, lot = (rate, True), (rate, False)
        keys = _keys(experiment, own, last, "kept", "task variance against that by lot")
        cells.append(_less(variance[own][:, -1], variance[lot][:, -1], keys))
        wrong = _less(variance[lot][:, -1], variance[own][:, -1], keys)
        control.append(of_family(wrong, f"{rate:g}", "it keeps the task variance"))
        keys = _keys(experiment, own, last, "grown", "excess NLL of the first fit against that")
        cells.append(_less(excess[own][:, 0], excess[own][:, -1], keys))
        wrong = _less(excess[own][:, -1], excess[own][:, 0], keys)
        control.append(of_family(wrong, f"{rate:g}", "it prevents collapse"))
        keys = _keys(experiment, own, last, "cost", "excess NLL by lot against that")
        cells.append(replace(_less(excess[lot][:, -1], excess[own][:, -1], keys), finding=True))
    for name, values in (("task_variance", variance), ("excess_nll", excess)):
        for rule, paths in values.items():
            for i in range(last + 1):
                keys = _keys(experiment, rule, i, name, name.replace("_", " "))
                cells.append(
                    Cell(np.zeros_like(paths[:, i]), paths[:, i], np.nan, keys, finding=True)
                )
    return Judged(cells, control, [])


def _less(values: Floats, others: Floats, keys: Json) -> Cell:
    return replace(below(values, others, keys), proved=False)


def _judge(evidence: Evidence) -> Judged:
    return together(_judge_solvable(evidence), _judge_transformer(evidence))


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return _solvable(preset), _transformer(preset)


CLAIMS = (
    Claim(
        name="own_confidence",
        statement="without real prompts a generator that keeps those of its own that it is surest "
        "of loses the variance of the tasks, by the exact law of empirical Bayes, and so does the "
        "transformer: below what the same number kept by lot leaves; its excess NLL grows beyond "
        "that of the first fit. So the filter does not prevent collapse",
        source="derived here: THEORY.md statement 156; setting of Fu, Wang, Chen, Shen and Tao "
        "2025, whose abstract says otherwise of its filter; of the transformer measured",
        control="what the other filter does; it keeps the task variance; it prevents collapse",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about own confidence."""
