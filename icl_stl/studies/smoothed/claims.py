"""The claim about smoothed resampling: its exact law, with and without real rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from icl_stl import references
from icl_stl.lab.experiments import Experiment, LoopSize, SizedLoops
from icl_stl.problems import Kde
from icl_stl.regimes import Augment, FreshReal, Regime, Replace
from icl_stl.studies.cells import constant, equal, exact, of_family, run_count, wide
from icl_stl.studies.judging import Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

Floats = NDArray[np.float64]

PROBLEM = Kde(bandwidth=0.5)
ROWS, LAST, SHOWN = 20, 3, (1, 3)
"""n and n_syn, G and judged generations."""
SHARES = (0.0, 0.5, 0.2)
"""Weight of the real rows beside a fixed set."""
FRESH = 0.5
"""Weight of the new real rows."""
PART = 3.2
"""Part of the loops of a preset: by 32,000 each mean is known to 1 %."""
MODES = {3: (1, 2), 4: (1, 2)}
"""Hermite modes by order, and their judged generations: later ones are known less well."""
WORDS = {
    "excess": "squared error of the mean of the generator",
    "variance": "variance of the generator",
    "third_moment": "third moment of a generated row",
    "fourth_moment": "fourth moment of a generated row",
}
"""What is compared, in words."""
GRID = np.linspace(-12, 15, 2701)
"""Where densities are summed, in deviations of the real law."""
DRAWN = slice(900, 1751, 10)
"""Places of the densities that are drawn."""
ENOUGH = 150
"""Smoothings after which nothing is left of a limit, at a share of 0.2."""


def _fixed(preset: Preset) -> SizedLoops:
    """No real rows, and fixed ones with several weights."""
    sizes = tuple(LoopSize(ROWS, ROWS, share) for share in SHARES)
    return SizedLoops(PROBLEM, "fixed", sizes, LAST, run_count(preset, PART))


def _fresh(preset: Preset) -> SizedLoops:
    """New real rows in every generation."""
    sizes = (LoopSize(ROWS, ROWS, FRESH),)
    return SizedLoops(PROBLEM, "fresh", sizes, LAST, run_count(preset, PART))


def _loops(evidence: Evidence) -> list[tuple[Regime, float, dict[str, Floats]]]:
    """Each loop: its regime, its weight of real rows, what was seen: `[runs, G + 1]` by name."""
    found: list[tuple[Regime, float, dict[str, Floats]]] = []
    names = (*WORDS, "precision")
    for experiment in (_fixed(evidence.preset), _fresh(evidence.preset)):
        seen = {name: wide(evidence, experiment, name) for name in names}
        for k, size in enumerate(experiment.sizes):
            share = size.share
            regime: Regime = Augment(weight=share) if share else Replace()
            regime = FreshReal(weight=share) if experiment.world == "fresh" else regime
            found.append((regime, share, {name: values[:, k] for name, values in seen.items()}))
    return found


def density(smoothings: int) -> Floats:
    """Of p * N(0, k h²) on the grid."""
    shares, means, own = PROBLEM.components
    deviation = (own**2 + smoothings * PROBLEM.bandwidth**2) ** 0.5
    each = zip(shares, means, strict=True)
    return np.asarray(sum(p * norm.pdf(GRID, a, deviation) for p, a in each))


def limit_weights(share: float) -> Floats:
    """c_k of the limit, k = 1, 2, ..."""
    return np.asarray(share * (1 - share) ** np.arange(float(ENOUGH)), np.float64)


def _moments(regime: Regime, share: float) -> dict[str, Floats]:
    """Exact means of a loop by name."""
    how = {"fresh": isinstance(regime, FreshReal)}
    sizes = ROWS, ROWS, PROBLEM.noise, LAST, PROBLEM.bandwidth, share
    error, variance = references.resampled_mean_variance(*sizes, **how)
    form = PROBLEM.quality_form(regime, ROWS, LAST)
    return {"excess": error, "variance": variance, **{k: form[k] for k in (*WORDS,)[2:]}}


def _wrong(share: float, fresh: bool) -> dict[str, Floats]:
    """Wrong laws: no smoothing, variance as of populations without real rows, moments as there."""
    noise, h = PROBLEM.noise, PROBLEM.bandwidth
    smoothed = np.arange(1, LAST + 2)
    plain = references.resampled_mean_variance(ROWS, ROWS, noise, LAST, 0.0, share, fresh=fresh)
    modes = references.hermite_mode(3, smoothed, h, noise)
    moments = PROBLEM.known(smoothed)
    third = moments["third"] * modes
    variance = noise**2 + smoothed * h**2
    return dict(zip(WORDS, (plain[0], variance, third, moments["fourth"]), strict=True))


CONTROLS = {
    "excess": "without smoothing",
    "variance": "h^2 a generation whatever the rows",
    "third_moment": "dies like a mode",
    "fourth_moment": "as without real rows",
}
"""The wrong law of each number."""


def _keys(regime: Regime, share: float, i: int, kind: str, words: str, **more: Any) -> Json:
    place: Json = {"loop": "kde", "regime": regime.name, "alpha": share, "generation": i}
    return {**place, "n": ROWS, "kind": kind, "quantity": words, **more}


def _judge_moments(evidence: Evidence) -> Judged:
    cells, control = [], []
    for regime, share, seen in _loops(evidence):
        known, wrong = _moments(regime, share), _wrong(share, isinstance(regime, FreshReal))
        for name, words in WORDS.items():
            if name in (*WORDS,)[2:] and not share:
                continue  # its modes are judged
            for i in SHOWN:
                curve = known[name].tolist()
                keys = _keys(regime, share, i, name, words, curve=curve)
                cells.append(equal(seen[name][:, i], float(known[name][i]), keys))
                other = equal(seen[name][:, i], float(wrong[name][i]), keys)
                control.append(of_family(other, f"share {share:g}", CONTROLS[name]))
    return Judged(cells, control, [])


def _modes(seen: dict[str, Floats], order: int) -> Floats:
    """E He_order of a generated row in deviations of the mean law, `[runs, G + 1]`."""
    square = PROBLEM.noise**2 + np.arange(1, LAST + 2) * PROBLEM.bandwidth**2
    if order == 3:
        return np.asarray(seen["third_moment"] / square**1.5)
    second = seen["variance"] + seen["excess"]
    return np.asarray(seen["fourth_moment"] / square**2 - 6 * second / square + 3)


def _judge_modes(evidence: Evidence) -> Judged:
    regime, _, seen = _loops(evidence)[0]
    cells, control = [], []
    real = PROBLEM.known(0)
    first = {3: real["third"] / PROBLEM.noise**3, 4: real["fourth"] / PROBLEM.noise**4 - 3}
    of = PROBLEM.bandwidth, PROBLEM.noise
    for order, shown in MODES.items():
        values = _modes(seen, order)
        left = {k: references.hermite_mode(k, np.arange(1, LAST + 2), *of) for k in MODES}
        for i in shown:
            words, curve = f"Hermite mode {order}", (first[order] * left[order]).tolist()
            keys = _keys(regime, 0.0, i, "mode", words, order=order, curve=curve)
            cells.append(equal(values[:, i], float(first[order] * left[order][i]), keys))
            other = first[order] * left[7 - order][i]
            control.append(of_family(equal(values[:, i], float(other), keys), words))
    return Judged(cells, control, [])


def _judge_distance(evidence: Evidence) -> Judged:
    """Exact and seen: how far the mean law is from its limit, at most (1 - α)^(i + 1)."""
    densities, step = np.array([density(k) for k in range(1, ENOUGH + 1)]), GRID[1] - GRID[0]
    inside = PROBLEM.known(np.arange(1, ENOUGH + 1))["inside"]
    cells, control = [], []
    drawn: dict[str, Floats] = {}
    for regime, share, seen in _loops(evidence):
        fixed = isinstance(regime, Augment)
        if not share:
            drawn |= {f"generation {i}": densities[i] for i in (0, LAST)}
            continue
        limit = limit_weights(share)
        bound, swapped = (references.resampled_distance(a, LAST) for a in (share, 1 - share))
        own = seen["precision"] * float(PROBLEM.known(0)["inside"])
        for i in range(LAST + 1):
            left = np.zeros(ENOUGH)
            left[: i + 1] = limit[: i + 1]
            left[i] += (1 - share) ** (i + 1)
            away = (left - limit) @ densities
            value = float(np.abs(away).sum() * step / 2)
            words = "total variation of the mean law from its limit"
            keys = _keys(regime, share, i, "distance", words, direction="at most")
            cells.append(exact(value, float(bound[i]), keys))
            words = "share of rows within 1.96 deviations"
            event = _keys(regime, share, i, "event", words)
            cells.append(equal(own[:, i], float(inside @ left), event))
            if share < 0.5:  # else its limit is near
                other = equal(own[:, i], float(inside @ limit), event)
                control.append(of_family(other, "at its limit already"))
            if share < 0.5 and fixed:
                other = exact(value, float(swapped[i]), keys)
                control.append(of_family(other, "the share of the rest"))
        if fixed:
            drawn[f"limit, α = {share:g}"] = limit @ densities
    places = GRID[DRAWN].round(2).tolist()
    shown = {name: one[DRAWN].round(4).tolist() for name, one in drawn.items()}
    curves = constant("densities of mean laws", {"z": places, **shown}, "certified")
    return Judged(cells, control, [curves])


def _judge(evidence: Evidence) -> Judged:
    parts = [one(evidence) for one in (_judge_moments, _judge_modes, _judge_distance)]
    limits = {
        f"{share:g}": PROBLEM.noise**2 + PROBLEM.bandwidth**2 / share for share in SHARES if share
    }
    constants = [
        constant("h", PROBLEM.bandwidth, "certified"),
        constant("mean square of the limit law, by real share", limits, "certified"),
    ]
    return Judged(
        [cell for part in parts for cell in part.cells],
        [cell for part in parts for cell in part.control],
        [*constants, *parts[2].constants],
    )


def _experiments(preset: Preset) -> tuple[Experiment, ...]:
    return _fixed(preset), _fresh(preset)


CLAIMS = (
    Claim(
        name="smoothed_resampling",
        statement="rows resampled with noise N(0, h^2): the mean law of generation i is p * N(0, "
        "(i+1) h^2) without real rows and goes to sum_k alpha (1-alpha)^(k-1) p * N(0, k h^2) "
        "beside a real share alpha, within (1-alpha)^(i+1) in total variation; mean and variance "
        "of the generator at n rows are the closed forms, fixed or new real rows; Hermite modes "
        "die like (1 + k h^2/sigma^2)^(-order/2)",
        source="derived here: THEORY.md statements 136 to 141; setting of Khelifa, Turner and "
        "Venkataramanan 2026",
        control="no smoothing; the variance grows by h^2 whatever the rows; moments as without "
        "real rows; a mode by the exponent of another; the distance by the share of the rest; "
        "at its limit already",
        experiments=_experiments,
        judge=_judge,
    ),
)
"""The claim about smoothed resampling."""
