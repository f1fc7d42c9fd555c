"""Atomic writes: a file or folder exists completely or not at all, even after a power failure."""

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from xnorlit.errors import UserError


@contextmanager
def path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `target`, and rename it to `target` if the block raises no exception.

    The block may create a file or a folder there. On an exception, including Ctrl-C, it is removed and an existing
    `target` stays unchanged. The content is synced to the disk before the rename. An existing file is replaced
    atomically; an existing folder is an error, because no file system swaps two folders atomically.

    Args:
        target: The final path; missing parent folders are created.

    Raises:
        FileExistsError: The block created a folder, and `target` exists.
        UserError: The block created a file, and `target` is a folder.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        made = scratch / target.name
        yield made
        if made.is_dir() and target.exists():
            raise FileExistsError(f"{target} already exists; remove it or give another name")
        if made.is_file() and target.is_dir():
            raise UserError(f"{target} is a folder. Give the name of a file.")
        for file in [made, *made.rglob("*")]:
            sync(file)
        made.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on the disk.

    Args:
        path: An existing file or folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some file systems do not support fsync.
            raise
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder and below.

    Args:
        folder: A folder to which no other process is writing.
    """
    _remove(folder.rglob(".*.partial"))


def sweep_beside(target: Path) -> None:
    """Remove the temporary files of one target that a killed process left.

    Args:
        target: The final path, which no other process is writing.
    """
    _remove(target.parent.glob(f".{glob.escape(target.name)}.*.partial"))


def _remove(found: Iterable[Path]) -> None:
    for scratch in list(found):
        if scratch.is_dir():
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            scratch.unlink(missing_ok=True)
