"""The rank of this process and the number of its cores."""

import os

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")  # as torchrun, SLURM and Lightning set them


def is_first() -> bool:
    """Whether this is the process of its run, over all machines, that writes files and prints.

    A launcher sets some of the rank variables, and its processes inherit the others. The process is the first if every
    variable that is set is 0.
    """
    return all(os.environ.get(name, "0") in ("0", "") for name in _RANKS)


def cores() -> int:
    """Number of cores that this process may use, at least 1; taskset, SLURM or a container may limit it."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
