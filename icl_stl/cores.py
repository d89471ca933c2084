"""The cores of this machine, and who has which. Loads nothing."""

import os


def available_cores() -> tuple[int, ...]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cores_of(worker: int, workers: int) -> set[int]:
    """The cores that a worker has for itself; it shares one where there are more workers."""
    if not hasattr(os, "sched_getaffinity"):  # pragma: no cover (macOS, Windows)
        return set()
    cores = available_cores()
    return set(cores[worker::workers] or [cores[worker % len(cores)]])


def memory() -> float:
    """Bytes of memory of this machine; 0 where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return 0.0
