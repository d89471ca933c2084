"""Settings of the whole suite, made before the package is imported, and what all files share."""

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook
from reference import STANDARD_ERRORS

jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling takes longer than running: half as long without most optimisations.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

# Wherever annotations are shapes they are checked, in tests and only there.
SHAPED = [
    "tasks",
    "models",
    "query_models",
    "learners",
    "loops",
    "measure",
    "problems",
    "solvable",
    "context_loops",
    "known_loops",
    "certificates",
]
install_import_hook([f"icl_stl.{module}" for module in SHAPED], "beartype.beartype")

from icl_stl.devices import use_cpu_devices  # noqa: E402  (after the import hook)

use_cpu_devices(2)

settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")

TOLERANCES = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-10, "atol": 1e-11}}
"""Relative and absolute tolerance where two ways of computing the same number are compared."""


def pytest_configure(config: pytest.Config) -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would all that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cache = getattr(config, "cache", None)
    if cache is not None:
        directory: Path = cache.mkdir("jax")
        jax.config.update("jax_compilation_cache_dir", str(directory))


@pytest.fixture(scope="module", autouse=True)
def _few_programs() -> Iterator[None]:
    """No program outlives its file: thousands need more memory maps than a process may have."""
    yield
    from icl_stl import devices
    from icl_stl.lab import runs
    from icl_stl.lab.sweeps import batches
    from icl_stl.studies.convergence import loops as sizes  # noqa: PLC0415  (after the import hook)

    for kept in (
        devices._runs,
        runs._drawing,
        runs.generation_step,
        runs._both_generators,
        sizes._program,
        batches.transformer_program,
        batches.solvable_program,
    ):
        kept.cache_clear()
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def x64() -> Iterator[None]:
    """The test runs in float64; its arrays must not outlive it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def compilations() -> Callable[[], int]:
    """How many programs were compiled so far, counted by JAX."""
    count: list[str] = []

    def listen(name: str, duration: float, **_: str | int) -> None:
        if name.endswith("backend_compile_duration"):
            count.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: len(count)


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., None]:
    """Equal up to the tolerance of the dtype of the first argument."""

    def check(actual: object, expected: object) -> None:
        computed = np.asarray(actual)
        np.testing.assert_allclose(computed, expected, **TOLERANCES[computed.dtype.name])

    return check


@pytest.fixture(scope="session")
def assert_mean() -> Callable[..., None]:
    """The mean of i.i.d. values (first axis) is as expected, within their standard errors."""

    def check(values: object, expected: object) -> None:
        sample = np.asarray(values, np.float64)
        stderr = sample.std(axis=0, ddof=1) / sample.shape[0] ** 0.5
        distance = np.abs(sample.mean(axis=0) - expected)
        assert np.all(distance <= STANDARD_ERRORS * stderr), (
            f"{(distance / stderr).max():.1f} standard errors from what is expected"
        )

    return check
