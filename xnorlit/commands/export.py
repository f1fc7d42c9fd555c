"""The command `xnorlit export`: a run as a file for another runtime, compared with the packed engine."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from xnorlit.commands.pack import Ends, difference, packed_of
from xnorlit.data import ImageData
from xnorlit.edge.console import say
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError
from xnorlit.export.formats import FORMATS, Exported, format_named, placed
from xnorlit.export.formats import export as export_network
from xnorlit.export.measure import answers
from xnorlit.export.pack import Packed, opened
from xnorlit.export.rebuild import rebuild
from xnorlit.export.validation import on_engine
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.graph import Graph
from xnorlit.runs import newest, read

TIMED = 30  # single photographs, of which the median is printed


def export(
    run: Path | None = None,
    *,
    format: str = "openvino",
    out: Path | None = None,
    checkpoint: str = "last",
    ends: Ends = "float",
    normalized_input: bool = False,
    root: Path = Path("runs"),
) -> None:
    """Exports a trained network to another runtime, and compares its predictions with those of the packed engine.

    The comparison covers the five likeliest classes of the validation images. It needs the runtime of the format.

    Args:
        run: Folder of a finished run, or a packed file (default: the newest run with binary layers).
        format: openvino, onnx, or onnx-qdq (few-bit weights stored in 8 bits).
        out: Output file in an existing folder (default: RUN/FORMAT/NETWORK.xml or .onnx).
        checkpoint: last, best, or a file of the run.
        ends: First and last layer in fp32, or in 8 bits.
        normalized_input: Let the exported network read normalised fp32 [N, 3, S, S] instead of uint8 [N, S, S, 3].
        root: Folder that is searched for the newest run.

    Raises:
        UserError: There is nothing to export, or the format cannot express it.
    """
    chosen = format_named(format)
    if out is not None:
        placed(out, format)
    if run is not None and run.is_file():
        packed, data, home = opened(run), None, run.parent
        say("export", f"{run}, {packed.graph.source.words}")
    else:
        found = newest(root, with_codes=True) if run is None else read(run)
        if not found.summary.has_codes:
            raise UserError(
                f"{found.path} has no binary layer. Give a run of a binary arm: make train-xnor trains one."
            )
        file = found.checkpoint(checkpoint)
        say("export", f"{found.path}: {file.name}, {ends} ends")
        rebuilt = rebuild(found, file)
        packed, data, home = packed_of(found, rebuilt, ends), rebuilt.data, found.path
    if out is None:
        out = home / format / packed.graph.network
        out.parent.mkdir(exist_ok=True)
    written = export_network(packed, out, format=format, normalized_input=normalized_input)
    say("done", f"{written.files[-1]}: {written}")
    say("", f"the packed file of the same network: {packed.bytes / 2**20:.3g} MiB")
    _check(packed, written, data, normalized_input=normalized_input)
    say("next", chosen.advice)


def _check(packed: Packed, written: Exported, data: ImageData | None, *, normalized_input: bool) -> None:
    """Print the number of validation images with different predictions, and the time of one photograph on both."""
    graph, chosen = packed.graph, FORMATS[written.format]
    engine = PackedNetwork(*packed)
    file = written.files[-1]
    if data is not None:
        network = chosen.network(file, data.batch_size, cores())

        def forward(images: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(network(_as_read(graph, images.permute(0, 2, 3, 1).numpy(), normalized_input)))

        theirs = answers(forward, data, f"accuracy on {chosen.runtime}")
        ours = answers(partial(on_engine, engine), data, "accuracy on the engine")
        say("", difference(ours, theirs, chosen.runtime))
    alone = chosen.network(file, 1, 1)
    photo = np.random.default_rng(0).integers(0, 256, (1, graph.image_size, graph.image_size, 3), np.uint8)
    given = _as_read(graph, photo, normalized_input)
    there, here = _milliseconds(partial(alone, given)), _milliseconds(partial(engine, photo, threads=1))
    say("", f"one photograph, one thread: {there:.3g} ms on {chosen.runtime}, {here:.3g} ms on xnorlit ({engine.isa})")


def _as_read(graph: Graph, images: np.ndarray, normalized: bool) -> np.ndarray:
    """Images, uint8 `[N, S, S, 3]`, as an exported network reads them."""
    if not normalized:
        return np.ascontiguousarray(images)
    mean, std = (np.array(values, np.float32) for values in (graph.mean, graph.std))
    return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))


def _milliseconds(call: Callable[[], object]) -> float:
    """The median of some calls."""
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
