"""Statement 156: prompts that their own model is surest of, by loops in NumPy; wrong laws fail."""

import numpy as np
import stored
from check_references import Cell

from icl_stl import references

RUNS, PROMPTS, LAST = 20_000, 24, 2
DIM, REPEATS, NOISE, PRIOR = 2, 3, 0.7, 1.3
RATES = (0.3, 0.75)


def simulated(rate: float, weight: float, rng: np.random.Generator) -> np.ndarray:
    """V_i of prompts [R, m, n d], drawn from N(0, S) and chosen by their density: `[R, G+1]`."""
    labels = DIM * REPEATS
    direction = np.kron(np.eye(DIM), np.ones((REPEATS, 1)))  # of a label: its task's coordinate

    def drawn(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tasks = rng.normal(size=(RUNS, PROMPTS, DIM)) * np.sqrt(v)[:, None, None]
        y = DIM**0.5 * tasks @ direction.T + NOISE * rng.normal(size=(RUNS, PROMPTS, labels))
        means = y.reshape(*y.shape[:2], DIM, REPEATS).mean(-1)
        within = (y**2).sum(-1) - REPEATS * (means**2).sum(-1)
        spread = NOISE**2 + REPEATS * DIM * v[:, None]
        return means / DIM**0.5, within / NOISE**2 + REPEATS * (means**2).sum(-1) / spread

    added = NOISE**2 / labels
    estimate = lambda w: (w**2).mean(-1) - added  # noqa: E731
    real = estimate(drawn(np.full(RUNS, PRIOR**2))[0]).mean(1)
    path = [real]
    kept = max(1, round(rate * PROMPTS))
    for _ in range(LAST):
        tasks, far = drawn(np.maximum(path[-1], 0))
        order = np.argsort(far, axis=1)[:, :kept]
        own = np.take_along_axis(estimate(tasks), order, 1).mean(1)
        path.append(weight * real + (1 - weight) * own)
    return np.stack(path, 1)


def test_prompts_kept_by_confidence(ledger) -> None:
    """With and without real prompts; the controls are that all stay, and that noise does not."""
    rng, cells, wrong = np.random.default_rng(156), [], []
    of = PRIOR, DIM, REPEATS, NOISE, PROMPTS
    for rate in RATES:
        for weight in (0.0, 0.4):
            seen = simulated(rate, weight, rng)
            law = references.task_variance_surest(*of, rate, LAST, weight)
            moment = references.surest_moment(PROMPTS, round(rate * PROMPTS), DIM * REPEATS)
            alone = PRIOR**2 * (weight + (1 - weight) * moment)
            cells += [Cell(seen[:, i], float(law[i])) for i in range(1, LAST + 1)]
            wrong += [Cell(seen[:, 1], PRIOR**2), Cell(seen[:, 1], alone)]
    assert max(cell.precision for cell in cells) <= 0.01
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    rejected = all(stored.holm_rejects([cell.p_value for cell in wrong]))
    ledger.record("156 own confidence, prompts", "holds", control_rejected=rejected)
