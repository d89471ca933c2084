"""κ and b of any model, from fits to real sets of which a share of the rows was replaced.

A draw is a real set of n rows. Models are fitted to it and to copies of it in which k rows, chosen
by chance, are new ones; generation 1 learns from the real rows as they were and, with the weight
1 - α, from what such a model wrote. All of this happens with two seeds, each shared by all copies.
What a copy changes is a vector v: the loss of every held-out row or, where there is no density, the
law of the generated rows, in the space in which a distance is the root of the energy distance.
<v, v'> of two seeds is unbiased for |E v|², the change beside all noise of fits and samples, and

    b² = n² Σ |E v_0|² / Σ k,    κ² = Σ |E v_1|² / ((1 - α)² Σ |E v_0|²),

sums over draws and copies. New rows of the same law pull in independent directions: k of them
change |E v_0|² by k (b/n)², so that a share h of the rows moves the model by b √(h/n); by b h only
if all pulled one way.

Measured, no certificate: b is that of a typical row and κ that of typical changes, and the
recursion of `bounds.recursive_stability` asks for the largest. What one seed adds to a change, such
as the chaos of a long training, is in `same_seed` and not in κ: it is new in every generation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icl_stl.bounds import phase_threshold
from icl_stl.config import is_number, require, whole
from icl_stl.intervals import t_half_width
from icl_stl.problems import Problem
from icl_stl.regimes import Regime, real_share, synthetic_size

Floats = NDArray[np.float64]
Row = dict[str, Any]

SHARES = (0.02, 0.05, 0.1, 0.2)
"""Shares of the real rows where nobody says which: those that are a row at least."""
SEEDS = 2
LEVEL = 0.95
"""Of the intervals: Student's over draws, each left out once. In simulated loops of zeros and ones
92 to 96 % of them held κ, with four draws."""
NOTE = (
    "measured, no certificate: that the loop forgets is proved only where κ bounds every change of "
    "the rows, and these are typical ones"
)


@dataclass(frozen=True)
class Replacement:
    """What is fitted to measure κ and b."""

    problem: Problem
    regime: Regime
    samples: int
    """n, real rows."""
    rows: tuple[int, ...]
    """k, how many of them are replaced, of every copy."""
    draws: int
    """Real sets, each with rows of its own to replace by."""

    @classmethod
    def of(
        cls, shares: Sequence[float], draws: int, problem: Problem, regime: Regime, samples: int
    ) -> "Replacement":
        """The plan for shares of the real rows; for `SHARES` if there are none.

        Raises:
            ValueError: If one is no share, less than a row, or there are no rows to replace it by;
                if there are too few draws or nothing is passed on in this regime.
        """
        whole("replace_draws", draws, 2)
        for share in shares:
            require(is_number(share) and 0 < share < 1, "replace_rows", share, "in (0, 1)")
        row = 1 / samples - 1e-12
        chosen = shares or [share for share in SHARES if share >= row]
        for share in sorted(chosen or SHARES[-1:], reverse=True):
            require(share >= row, "replace_rows", share, f"at least 1/{samples}, one of the rows")
            left = problem.most_samples(share)
            right = f"at most {left}, so that a share {share:g} of them can be replaced by others"
            require(left is None or samples <= left, "samples", samples, right)
        passed = synthetic_size(regime, samples) > 0 and real_share(regime, samples, 1) < 1
        right = "one whose generations learn from synthetic rows, to see what is passed on"
        require(passed, "regime", regime.name, right)
        problem.check(regime, samples, 1)
        rows = tuple(sorted({round(share * samples) for share in chosen}))
        return cls(problem, regime, samples, rows, draws)

    @property
    def real_share(self) -> float:
        """α of generation 1."""
        return real_share(self.regime, self.samples, 1)

    @property
    def fits(self) -> int:
        """The budget."""
        return 2 * SEEDS * self.draws * (len(self.rows) + 1)

    @property
    def words(self) -> str:
        """The budget in words."""
        copies = ", ".join(map(str, self.rows))
        return (
            f"{self.fits} fits: {self.draws} real sets of {self.samples} rows, as they are and "
            f"with {copies} rows replaced, {SEEDS} seeds, 2 generations"
        )


def _square(gram: Floats) -> tuple[float, float, float]:
    """|E v|², mean |v|² and |noise|² from products of two fits to a real set and two to its copy.

    The noise is the difference of the two fits to the real set.
    """
    changes = gram[:2, :2] - gram[:2, 2:] - gram[2:, :2] + gram[2:, 2:]
    noise = gram[0, 0] - 2 * gram[0, 1] + gram[1, 1]
    across = (changes[0, 1] + changes[1, 0]) / 2
    return float(across), float(changes.trace() / 2), float(noise)


def of_losses(first: Floats, second: Floats) -> float:
    """The product of losses of the same rows: mean squares are squares of changes."""
    return float(np.mean(first * second))


def of_rows(first: Floats, second: Floats) -> float:
    """The product of two laws whose square of a difference is the energy distance."""
    lengths = np.add.outer((first**2).sum(1), (second**2).sum(1))
    return -float(np.sqrt(np.maximum(lengths - 2 * first @ second.T, 0)).mean())


def squares(points: Floats, product: Callable[[Floats, Floats], float]) -> Floats:
    """|E v|², mean |v|², |noise|², mean |v_i|: `[4, 2, copies, draws]`; NaN where a fit failed.

    Args:
        points: What models became, `[2, copies + 1, SEEDS, draws, ...]`, the real set itself first.
        product: Of two of them.
    """
    generations, copies, _, draws = points.shape[:4]
    found = np.full((4, generations, copies - 1, draws), np.nan)
    for g, j, d in np.ndindex(found.shape[1:]):
        four = (*points[g, 0, :, d], *points[g, j + 1, :, d])
        if all(np.isfinite(one).all() for one in four):
            gram = [[product(a, b) for b in four] for a in four]
            absolute = np.abs(np.subtract(four[:2], four[2:])).mean()
            found[:, g, j, d] = *_square(np.array(gram)), absolute
    return found


def _root_ratio(over: Floats, under: Floats) -> Row:
    """√(Σ over/Σ under) over draws, with its interval; 0 or no end where noise is all there is.

    By leaving out one draw at a time, on the scale of logarithms where all ratios are positive.
    """
    draws = len(over)
    square = over.sum() / under.sum()
    others = (over.sum() - over) / (under.sum() - under)
    logs = bool((others > 0).all() and square > 0)
    values = np.log(others) if logs else others
    stderr = float(np.sqrt((draws - 1) * np.mean((values - values.mean()) ** 2)))
    half = t_half_width(stderr, draws, (1 - LEVEL) / 2)
    ends = square * np.exp([-half, half]) if logs else (square - half, square + half)
    value, low, high = np.sqrt(np.maximum([square, *ends], 0)).tolist()
    return {"value": value, "low": low, "high": high}


def estimated(plan: Replacement, found: Floats, *, of_losses: bool) -> Row:
    """κ, b and the share needed, as `stability` in a result; null where there is no number.

    Args:
        found: What `squares` returns.
        of_losses: Whether v is one of losses, not of rows.
    """
    whole_draws = np.isfinite(found).all(axis=(0, 1, 2))
    kept = found[..., whole_draws]
    count, n, k = kept.shape[-1], plan.samples, np.array(plan.rows)
    fraction = 1 - plan.real_share
    nothing = {"value": None, "low": None, "high": None}
    row: Row = {"kappa": nothing, "b": nothing, "share_needed": nothing}
    row |= {"real_share": plan.real_share, "seed_noise": None, "by_share": [], "exponent": None}
    row["of"] = "loss of a held-out row" if of_losses else "root of the energy distance"
    row |= {"draws": count, "failed_draws": plan.draws - count, "fits": plan.fits}
    row |= {"level": LEVEL, "provenance": "measured", "note": NOTE}
    if count < 2:
        return row
    square, same, noise, absolute = kept
    first, second = square.sum(1)
    row["b"] = _root_ratio(first * n**2, np.full(count, k.sum()))
    if row["b"]["low"] > 0:
        row["kappa"] = _root_ratio(second, first * fraction**2)
        needed = {name: float(phase_threshold(value)) for name, value in row["kappa"].items()}
        row["share_needed"] = needed
    means, roots = square.mean(-1), np.sqrt(np.maximum(square.mean(-1), 0))
    same, noise = np.sqrt(same.mean(-1)), np.sqrt(noise[:, 0].mean(-1))
    row["seed_noise"] = {f"generation_{g}": float(noise[g]) for g in (0, 1)}
    for j, rows in enumerate(plan.rows):
        own: Row = {"share": rows / n, "rows": rows}
        for g in (0, 1):
            changed = {"change": float(roots[g, j]), "same_seed": float(same[g, j])}
            changed["below_seed_noise"] = bool(roots[g, j] < noise[g])
            if of_losses:
                changed["mean_absolute"] = float(absolute[g, j].mean())
            own[f"generation_{g}"] = changed
        ratio = roots[1, j] / (fraction * roots[0, j]) if roots[0, j] > 0 else np.nan
        own["b"] = float(n * roots[0, j] / rows**0.5)
        own["kappa"] = float(ratio) if isfinite(ratio) else None
        row["by_share"].append(own)
    if len(k) > 1 and (means[0] > 0).all():  # 1/2 where rows pull in independent directions
        row["exponent"] = float(np.polyfit(np.log(k), np.log(means[0]) / 2, 1)[0])
    return row


def sentence(row: Row) -> str:
    """What κ says of the loop."""
    kappa, needed, share = row["kappa"], row["share_needed"], row["real_share"]
    if kappa["value"] is None:
        return (
            "what replaced rows change cannot be told from noise, so that κ is not known: give "
            "more draws, larger shares, or fewer samples"
        )
    told = "by this measure κ is {value:.2f} [{low:.2f}, {high:.2f}]: ".format(**kappa)
    if round(needed["high"], 2) == 0:
        return told + "the loop forgets what it was trained on for any real share above 0"
    ends = f"[{needed['low']:.2f}, {needed['high']:.2f}]"
    if round(needed["low"], 2) == 0:
        return told + (
            "undecided whether the loop forgets what it was trained on for any real share; one "
            f"above {needed['high']:.2f} is enough (yours is {share:.2f})"
        )
    return told + (
        f"the loop needs a real share above 1 - 1/κ = {needed['value']:.2f} {ends} to forget what "
        f"it was trained on (yours is {share:.2f})"
    )
