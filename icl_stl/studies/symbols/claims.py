"""Claims about laws on symbols: exact laws with new and repeated real rows, and absorption."""

from typing import Literal

import numpy as np

from icl_stl import references
from icl_stl.lab.experiments import Loops, LoopSize, SizedLoops
from icl_stl.lab.results import Floats
from icl_stl.problems import Categorical
from icl_stl.regimes import Replace
from icl_stl.studies.cells import (
    WITHIN,
    constant,
    equal,
    exact,
    half_widths,
    of_family,
    run_count,
    wide,
)
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

LAW = (0.2, 0.15, *(0.1,) * 5, *(0.05,) * 3)
"""The real law beside real rows."""
SIZES = (LoopSize(2, 48), LoopSize(1, 10, 0.3), LoopSize(6, 24, 0.5), LoopSize(20, 20))
"""Real and synthetic rows of a generation, and the weight of the real ones."""
WORLDS = {"fresh": "new real rows", "fixed": "the same real rows"}
SHOWN = (1, 2, 5, 10, 20)
LAST = max(SHOWN)

RARE, ALIKE = 0.01, 0.02
"""Chance of a rare symbol, and of each of as many symbols as there can be of that chance."""
BITS, ALPHABET = {"n": 200, "last": 8}, {"n": 100, "last": 8}
"""Their loops on the last batch alone: rows of every fit, generations."""
LOST_AT = (0, 1, 2, 4, 8)


def _real_rows(preset: Preset) -> dict[str, SizedLoops]:
    problem, rest = Categorical(LAW), (SIZES, LAST, run_count(preset))
    worlds: tuple[Literal["fresh", "fixed"], ...] = ("fresh", "fixed")
    return {world: SizedLoops(problem, world, *rest) for world in worlds}


def known(world: str, size: LoopSize) -> references.LawPath:
    """The exact law of loops with new real rows, or with the same ones."""
    law = references.law_fresh if world == "fresh" else references.law_augment
    return law(LAW, size.samples, size.n_syn, LAST, size.share)


def _keys(world: str, size: LoopSize, generation: int, **more: object) -> Json:
    place = {"loop": "categorical", "regime": world, "alpha": size.share, "generation": generation}
    return {**place, "n": size.samples, "n_syn": size.n_syn, **more}


def _judge_real_rows(evidence: Evidence) -> Judged:
    cells, control, constants = [], [], []
    h = 1 - float(np.dot(LAW, LAW))
    for world, experiment in _real_rows(evidence.preset).items():
        error, left = (wide(evidence, experiment, name) for name in ("excess", "symbols_left"))
        (other,) = WORLDS.keys() - {world}
        for k, size in enumerate(SIZES):
            n, m, w = size.samples, size.n_syn, size.share
            law, wrong = known(world, size).error, known(other, size).error
            symbols = references.law_symbols(LAW, n, m, LAST, w, world == "fresh")
            unmoved = references.mean_fresh(n, m, h**0.5, LAST, w)  # a batch of the real law
            family = f"n = {n}, m = {m}, w = {w:.2g}"
            curve: Json = {"curve": error[:, k].mean(0), "half": half_widths(error[:, k])}
            for i in SHOWN:
                keys = _keys(world, size, i, kind="error", quantity="squared distance of laws")
                last = {**curve, "exact": law} if i == LAST else {}
                cells.append(equal(error[:, k, i], float(law[i]), {**keys, **last}))
                cell = equal(error[:, k, i], float(wrong[i]), keys)
                control.append(of_family(cell, family, f"as with {WORLDS[other]}"))
                if world == "fresh" and abs(unmoved[i] / law[i] - 1) > 2 * WITHIN:
                    cell = equal(error[:, k, i], float(unmoved[i]), keys)
                    control.append(of_family(cell, family, "a batch as noisy as real rows"))
            keys = _keys(world, size, LAST, kind="left", quantity="symbols left")
            if world == "fresh" or n > 1:  # one symbol is left of one row, always
                cells.append(equal(left[:, k, LAST], float(symbols[LAST]), keys))
        limits = [
            (references.law_fresh_limit if world == "fresh" else references.law_augment_limit)(
                LAW, size.samples, size.n_syn, size.share
            )
            for size in SIZES
        ]
        constants.append(constant(f"limits, {WORLDS[world]}", limits, "certified"))
    return Judged(cells, control, constants)


def _lost(preset: Preset) -> dict[str, Loops]:
    rare = Categorical((1 - RARE, RARE))
    alike = Categorical((ALIKE,) * round(1 / ALIKE))
    return {
        name: Loops(problem, Replace(), of["n"], of["last"], run_count(preset, part), "risks")
        for name, problem, of, part in (
            ("rare symbol", rare, BITS, 2.3),
            ("symbols alike", alike, ALPHABET, 1.0),
        )
    }


def _share_left(name: str, left: Floats) -> Floats:
    """The share of loops, or of symbols, that still have the symbol.

    Of two symbols the rare one is left while both are: that it has replaced the other has a chance
    of at most its own.
    """
    return left - 1 if name == "rare symbol" else left * ALIKE


def _judge_absorption(evidence: Evidence) -> Judged:
    cells: list[Cell] = []
    control: list[Cell] = []
    for name, experiment in _lost(evidence.preset).items():
        p = RARE if name == "rare symbol" else ALIKE
        n, last = experiment.samples, experiment.generations
        seen = _share_left(name, wide(evidence, experiment, "symbols_left"))
        chain = references.law_symbols((p, 1 - p), n, n, last, 0.0)
        chance = _share_left("rare symbol", chain)
        low, high = references.symbol_survival(p, n, last)
        curves: Json = {"curve": seen.mean(0), "half": half_widths(seen), "exact": chance}
        curves |= {"curve_low": low, "curve_high": high}
        for i in LOST_AT:
            place = {"loop": name, "regime": "replace", "generation": i, "n": n}
            keys = {**place, "kind": "left", "quantity": "share that is left"}
            last_keys = {**keys, **curves} if i == last else keys
            cells.append(equal(seen[:, i], float(chance[i]), last_keys))
            below: Json = {**place, "kind": "low", "quantity": "lower bound against the chain"}
            above: Json = {**place, "kind": "high", "quantity": "chain against the upper bound"}
            cells.append(exact(float(low[i]), float(chance[i]), below))
            cells.append(exact(float(chance[i]), float(high[i]), above, ceiling=1.0))
            once = float(chance[0] ** (i + 1))
            if i:
                cell = equal(seen[:, i], once, keys)
                control.append(of_family(cell, "every fit loses as the first one does"))
                early = float(low[i - 1])
                control.append(of_family(exact(early, float(chance[i]), below), "a fit too few"))
                late = 1 - float(np.exp(-n * p * references.absorption_factor(last + 1)[i + 1]))
                control.append(of_family(exact(float(chance[i]), late, above), "a fit too many"))
    return Judged(cells, control, [constant("chances of a symbol", [RARE, ALIKE], "certified")])


CLAIMS = (
    Claim(
        name="symbols_real_rows",
        statement="the empirical law of real rows and the last batch: its mean squared distance "
        "to the real law, and how many symbols are left, are their exact laws within "
        f"{WITHIN:.0%}, for new real rows in every generation as for the same ones, any weight "
        "and counts, also for a single real row",
        source="derived here, setting of Bakshi and Chakraborty 2026 and of Jangjoo, Marsili and "
        "Roudi 2026",
        control="the law of the same real rows for new ones, and the other way round; batches as "
        "noisy as rows of the real law",
        experiments=lambda preset: tuple(_real_rows(preset).values()),
        judge=_judge_real_rows,
    ),
    Claim(
        name="absorption",
        statement="without real rows a symbol of chance p is left after k fits of n rows with a "
        "chance between 1 - exp(-n p g_k) and 1 - (1 - 3 n p^2 - 3 k p) exp(-n p g_k), g_1 = 1, "
        "g_(k+1) = 1 - exp(-g_k): the chance by enumeration, which loops show within "
        f"{WITHIN:.0%}, of a rare symbol and of symbols alike",
        source="published: Suresh, Thangaraj and Khandavally 2024; the enumeration derived here",
        control="every fit loses as the first one does; lower bound of a fit too few, upper "
        "bound, without its correction, of a fit too many",
        experiments=lambda preset: tuple(_lost(preset).values()),
        judge=_judge_absorption,
    ),
)
"""Claims about laws on symbols, in the order in which they are shown."""
