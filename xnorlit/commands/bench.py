"""The command `xnorlit bench`: speed and size of a packed network beside other runtimes."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from xnorlit.bench.keys import listed
from xnorlit.commands.arguments import Range, goes_with
from xnorlit.edge.console import terminal
from xnorlit.edge.fields import FieldError, Fields, read_json
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError
from xnorlit.packed.threads import MOST_THREADS

ROUNDS, QUICK_ROUNDS = 15, 2
WIDTH = 140

Number = Annotated[int, Range(1, MOST_THREADS)]


def bench(
    file: Path | None = None,
    *,
    json: Path | None = None,
    network: str | None = None,
    threads: Sequence[Number] = (),
    batches: Sequence[Number] = (),
    repeats: Number | None = None,
    quick: bool = False,
    root: Path = Path("runs"),
    show: Path | None = None,
    markdown: bool = False,
    keys: bool = False,
) -> None:
    """Measure time and memory of a packed network, per layer and in total, beside torch, onnxruntime and OpenVINO.

    Args:
        file: A packed network (default: the newest run's).
        json: Write every figure to this file.
        network: Measure this network with random weights (default: alexnet-xnor if there is no run).
        threads: Numbers of threads (default: 1, 2 and all).
        batches: Batch sizes (default: 1, 8 and 32).
        repeats: Rounds of each measurement (default: 15).
        quick: Only check that everything runs: by default 2 rounds, and batches of 1 and 2; without torch.compile,
            which otherwise counts among torch's best fp32.
        root: Folder to search for the newest run.
        show: Only print the file of an earlier --json.
        markdown: Print Markdown, as in docs/benchmarks.md.
        keys: Only list the keys of the JSON with their targets, by network.

    Raises:
        UserError: There is nothing to measure.
    """
    if keys:
        sys.stdout.write(f"{listed()}\n")
        return
    measured = {"json": json, "network": network, "threads": threads, "batches": batches, "repeats": repeats}
    goes_with("a measurement; --show prints an earlier one", not show, quick=quick, **measured)
    if show and file:
        raise UserError("FILE and --show were both given. Expected one: --show prints an earlier measurement.")
    if show:
        document = _read(show)
    else:
        if file and network:
            raise UserError("FILE and --network were both given. Expected one: a packed file holds its network.")
        from xnorlit.bench.run import measure

        document = measure(
            file=file,
            network=network,
            root=root,
            batches=list(batches) or ([1, 2] if quick else [1, 8, 32]),
            threads=list(threads) or _default_threads(),
            rounds=repeats or (QUICK_ROUNDS if quick else ROUNDS),
            quick=quick,
        )
        if json:
            _write(json, document)
    _print(document, as_markdown=markdown)


def _default_threads() -> list[int]:
    everyone = cores()
    return sorted({1, min(2, everyone), everyone})


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, _document, advice=f"Measure again: xnorlit bench --json {path}.")


def _document(fields: Fields) -> dict[str, Any]:
    if (version := fields.integer("format")) != 1:
        raise FieldError(f"format: expected 1, found {version}")
    return {"format": version} | {name: fields.take(name) for name in fields.names()}


def _write(path: Path, document: dict[str, Any]) -> None:
    from xnorlit.edge import atomic
    from xnorlit.edge.console import say

    with atomic.path(path) as unfinished:
        unfinished.write_text(json_format.dumps(document, indent=1, allow_nan=False) + "\n")
    say("written", str(path))


def _print(document: dict[str, Any], *, as_markdown: bool) -> None:
    from xnorlit.bench.show import markdown, print_document

    if as_markdown:
        sys.stdout.write(markdown(document))
    else:
        # A pipe has no width. The tables need this many columns.
        print_document(document, terminal() if sys.stdout.isatty() else terminal(width=WIDTH))
