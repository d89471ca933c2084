"""One training shared by processes: `python two_hosts.py PROCESSES PROCESS PORT OUT`."""

import sys

import jax
import numpy as np

from icl_stl.config import Architecture, Training
from icl_stl.devices import DATA, data_parallel
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import sample_prompts
from icl_stl.learners import adam_transformer


def main(processes: int, process: int, port: str, out: str) -> None:
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_disable_most_optimizations", True)
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)
    task = LinearRegression(dim=1, context=4)
    architecture, training = Architecture(depth=1, width=8, heads=2), Training(steps=20, batch=8)
    learner = adam_transformer(task, architecture, training, data_axis=DATA)
    prompts = jax.jit(lambda key: sample_prompts(task, key, 64))(jax.random.key(0))
    prompts = jax.tree.map(np.asarray, prompts)
    weights = np.full(64, 1 / 64, np.float32)
    fitted = data_parallel(lambda *data: learner.fit(jax.random.key(1), *data))(prompts, weights)
    arrays = {str(k): np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(fitted))}
    np.savez(out, hosts=jax.process_count(), devices=len(jax.devices()), **arrays)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
