"""Settings of the whole suite, made before the package is imported, and what all files share."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import pytest
import reference
from hypothesis import settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent

jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling takes longer than running: half as long without most optimisations, and a third of
# that where XLA writes no kernels of its own for fused loops. Other processes compile so, too.
jax.config.update("jax_disable_most_optimizations", True)
QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", QUICKLY)
jax.config.update("jax_traceback_in_locations_limit", 0)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

# Wherever annotations are shapes they are checked, in tests and only there.
SHAPED = [
    "laws",
    "models",
    "learners",
    "loops",
    "rows",
    "measure",
    "problems",
    "lab.solvable",
    "studies.context_loop.loops",
    "studies.transformer.loops",
    "studies.certificates.networks",
]
install_import_hook([f"icl_stl.{module}" for module in SHAPED], "beartype.beartype")

from icl_stl.devices import use_cpu_devices  # noqa: E402  (after the import hook)

use_cpu_devices(2)

settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.load_profile("suite")

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Which of several processes that share the tests this is; each has a cache of its own."""

TOLERANCES = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-10, "atol": 1e-11}}
"""Relative and absolute tolerance where two ways of computing the same number are compared."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The same switch as that of the checks, which may be run together with the tests."""
    with suppress(ValueError):
        parser.addoption("--long", action="store_true", help="all trials, not some of them")


def pytest_configure(config: pytest.Config) -> None:
    reference.LONG = config.getoption("--long")
    # What a shell starts in the background ignores Ctrl-C, and so would all that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cache = getattr(config, "cache", None)
    if cache is not None:
        directory: Path = cache.mkdir(f"jax{WORKER}")
        jax.config.update("jax_compilation_cache_dir", str(directory))


@pytest.fixture(scope="module", autouse=True)
def _few_programs() -> Iterator[None]:
    """No program outlives its file: thousands need more memory maps than a process may have."""
    yield
    for name, module in [*sys.modules.items()]:
        for value in [*vars(module).values()] if name.startswith("icl_stl.") else ():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Of other processes: the package can be imported, and programs compile once, and quickly."""
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("scripts") if cache else tmp_path_factory.mktemp("cache")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        **{"PYTHONPATH": path, "XDG_CACHE_HOME": str(kept), "COLUMNS": "100"},
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }


@pytest.fixture(scope="session")
def environment_without_jax(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The same where neither JAX nor PyTorch can be imported."""
    folder = tmp_path_factory.mktemp("without")
    for module in ("jax", "torch"):
        (folder / f"{module}.py").write_text(f'raise ImportError("{module} was imported")\n')
    return {**environment, "PYTHONPATH": f"{folder}{os.pathsep}{environment['PYTHONPATH']}"}


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
        assert np.all(distance <= reference.STANDARD_ERRORS * stderr), (
            f"{(distance / stderr).max():.1f} standard errors from what is expected"
        )

    return check
