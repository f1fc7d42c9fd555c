"""File names: escaped for the terminal, and with `~` expanded."""

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
