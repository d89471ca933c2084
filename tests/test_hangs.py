"""Nothing waits for ever: linear algebra of large batches, on any number of devices."""

import os
import subprocess
import sys
from pathlib import Path
from time import sleep

import jax
import jax.numpy as jnp
import pytest
from batched_calls import CALLS
from reference import trials

from icl_stl import devices
from icl_stl.console import progress

LIMIT = 120
"""Seconds a call; a few suffice. A program that waits for ever is killed then."""


def ends(devices, when, *calls):
    script = Path(__file__).with_name("batched_calls.py")
    command = [sys.executable, "-W", "ignore", script, str(devices), when, *calls]
    limit = LIMIT * len(calls)
    child = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    assert child.stdout == "".join(f"{call} ended\n" for call in calls), child.stderr[-2000:]


def test_two_programs_of_large_batches_end_side_by_side():
    ends(2, "fresh", *CALLS)


@pytest.mark.parametrize("devices", trials([4], [1, 4, 8]))
def test_they_end_on_any_number_of_devices(devices):
    ends(devices, "fresh", "solve-pos")


@pytest.mark.parametrize("devices", [1, 2])
def test_they_end_where_jax_was_used_before_the_package(devices):
    """In two threads: programs run one at a time, on as many devices as threads allow."""
    ends(devices, "up", "solve-pos")


def compiled(function, *args):
    return jax.jit(function).lower(*args).compile().as_text()


@pytest.mark.skipif(not devices.SPLITS_LAPACK, reason="no call of LAPACK waits in this JAX")
def test_calls_that_may_wait_are_counted():
    def chain(a):
        return jnp.linalg.cholesky(jnp.linalg.cholesky(a @ a.T) + a)

    def beside(a):
        return chain(a), jnp.linalg.eigvalsh(a), jnp.linalg.qr(a)[1]

    def repeated(a):
        return jax.lax.scan(lambda c, _: (chain(c), jnp.linalg.eigvalsh(c)), a, length=3)

    a = jnp.eye(5)
    assert devices.waiting(compiled(lambda a: a @ a, a)) == 0
    assert devices.waiting(compiled(chain, a)) == 1
    assert devices.waiting(compiled(beside, a)) == 3
    assert devices.waiting(compiled(repeated, a)) == 2


def test_fourier_transforms_are_counted_in_every_jax():
    def both_ways(a):
        return jnp.fft.irfft(jnp.fft.rfft(a), 5)

    def beside(a):
        return jnp.fft.rfft(a).real, jax.lax.scan(lambda c, _: (both_ways(c), None), a, length=3)

    a = jnp.eye(5)
    assert devices.waiting(compiled(lambda a: a + a, a)) == 0
    assert devices.waiting(compiled(both_ways, a)) == 1
    assert devices.waiting(compiled(beside, a)) == 2


def test_threads_are_counted_by_the_name_that_this_jax_gives_them(monkeypatch):
    if jax.default_backend() != "cpu":
        pytest.skip("other devices, other threads")
    made = int(os.environ["PJRT_NPROC"])
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.setenv(name, str(made + 50))  # too late: the threads are there
    if Path("/proc/self/task").is_dir():
        assert devices.pool_threads() == made
    monkeypatch.setattr(devices, "Path", lambda _: Path("no such folder"))
    assert devices.pool_threads() == made + 50  # where they cannot be counted
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(devices, "available_cores", lambda: tuple(range(77)))
    assert devices.pool_threads() == 77


@pytest.mark.skipif(not devices.SPLITS_LAPACK, reason="no call of LAPACK waits in this JAX")
def test_too_few_threads_mean_fewer_devices_or_none(monkeypatch):
    def run(of, key):
        return jnp.linalg.cholesky(jnp.eye(3) * (1 + jax.random.uniform(key)))[0, 0]

    def many(of):
        return devices.many(run, of, 10, seed=0, batch=5)

    whole = many("enough")
    monkeypatch.setattr(devices, "pool_threads", lambda: 2)
    with pytest.warns(RuntimeWarning, match=r"runs on 1 of 2 devices: .* PJRT_NPROC to 3"):
        fewer = many("for one device")
    assert fewer.tolist() == pytest.approx(whole.tolist(), rel=1e-6)

    def two(of, key):
        return run(of, key) + jnp.linalg.eigvalsh(jnp.eye(3) * jax.random.uniform(key))[0]

    with pytest.raises(ValueError, match=r"cannot run: 2 calls .* 2 threads: .* PJRT_NPROC to 5"):
        devices.many(two, None, 10, seed=0, batch=5)
    monkeypatch.setattr(devices, "pool_threads", lambda: 1)  # a single thread hands out nothing
    assert devices.many(two, None, 10, seed=0, batch=5).shape == (10,)


@pytest.mark.skipif(not devices.SPLITS_LAPACK, reason="no call of LAPACK waits in this JAX")
@pytest.mark.parametrize(
    ("own", "configured", "threads"), [("", 3, 17), ("200", 3, 200), ("2", 8, 33), ("", 100, 256)]
)
def test_more_threads_than_can_wait_unless_the_user_asks_for_more(
    monkeypatch, own, configured, threads
):
    monkeypatch.setattr(devices, "_is_up", lambda: False)
    monkeypatch.setattr(devices, "available_cores", lambda: (0, 1))
    monkeypatch.setattr(devices, "_wanted_devices", lambda: configured)
    monkeypatch.setenv("PJRT_NPROC", own)
    devices.enough_threads()
    assert os.environ["PJRT_NPROC"] == str(threads)


def test_devices_that_exist_are_kept_with_a_word():
    assert devices._is_up() or jax.devices()
    with pytest.warns(RuntimeWarning, match="keeps 2 CPU devices, not 5"):
        devices.use_cpu_devices(5)
    assert len(jax.devices()) == 2


def test_a_run_without_progress_says_so(capsys):
    with progress("loops", silence=0.2) as report:
        report("first", 1, 7)
        for _ in range(200):
            sleep(0.05)
            said = capsys.readouterr().err
            if "no progress" in said:
                break
    assert "loops: no progress for 0 s, since " in said
    assert ": first (1/7)" in said


@pytest.mark.parametrize("option", [*devices.QUICK_COMPILATION, "xla_no_such_option"])
def test_options_that_the_compiler_does_not_know_are_left_out(option):
    value = devices.QUICK_COMPILATION.get(option, 1)
    try:
        jax.jit(lambda x: x + 1, compiler_options={option: value})(1.0)
        known = {option: value}
    except jax.errors.JaxRuntimeError:
        known = {}
    assert devices.options_of({option: value}) == known
    assert known or option != "xla_backend_optimization_level"
