"""A folder that only one process fills at a time."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of the file system
_NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def held(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a folder in this block, so that processes with the same work do it one after another.

    The folder is created if necessary. A process that had to wait should look again at what it needs. The end of the
    block removes the lock's file, and the folder if it was created here and is empty. Where the file system has no
    locks, or this process may not write, the block runs without a lock.

    Args:
        folder: The folder.
        wait: Called once if another process holds the lock, before waiting for it; it says so.
    """
    existed = folder.exists()
    lock = _taken(folder, wait)
    try:
        yield
    finally:
        if lock is not None:
            # The file goes first, so that nobody keeps a lock whose file has no name.
            (folder / ".lock").unlink(missing_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)  # A forked process may have a copy of the open file.
            lock.close()
        if not existed:
            with suppress(OSError):  # It is not empty, or another process has removed it.
                folder.rmdir()


def _taken(folder: Path, wait: Callable[[], None]) -> IO[str] | None:
    said = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = (folder / ".lock").open("a")
        except FileNotFoundError:  # The process that has just ended removed the empty folder.
            continue
        except OSError as error:
            if error.errno not in _NO_WRITING:
                raise
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                wait()
                said = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            lock.close()
            if error.errno not in _NO_LOCKS:
                raise
            (folder / ".lock").unlink(missing_ok=True)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), (folder / ".lock").stat()):
                return lock
        lock.close()  # The process that held it has removed the file; take the lock of the next one.
