"""The command `xnorlit compare`: finds the runs, prints the comparison."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import RenderableType

from xnorlit.comparison.selection import compared
from xnorlit.comparison.table import render
from xnorlit.output.console import terminal

_ASCII = str.maketrans({"·": "-", "±": "+-"})


def compare(
    runs: Sequence[str] = (),
    *,
    root: Path = Path("runs"),
    experiment: str | None = None,
    pair: str | None = None,
    json: bool = False,
) -> None:
    """Prints a pair's table: what differs, accuracies and their gap, times, sizes, and the paper's row.

    Args:
        runs: Run directories of two or more arms, such as runs/cifar10/pair-0/xnor/seed-0; or a pair, such as
            cifar10/pair-0; none for the newest pair, with all seeds its arms have in common.
        root: Folder that is searched for the newest pair.
        experiment: Search the newest pair of this experiment only.
        pair: Search the newest among pairs of this name only.
        json: Print the same as JSON.

    Raises:
        UserError: There is nothing to compare.
    """
    comparison = compared(runs, root=root, experiment=experiment, pair=pair)
    if json:
        # A NaN would not be JSON; compare() lets none through.
        sys.stdout.write(json_format.dumps(comparison.to_json(), indent=2, allow_nan=False, default=str) + "\n")
    else:
        _print(render(comparison), sys.stdout)


def _print(what: RenderableType, stream: TextIO) -> None:
    """Colours on a terminal, plain text in a pipe, plain ASCII where the stream takes nothing else."""
    console = terminal(file=stream)
    with console.capture() as capture:
        console.print(what)
    text = "\n".join(line.rstrip(" ") for line in capture.get().split("\n"))
    encoding = console.encoding
    if not encoding.startswith("utf"):
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    stream.write(text)
