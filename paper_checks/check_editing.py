"""Section 24: loops of edited labels and symbols against their exact laws.

Loops of the package, all cells in one Holm family at 5 %; the laws of other edits are rejected by
the same loops.
"""

import jax
import jax.numpy as jnp
import numpy as np
import stored
from check_references import PRECISION, at, quick_compilation, simulated  # noqa: F401

from icl_stl import references
from icl_stl.learners.generative.markov import Markov
from icl_stl.loops import next_generation
from icl_stl.regimes import Edit
from icl_stl.rows import spread

RUNS = 12_000
LAST = 5
ROWS, DIM = 30, 8
FALLING, LAW = (12.0, 6.0, 3.0, 2.0, 1.0), np.array([0.95, 0.03, 0.02])


def judged(cells, controls) -> tuple[str, bool]:
    """The largest deviation, once all cells are known well and none is wrong."""
    assert all(cell.precision <= PRECISION for cell in cells)
    assert not any(stored.holm_rejects([cell.p_value for cell in cells]))
    rejected = all(any(stored.holm_rejects([c.p_value for c in own])) for own in controls)
    return f"|z| <= {max(abs(cell.z) for cell in cells):.1f}", rejected


def test_edited_labels(ledger, quick_compilation) -> None:  # noqa: F811
    laws = {
        "additive": references.ols_edit_additive(ROWS, DIM, 1.0, FALLING),
        "replace": references.ols_edit_replace(ROWS, DIM, 1.0, FALLING),
    }
    known = {"additive": "110 an edit adds noise", "replace": "111 an edit is a prediction"}
    wrong = {"additive": laws["replace"], "replace": laws["additive"]}
    for k, (model, law) in enumerate(laws.items()):
        seen = simulated("ols", Edit(FALLING, model), ROWS, 2400 + k, runs=RUNS, dim=DIM)
        cells = at(seen["excess"], law)
        ledger.record(known[model], "holds", *judged(cells, [at(seen["excess"], wrong[model])]))


def test_edited_symbols(ledger, quick_compilation) -> None:  # noqa: F811
    even, k = np.full(10, 0.1), 4
    setting = {"probabilities": tuple(even.tolist())}
    seen = simulated("categorical", Edit((float(k),)), 12, 2410, runs=RUNS, **setting)["excess"]
    wrong = references.law_replace(even, 12, 12, LAST).error
    found = judged(at(seen, references.law_edit(even, 12, [k] * LAST)), [at(seen, wrong)])
    ledger.record("112 symbols edited by lot; control: all replaced", "holds", *found)
    setting = {"probabilities": tuple(LAW.tolist())}
    seen = simulated("categorical", Edit(threshold=0.9), 100, 2411, runs=RUNS, **setting)["excess"]
    shown, known = (2, 3, 5), references.law_edit_sure(LAW, 100, 0.9, LAST)
    once = np.minimum(known, known[1])  # one round and no more
    found = judged(at(seen, known, shown), [at(seen, once, shown)])
    ledger.record("113 the surest symbols edited; control: once", "holds", *found)


def test_edited_text(ledger) -> None:
    """100,000 symbols of a chain whose stationary law is uniform."""
    chain = np.array([[0.05, 0.95, 0.0], [0.25, 0.05, 0.7], [0.7, 0.0, 0.3]])
    learner = Markov(3, 1, 0.0).make(1000)
    law = jnp.array([*chain, np.full(3, 1 / 3)], jnp.float32)
    key, even = jax.random.key(24), spread(1.0, 100, 100, jnp.float32)
    rows = learner.generate(jax.random.key(7), law, 100)
    for regime, of in ((Edit((0.5,)), (0.5, 0.0)), (Edit(threshold=0.9), (1.0, 0.9))):
        params = learner.fit(key, rows, even)
        made = next_generation(key, learner, regime, rows, params, 1, kept=rows).training_set
        fitted = np.asarray(learner.fit(key, made, even))[:3]
        known = references.chain_edit(chain, *of)
        # 33,000 visits of each symbol; rounds of a text depend on each other no farther than two.
        tolerance = 6 * np.sqrt(0.25 / 33_000)
        assert np.abs(fitted - known).max() < tolerance
        ledger.record(
            f"114 one round of a text, {'by lot' if of[1] == 0 else 'the surest'}",
            "holds",
            float(np.abs(fitted - known).max()),
            bool(np.abs(fitted - chain).max() > tolerance),
        )
