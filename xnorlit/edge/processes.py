"""Which of a run's processes this one is, and how many cores it may use; asked here by every room."""

import os

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")  # as torchrun, SLURM and Lightning set them


def is_first() -> bool:
    """Whether this process is the one of its run, over all machines, that writes and speaks.

    A launcher sets some of the ranks, and a process it starts inherits the others: it is the first where none says that
    it is another.
    """
    return all(os.environ.get(name, "0") in ("0", "") for name in _RANKS)


def cores() -> int:
    """Cores that this process may use, at least 1: fewer than the machine has under taskset, SLURM or a container."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
