"""The command `xnorlit bench`: finds what to measure, measures, prints and writes."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xnorlit.bench.keys import listed
from xnorlit.commands.arguments import Parser
from xnorlit.errors import UserError
from xnorlit.fields import FieldError, Fields, read_json
from xnorlit.output.console import terminal
from xnorlit.packed.threads import MOST_THREADS
from xnorlit.processes import cores

ROUNDS, QUICK_ROUNDS = 15, 2
NETWORK = "alexnet-xnor"
WIDTH = 140


def bench(words: Sequence[str]) -> None:
    """`xnorlit bench [FILE] [--json OUT] ...`.

    Raises:
        UserError: The words are not understood, or there is nothing to measure.
    """
    parser = _parser()
    try:
        options = parser.parse_args(words)
    except SystemExit:  # after --help
        return
    if options.show:
        document = _read(options.show)
    else:
        document = _measure(options)
        if options.json:
            _write(options.json, document)
    _print(document, as_markdown=options.markdown)


def _parser() -> Parser:
    parser = Parser(
        "xnorlit bench",
        "Measures the packed network beside torch and onnxruntime: layer by layer and whole, time and memory.",
        "xnorlit bench packed.safetensors --json bench.json --batches 1 32",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        f"{parser.epilog}\n\nkeys of the JSON, with what they must be for {NETWORK} on ImageNet:\n{listed()}"
    )
    number = _count
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a packed network (default: the newest run's)"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure to this file")
    parser.add_argument("--network", metavar="NAME", help=f"random weights of this network (default: {NETWORK})")
    default = _default_threads()
    parser.add_argument(
        "--threads",
        type=number,
        nargs="+",
        metavar="N",
        default=default,
        help=f"numbers of threads (default: {' '.join(map(str, default))})",
    )
    parser.add_argument(
        "--batches", type=number, nargs="+", metavar="N", default=[1, 8, 32], help="images at a time (default: 1 8 32)"
    )
    parser.add_argument("--repeats", type=number, metavar="N", help=f"rounds of each measurement (default: {ROUNDS})")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, batches 1 and 2, no torch.compile: does it run?"
    )
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where the newest run is searched")
    parser.add_argument("--show", type=Path, metavar="JSON", help="print what an earlier --json wrote; measure nothing")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, as in docs/benchmarks.md")
    return parser


def _count(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = 0
    if not 1 <= number <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 to {MOST_THREADS}, not {word!r}")
    return number


def _default_threads() -> list[int]:
    everyone = cores()
    return sorted({1, min(2, everyone), everyone})


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    if options.file and options.network:
        raise UserError("a file and --network were given; give one: a packed file says which network it is.")
    from xnorlit.bench.run import measure

    batches, rounds = options.batches, options.repeats or ROUNDS
    if options.quick:
        batches, rounds = [1, 2], options.repeats or QUICK_ROUNDS
    return measure(
        file=options.file,
        network=options.network,
        root=options.root,
        batches=batches,
        threads=options.threads,
        rounds=rounds,
        quick=options.quick,
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, _document, advice=f"Measure again: xnorlit bench --json {path}.")


def _document(fields: Fields) -> dict[str, Any]:
    if (version := fields.integer("format")) != 1:
        raise FieldError(f"format: expected 1, found {version}")
    return {"format": version} | {name: fields.take(name) for name in fields.names()}


def _write(path: Path, document: dict[str, Any]) -> None:
    from xnorlit.output import atomic
    from xnorlit.output.console import say

    with atomic.path(path) as unfinished:
        unfinished.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    say("written", str(path))


def _print(document: dict[str, Any], *, as_markdown: bool) -> None:
    from xnorlit.bench.show import markdown, print_document

    if as_markdown:
        sys.stdout.write(markdown(document))
    else:
        # A pipe has no width of its own; the tables take this much.
        print_document(document, terminal() if sys.stdout.isatty() else terminal(width=WIDTH))
