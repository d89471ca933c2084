"""Certificates of actual weights: attained by hand-made networks, above all that is found."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import PRESET, certified

from icl_stl import bounds
from icl_stl.config import QueryArchitecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, sample_prompts
from icl_stl.models.query import QueryBlock, QueryWeights, effective_weights, query_init, read_query
from icl_stl.studies import Evidence, judge
from icl_stl.studies.certificates.claims import CLAIMS, networks
from icl_stl.studies.certificates.networks import (
    NUDGE,
    Domain,
    Swap,
    certify,
    effect,
    heads_on_features,
    ordered,
    positions_of,
    run_networks,
    search,
    starts,
    typical_changes,
    worst_found,
)
from icl_stl.studies.presets import CertificateSizes

TASK = LinearRegression(dim=2, context=5, noise=0.2, inputs="sphere")
DOMAIN = Domain(2**0.5, 3.0)
ONE = QueryArchitecture(depth=1, width=8, heads=2, mlp=0)
LINEAR = replace(ONE, heads=1, kind="linear")
DEEP = QueryArchitecture(depth=2, width=8, heads=2, mlp=6)
ARCHITECTURES = {
    "one softmax layer": ONE,
    "one linear layer": LINEAR,
    "one layer with MLP": replace(ONE, mlp=6, activation="relu"),
    "deep": DEEP,
    "deep, norm, capped": replace(DEEP, norm=True, cap=1.0),
    "deep, causal": replace(DEEP, attention="causal", norm=True, cap=0.5),
    "deep, linear": replace(LINEAR, heads=2, depth=2, cap=0.5),
}
each = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
CLAIM = CLAIMS[0]


def weights_of(architecture, seed=0, size=1.0):
    """A network whose parameters are random, biases too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: query_init(TASK, architecture, jax.random.key(0)))
    params = jax.tree.map(
        lambda a: jnp.asarray(size * rng.standard_normal(a.shape) / np.sqrt(8), a.dtype), shapes
    )
    return effective_weights(architecture, params)


def by_hand(embed, logit, value, readout):
    """One layer, one head, no MLP."""
    embed, logit, value = (jnp.asarray(a, float) for a in (embed, logit, value))
    block = QueryBlock(logit[None], value[None], None, None)
    rows = jnp.stack([jnp.asarray(readout, float), jnp.zeros(len(readout))])
    return QueryWeights(embed, (block,), rows, jnp.zeros(2))


def changed(architecture, weights, near, far, ys, ys_far, query):
    """|f(S) - f(S')| of two prompts."""
    arrays = (jnp.asarray(a, float) for a in (near, ys, far, ys_far))
    xs, labels, other_xs, other_labels = arrays
    asked = jnp.asarray(query, float)
    first = read_query(architecture, weights, xs, labels, asked)[0]
    return abs(float(first - read_query(architecture, weights, other_xs, other_labels, asked)[0]))


# --- equalities ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("m", [2, 9])
@pytest.mark.parametrize("logit", [0.2, 1.5])
@pytest.mark.parametrize("attention", ["full", "causal"])
def test_one_softmax_layer_attains_its_certificate(m, logit, attention):
    architecture = QueryArchitecture(depth=1, width=1, heads=1, mlp=0, attention=attention)
    weights = by_hand([[0.8, 0, 0, 0]], [[logit]], [[0.7]], [1.1])
    domain = Domain(1.3, 2.0)
    far = np.full((m, 1), -1.3)
    near = far.copy()
    near[0] = 1.3
    change = changed(architecture, weights, near, far, np.zeros(m), np.zeros(m), [1.3])
    known = certify(architecture, weights, domain, m)
    assert change == pytest.approx(known.change[0], rel=1e-12)
    # The certificate with e^b for e^2b, or with one key more, is exceeded.
    radius = 0.8 * 1.3
    wrong = 2 * radius * 0.7 * 1.1 * bounds.attention_cap(m, logit * radius**2)
    assert change > wrong * 1.01
    assert change > certify(architecture, weights, domain, m + 1).change[0] * 1.01
    assert known.kappa == known.row_sum == 0  # no label is read


@pytest.mark.usefixtures("x64")
def test_linear_layers_attain_their_certificates():
    m, domain = 7, Domain(1.5, 2.0)
    gamma = np.array([[0.9, 0.3], [-0.2, 0.5]])
    left, sizes, right = np.linalg.svd(gamma)
    embed = np.eye(3, 5)
    logit = np.zeros((3, 3))
    logit[:2, :2] = gamma
    weights = by_hand(embed, logit, np.diag([0, 0, 1.0]), [0, 0, 1.0])
    architecture = QueryArchitecture(depth=1, width=3, heads=1, mlp=0, kind="linear")
    xs = np.random.default_rng(0).uniform(-1, 1, (m, 2))
    xs[0] = 1.5 * right[0]
    ys, query = np.full(m, 2.0), 1.5 * left[:, 0]
    other = ys.copy()
    other[0] = -2
    change = changed(architecture, weights, xs, xs, ys, other, query)
    known = certify(architecture, weights, domain, m)
    expected, kappa = bounds.linear_attention(m, sizes[0], 1.5, 2.0)
    assert change == pytest.approx(expected, rel=1e-12)
    assert known.change[0] == pytest.approx(expected, rel=1e-12)
    assert known.kappa == pytest.approx(kappa, rel=1e-12)
    # Scores and values from inputs alone: the residual layer, whose bound is R^3, not 2 R^3.
    plane = np.array([[1.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0]])
    weights = by_hand(plane, 0.6 * np.eye(2), 0.7 * np.eye(2), [0, 1.0])
    architecture = replace(architecture, width=2)
    near, far = xs.copy(), xs.copy()
    near[0], far[0] = (1.5 * np.array([1, s]) / np.sqrt(2) for s in (1, -1))
    change = changed(architecture, weights, near, far, ys, ys, [1.5, 0])
    layer = [bounds.LinearLayer(0.6, 0.7)]
    expected = bounds.replace_one(layer, examples=m, radius=1.5, readout=1.0).change
    assert change == pytest.approx(expected, rel=1e-12)
    assert certify(architecture, weights, domain, m).change[0] == pytest.approx(change, rel=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", range(3))
def test_one_layer_depends_on_its_examples_through_the_features(seed, assert_close):
    weights = weights_of(ONE, seed)
    scores, values = heads_on_features(weights)
    rng = np.random.default_rng(seed)
    xs, ys, query = rng.normal(size=(4, 2)), rng.normal(size=4), rng.normal(size=2)
    features = np.column_stack([xs, ys, np.ones(4), np.zeros(4)])
    asked = np.array([*query, 0, 0, 1])
    total = weights.readout[0] @ weights.embed @ asked + weights.bias[0]
    for form, value in zip(scores, values, strict=True):
        shares = np.exp(features @ (form.T @ asked))
        total += shares / shares.sum() @ (features @ value)
    read = read_query(ONE, weights, jnp.asarray(xs), jnp.asarray(ys), jnp.asarray(query))
    assert_close(read[0], np.asarray(total))


# --- upper bounds --------------------------------------------------------------------------------


def admitted(rng, count):
    """Admitted inputs and labels, half of them at the edge."""
    xs = rng.normal(size=(count, 2))
    lengths = np.maximum(rng.uniform(size=(count, 1)), rng.integers(0, 2, (count, 1)))
    xs = DOMAIN.inputs * lengths * xs / np.linalg.norm(xs, axis=1, keepdims=True)
    return xs, DOMAIN.labels * rng.choice([-1, 0.3, 1], count)


@pytest.mark.parametrize(("seed", "loud"), [(0, None), (1, None), (2, -2), (3, -1)])
def test_first_layer_bounds_are_suprema(seed, loud, monkeypatch):
    """Spread of logits and diameter of values over many admitted tokens: below, and not far.

    Examples or the query may ask the loudest questions, by a large constant of theirs.
    """
    weights = jax.tree.map(np.array, weights_of(DEEP, seed))
    if loud is not None:
        weights.embed[:, loud] *= 10
    seen = []
    monkeypatch.setattr(
        bounds, "replace_one", lambda layers, **known: seen.append((layers, known)) or EMPTY
    )
    certify(DEEP, weights, DOMAIN, 5)
    ((layers, known),) = seen
    rng = np.random.default_rng(seed)
    xs, ys = admitted(rng, 4000)
    ones = np.ones((4000, 1))
    keys = np.hstack([xs, ys[:, None], ones, 0 * ones]) @ weights.embed.T
    asked = np.hstack([xs, 0 * ones, 0 * ones, ones]) @ weights.embed.T
    every = np.vstack([keys, asked])
    assert 0.7 * known["radius"] < np.linalg.norm(every, axis=1).max() <= known["radius"]
    block = weights.blocks[0]
    for h, (logit, value) in enumerate(zip(block.logits, block.values, strict=True)):
        logits = every[::7] @ logit @ keys.T
        spread = (logits.max(1) - logits.min(1)).max()
        assert 0.6 * layers[0].oscillations[h] < spread <= layers[0].oscillations[h]
        values = (keys @ value.T)[::4]
        width = np.linalg.norm(values[:, None] - values[None], axis=-1).max()
        assert 0.6 * layers[0].diameters[h] < width <= layers[0].diameters[h]
    assert layers[1].oscillations is None


EMPTY = bounds.Certificate(1.0, 1.0, 1.0, (1.0,), ())


@each
def test_certificates_bound_what_is_found(architecture):
    """Searched and random replacements, changes and label sensitivities, of three networks."""
    m = 4
    begin = jax.jit(partial(starts, DOMAIN, 2, m), static_argnums=1)(jax.random.key(1), 12)

    @jax.jit
    def found_and_typical(weights, prompts):
        found = worst_found(architecture, weights, DOMAIN, begin, 25)
        places = jnp.linspace(0, 0.99, 40)
        typical, _ = typical_changes(TASK, architecture, weights, DOMAIN, prompts, places, (m,))
        return found, typical

    prompts = sample_prompts(replace(TASK, context=m + 2), jax.random.key(2), 40)
    for seed in range(3):
        weights = weights_of(architecture, seed, size=0.8)
        known = certify(architecture, weights, DOMAIN, m)
        found, typical = found_and_typical(weights, prompts)
        at = list(positions_of(architecture, m))
        assert np.all(np.asarray(found[0]) <= known.change[at] * (1 + 1e-4))
        assert np.all(np.asarray(typical) <= known.change.max())
        assert np.max(typical) <= np.max(found[0])
        assert np.max(found[1]) <= known.kappa * (1 + 1e-3)
        assert np.max(found[2]) <= known.row_sum * (1 + 1e-3)
        if architecture is LINEAR:
            assert np.max(found[0]) > 0.5 * known.change[0]


def test_causal_queries_are_certified_by_position():
    """Small weights, so that the cap by all outputs is far: the product of matrices itself."""
    architecture, m = ARCHITECTURES["deep, causal"], 6
    weights = jax.tree.map(np.asarray, weights_of(architecture, 1, size=0.25))
    known = certify(architecture, weights, DOMAIN, m)
    embed = np.asarray(weights.embed, float)
    product, average = np.eye(m), np.tril(np.ones((m, m))) / np.arange(1, m + 1)[:, None]
    for block in weights.blocks:
        gain = np.abs(block.gains).max()
        inside = gain * np.sqrt(8)
        up, _, down, _ = block.mlp
        mlp = 1 + gain * 1.129 * np.linalg.norm(up, 2) * np.linalg.norm(down, 2)
        own = other = 0.0
        for logit, value in zip(block.logits, block.values, strict=True):
            score = np.linalg.norm(logit, 2) * inside**2
            size = np.linalg.norm(value, 2)
            own += gain * size * score
            weight = m * np.exp(2 * score) / (m - 1 + np.exp(2 * score))
            other += gain * weight * size * (1 + 2 * score)
        product = mlp * ((1 + own) * product + other * average @ product)
    label = np.linalg.norm(embed[:, 2])
    moved = 2 * (np.sqrt(2) * np.linalg.norm(embed[:, :2], 2) + 3 * label)
    readout = np.linalg.norm(weights.readout[0])
    np.testing.assert_allclose(known.change, readout * moved * product[-1], rtol=1e-5)
    np.testing.assert_allclose(known.kappa, m * readout * label * product[-1].max(), rtol=1e-5)
    np.testing.assert_allclose(known.row_sum, readout * label * product[-1].sum(), rtol=1e-5)


def test_linear_attention_with_an_mlp_has_no_certificate():
    architecture = replace(LINEAR, mlp=4)
    with pytest.raises(ValueError, match="mlp 4"):
        certify(architecture, weights_of(architecture), DOMAIN, 5)


# --- the search and chance -----------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_a_search_finds_an_admitted_swap_with_the_effect_it_reports(assert_close):
    weights, begin = weights_of(ONE, 0), starts(DOMAIN, 2, 5, jax.random.key(0), 1)
    first = jax.tree.map(lambda a: a[0], begin)
    climb = jax.jit(partial(search, ONE), static_argnums=5)
    moved = jax.jit(partial(effect, ONE))
    for target in range(3):
        which = jnp.array(target), jnp.array(0)
        best, swap = climb(weights, DOMAIN, first, *which, 20)
        assert_close(moved(weights, swap, *which), best)
        assert float(best) > 1.2 * float(moved(weights, first, *which))
        room = DOMAIN.labels - (NUDGE if target else 0) + 1e-12
        assert np.linalg.norm(swap.xs, axis=1).max() <= DOMAIN.inputs + 1e-9
        assert np.linalg.norm(swap.query) <= DOMAIN.inputs + 1e-9
        assert np.linalg.norm(swap.x) <= DOMAIN.inputs + 1e-9
        assert max(np.abs(swap.ys).max(), abs(float(swap.y))) <= room
        assert np.abs(swap.signs).max() <= 1


@pytest.mark.usefixtures("x64")
def test_effects_are_changes_and_difference_quotients(assert_close):
    rng, weights = np.random.default_rng(0), weights_of(DEEP, 0)
    xs, ys = rng.normal(size=(5, 2)), rng.normal(size=5)
    query, x, y, signs = rng.normal(size=2), rng.normal(size=2), 0.4, np.array([1.0, -1, 1, 1, -1])
    swap = jax.tree.map(jnp.asarray, Swap(xs, ys, query, x, y, signs))

    read = jax.jit(partial(read_query, DEEP))

    def mean(inputs, labels):
        return float(read(weights, inputs, labels, query)[0])

    other_xs, other_ys = xs.copy(), ys.copy()
    other_xs[3], other_ys[3] = x, y
    one_more = ys + NUDGE * (np.arange(5) == 3)
    expected = [
        mean(other_xs, other_ys) - mean(xs, ys),
        5 / NUDGE * (mean(xs, one_more) - mean(xs, ys)),
        1 / NUDGE * (mean(xs, ys + NUDGE * signs) - mean(xs, ys)),
    ]
    moved = jax.jit(partial(effect, DEEP))
    for target, value in enumerate(expected):
        assert_close(moved(weights, swap, jnp.array(target), jnp.array(3)), value)


@pytest.mark.parametrize("name", ["deep", "deep, causal"])
def test_typical_changes_equal_a_literal_replacement(name, assert_close):
    architecture = ARCHITECTURES[name]
    weights, unit = weights_of(architecture, 0), TASK.label_variance**-0.5
    prompts = sample_prompts(replace(TASK, context=9), jax.random.key(3), 4)
    prompts = Prompts(prompts.xs, 3 * prompts.ys)  # some labels are clipped
    places = jnp.array([0.0, 0.3, 0.6, 0.99])
    changes, errors = jax.jit(
        lambda w, p, q: typical_changes(TASK, architecture, w, DOMAIN, p, q, (3, 7))
    )(weights, prompts, places)
    xs, raw = np.asarray(prompts.xs), unit * np.asarray(prompts.ys)
    ys = np.clip(raw, -3, 3)
    read = jax.jit(partial(read_query, architecture))
    for c, m in enumerate((3, 7)):
        for n in range(4):
            j = int(places[n] * m) if ordered(architecture) else 0
            other_xs, other_ys = xs[n, :m].copy(), ys[n, :m].copy()
            other_xs[j], other_ys[j] = xs[n, 7], ys[n, 7]
            first = read(weights, xs[n, :m], ys[n, :m], xs[n, 8])[0]
            second = read(weights, other_xs, other_ys, xs[n, 8])[0]
            assert_close(changes[c, n], abs(float(first - second)))
            assert_close(errors[c, n], (float(first) - raw[n, 8]) ** 2)


# --- the claim -----------------------------------------------------------------------------------

SIZES = CertificateSizes(
    networks=3,
    context=3,
    width=4,
    training=Training(steps=5, batch=4),
    restarts=3,
    search_steps=5,
    prompts=20,
    contexts=(3, 6),
    long_prompts=10,
)


def evidence(change=lambda name, arrays: arrays):
    """Networks made by hand, changed where a test wants it."""
    preset = replace(PRESET, certificates=SIZES)
    made = {e: change(name, certified(e)) for name, e in networks(preset).items()}
    return Evidence(preset, experiments=made)


def test_the_claim_holds_for_certificates_above_what_is_found():
    entry = judge(CLAIM, evidence())
    assert (entry["verdict"], entry["negative_control"]["rejected"]) == ("holds", True)
    vacuous = [c for c in entry["cells"] if c.get("vacuous")]
    others = [c for c in entry["cells"] if c["verdict"] == "finding" and c not in vacuous]
    deeper = set(networks(PRESET)) - {"one linear layer"}
    assert {c["loop"] for c in others} == deeper | {"causal certificate"}


def test_a_certificate_from_the_range_of_labels_on_is_vacuous():
    """Changes from 2 B_y on, sensitivities to labels and row sums from the context length on."""

    chosen = networks(replace(PRESET, certificates=SIZES))
    trivial = 2 * chosen["one linear layer"].label_bound

    def at(factor):
        def changed(name, arrays):
            arrays = {key: values.copy() for key, values in arrays.items()}
            arrays["certified"][:] = factor * trivial
            return arrays

        entry = judge(CLAIM, evidence(changed))
        assert entry["verdict"] == "holds"
        return [c["quantity"] for c in entry["cells"] if c.get("vacuous")]

    assert at(0.999) == []
    empty = at(1.0)
    assert len(empty) == SIZES.networks * len(networks(PRESET))
    assert {words.partition(" found")[0] for words in empty} == {"worst change"}


@pytest.mark.parametrize("key", ["certified", "kappa", "row_sum"])
def test_the_claim_is_violated_by_one_network_above_its_certificate(key):
    def broken(name, arrays):
        if name == "two layers, free":
            arrays[key] = arrays[key].copy()
            arrays[key][1, 0] = 0.5
        return arrays

    assert judge(CLAIM, evidence(broken))["verdict"] == "violated"


def test_a_search_worse_than_chance_leaves_the_claim_open():
    def weak(name, arrays):
        return {**arrays, "typical_q99": 1.5 * arrays["adversarial"].max(1)}

    entry = judge(CLAIM, evidence(weak))
    assert entry["verdict"] == "inconclusive"
    assert not entry["negative_control"]["rejected"]


def test_a_linear_layer_of_another_exponent_violates_the_claim():
    def slow(name, arrays):
        return {**arrays, "by_context": np.sqrt(arrays["by_context"])}

    entry = judge(CLAIM, evidence(slow))
    assert entry["verdict"] == "violated"
    accepted = [f["family"] for f in entry["negative_control"]["families"] if not f["rejected"]]
    assert accepted == ["one linear layer: exponent -1/2"]


@pytest.mark.parametrize("name", ["one layer, capped", "two causal layers, capped, norm"])
def test_networks_are_trained_searched_and_certified(name):
    experiment = networks(replace(PRESET, certificates=SIZES))[name]
    arrays = run_networks(experiment, 0)
    positions = 1 if name == "one layer, capped" else 3
    assert arrays["certified"].shape == arrays["adversarial"].shape == (3, positions)
    assert arrays["by_context"].shape == arrays["certified_by_context"].shape == (3, 2)
    assert ("scores" in arrays) == (name == "one layer, capped")
    for values in arrays.values():
        assert values.shape[0] == 3
        assert np.isfinite(values).all()
    assert np.all(arrays["certified"] >= arrays["adversarial"])
    assert np.all(arrays["kappa"][:, 0] >= arrays["kappa"][:, 1])
    assert len(np.unique(arrays["typical"])) == 3
