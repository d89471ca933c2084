"""What is lost by following pilots: the amount of least fitted loss, and the best pilot itself.

A few of the loops that are followed at many amounts are pilots, at a few of them; what is lost is
seen in a closed form or in the other loops. But for mixtures and flows nothing is run for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from icl_stl.lab.experiments import Experiment, SizedLoops
from icl_stl.lab.results import Floats
from icl_stl.planning.pilots import Pilots, fit, plan_pilots
from icl_stl.studies.cells import constant, exact, formula, wide
from icl_stl.studies.convergence.claims import ARRAYS, OBJECTIVES, sweeps
from icl_stl.studies.judging import Claim, Evidence, Json, Judged
from icl_stl.studies.pilots.experiments import generative_loops
from icl_stl.studies.presets import Preset
from icl_stl.studies.synthetic.claims import CLAIMS as SYNTHETIC
from icl_stl.studies.synthetic.claims import closed_form

(SIZES,) = (claim for claim in SYNTHETIC if claim.name == "optimal_synthetic_size")
"""Whose loops these are."""
AMOUNTS, MEASURED = (0.0, 1.0, 4.0), (1, 2, 3)
"""λ and generations of the pilots: coarse."""
ASKED = (3, 10)
"""Generations that are planned for: the last one of the pilots, and one far beyond them."""
SETS, FEWEST, MOST = 20, 5, 100
"""Sets of pilots, and the loops of one: a twentieth of all, but so many at least and at most."""
WORST, MEDIAN = 1.25, 1.08
"""Loss at the planned amount over the least: at most, in the mean over sets of pilots; and in the
median over cases."""
DRAWS = 50
"""Refits behind the set that is shown."""


class Case(NamedTuple):
    """Loops of one learner at many amounts."""

    loop: str
    world: str
    n: int
    lams: Floats
    """Amounts at which they were run, `[L]`."""
    values: Floats
    """Excess loss, `[R, L, G + 1]`."""
    known: Mapping[int, tuple[Floats, Floats]]
    """Amounts and excess by closed form, by generation; where it is empty other loops tell."""
    finding: bool = False
    """Of learners without a closed form, whose other loops tell: shown, not judged."""

    @property
    def sets(self) -> Iterator[tuple[Floats, Floats]]:
        """Loops that are pilots, and the others, of every set; where loops are few they overlap."""
        runs = len(self.values)
        size = min(MOST, max(FEWEST, runs // SETS))
        for start in np.arange(min(SETS, runs)) * runs // min(SETS, runs):
            chosen = (start + np.arange(size)) % runs
            yield self.values[chosen], np.delete(self.values, chosen, axis=0)


def shown_case(evidence: Evidence, experiment: SizedLoops, *, finding: bool = True) -> Case:
    """Loops of one problem and world; a finding knows no closed form."""
    n, name, world = experiment.samples, experiment.problem.name, experiment.world
    known, asked = {}, range(32 * n + 1)
    for i in () if finding else ASKED:
        form = np.array([closed_form(name, world, "risk", n, m)[i] for m in asked])
        if np.isfinite(form).all():
            known[i] = np.array(asked) / n, form
    lams = np.array([size.n_syn / n for size in experiment.sizes])
    seen = wide(evidence, experiment, "excess")
    return Case(experiment.problem.words, world, n, lams, seen, known, finding)


def _solvable(evidence: Evidence) -> Iterator[Case]:
    for experiment in SIZES.experiments(evidence.preset):
        assert isinstance(experiment, SizedLoops)
        yield shown_case(evidence, experiment, finding=False)


def _transformers(evidence: Evidence) -> Iterator[Case]:
    for (world, n), group in sweeps(evidence.preset).items():
        for kind in OBJECTIVES:
            each = [wide(evidence, e, ARRAYS[kind]) for e in group.values()]
            seen = np.stack([a.mean(-1) if kind == "squared" else a for a in each], axis=1)
            enough = len(seen) > FEWEST and seen.shape[-1] > max(MEASURED)
            if enough and {*AMOUNTS} <= {*group}:
                words = f"transformer, {kind}"
                yield Case(words, world, n, np.array([*group], float), seen, {}, True)


def pilots_of(case: Case, chosen: Floats) -> Pilots:
    """What a few loops show at a few amounts and generations."""
    columns = [int(np.abs(case.lams - lam).argmin()) for lam in AMOUNTS]
    places = [(k, i) for k in columns for i in MEASURED]
    seen = np.stack([chosen[:, k, i] for k, i in places], axis=1)
    lam, when = case.lams[[k for k, _ in places]], np.array([float(i) for _, i in places])
    stderr = np.maximum(seen.std(0, ddof=1) / np.sqrt(len(seen)), 1e-6 * np.abs(seen).mean(0))
    return Pilots(np.full(len(lam), float(case.n)), case.n * lam, when, seen.mean(0), stderr)


class Chosen(NamedTuple):
    """Regrets by set of pilots, `[S]`: loss at the chosen amount over the least."""

    fitted: Floats
    best_pilot: Floats
    none: Floats
    """Of λ = 0."""
    most: Floats
    """Of the largest pilot's λ."""


def regrets(case: Case) -> dict[int, Chosen]:
    """What is lost in each generation that is asked for, by who chooses."""
    asked = [i for i in ASKED if i < case.values.shape[-1]]
    found: dict[int, list[list[float]]] = {i: [] for i in asked}
    for chosen, others in case.sets:
        pilots, last = pilots_of(case, chosen), max(MEASURED)
        seen = pilots.loss[pilots.generation == last]
        truths = {i: case.known.get(i, (case.lams, others[..., i].mean(0))) for i in asked}
        grid = np.concatenate([lams for lams, _ in truths.values()])
        when = np.repeat(asked, [len(lams) for lams, _ in truths.values()])
        fresh = case.world == "fresh"
        curve = fit(pilots, grid, n=case.n, generation=when, fresh=fresh, best_loss=0.0).curve
        for i, (lams, truth) in truths.items():
            at = [int(curve[when == i].argmin())]
            ratios = (AMOUNTS[int(seen.argmin())], 0.0, max(AMOUNTS))
            at += [int(np.abs(lams - lam).argmin()) for lam in ratios]
            found[i].append((truth[at] / truth.min()).tolist())
    return {i: Chosen(*np.array(rows).T) for i, rows in found.items()}


def _example(case: Case, generation: int) -> Json:
    """What a figure needs of one set of pilots."""
    chosen, _ = next(case.sets)
    pilots, (lams, truth) = pilots_of(case, chosen), case.known[generation]
    options: Json = {"generation": generation, "fresh": case.world == "fresh", "best_loss": 0.0}
    made = plan_pilots(pilots, **options, max_lam=float(lams[-1]), draws=DRAWS)
    shown = np.expm1(np.linspace(0, np.log1p(lams[-1]), 60))
    found = fit(pilots, shown, n=case.n, **options)
    last = pilots.generation == max(MEASURED)
    return {
        "lams": shown.tolist(),
        "fitted": found.curve.tolist(),
        "exact": np.interp(shown, lams, truth).tolist(),
        "pilots": [pilots.synthetic[last] / case.n, pilots.loss[last], pilots.stderr[last]],
        "best": [made.lam, made.low, made.high],
    }


def _judge(evidence: Evidence) -> Judged:
    cells, control, judged = [], [], []
    generative = (shown_case(evidence, one) for one in generative_loops(evidence.preset))
    for case in (*_solvable(evidence), *generative, *_transformers(evidence)):
        for i, found in regrets(case).items():
            keys: Json = {"loop": case.loop, "regime": case.world, "generation": i, "n": case.n}
            words = "loss at the amount of least fitted loss, over the least"
            more: Json = {"kind": "fitted", "quantity": words, "direction": "at most"}
            if (case.loop, case.world, i) == ("gaussian mean", "fresh", max(ASKED)):
                more["example"] = _example(case, i)
            cell = exact(float(found.fitted.mean()), WORST, {**keys, **more})
            cells.append(replace(cell, finding=case.finding))
            others = {"best_pilot": "the best pilot", "none": "none", "most": "the largest pilot"}
            for name, words in others.items():
                more = {"kind": name, "quantity": f"loss at the amount of {words}, over the least"}
                cells.append(formula(float(getattr(found, name).mean()), WORST, {**keys, **more}))
            if not case.finding:
                judged.append(found)
                for name in ("none", "most"):
                    own = {**keys, "family": f"always {others[name]}"}
                    control.append(exact(float(getattr(found, name).mean()), WORST, own))
    for name in ("fitted", "best_pilot"):
        typical = float(np.median([getattr(found, name).mean() for found in judged]))
        keys = {"loop": "all", "regime": "all", "generation": max(ASKED)}
        keys |= {"kind": f"{name}, median", "direction": "at most"}
        keys |= {"quantity": f"median over cases, {name.replace('_', ' ')}"}
        cells.append(replace(exact(typical, MEDIAN, keys), finding=name != "fitted"))
    return Judged(cells, control, [constant("loops of a pilot, at most", MOST, "certified")])


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    others = (e for group in sweeps(preset).values() for e in group.values())
    return (*SIZES.experiments(preset), *generative_loops(preset), *others)


CLAIMS = (
    Claim(
        name="plan_from_pilots",
        statement=f"pilots at lambda = {', '.join(f'{lam:g}' for lam in AMOUNTS)} in generations "
        f"1 to {max(MEASURED)}, at most {MOST} loops each: at the amount of least fitted loss, "
        f"in generation {ASKED[0]} and in {ASKED[1]}, the loss is at most {WORST:g} times the "
        f"least in the mean, and {MEDIAN:g} times in the median of solvable cases. What the best "
        "pilot loses, and what both lose of mixtures, flows and the transformer: findings",
        source="derived here: the law of loops whose refits keep a part of an error",
        control="always none, or always the largest pilot's amount, loses as little",
        experiments=_experiments,
        judge=_judge,
        proved=False,
    ),
)
"""The claim about plans from pilots."""
