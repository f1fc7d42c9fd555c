"""Files and folders that are there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def path(target: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `target` that is renamed to it when the block ends without an exception.

    The block may create a file or a folder there. On an exception, Ctrl-C included, whatever it made is removed
    and an existing `target` is untouched. An existing file is replaced in one step; an existing folder is an error,
    because no file system swaps two folders at once.

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
        made.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
