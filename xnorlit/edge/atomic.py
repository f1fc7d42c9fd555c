"""Files and folders that are there whole or not at all, after a loss of power too."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def path(target: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `target` that is renamed to it when the block ends without an exception.

    The block may create a file or a folder there. On an exception, Ctrl-C included, whatever it made is removed
    and an existing `target` is untouched. What was made is on the disk before it gets its name. An existing file is
    replaced in one step; an existing folder is an error, because no file system swaps two folders at once.

    Args:
        target: The final path; its parent folders are created.

    Raises:
        FileExistsError: The block made a folder and `target` exists.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        made = scratch / target.name
        yield made
        if made.is_dir() and target.exists():
            raise FileExistsError(f"{target} exists already; remove it or choose another name")
        for file in [made, *made.rglob("*")]:
            sync(file)
        made.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk.

    Args:
        path: It exists.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some file systems have nothing to wait for.
            raise
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Removes what a process that was killed while it wrote has left in a folder and below.

    Args:
        folder: Nothing is being written there now.
    """
    for scratch in list(folder.rglob(".*.partial")):
        if scratch.is_dir():
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            scratch.unlink(missing_ok=True)
