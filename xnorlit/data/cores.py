"""How many workers this machine has room for."""

import os


def available() -> int:
    """Cores that this process may use, at least 1: fewer than the machine has under taskset, Slurm or a container."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share(processes: int) -> int:
    """Cores for one of the processes that train on this machine, at least 1.

    Args:
        processes: On this machine.
    """
    return max(1, available() // max(1, processes))
