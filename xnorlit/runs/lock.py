"""Whether a process is writing a run just now."""

import fcntl
from pathlib import Path


def is_under_way(run: Path) -> bool:
    """Whether the training that took a run's folder, with a lock on its `.lock`, still holds it.

    Args:
        run: The run's directory.
    """
    try:
        with (run / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock at all: a run that was copied here
        return False
    return False
