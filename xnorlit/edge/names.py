"""Names of files and folders: shown to a person without steering the terminal, and `~` read."""

import os
from pathlib import Path


def printable(text: str) -> str:
    r"""`text` with its lines, and an escape for each other character that cannot be printed: it would steer a terminal.

    Bytes of a file's name that are no UTF-8 come out as `\udcff`.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def at_home(path: Path | str) -> Path:
    """A path whose `~` or `~somebody` is that person's folder; a path of nobody's is left as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for nobody's
