"""Programs of batched linear algebra side by side: `batched_calls.py DEVICES up|fresh CALL...`.

`up`: JAX has its devices, and a pool of two threads or one a device, before the package is there.
"""

import os
import sys
from collections.abc import Callable
from threading import Thread

import jax
import jax.numpy as jnp
import numpy as np

SIZE, RUNS = 20, 600


def matrices(key):
    tall = jax.random.normal(key, (2 * SIZE, SIZE))
    return tall, tall.T @ tall


CALLS = {
    "solve": lambda tall, square: jnp.linalg.solve(square, tall[0]),
    "solve-pos": lambda tall, square: jax.scipy.linalg.solve(square, tall[0], assume_a="pos"),
    "cholesky": lambda tall, square: jnp.linalg.cholesky(square),
    "triangular": lambda tall, square: jax.scipy.linalg.solve_triangular(square, tall.T),
    "eigvalsh": lambda tall, square: jnp.linalg.eigvalsh(square),
    "qr": lambda tall, square: jnp.linalg.qr(tall)[1],
    "lstsq": lambda tall, square: jnp.linalg.lstsq(tall, tall[:, 0])[0],
}


def side_by_side(call: str, devices: int, many: Callable) -> None:
    found = {}

    def run(of, key):
        return jnp.sum(CALLS[call](*matrices(jax.random.fold_in(key, of))))

    def one(of):
        for seed in range(2):
            found[of] = many(run, of, RUNS * devices, seed=seed, batch=RUNS)

    threads = [Thread(target=one, args=(of,), daemon=True) for of in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for of in range(2):
        assert found[of].shape == (RUNS * devices,)
        key = jax.random.fold_in(jax.random.key(1), 3)
        expected = jax.jit(run, static_argnums=0)(of, key)
        np.testing.assert_allclose(found[of][3], expected, rtol=2e-2)


def main(devices: int, when: str, *calls: str) -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    if when == "up":
        os.environ["PJRT_NPROC"] = "2"  # more only where there are more devices
        jax.config.update("jax_num_cpu_devices", devices)
        assert len(jax.devices()) == devices
    from icl_stl.devices import many, use_cpu_devices  # noqa: PLC0415

    if when == "fresh":
        use_cpu_devices(devices)
    for call in calls:
        side_by_side(call, devices, many)
        print(f"{call} ended", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
