"""File names: escaped for the terminal, with `~` expanded, and looked up whatever they are."""

import os
from pathlib import Path


def printable(text: str) -> str:
    r"""`text` with unprintable characters other than line breaks escaped, so that it cannot control the terminal.

    Bytes of a file name that are not UTF-8 become `\udcff`.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def at_home(path: Path | str) -> Path:
    """Expand `~` and `~user`; a path with an unknown user stays unchanged."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for unknown users


def is_file(path: Path | str) -> bool:
    """Whether there is a file; False where that cannot be found out, as for a name that is too long."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for some paths


def is_folder(path: Path | str) -> bool:
    """Whether there is a folder; False where that cannot be found out, as for a name that is too long."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for some paths
