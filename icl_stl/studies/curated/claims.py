"""The claim about synthetic rows that are weighed by a reward."""

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Loops
from icl_stl.problems import Categorical, GaussianMean, expected_excess
from icl_stl.regimes import Augment, Curated, FreshReal, Replace
from icl_stl.studies.cells import constant, equal, exact, of_family, run_count, where, wide
from icl_stl.studies.judging import Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

LAW, REWARD = (0.5, 0.3, 0.2), (0.0, 0.5, 1.0)
"""A law on symbols, and what each is worth."""

SLOPE = 1.0
"""b of the reward b z of a number, in units of 1/σ."""

COUNTS, NUMBERS, LAST = 12, 20, 4
"""Symbols of a set, counted in all ways; numbers; G."""

PATH, SHARES = 30, (0.0, 0.2, 0.5)
"""Generations and real shares of the curves without error."""


def _symbols(preset: Preset) -> tuple[Loops, ...]:
    return tuple(
        Loops(Categorical(LAW), Curated(inner, REWARD), COUNTS, LAST, run_count(preset))
        for inner in (Replace(), Augment(0.5))
    )


def _means(preset: Preset) -> tuple[Loops, ...]:
    return tuple(
        Loops(GaussianMean(), Curated(inner, (SLOPE,)), NUMBERS, LAST, run_count(preset))
        for inner in (Augment(0.5), FreshReal(1.0))
    )


def _judge(evidence: Evidence) -> Judged:
    cells, control = [], []
    for experiment in _experiments(evidence.preset):
        problem, regime, n = experiment.problem, experiment.regime, experiment.samples
        assert isinstance(regime, Curated)
        known = expected_excess(problem, regime, n, LAST)
        others = {"not curated": expected_excess(problem, regime.inner, n, LAST)}
        if isinstance(problem, GaussianMean):
            of = n, regime.synthetic_size(n), 1.0, LAST
            moved = references.mean_augment if not regime.fresh_real else references.mean_fresh
            shift = SLOPE * np.cumsum(0.5 ** np.arange(1, LAST + 1))
            plain = moved(*of, regime.share(1))
            others["moved as infinitely many"] = plain + np.array([0.0, *shift]) ** 2
        seen = wide(evidence, experiment, "excess")
        for i in range(1, LAST + 1):
            keys = where(experiment, i, kind="error", quantity="squared error")
            keys["regime"] = regime.inner.name
            cells.append(equal(seen[:, i], float(known[i]), keys))
            for words, law in others.items():
                wrong = equal(seen[:, i], float(law[i]), keys)
                control.append(of_family(wrong, words))
    tilt = np.exp(REWARD)
    for alpha in SHARES:
        mean = references.curated_law(LAW, REWARD, alpha, PATH) @ tilt
        at: Json = {"loop": "symbols without error", "regime": "curated", "alpha": alpha}
        at |= {"generation": PATH, "kind": "rise", "quantity": "largest fall of E e^r"}
        cells.append(exact(-float(np.diff(mean).min()), 1e-12, at))
        rise = exact(float(np.diff(mean).max()), 1e-12, at)
        control.append(of_family(rise, f"{alpha:g}", "it never rises"))
        if alpha:
            there = {**at, "kind": "limit", "quantity": "E e^r, from its limit"}
            for share, into in ((alpha, cells), (alpha / 2, control)):
                limit = references.curation_fixed_point(LAW, REWARD, share).weight
                into.append(exact(abs(float(mean[-1]) - limit), 1e-6, there))
            control[-1] = of_family(control[-1], f"{alpha:g}", "the limit of half the share")
    curves = {
        f"{alpha:g}": (references.curated_law(LAW, REWARD, alpha, PATH) @ tilt).tolist()
        for alpha in SHARES
    }
    limits = {
        f"{alpha:g}": references.curation_fixed_point(LAW, REWARD, alpha).weight
        for alpha in SHARES
        if alpha
    }
    constants = [
        constant("E e^r without error, by real share", curves, "certified"),
        constant("its limits", limits, "certified"),
    ]
    return Judged(cells, control, constants)


def _experiments(preset: Preset) -> tuple[Loops, ...]:
    return (*_symbols(preset), *_means(preset))


CLAIMS = (
    Claim(
        name="curated_rows",
        statement="synthetic rows weighed by e^r, r a reward: of symbols the squared error of the "
        "fitted law is the exact one of a chain of counts, with and without real rows; of a mean, "
        "r = b z, that of a walk whose step is below the b sigma^2 of infinitely many rows. "
        "Without error E e^r never falls: without real rows the law ends on the best symbols, "
        "beside them at a fixed point",
        source="derived here: THEORY.md statements 130 to 135; recursion and fixed point: "
        "published: Ferbach et al. 2024",
        control="rows that are not curated; a mean that moves by b sigma^2; E e^r never rises; the "
        "limit of half the real share",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about curated rows."""
