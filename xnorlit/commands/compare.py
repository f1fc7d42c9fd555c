"""The command `xnorlit compare`: print the comparison of a pair's runs."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import RenderableType

import xnorlit as xl
from xnorlit.comparison.table import render
from xnorlit.edge.console import terminal

_ASCII = str.maketrans({"·": "-", "±": "+-"})


def compare(
    runs: Sequence[str] = (),
    *,
    root: Path = Path("runs"),
    experiment: str | None = None,
    pair: str | None = None,
    json: bool = False,
) -> None:
    """Print a pair's table: differences, accuracies and their gap, times, sizes, and the paper's results.

    Args:
        runs: Run directories of at least two arms, such as runs/cifar10/pair-0/xnor/seed-0, or a pair, such as
            cifar10/pair-0 (default: the newest pair, with all seeds that its arms share).
        root: Folder to search for the newest pair.
        experiment: Search only this experiment.
        pair: Search only pairs of this name.
        json: Print JSON instead of a table.

    Raises:
        UserError: There is nothing to compare.
    """
    comparison = xl.compare(runs, root=root, experiment=experiment, pair=pair)
    if json:
        # JSON has no NaN; compare() refuses runs with NaN.
        sys.stdout.write(json_format.dumps(comparison.to_json(), indent=2, allow_nan=False, default=str) + "\n")
    else:
        _print(render(comparison), sys.stdout)


def _print(what: RenderableType, stream: TextIO) -> None:
    """Print with colours on a terminal, as plain text to a pipe, and as ASCII to a stream that accepts only ASCII."""
    console = terminal(file=stream)
    with console.capture() as capture:
        console.print(what)
    text = "\n".join(line.rstrip(" ") for line in capture.get().split("\n"))
    encoding = console.encoding
    if not encoding.startswith("utf"):
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    stream.write(text)
