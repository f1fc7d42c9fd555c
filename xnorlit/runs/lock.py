"""The state of a run, and the lock that allows only one process to write it."""

import fcntl
import os
import weakref
from pathlib import Path
from typing import IO, Literal

State = Literal["missing", "begun", "unfinished", "finished"]
CHECKPOINTS = ("last.ckpt", "previous.ckpt")  # the newest first

_held: weakref.WeakSet[IO[str]] = weakref.WeakSet()


def _let_go() -> None:
    """Close this process's copies of its parent's locks."""
    for lock in _held:
        lock.close()


# Otherwise a forked process that reads images would hold its parent's lock for seconds after the parent has ended.
os.register_at_fork(after_in_child=_let_go)


def state_of(run: Path) -> State:
    """The state of a run's folder, however its process ended.

    `missing`: no configuration. `begun`: a configuration, but no checkpoint. `unfinished`: a checkpoint, from which the
    run can resume. `finished`: a summary, which is written last.

    Args:
        run: The run's directory.
    """
    if (run / "summary.json").is_file():
        return "finished"
    if any((run / "checkpoints" / name).is_file() for name in CHECKPOINTS):
        return "unfinished"
    return "begun" if (run / "config.yaml").is_file() else "missing"


def take(run: Path) -> IO[str]:
    """Claim a run's folder for this process; create it if necessary.

    Args:
        run: The run's directory.

    Returns:
        The open lock. It is held until it is closed or the process ends.

    Raises:
        BlockingIOError: Another process holds the lock; the text says which.
    """
    run.mkdir(parents=True, exist_ok=True)
    lock = (run / ".lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip()
        lock.close()
        raise BlockingIOError(owner or "unknown") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    _held.add(lock)
    return lock


def is_under_way(run: Path) -> bool:
    """Whether a training process holds the lock of a run's folder.

    Args:
        run: The run's directory.
    """
    try:
        with (run / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # There is no lock file, because the run was copied here.
        return False
    return False
