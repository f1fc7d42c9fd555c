"""The command `xnorlit compare`: finds the runs, prints the comparison."""

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from rich.console import RenderableType

from xnorlit.commands.arguments import Parser
from xnorlit.comparison.compare import compare as compare_runs
from xnorlit.comparison.comparison import Comparison
from xnorlit.comparison.table import render
from xnorlit.errors import UserError
from xnorlit.output.console import terminal
from xnorlit.runs import newest_pair, read

_ASCII = str.maketrans({"·": "-", "±": "+-"})


def compare(arguments: Sequence[str]) -> None:
    """`xnorlit compare [RUN RUN ...] [--json]`: `main` with the words of a command line.

    Raises:
        UserError: The words are not understood, or there is nothing to compare.
    """
    parser = Parser(
        "xnorlit compare",
        "Prints a pair's table: what differs, accuracies and their gap, times, sizes, the paper's row.",
        "xnorlit compare runs/synthetic/pair-0/xnor/seed-0 runs/synthetic/pair-0/float/seed-0",
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="runs of two or more arms (default: the newest pair)"
    )
    parser.add_argument(
        "--root", type=Path, default=Path("runs"), help="where the newest pair is searched (default: runs)"
    )
    parser.add_argument("--experiment", help="search in this experiment only")
    parser.add_argument("--pair", help="search among pairs of this name only")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    try:
        known = parser.parse_args(arguments)
    except SystemExit:  # after --help
        return
    main(**vars(known))


def main(
    runs: Sequence[Path] = (),
    *,
    root: Path = Path("runs"),
    experiment: str | None = None,
    pair: str | None = None,
    json: bool = False,
) -> None:
    """Prints a pair's table: what differs, accuracies and their gap, times, sizes, and the paper's row.

    Args:
        runs: Run directories of two or more arms, such as runs/cifar10/pair-0/xnor/seed-0; none for the newest pair,
            with all seeds its arms have in common.
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


def compared(
    runs: Sequence[Path] = (), *, root: Path = Path("runs"), experiment: str | None = None, pair: str | None = None
) -> Comparison:
    """The comparison of the runs named, or of the newest pair under `root`.

    Raises:
        UserError: There is nothing to compare, or runs are named together with where to search for them.
    """
    if runs and (experiment or pair):
        raise UserError(
            "Run directories were given together with --experiment or --pair, which search for them; give one or the "
            "other."
        )
    if runs:
        return compare_runs([read(path) for path in runs])
    found = newest_pair(root, experiment=experiment, pair=pair)
    comparison = compare_runs(found.runs, strict=False)
    return replace(comparison, notes=(*found.left_out, *comparison.notes))


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
