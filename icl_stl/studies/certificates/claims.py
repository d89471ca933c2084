"""The claim about networks in context: what the certificates of actual weights are worth.

The bounds are `bounds.transformers` and THEORY.md statements 53 to 56. On extremal prompts the
tight ones are equalities; for trained networks a certificate lies above the worst replacement that
a search finds, and that above typical ones.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from icl_stl import bounds
from icl_stl.config import QueryArchitecture
from icl_stl.lab.results import Floats
from icl_stl.laws import LinearRegression
from icl_stl.studies.cells import exact, formula
from icl_stl.studies.certificates.experiments import CertifiedNetworks
from icl_stl.studies.judging import Cell, Claim, Evidence, Json, Judged
from icl_stl.studies.presets import Preset

ROUNDING = 1e-3
"""Relative rounding of what a search finds in single precision, difference quotients included."""


def _architectures(width: int) -> dict[str, QueryArchitecture]:
    free = QueryArchitecture(depth=2, width=width, heads=2, mlp=2 * width)
    capped = replace(free, norm=True, cap=1.0)
    return {
        "one linear layer": QueryArchitecture(depth=1, width=width, heads=1, mlp=0, kind="linear"),
        "one layer, capped": QueryArchitecture(depth=1, width=width, heads=2, mlp=0, cap=1.0),
        "two layers, capped, norm": capped,
        "two layers, free": free,
        "two causal layers, capped, norm": replace(capped, attention="causal"),
    }


def networks(preset: Preset) -> dict[str, CertifiedNetworks]:
    """The networks that the claim trains, by name."""
    sizes = preset.certificates
    task = LinearRegression(dim=2, context=sizes.context, noise=0.2, inputs="sphere")
    return {
        name: CertifiedNetworks(
            task,
            architecture,
            sizes.training,
            sizes.networks,
            sizes.restarts,
            sizes.search_steps,
            sizes.prompts,
            sizes.contexts,
            sizes.long_prompts,
        )
        for name, architecture in _architectures(sizes.width).items()
    }


def _where(loop: str, kind: str, quantity: str, m: int, **more: Any) -> Json:
    return {
        "loop": loop,
        "regime": "in context",
        "alpha": 1.0,
        "generation": 0,
        "kind": kind,
        "quantity": quantity,
        "context": m,
        **more,
    }


def _at_most(
    value: Any, bound: Any, keys: Json, ceiling: float = np.inf, *, proved: bool = True
) -> Cell:
    """A measured number that does not exceed another one, up to rounding of the first."""
    measured, limit = float(np.max(value)), float(np.max(bound))
    margin = float(np.min(np.asarray(bound) * (1 + ROUNDING) - value))
    margins, seen = np.array([margin]), np.array([measured])
    return Cell(margins, seen, limit, keys, "exact", proved=proved, ceiling=ceiling)


def _exponent(slopes: Floats, expected: float, keys: Json) -> Cell:
    """An exponent that every network has up to rounding: one set of examples in all lengths."""
    return Cell(ROUNDING - np.abs(slopes - expected), slopes, expected, keys, "exact")


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max())
    normalised: Floats = shares / shares.sum()
    return normalised


def _tight() -> tuple[list[Cell], list[Cell]]:
    """Prompts on which the tight statements are equalities, and wrong constants for them."""
    cells: list[Cell] = []
    control: list[Cell] = []

    def add(loop: str, m: int, value: float, bound: float, **wrong: float) -> None:
        keys = _where(loop, "extremal", "extremal prompt", m)
        cells.append(exact(value, bound, keys, equal=True))
        for words, other in wrong.items():
            family = f"{loop}, {m} examples: {words}"
            control.append(exact(value, other, {**keys, "family": family}, equal=True))

    for m in (4, 40):
        for b in (1.0, 4.0):
            share = float(_softmax(np.array([b, *np.zeros(m - 1)]))[0])
            cap = float(bounds.attention_cap(m, b))
            half = float(bounds.attention_cap(m, b / 2))
            add("largest attention weight", m, share, cap, halved=cap / 2, once=half)
        for w in (0.3, 1.5):
            radius = 0.8
            near = np.full(m, -radius)
            far, near[0] = near.copy(), radius
            moved = [float(_softmax(w * radius * keys) @ keys) for keys in (near, far)]
            layer = bounds.SoftmaxLayer((w,), (1.0,))
            known = bounds.replace_one([layer], examples=m, radius=radius, readout=1.0).change
            once = bounds.SoftmaxLayer((w,), (1.0,), oscillations=(w * radius**2,))
            wrong = bounds.replace_one([once], examples=m, radius=radius, readout=1.0).change
            change = moved[0] - moved[1]
            add("one softmax layer", m, change, known, halved=known / 2, once=wrong)
        gamma = np.array([[0.9, 0.3], [-0.2, 0.5]])
        left, sizes, right = np.linalg.svd(gamma)
        b_x, b_y = 1.5, 2.0
        effect = b_x * left[:, 0] @ gamma @ right[0] * b_x / m
        known, kappa = (float(a) for a in bounds.linear_attention(m, sizes[0], b_x, b_y))
        add("linear attention", m, float(effect * 2 * b_y), known, halved=known / 2)
        sensitivity = float(m * effect)
        add("linear attention, label sensitivity", m, sensitivity, kappa, halved=kappa / 2)
        u, w, radius = 0.7, 0.6, 1.2
        pair = radius * np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
        query = radius * np.array([1.0, 0.0])
        outputs = w * u * (pair @ query)[:, None] * pair / m
        value = float(np.linalg.norm(outputs[0] - outputs[1]))
        linear = [bounds.LinearLayer(w, u)]
        known = bounds.replace_one(linear, examples=m, radius=radius, readout=1.0).change
        add("residual linear layer", m, value, known, halved=known / 2, doubled=2 * known)
    return cells, control


def _causal_logarithm() -> list[Cell]:
    """The first position's constant against the average one: a harmonic number more.

    One formula beside another: nothing of a network.
    """
    weight, radius = 0.2, 1.0
    cells = []
    for m in (10, 100, 1000):
        # Two linear layers: r and b of both are known, and nothing else depends on m.
        layers = [bounds.LinearLayer(weight, 1.0)] * 2
        pairs, size = [], radius
        for _ in layers:
            square = weight * size**2
            pairs.append((1 + square, 2 * square))
            size += square * size
        (r, b), (r_next, b_next) = pairs
        known = bounds.causal_replace_one(
            layers, tokens=m, position=1, radius=radius, readout=1.0, change=1.0
        )
        harmonic = float(np.sum(1 / np.arange(1, m + 1)))
        keys = _where("causal certificate", "constant", "constant of the first example", m)
        first = r * b_next + r_next * b + b * b_next * harmonic
        cells.append(formula(known.constant / first, 1.0, keys, equal=True))
    return cells


def _of_network(name: str, experiment: CertifiedNetworks, seen: Any, r: int) -> list[Cell]:
    """One network: certified, found, typical; and its label sensitivity.

    The worst change certified is vacuous from the range of the labels on: predictions clipped to
    it do better. Those of networks are not, and may change by more.
    """
    m, trivial = experiment.task.context, 2 * experiment.label_bound
    certified, found = seen["certified"][r], seen["adversarial"][r]
    q99 = float(seen["typical_q99"][r])
    data: Json = {
        "typical": float(seen["typical"][r]),
        "typical_q99": q99,
        "trivial": trivial,
        "error": float(seen["error"][r]),
        "label_bound": experiment.label_bound,
        "by_position": {
            "certified": certified.tolist(),
            "found": found.tolist(),
            "typical": seen["typical_by_position"][r].tolist(),
        },
        **{key: seen[key][r].tolist() for key in ("scores", "values") if key in seen},
    }

    def where(kind: str, quantity: str, **more: Any) -> Json:
        return _where(name, kind, quantity, m, network=r, **more)

    cells = [
        _at_most(
            found,
            certified,
            where("change", "worst change found, at most certified", **data),
            trivial,
        ),
        # No theorem says that a search finds more than chance.
        _at_most(
            q99,
            found.max(),
            where("quantile", "99 % quantile, at most the worst found"),
            proved=False,
        ),
    ]
    for key, what in (("kappa", "label sensitivity"), ("row_sum", "row sum")):
        limit, value = seen[key][r]
        cells.append(_at_most(value, limit, where(key, f"{what} found, at most certified")))
    return cells


def _judge(evidence: Evidence) -> Judged:
    cells, control = _tight()
    cells += _causal_logarithm()
    constants: list[Json] = []
    for name, experiment in networks(evidence.preset).items():
        seen = evidence.experiments[experiment]
        m = experiment.task.context
        for r in range(len(seen["typical"])):
            cells += _of_network(name, experiment, seen, r)
            typical = float(seen["typical_q99"][r])
            keys = _where(
                name, "change", "worst change found, at most typical", m, family=f"{name}: typical"
            )
            control.append(_at_most(seen["adversarial"][r].max(), typical, keys))
        curves = np.log(seen["by_context"].astype(np.float64))
        slopes = np.polyfit(np.log(experiment.contexts), curves.T, 1)[0]
        keys = _where(
            name,
            "contexts",
            "exponent of the mean change in the context length",
            m,
            contexts=list(experiment.contexts),
            curve=seen["by_context"].mean(0).tolist(),
            certified_curve=seen["certified_by_context"].mean(0).tolist(),
            trivial=2 * experiment.label_bound,
        )
        proved = name == "one linear layer"
        cells.append(replace(_exponent(slopes, -1.0, keys), finding=not proved))
        if proved:
            control.append(_exponent(slopes, -0.5, {**keys, "family": f"{name}: exponent -1/2"}))
    sizes = {"B_x, inputs": experiment.task.dim**0.5, "B_y, labels": experiment.label_bound}
    for what, value in (*sizes.items(), ("slope of GELU", bounds.ACTIVATION_SLOPES["gelu_tanh"])):
        constants.append({"name": what, "value": value, "provenance": "certified"})
    return Judged(cells, control, constants)


CLAIMS = (
    Claim(
        name="context_certificate",
        statement="one example of a prompt changes a trained network's prediction by at most what "
        "its weights certify; a search finds less than that and more than chance does; on "
        "extremal prompts the certificates of one layer are attained. One linear layer: exponent "
        "-1 in the context length. Other certificates are upper bounds alone, marked as vacuous "
        "where they exceed the range of the labels",
        source="derived here: statements 27, 30 to 32 and 53 to 56. That transformers are stable "
        "in context: paper, abstract-level claim; the generic form: Li et al. 2023",
        control="a constant halved, e^b for e^2b, exponent -1/2; the typical 99 % quantile as a "
        "bound on the worst change",
        experiments=lambda preset: tuple(networks(preset).values()),
        judge=_judge,
    ),
)
"""Claims about certificates."""
