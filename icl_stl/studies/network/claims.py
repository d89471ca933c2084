"""Bounds on the risk of a trained transformer: which is tightest, which is vacuous, and why."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from icl_stl import bounds
from icl_stl.intervals import LEVEL
from icl_stl.lab.experiments import LoopSize
from icl_stl.lab.results import Arrays, Floats
from icl_stl.problems import InContext
from icl_stl.studies.cells import constant, wide
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.network.experiments import BITS, NOISE, MeasuredNetworks
from icl_stl.studies.presets import Preset, job_of

M = 1.0
"""The largest loss, `measure.LOSS_RANGE`."""

MOST = 1e15
"""Rows among which those are looked for that a bound would need."""

KINDS = {
    "held_out": "rows held out",
    "rounded": "rounded weights",
    "centre_0": "PAC-Bayes around 0",
    "before": "PAC-Bayes around generation 0",
}
"""The bounds, and what they are called."""

CONSTANTS = {
    "shift": "shift",
    "variance": "variance",
    "bits": "weights × bits",
    "distance": "distance",
    "curvature": "curvature",
}
"""What a bound may be rid of, one at a time, to see what makes it large."""


def networks(preset: Preset) -> dict[int, MeasuredNetworks]:
    """Loops of the main job's learner by n; one program serves all."""
    problem, size = job_of(preset).problem, preset.network
    assert isinstance(problem, InContext)
    places = LoopSize(max(size.samples), max(size.samples))
    return {
        n: MeasuredNetworks(problem, LoopSize(n, n), places, size.replicates) for n in size.samples
    }


class Bound(NamedTuple):
    """A bound and what goes into it, of each loop."""

    function: Callable[..., bounds.RiskBound]
    known: dict[str, Any]

    def total(self, **others: Any) -> Floats:
        """Its value, with other constants if they are given: `[R]`."""
        return np.asarray(self.function(**{**self.known, **others}).total)

    def rows_needed(self) -> Floats:
        """How many rows make it less than the largest loss, all else as it is; up to `MOST`."""
        low, high = np.ones_like(self.total()), np.full_like(self.total(), MOST)
        for _ in range(60):
            middle = np.sqrt(low * high)
            vacuous = self.total(rows=middle) >= M
            low, high = np.where(vacuous, middle, low), np.where(vacuous, high, middle)
        return high


def _halves(values: Floats) -> Floats:
    """Mean of two kinds, real and synthetic rows."""
    return np.asarray(values.mean(-1))


def asked(seen: Arrays, n: int) -> dict[str, Bound]:
    """The bounds on generation 1, each with probability 1 - `LEVEL`, by `KINDS`.

    Noise that is not measured, of deviation 1/2 and 1, makes a loss of at most M: the curvature is
    at least 4 M, so that a bound that chooses it is vacuous.
    """
    common: dict[str, Any] = {"M": M, "delta": LEVEL, "alpha": 0.5}
    plain = {"variance": seen["variance"], "shift": seen["shift"]}
    found = {
        "held_out": Bound(
            bounds.held_out_risk,
            {"rows": seen["held_out_rows"], "empirical": seen["held_out"], **common, **plain},
        )
    }

    def moved(name: str) -> tuple[Floats, Floats]:
        """Shift and variance of changed networks, `[R, changes]`."""
        rise, spread = seen[f"{name}_rise"], seen[f"{name}_variance"]
        return plain["shift"][:, None] + rise[..., 2] - rise[..., 3], _halves(spread[..., 2:])

    shift, variance = moved("rounded")
    training = seen["training"][:, None] + _halves(seen["rounded_rise"][..., :2])
    grids = Bound(
        bounds.quantised_risk,
        {
            **common,
            "rows": 2 * n,
            "delta": LEVEL / len(BITS),
            "empirical": training,
            "shift": shift,
            "variance": variance,
            "dimension": seen["dimension"][:, None],
            "bits": np.broadcast_to(np.array(BITS), training.shape),
        },
    )
    best = int(grids.total().mean(0).argmin())
    chosen = {
        k: a[:, min(best, a.shape[1] - 1)] if np.ndim(a) else a for k, a in grids.known.items()
    }
    found["rounded"] = grids._replace(known=chosen)

    shift, variance = (values.max(1) for values in moved("noisy"))
    common |= {"shift": shift, "variance": variance}
    for kind, rows, alpha, counted, distance in (
        ("centre_0", 2 * n, 0.5, slice(0, 2), "norm"),
        ("before", n, 0.0, slice(1, 2), "distance"),
    ):
        rise = seen["noisy_rise"][..., counted].mean(-1) / np.square(NOISE)
        own = {
            "rows": rows,
            "alpha": alpha,
            "empirical": seen["training" if alpha else "synthetic"],
            "distance": seen[distance],
            "curvature": np.maximum(rise.max(1), M / (2 * NOISE[0]) ** 2),
        }
        if not alpha:  # synthetic rows alone are counted
            own["variance"] = seen["noisy_variance"][..., 3].max(1)
        found[kind] = Bound(bounds.pac_bayes_risk, {**common, **own})
    return found


def _cells(seen: Arrays, n: int, own: dict[str, Bound]) -> list[Cell]:
    """Each bound beside the risk; without one of its constants; the rows that it would need."""
    place = {"regime": "augment", "alpha": 0.5, "generation": 1, "n": n}
    totals, cells = {kind: bound.total() for kind, bound in own.items()}, []
    tightest = min(totals, key=lambda kind: float(totals[kind].mean()))
    for kind, bound in own.items():
        total, risk = totals[kind], seen["risk"]
        keys = {**place, "kind": kind, "quantity": f"risk, bound by {KINDS[kind]}"}
        keys |= {"tightest": kind == tightest, "direction": "at most"}
        cells.append(Cell(total - risk, risk, float(total.mean()), keys, ceiling=M))
        for name in CONSTANTS:
            if name in bound.known:
                rest = bound.total(**{name: 0.0})
                keys = {**place, "kind": "without", "of": kind, "without": name}
                keys["quantity"] = f"bound by {KINDS[kind]} if {name} were 0"
                cells.append(Cell(rest, rest, np.nan, keys))
        needed = n * bound.rows_needed() / bound.known["rows"]
        keys = {**place, "kind": "needed", "of": kind}
        keys["quantity"] = f"n from which on the bound by {KINDS[kind]} is below {M:g}"
        cells.append(Cell(needed, needed, np.nan, keys))
    return cells


def _constants(found: dict[int, dict[str, Bound]]) -> list[Json]:
    """Means over loops of what goes into the bounds, by n."""
    constants = [constant("M", M, "certified")]
    for kind, bound in next(iter(found.values())).items():
        for name in bound.known:
            if name not in ("M", "delta", "alpha"):
                means = {str(n): float(np.mean(own[kind].known[name])) for n, own in found.items()}
                everywhere = name == "variance" and kind in ("rounded", "centre_0")
                known = "assumed" if everywhere else "measured"
                known = "certified" if name in ("rows", "dimension", "bits") else known
                constants.append(constant(f"{name}, {kind}", {"by_n": means}, known))
    return constants


def _judge(evidence: Evidence) -> Judged:
    cells: list[Cell] = []
    found: dict[int, dict[str, Bound]] = {}
    for n, experiment in networks(evidence.preset).items():
        seen = {name: wide(evidence, experiment, name) for name in evidence.experiments[experiment]}
        found[n] = asked(seen, n)
        cells += _cells(seen, n, found[n])
    return Judged(cells, [], _constants(found))


CLAIMS = (
    Claim(
        name="network_bound",
        statement="bounds on the risk (clipped squared error of a prompt, in [0, 1]) of the "
        "trained transformer in generation 1 at alpha = 1/2, with probability 95 % each: by a "
        "fifth as many rows, held out beside the training set; by rounded weights; by PAC-Bayes "
        "around 0 and around the weights of generation 0, where weights have noise. What they ask "
        "for is measured on the loops themselves: no theorem certifies that variance, shift and "
        "curvature are no larger, so that nothing is judged",
        source="derived here: THEORY.md statements 84 and 85, with constants that are measured",
        control="",
        experiments=lambda preset: tuple(networks(preset).values()),
        judge=_judge,
        finding=True,
    ),
)
"""Is there a bound on the risk of the transformer that is not vacuous?"""
