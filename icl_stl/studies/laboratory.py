"""Running the experiments that claims ask for, whatever their kind."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

import jax

from icl_stl import code
from icl_stl.descriptions import key
from icl_stl.devices import Report
from icl_stl.lab.experiments import NOWHERE, Experiment, Kept
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
    kept: Callable[[str, Any], Kept] = lambda name, made_by: NOWHERE,
    report: Report = lambda text, done, total: None,
) -> dict[Experiment, Arrays]:
    """Run experiments, or take what is stored; one compiles while another runs.

    Args:
        experiments: What to run.
        seed: Seed of all; loops of one size have the same real sets.
        kept: (name, `made_by`) -> where the arrays of an experiment are kept, or the finished
            pieces of one that is not done.
        report: Called when an experiment, or a piece of one, begins or is done.
    """
    kinds: dict[type[Experiment], list[Experiment]] = {}
    for experiment in dict.fromkeys(experiments):
        kinds.setdefault(type(experiment), []).append(experiment)
    in_turn = zip_longest(*kinds.values())  # one compiles while another kind runs
    chosen = [experiment for some in in_turn for experiment in some if experiment is not None]
    what = {experiment: made_by(experiment, seed) for experiment in chosen}
    done, total = 0, sum(experiment.pieces for experiment in chosen)

    def one(experiment: Experiment) -> Arrays:
        nonlocal done
        name, by, own = experiment.name, what[experiment], 0
        whole, unfinished = kept(name, by), kept(f"{name}-unfinished", by)

        def tell(finished: int, words: str) -> None:
            nonlocal done, own
            done, own = done + finished - own, finished
            report(f"{experiment.words}{words}", done, total)

        found = whole.load()
        if found is None:
            several = unfinished, lambda i: tell(i, f", generation {i}")
            found = experiment.run(seed, *(several if experiment.pieces > 1 else ()))
            whole.save(found)
        unfinished.forget()
        tell(experiment.pieces, "")
        return found

    with ThreadPoolExecutor(len(jax.devices())) as threads:
        return dict(zip(chosen, threads.map(one, chosen), strict=True))
