"""What all commands have in common: what stops them, run folders, the start of JAX."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from signal import SIGINT, default_int_handler, getsignal, signal
from traceback import walk_tb

from icl_stl import console
from icl_stl.lab import results

STOPPED, UNREAD = 130, 141
"""Exit status of a command that Ctrl-C, or the end of whoever read its output, has stopped."""


@contextmanager
def answered() -> Iterator[None]:
    """Whatever stops the block becomes a line of words and an exit status; see `icl_stl.commands`.

    What the output's encoding does not have is shown as `?`. A `ValueError` that the package has
    not raised itself is a fault, and shown with its traceback.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    before = getsignal(SIGINT)
    if before is default_int_handler:  # in the background a shell has Ctrl-C ignored
        signal(SIGINT, console.interrupt)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        words = stop.args[0] if stop.args else "the same command starts anew"
        print(f"stopped; {words}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(STOPPED)  # threads of JAX that still compile would crash as Python ends
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        raise SystemExit(UNREAD) from None
    except OSError as error:
        console.stopped_by(error)
    except ValueError as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if not frame.f_globals["__name__"].startswith("icl_stl"):
            raise
        console.refuse(str(error))
    finally:
        signal(SIGINT, before)


@contextmanager
def keeping(words: str) -> Iterator[None]:
    """Ctrl-C in this block says what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(words) from None


@contextmanager
def run_folder(out: Path, option: str = "out", *, fresh: bool = False) -> Iterator[None]:
    """A folder that this process alone writes; damaged checkpoints in it are left out.

    Args:
        out: The folder.
        option: The option that asks for it.
        fresh: Whether the command, given again, would start anew.

    Raises:
        ValueError: If it cannot be written, another process writes it, or it is somebody else's.
    """
    results.make_folder(out, option)
    with results.sole_writer(out, option):
        checkpoints = [*(out / "checkpoints").glob("*.npz")]
        if checkpoints and not fresh and not (out / "config.json").exists():
            raise ValueError(
                f"{option} must be a run folder or a new one, but {out} has checkpoints and no "
                "config.json; --fresh deletes them and starts anew"
            )
        results.leave_out_damaged(out / "checkpoints")
        again = "the same command without --fresh" if fresh else "the same command"
        with keeping(f"{out} keeps what is finished, and {again} goes on"):
            yield


def start_jax(*, used: bool = True, workers: bool = False) -> None:
    """JAX on all cores, programs kept between runs; loads it, so only for good arguments.

    Args:
        used: Whether this process computes, and not its workers alone.
        workers: Whether workers of this machine do: one of them says what devices there are.

    Raises:
        ValueError: If the environment asks for devices that this machine does not have.
    """
    import jax

    from icl_stl import devices
    from icl_stl.lab.sweeps.executors import local_workers

    devices.use_all_cores(devices.default_cache())
    try:
        if used:
            jax.devices()
        elif workers and os.environ.get("JAX_PLATFORMS", "cpu") not in ("", "cpu"):
            with local_workers(1) as worker:
                worker.submit(jax.device_count).result()
    except (AssertionError, RuntimeError) as error:  # of what JAX was not even installed for
        platforms = os.environ.get("JAX_PLATFORMS", "")
        why = str(error).partition("\n")[0] or "there is none"
        raise ValueError(
            f"JAX_PLATFORMS must name devices of this machine, but it is {platforms!r}: {why}"
        ) from None
