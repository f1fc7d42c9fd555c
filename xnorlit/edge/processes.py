"""The rank of this process and the number of its cores."""

import os

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")  # as torchrun, SLURM and Lightning set them


def is_first() -> bool:
    """Whether this process has rank 0 over all machines. Only that process writes files and prints.

    A launcher sets some of the rank variables; its processes inherit the others. The rank is 0 if each variable that is
    set is 0.
    """
    return all(os.environ.get(name, "0") in ("0", "") for name in _RANKS)


def cores() -> int:
    """Number of cores that this process may use, at least 1; taskset, SLURM or a container may limit it."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
