"""The claim about loops in the context, on loops made by hand: when it holds, when it must not."""

import dataclasses
import json

import numpy as np
import pytest
from synthetic import PRESET

from icl_stl.studies import Evidence, judge
from icl_stl.studies.context_loop.claims import CLAIMS, _experiments
from icl_stl.studies.drawing import Stored
from icl_stl.studies.figures import DRAWINGS
from icl_stl.studies.presets import ContextSizes

(CLAIM,) = CLAIMS
SMALL = dataclasses.replace(
    PRESET, in_context=ContextSizes(designs=200, runs=5000, networks=3, prompts=5, generations=4)
)
CHOSEN = _experiments(SMALL)


def ridge(xs, ys, penalty):
    gram = xs.swapaxes(-1, -2) @ xs + penalty * np.eye(xs.shape[-1])
    return np.linalg.solve(gram, xs.swapaxes(-1, -2) @ ys[..., None])[..., 0]


def attention(xs, ys, gain):
    return gain * np.einsum("nmd,nm->nd", xs, ys) / xs.shape[-2]


FITS = {"ridge": ridge, "least_squares": ridge, "linear_attention": attention}


def simulated(experiment, seed=0):
    """What an experiment observes, by NumPy; its networks are ridge."""
    rng, task = np.random.default_rng([seed, *experiment.words.encode()]), experiment.task
    network = experiment.network is not None
    runs, m, d = experiment.runs * experiment.prompts, task.context, task.dim
    on_sphere = lambda v: v * np.sqrt(d / (v**2).sum(-1, keepdims=True))  # noqa: E731

    def inputs(rows):
        drawn = rng.normal(size=(runs, rows, d))
        return on_sphere(drawn) if task.inputs == "sphere" else drawn

    def labels(xs):
        noise = task.noise * rng.normal(size=xs.shape[:2])
        return np.einsum("nmd,nd->nm", xs, w) + noise

    w = rng.normal(size=(runs, d))
    w = on_sphere(w) if task.tasks == "sphere" else w
    xs = inputs(m)
    if experiment.one_input:
        xs[:, : experiment.kept[0]] = xs[:, :1]
    ys = labels(xs)
    queries = inputs(8) if network else np.broadcast_to(np.eye(d), (runs, d, d))
    shift = np.zeros((runs, m))
    if experiment.change == "first":
        shift[:, 0] = 1
    if experiment.change == "start":
        shift = 10 * rng.normal(size=(runs, m))
    length = experiment.generations + 1
    fresh = [inputs(m) for _ in range(length)]
    real = [(inputs(m),) for _ in range(length)]
    real = [(new, labels(new)) for (new,) in real]
    noise = experiment.relabel_noise * rng.normal(size=(length, runs, m))

    def loop(fit, setting, k, start):
        now_xs, now_ys, path, seen = xs, start, [], []
        for g in range(length):
            weights = fit(now_xs, now_ys, setting)
            path.append(np.einsum("nqd,nd->nq", queries, weights))
            seen.append(now_xs)
            if g + 1 == length:
                break
            kept_xs, kept_ys = real[g] if experiment.fresh == "all" else (now_xs, now_ys)
            kept = np.arange(m) < k
            new = now_xs if experiment.fresh == "none" else fresh[g]
            now_xs = np.where(kept[:, None], kept_xs, new)
            made = np.einsum("nmd,nd->nm", now_xs, weights) + noise[g]
            now_ys = np.where(kept, kept_ys, made)
        return np.stack(path, axis=1), np.stack(seen, axis=1)

    predictors = experiment.predictors or (("ridge", task.noise**2),)
    each = lambda moved: np.stack(  # noqa: E731
        [
            np.stack(
                [loop(FITS[name], setting, k, ys + moved(k))[0] for k in experiment.kept], axis=1
            )
            for name, setting in predictors
        ],
        axis=1,
    )
    own = lambda k: np.where(np.arange(m) < k, 0, shift)  # noqa: E731
    found = {"task": w, "xs": xs, "ys": ys, "queries": queries, "shift": shift}
    found["predictions"] = each(lambda k: 0.0)
    if experiment.change != "none":
        moved = own if experiment.change == "start" else lambda k: shift
        found["changed"] = each(moved)
    if experiment.fresh == "inputs":
        paths = [loop(ridge, 0.25, k, ys)[1] for k in experiment.kept]
        found["inputs"] = np.stack(paths, axis=1)
    if network:
        shape = (experiment.runs, experiment.prompts)
        found = {name: a.reshape(*shape, *a.shape[1:]) for name, a in found.items()}
        found["loss"] = np.zeros(experiment.runs)
    return found


@pytest.fixture(scope="module")
def original():
    return {name: simulated(experiment) for name, experiment in CHOSEN.items()}


@pytest.fixture
def good(original):
    """Loops that do what the claim says; a change of one array leaves the others alone."""
    return {name: dict(arrays) for name, arrays in original.items()}


def judged(seen):
    experiments = {CHOSEN[name]: arrays for name, arrays in seen.items()}
    return judge(CLAIM, Evidence(SMALL, {}, {}, experiments))


def test_loops_that_do_what_the_claim_says(good):
    entry = judged(good)
    wrong = [c for c in entry["cells"] if c["verdict"] not in ("holds", "finding")]
    assert entry["verdict"] == "holds", wrong
    assert entry["failed"] == []
    assert entry["negative_control"]["rejected"]
    for cell in entry["cells"]:
        assert {"loop", "regime", "alpha", "generation", "quantity", "kept", "m"} <= set(cell)
        assert (cell["verdict"] == "finding") == (
            cell["loop"] == "network"
            or "alpha times" in cell["quantity"]
            or "rare" in cell["quantity"]
            or "closed form of the factor" in cell["quantity"]
            or cell.get("vacuous", False)
        )
        if cell.get("test", "positive") in ("positive", "equal") and cell["bound"] is not None:
            difference = cell["measured"] - cell["bound"]
            sign = -1 if cell.get("direction") == "at most" else 1
            assert cell["margin"] == pytest.approx(sign * difference, rel=1e-9, abs=1e-12)
    json.dumps(entry, allow_nan=False)


def test_networks_that_are_ridge_are_at_ridge(good):
    """The findings compare like with like: a network that is ridge differs in nothing."""
    cells = [c for c in judged(good)["cells"] if c["loop"] == "network"]
    assert len(cells) == 3 * len(CHOSEN["network"].kept)
    for cell in cells:
        if "ridge" in cell:
            np.testing.assert_allclose(cell["curve"], cell["ridge"], rtol=1e-8)
            assert cell["measured"] == pytest.approx(cell["bound"])
        else:
            assert cell["bound"] is None
            if cell["kept"] == cell["m"]:
                assert cell["measured"] < 1e-20
            assert cell["curve"][-1] == pytest.approx(cell["measured"])


def scaled(name, factor, *place):
    """Multiply weights of one experiment, in all generations but the first."""

    def change(seen):
        for key in ("predictions", "changed"):
            if key in seen[name]:
                values = seen[name][key].copy()
                values[(slice(None), *place, slice(1, None))] *= factor
                seen[name][key] = values

    return change


def twin_that_stays(seen):
    values = seen["fixed"]["changed"].copy()
    values[:, 0, 3, 1:] = values[:, 0, 3, :1]
    seen["fixed"]["changed"] = values


def other_noise(seen):
    off = seen["noise"]["predictions"] - np.median(seen["noise"]["predictions"], axis=0)
    seen["noise"]["predictions"] = seen["noise"]["predictions"] + 0.5 * off


def steps_too_long(seen):
    values = seen["inputs"]["changed"].copy()
    values[:, :, :, 10:] += 3.0
    seen["inputs"]["changed"] = values


def coupled_badly(seen):
    """The difference of the twins grows a tenth more in every generation."""
    apart = seen["all"]["changed"] - seen["all"]["predictions"]
    growth = 1.1 ** np.arange(apart.shape[3])[:, None]
    seen["all"]["changed"] = seen["all"]["predictions"] + growth * apart


def influence_small(seen):
    apart = seen["one input"]["changed"] - seen["one input"]["predictions"]
    seen["one input"]["changed"] = seen["one input"]["predictions"] + 0.4 * apart


def errors_that_stay(seen):
    """Labels carry the task: ridge where it was in generation 0."""
    values = seen["one kept"]["predictions"].copy()
    values[:, :, :, 1:] = values[:, :, :, :1]
    seen["one kept"]["predictions"] = values


def influence_above(seen):
    apart = seen["influence"]["changed"] - seen["influence"]["predictions"]
    seen["influence"]["changed"] = seen["influence"]["predictions"] + 4 * apart


@pytest.mark.parametrize(
    ("change", "loop", "words"),
    [
        (scaled("fixed", 1.02, 0, 2), "ridge", "recursion"),
        (scaled("fixed", 1.02, 1, 2), "linear attention", "recursion"),
        (twin_that_stays, "ridge", "distance to ridge on the kept"),
        (steps_too_long, "ridge", "largest step"),
        (other_noise, "ridge", "variance by noise"),
        (other_noise, "least squares", "squared error over"),
        (coupled_badly, "linear attention", "factor of"),
        (coupled_badly, "least squares", "factor of"),
        (scaled("all", 1.2, 1), "least squares", "squared error of"),
        (influence_small, "linear attention, d = 1", "attained"),
        (errors_that_stay, "ridge", "no kept input sees"),
        (influence_above, "linear attention", "largest over queries"),
        (influence_above, "ridge", "largest relative distance"),
    ],
)
def test_loops_that_do_something_else_violate_it(good, change, loop, words):
    change(good)
    entry = judged(good)
    assert entry["verdict"] == "violated"
    found = [c for c in entry["cells"] if c["loop"] == loop and words in c["quantity"]]
    assert "violated" in {cell["verdict"] for cell in found}


def test_a_bound_above_the_largest_influence_in_ridge_is_vacuous(good):
    """Predictions are no longer than labels: each generation adds a label of length 1 to them."""
    name = "influence of one label, largest over its inputs"
    own = [c for c in judged(good)["cells"] if (c["loop"], c["quantity"]) == ("ridge", name)]
    assert {c["generation"] for c in own} == {1, 20}
    for cell in own:
        most = np.sqrt(cell["generation"] + 1)
        assert cell.get("vacuous", False) == (cell["bound"] >= most)
        assert cell["measured"] < cell["bound"]
    assert {c.get("vacuous", False) for c in own} == {True, False}
    seen = good["influence"]
    moved = (seen["changed"] - seen["predictions"])[:, 0]
    reached = np.einsum("rkgd,rmd->rkgm", moved, seen["xs"])
    lengths = np.linalg.norm(reached, axis=-1).max(axis=(0, 1))
    assert (lengths <= np.sqrt(np.arange(len(lengths)) + 1)).all()


def test_the_control_of_convergence_asks_where_thresholds_lie_apart(good):
    families = [f["family"] for f in judged(good)["negative_control"]["families"]]
    asked = [family for family in families if "threshold" in family]
    assert asked == [f"linear attention, {k} kept: threshold rho < 1" for k in (3, 6)]


@pytest.mark.parametrize("change", [influence_small, errors_that_stay])
def test_a_control_that_is_right_is_not_rejected(good, change):
    """If influence really were below half of its bound, or errors stayed, it would not be."""
    change(good)
    assert not judged(good)["negative_control"]["rejected"]


def test_the_figure_shows_the_cells(good):
    """Bars of networks, and the curves, are what the cells say."""
    entry = judged(good)
    figure = DRAWINGS["context_loop"].draw(Stored(SMALL.task, {}, {CLAIM.name: entry}))
    ridge_panel, attention_panel, rare, one_kept, influence, errors = figure.axes

    def cells(loop, words, **keys):
        found = [c for c in entry["cells"] if c["loop"] == loop and words in c["quantity"]]
        return [c for c in found if all(c[key] == keys[key] for key in keys)]

    def solid(ax):
        return [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "-"]

    left = cells("ridge", "over that of the start", regime="fixed inputs")
    assert solid(ridge_panel) == [cell["curve"] for cell in left]
    (shown,) = cells("linear attention", "rare loops", kept=3)
    assert solid(rare) == [shown["curve"], shown["median"]]
    kept = [c for c in cells("linear attention", "wrong side") if c["kept"] in (0, 3)]
    loops = [cell[f"loop_{which}"] for cell in kept for which in ("largest", "typical")]
    assert solid(attention_panel) == loops
    (blind,) = cells("ridge", "no kept input sees", regime="one kept input")
    assert solid(one_kept) == [blind["curve"]]
    (limit,) = (line for line in one_kept.lines if line.get_linestyle() == "--")
    assert set(limit.get_ydata()) == {blind["limit_error"]}
    networks = [c for c in cells("network", "influence") if c["kept"]]
    (bars,) = influence.containers
    assert list(bars.lines[0].get_ydata()) == [cell["measured"] for cell in networks]
    assert solid(errors) == [cell["curve"] for cell in cells("network", "squared error")]
