"""Loops and run folders made by hand: what is judged and drawn, without any JAX."""

from functools import cache

import numpy as np

from icl_stl.lab.experiments import SizedLoops
from icl_stl.lab.results import LoopResult
from icl_stl.laws import LinearRegression
from icl_stl.regimes import REAL, source_shares
from icl_stl.studies import Evidence, judge
from icl_stl.studies.certificates.experiments import CertifiedNetworks
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.collapse.experiments import LayerPrompts, PlugInLoops, Regeneration
from icl_stl.studies.confidence.experiments import FilteredLoops
from icl_stl.studies.context_loop.experiments import ContextLoops
from icl_stl.studies.convergence.experiments import Distilled, SizedTransformers
from icl_stl.studies.drawing import Stored
from icl_stl.studies.editing.experiments import Schedules
from icl_stl.studies.mad.claims import QUANTITIES
from icl_stl.studies.mad.experiments import LOOPS, BiasedLoops
from icl_stl.studies.network.experiments import BITS, NOISE, PART, MeasuredNetworks
from icl_stl.studies.plateau.experiments import SingleFits
from icl_stl.studies.presets import ContextSizes, ConvergenceSize, Preset
from icl_stl.studies.stability.experiments import NeighbouringLoops, NeighbouringTransformers
from icl_stl.studies.transformer.claims import known_total_variation
from icl_stl.studies.transformer.experiments import KnownLoops

PRESET = Preset(
    "by hand",
    task=LinearRegression(dim=1, context=4, prior_scale=2.0),
    samples=8,
    generations=4,
    replicates=6,
    shares=(0.25, 0.5),
    held_out=50,
    solvable_runs=40,
    in_context=ContextSizes(designs=6, runs=12, networks=3, prompts=2, generations=3),
    convergence=ConvergenceSize((2, 32), 4, True, (2,), (0, 1, 4), 2, 6),
)
R, G, P, M = PRESET.replicates, PRESET.generations, 3, PRESET.task.context


def noise(scale, *shape, seed=0):
    """Values between -scale and scale."""
    return scale * np.random.default_rng(seed).uniform(-1, 1, shape)


def around(mean, runs, seed, scale=0.02):
    """Values `[runs, ...]` of this mean exactly, with a little scatter."""
    mean = np.asarray(mean, float)
    scatter = np.random.default_rng(seed).uniform(-1, 1, (runs, *mean.shape))
    return mean * (1 + scale * (scatter - scatter.mean(axis=0)))


def scattered(experiments, means):
    """What experiments observe, by experiment: around the means that `means` gives by name."""
    return {
        experiment: {
            key: around(mean, experiment.runs, [seed, k])
            for k, (key, mean) in enumerate(means(experiment).items())
        }
        for seed, experiment in enumerate(experiments)
    }


def some_errors(seed=0):
    """One-step errors of every replicate, generation and prefix."""
    return 0.06 + noise(0.02, R, G + 1, P, seed=seed)


def iterated(regime, eps):
    """T_i = eps_i + sum_{j<i} w_ij T_j, literally."""
    drift = np.zeros_like(eps)
    for i in range(eps.shape[1]):
        drift[:, i] = eps[:, i]
        for j, share in source_shares(regime, PRESET.samples, i).items():
            if j != REAL:
                drift[:, i] += share * drift[:, j]
    return drift


def made(regime, drift, eps, seed=0, **others):
    """A loop of these drifts and errors; what is not given is arbitrary."""
    count, length = drift.shape[:2]
    each, label = (count, length), (count, length, M)
    observations = {
        "drift": drift,
        "drift_variance": np.full_like(drift, 0.02),
        "eps": eps,
        "eps_variance": np.full_like(eps, 0.02),
        "kl": np.cumsum(0.1 + noise(0.02, count, length, P, seed=seed), axis=2),
        "mixture_kl": np.cumsum(0.05 + noise(0.02, count, length, P, seed=seed + 7), axis=2),
        "excess_nll": 0.1 + noise(0.02, *each, seed=seed + 8),
        "excess_squared_risk": 0.2 + noise(0.1, *label, seed=seed + 1),
        "bayes_squared_risk": 0.5 + noise(0.1, *label, seed=seed + 2),
        "risk": 0.3 + noise(0.01, *each, seed=seed + 3),
        "training_risk": 0.2 + noise(0.01, *each, seed=seed + 4),
        "implied_task_variance": 3.5 + noise(0.5, *each, seed=seed + 5),
        "training_loss": 1.0 + noise(0.1, *each, seed=seed + 6),
        "diverged_at": np.full(each, -1, np.int32),
    }
    return LoopResult(regime, PRESET.samples, {**observations, **others})


def loops_of(make, regimes=PRESET.regimes):
    """The loops that `make` gives for the regimes, by label."""
    results = [make(regime) for regime in regimes]
    return {result.label: result for result in results}


def below_the_bound(regime, distance=0.01, spread=0.002):
    """A loop whose drift stays below its bound, by `distance` and a little noise."""
    eps = some_errors()
    bound = iterated(regime, eps)
    below = distance + noise(spread, R, G + 1, P, seed=9)
    below[:, 0] = 0
    return made(regime, bound - below, eps)


def paired(loops, places=2, first=0.2, refit=0.004, mixing=0.001, noise=0.002):
    """Pairs of fits beside the loops with real data: these squares up to a little scatter."""
    means = {"first": first, "refit": refit, "mixing": mixing, "noise": noise}
    means |= {"first_noise": noise, "refit_noise": noise}
    return {
        label: {
            name: np.stack([around(mean, R, [k, place]) for place in range(places)], axis=1)
            for k, (name, mean) in enumerate(means.items())
        }
        for label, loop in loops.items()
        if loop.regime.name == "augment"
    }


def generated(predictive=0.95, plug_in=0.1, spread=0.01):
    """Implied task variances by generator, given over the prior's."""
    prior = PRESET.task.prior_scale**2
    ratios = {
        "transformer_predictive": predictive + noise(spread, R, seed=1),
        "transformer_plug_in": plug_in + noise(spread, R, seed=2),
        "bayes_predictive": 1 + noise(spread, R, seed=3),
        "bayes_plug_in": 0.05 + noise(spread, R, seed=4),
    }
    return {name: ratio * prior for name, ratio in ratios.items()}


OBSERVED = {
    "risks": ("excess", "gap", "drift"),
    "measurements": ("excess", "gap", "drift", "eps"),
    "identity": ("gap", "direct", "indirect", "synthetic", "shift"),
    "certificate": ("gap", "to_best", "to_previous"),
    "implied": ("fitted", "written", "excess"),
}


MORE = {
    "gaussian": ("variance", "w2", "precision"),
    "kde": ("variance", "precision", "third_moment", "fourth_moment"),
    "chain": ("support", "entropy"),
    "categorical": ("entropy", "symbols_left"),
}
"""What loops of a problem observe beside."""


def shapes(experiment):  # noqa: PLR0911
    """The arrays that an experiment gives, by name."""
    match experiment:
        case NeighbouringLoops():
            names = ("parameters", "rows", "tv", "distance", "contraction", "injected")
            return dict.fromkeys(names, (experiment.generations + 1,))
        case NeighbouringTransformers():
            several = experiment.generations + 1, experiment.neighbours + experiment.searched
            names = "predictions", "parameters", "loss_mean", "loss_max"
            return {
                **dict.fromkeys(names, several),
                "tv": (*several, len(experiment.problem.task.prefixes)),
                "excess_nll": several[:1],
            }
        case Regeneration():
            names = ("frozen", "sampled", *(f"refitted_{a}" for a in experiment.alphas))
            return dict.fromkeys(names, (experiment.generations + 1,))
        case LayerPrompts():
            each = (len(experiment.noises), experiment.generations)
            return {"gamma": each, "squares": (*each, experiment.labels - 1)}
        case PlugInLoops():
            names = ("implied_task_variance", "excess_squared_risk", "drift")
            return dict.fromkeys(names, (len(experiment.shares), experiment.generations + 1))
        case FilteredLoops():
            names = ("task_variance", "excess_nll")
            return dict.fromkeys(names, (len(experiment.rules), experiment.generations + 1))
    several = experiment.regimes if isinstance(experiment, Schedules) else ()
    several = experiment.sizes if isinstance(experiment, SizedLoops) else several
    sizes = (len(several),) if several else ()
    names = "risks" if isinstance(experiment, Schedules) else experiment.observe
    names = (*OBSERVED[names], *MORE.get(experiment.problem.name, ()))
    return dict.fromkeys(names, (*sizes, experiment.generations + 1))


def of_biases(experiment):
    """The arrays that loops with several sampling biases give by name."""
    each = (len(experiment.biases), experiment.generations + 1)
    return dict.fromkeys((f"{a}_{b}" for a in LOOPS for b in QUANTITIES), each)


def of_transformers(experiment):
    """The arrays that transformers of one size, or single fits, give by name."""
    if isinstance(experiment, SingleFits):
        names = ("excess", "squared_bias", "variance", "excess_nll")
        return dict.fromkeys(names, (len(experiment.samples),))
    task, sized = experiment.problem.task, isinstance(experiment, SizedTransformers)
    count = experiment.generations + 1 if sized else 1 + len(experiment.n_syns)
    found = {"excess_nll": (count,), "excess_squared_risk": (count, task.context)}
    found["drift"] = (count, len(task.prefixes))
    return found | ({"own": (count, count), "others": (count,)} if sized else {})


def measured_network(experiment, seed=0, **others):
    """A small network whose loss falls with n and rises by 5 sigma^2 with noise, by 0.1 at 3 bits;
    all but what is counted up to a little scatter.
    """
    n = experiment.size.samples
    loss, rise = 0.1 + n**-0.5, np.array([0.1, 0.02, 0.001, 0.0])[: len(BITS), None]
    means = {"risk": loss, "training": loss - 0.02, "synthetic": loss - 0.03, "held_out": loss}
    means |= {"shift": 0.01, "variance": 0.005, "norm": 3.0, "distance": 4.0}
    means |= {"rounded_rise": rise * np.ones(4), "rounded_variance": np.full((len(BITS), 4), 0.006)}
    means["noisy_rise"] = 5 * np.square(NOISE)[:, None] * np.ones(4)
    means["noisy_variance"] = np.full((len(NOISE), 4), 0.01)
    means |= others
    names = enumerate(means.items())
    found = {k: around(mean, experiment.runs, [seed, n, j], 0.01) for j, (k, mean) in names}
    counted = {"held_out_rows": 2 * -(-n // PART), "dimension": 50}
    return found | {name: np.full(experiment.runs, count) for name, count in counted.items()}


def in_context(experiment, seed):
    """The same for loops in the context."""
    rng = np.random.default_rng([seed, *experiment.name.encode()])
    task, length = experiment.task, experiment.generations + 1
    network = experiment.network is not None
    each = (experiment.runs, *[experiment.prompts] * network)
    paths = (len(experiment.predictors) + network, len(experiment.kept), length)
    queries, m, d = (8 if network else task.dim), task.context, task.dim
    shapes = {"task": (d,), "xs": (m, d), "ys": (m,), "queries": (queries, d), "shift": (m,)}
    shapes |= dict.fromkeys(("predictions", "changed"), (*paths, queries))
    if experiment.fresh == "inputs":
        shapes["inputs"] = (*paths[1:], m, d)
    found = {name: rng.uniform(0.1, 2.0, (*each, *shape)) for name, shape in shapes.items()}
    return found | ({"loss": rng.uniform(0.1, 0.3, experiment.runs)} if network else {})


def certified(experiment, seed=0):
    """Networks of which all that is certified lies above what is found, and that above chance."""
    runs, rng = experiment.runs, np.random.default_rng(seed)
    contexts = np.array(experiment.contexts, float)
    found = 1 + 0.1 * rng.uniform(size=(runs, 3 if experiment.architecture.depth > 1 else 1))
    pair = np.array([[3.0, 1.0]]) + 0.1 * rng.uniform(size=(runs, 2))
    linear = experiment.architecture.kind == "linear"
    noise = 0 if linear else 0.01 * rng.uniform(-1, 1, (runs, len(contexts)))
    return {
        "certified": 2.5 * found,
        "adversarial": found,
        "kappa": pair,
        "row_sum": pair,
        "typical": 0.1 * found[:, 0],
        "typical_q99": 0.3 * found[:, 0],
        "typical_by_position": 0.1 * found,
        "error": 0.05 * found[:, 0],
        "by_context": (1 + noise) / contexts * np.ones((runs, 1)),
        "certified_by_context": 25 / contexts * np.ones((runs, 1)),
    }


@cache
def _calibrated(experiment, seed, scale):
    """Shifts by the recursion of their means, total variations as they are up to a little noise."""
    rng = np.random.default_rng(seed)
    runs, length = experiment.runs, experiment.generations + 1
    shift = np.zeros((runs, len(experiment.shares), length))
    for i in range(length):
        kept = (1 - np.array(experiment.shares)) * shift[..., i - 1] if i else 0.0
        shift[..., i] = kept + experiment.injected + 0.01 * rng.uniform(-1, 1, shift.shape[:2])
    labels = np.array(experiment.task.prefixes)
    c, before = shift[..., None], np.roll(shift, 1, axis=-1)[..., None]
    share = np.array(experiment.shares)[None, :, None, None]
    drift = known_total_variation(c, 1.0, 0.0, labels)
    eps = known_total_variation(c, share, before, labels)
    eps[:, :, 0] = drift[:, :, 0]
    noise = 1 + scale * rng.uniform(-1, 1, (2, *eps.shape))
    return {"shift": shift, "drift": drift * noise[0], "eps": eps * noise[1]}


def calibrated(experiment, seed=0, scale=0.02):
    """The same, to be changed at will."""
    return {name: values.copy() for name, values in _calibrated(experiment, seed, scale).items()}


def observed(experiment, seed=0):
    """What an experiment might have observed: arbitrary positive numbers."""
    if isinstance(experiment, KnownLoops):
        return calibrated(experiment, seed)
    if isinstance(experiment, ContextLoops):
        return in_context(experiment, seed)
    if isinstance(experiment, CertifiedNetworks):
        return certified(experiment, seed)
    if isinstance(experiment, MeasuredNetworks):
        return measured_network(experiment, seed)
    sized = isinstance(experiment, SizedTransformers | Distilled | SingleFits)
    kind = of_biases if isinstance(experiment, BiasedLoops) else shapes
    arrays = (of_transformers if sized else kind)(experiment)
    known = [int(byte) for byte in experiment.name.encode()]
    rng = np.random.default_rng([seed, *known])
    return {
        name: rng.uniform(0.1, 0.3, (experiment.runs, *shape)) for name, shape in arrays.items()
    }


def stored(make=below_the_bound, seed=0):
    """What a run folder of such loops holds, all claims judged."""
    experiments = {e: observed(e, seed) for c in CLAIMS.values() for e in c.experiments(PRESET)}
    loops = loops_of(make)
    pairs = paired(loops, refit=0.004 + 0.001 * seed)
    evidence = Evidence(PRESET, loops, generated(0.95 - 0.01 * seed), experiments, pairs)
    claims = {name: judge(claim, evidence) for name, claim in CLAIMS.items()}
    return Stored(PRESET.task, evidence.loops, claims)
