"""Running the experiments that claims ask for, whatever their kind."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

import jax

from icl_stl import code
from icl_stl.descriptions import key
from icl_stl.devices import Report
from icl_stl.lab.experiments import Experiment
from icl_stl.lab.results import Arrays


def made_by(experiment: Experiment, seed: int) -> dict[str, Any]:
    """What the arrays of an experiment depend on beside versions, platform and settings of JAX.

    Its description, seed, and the code of the module that runs its kind with all that it imports.
    """
    own = code.digest(experiment.made_in)
    return {"experiment": key(experiment, "experiment"), "seed": seed, "code": own}


def run_experiments(
    experiments: Iterable[Experiment],
    seed: int,
    *,
    stored: Callable[[str, Any], Arrays | None] = lambda name, made_by: None,
    store: Callable[[str, Arrays, Any], None] = lambda name, arrays, made_by: None,
    report: Report = lambda text, done, total: None,
) -> dict[Experiment, Arrays]:
    """Run experiments, or take what is stored; one compiles while another runs.

    Args:
        experiments: What to run.
        seed: Seed of all; loops of one size have the same real sets.
        stored: (name, `made_by`) -> arrays of an earlier run, if there are any.
        store: Called with the name of each experiment, its arrays and `made_by`.
        report: Called when an experiment is done.
    """
    kinds: dict[type[Experiment], list[Experiment]] = {}
    for experiment in dict.fromkeys(experiments):
        kinds.setdefault(type(experiment), []).append(experiment)
    in_turn = zip_longest(*kinds.values())  # one compiles while another kind runs
    chosen = [experiment for some in in_turn for experiment in some if experiment is not None]
    what = {experiment: made_by(experiment, seed) for experiment in chosen}
    done = 0

    def one(experiment: Experiment) -> Arrays:
        nonlocal done
        found = stored(experiment.name, what[experiment])
        if found is None:
            found = experiment.run(seed)
            store(experiment.name, found, what[experiment])
        done += 1
        report(experiment.words, done, len(chosen))
        return found

    with ThreadPoolExecutor(len(jax.devices())) as threads:
        return dict(zip(chosen, threads.map(one, chosen), strict=True))
