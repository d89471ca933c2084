"""Section 18: learners of rows in loops of the package, against their exact laws.

10,000 loops of each learner in each regime; all entries of all moments in one Holm family at 5 %,
and for each pair a wrong formula that the same loops must reject.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from check_references import Cell, quick_compilation  # noqa: F401

from icl_stl import references
from icl_stl.learners import GENERATIVE
from icl_stl.loops import self_consume
from icl_stl.regimes import Augment, FreshReal, Replace

LOOPS, LAST, N = 10_000, 3, 6
ROOT = np.array([[1.5, 0.0], [0.6, 0.8]])
SIGMA = ROOT @ ROOT.T
INITIAL, TRANSITION = np.array([0.6, 0.4]), np.array([[0.7, 0.3], [0.2, 0.8]])


def looped(learner, regime, draw, observe):
    """What is observed of the generations of many loops, `[loops, G + 1, ...]`."""

    def loop(key):
        key_real, key_loop = jax.random.split(key)
        real = draw(key_real, N)
        seen = lambda _, generation: observe(generation.params)  # noqa: E731
        return self_consume(
            key_loop, learner, real, LAST, regime=regime, observe=seen, draw_real=draw
        )

    keys = jax.random.split(jax.random.key(sum(map(ord, repr(regime)))), LOOPS)
    found = jax.jit(lambda keys: jax.lax.map(loop, keys, batch_size=1000))(keys)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)


def draw(key, count):
    """Rows of mean 0 and covariance Σ, exponential and not normal."""
    return (jax.random.exponential(key, (count, 2)) - 1) @ jnp.asarray(ROOT.T, jnp.float32)


def moments_of(law):
    """The mean and the covariance of what is generated."""
    units = law.units
    if hasattr(law, "root"):
        mean, covariance = jnp.zeros(2), law.root @ law.root.T
    elif hasattr(law, "roots"):
        mean = law.shares @ law.means
        within = jnp.einsum("kce,kde->kcd", law.roots, law.roots)
        within += jnp.einsum("kc,kd->kcd", law.means, law.means)
        covariance = jnp.einsum("k,kcd->cd", law.shares, within)
        covariance -= mean[:, None] * mean[None]
    else:
        mean, covariance = jnp.zeros(2), law.z.T @ (law.weights[:, None] * law.z)
        covariance += 0.25 * jnp.eye(2)
    scale = units.deviation
    mean = units.centre + scale * mean
    return mean[:, None] * mean[None], scale[:, None] * covariance * scale[None]


def moments(name, regime, options, known, wrong):
    """Cells of the two moments, and cells of the wrong ones."""
    learner = GENERATIVE[name](**options).make(2)
    seen = looped(learner, regime, draw, moments_of)
    upper = [(0, 0), (0, 1), (1, 1)]

    def cells(path):
        return [
            Cell(values[:, i, a, b], float(expected[i, a, b]))
            for values, expected in zip(seen, path, strict=True)
            for i in range(LAST + 1)
            for a, b in upper
        ]

    return cells(known), cells(wrong)


def normal_replace():
    loop = lambda m, s: references.covariance_augment(SIGMA, N, m, LAST, 0.0, shrinkage=s)  # noqa: E731
    how = "normal", Replace(1), {"shrinkage": 0.3}
    return moments(*how, loop(N, 0.3), loop(N, 0.0))


def normal_augment():
    loop = lambda w: references.covariance_augment(SIGMA, N, N, LAST, w)  # noqa: E731
    return moments("normal", Augment(0.5, 0.3), {}, loop(0.3), loop(None))


def normal_fresh():
    known = references.covariance_fresh(SIGMA, N, 2 * N, LAST)
    wrong = references.covariance_augment(SIGMA, N, 2 * N, LAST)
    return moments("normal", FreshReal(2.0), {}, known, wrong)


def smoothed_replace():
    loop = lambda h: references.covariance_augment(SIGMA, N, N, LAST, 0.0, widening=1 + h)  # noqa: E731
    return moments("kde", Replace(1), {"bandwidth": 0.5}, loop(0.25), loop(0.5))


def mixture_augment():
    loop = lambda r: references.covariance_augment(SIGMA, N, N, LAST, widening=1 + r)  # noqa: E731
    options = {"components": 2, "regularisation": 0.1, "steps": 3}
    return moments("mixture", Augment(0.5), options, loop(0.1), loop(0.0))


def chain(regime, weight):
    """Laws of the 8 rows of three places; the wrong formula has half the pseudo-count."""
    learner = GENERATIVE["markov"](symbols=2, order=1, pseudo_count=0.2).make(3)
    every = np.indices((2, 2, 2)).reshape(3, -1).T.astype(np.int32)
    laws = INITIAL[every[:, 0]] * TRANSITION[every[:, :2], every[:, 1:]].prod(axis=1)

    def draw(key, count):
        return jnp.asarray(every)[jax.random.choice(key, 8, (count,), p=jnp.asarray(laws))]

    seen = looped(learner, regime, draw, lambda law: jnp.exp(learner.log_density(law, every)))
    off = seen - laws

    def cells(path):
        mean = path.mean.reshape(LAST + 1, 8)
        found = [Cell(seen[:, i, r], mean[i, r]) for i in range(LAST + 1) for r in range(8)]
        for i in range(LAST + 1):
            found += [
                Cell((off[:, i] ** 2).sum(axis=1), path.error[i]),
                Cell(np.abs(off[:, i]).sum(axis=1) / 2, path.total_variation[i]),
            ]
        return found

    def law(a):
        size = regime.synthetic_size(N)
        return references.chain_augment(
            INITIAL, TRANSITION, 3, N, size, LAST, weight, pseudo_count=a
        )

    return cells(law(0.2)), cells(law(0.1))


@pytest.mark.usefixtures("quick_compilation")
def test_loops_of_rows_have_their_moments(ledger) -> None:
    """Each learner's cells agree with its formula, and not with the wrong one."""
    made = {
        "95 normal law, replace; control: no shrinkage": normal_replace(),
        "95 normal law, augment; control: equal rows": normal_augment(),
        "95 normal law, new real rows; control: the fixed set": normal_fresh(),
        "95 smoothed rows, replace; control: h for h^2": smoothed_replace(),
        "95 mixture, augment; control: not regularised": mixture_augment(),
        "96 Markov chain, augment; control: half the pseudo-count": chain(Augment(0.75), None),
        "96 Markov chain, replace; control: half the pseudo-count": chain(Replace(1 / 3), 0.0),
    }
    every = np.array([cell.p_value for cells, _ in made.values() for cell in cells])
    order = np.sort(every) * np.arange(len(every), 0, -1)
    assert order.min() > 0.05
    for name, (cells, wrong) in made.items():
        rejected = min(cell.p_value for cell in wrong) < 0.05 / len(wrong)
        largest = max(abs(cell.z) for cell in cells)
        ledger.record(name, tightness=f"|z| <= {largest:.1f}", control_rejected=rejected)
