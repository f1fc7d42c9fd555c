"""The command `xnorlit export`: a run as a file for another runtime, compared with the packed engine."""

import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import torch

from xnorlit.commands.arguments import Count, goes_with
from xnorlit.commands.pack import difference
from xnorlit.data import CentreCrop, ImageData
from xnorlit.data.sources import readable
from xnorlit.edge.console import say
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError, did_you_mean
from xnorlit.export.doors import Door, document, doors, markdown
from xnorlit.export.formats import FORMATS, Exported, format_named, packed_form, placed
from xnorlit.export.formats import export as export_network
from xnorlit.export.measure import answers
from xnorlit.export.pack import Packed
from xnorlit.export.rebuild import Ends, packed_of, rebuild
from xnorlit.export.validation import on_engine
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.graph import Graph
from xnorlit.packed.trained import list_trained
from xnorlit.report.html.browser import Network
from xnorlit.runs import newest, read

BROWSER = "browser (Chromium)"
IMAGES = 1000  # that --check classifies by default
TIMED = 30  # forward passes of one photograph; their median time is printed


def export(
    run: Path | None = None,
    *,
    format: str | None = None,
    out: Path | None = None,
    checkpoint: str | None = None,
    ends: Ends | None = None,
    normalized_input: bool = False,
    root: Path = Path("runs"),
    check: bool = False,
    data: Path | None = None,
    images: Count | None = None,
    json: bool = False,
) -> None:
    """Export a trained network to another runtime, and compare its predictions with those of the packed engine.

    The comparison covers the five likeliest classes of each validation image. It needs the runtime of the format.
    --check compares all formats and keeps no file.

    Args:
        run: Folder of a finished run, a packed file, or the name of a trained network (default: the newest run with
            binary layers).
        format: openvino, onnx, onnx-qdq (few-bit weights stored in 8 bits), qonnx, or finn (default: openvino).
        out: Output file in an existing folder (default: RUN/FORMAT/NETWORK.xml or .onnx).
        checkpoint: Of a run: last, best, or a file of it (default: last).
        ends: Of a run: first and last layer in fp32, or in 8 bits (default: float).
        normalized_input: Let the exported network read normalised fp32 [N, 3, S, S] instead of uint8 [N, S, S, 3].
        root: Folder to search for the newest run.
        check: Print a table of all formats: predictions, size, and time of one image.
        data: Folder of the validation images (default: the run's).
        images: Number of images that --check classifies (default: 1000).
        json: Print the table as JSON.

    Raises:
        UserError: There is nothing to export, or the format cannot express it.
    """
    goes_with("--check, which prints a table of all formats", check, json=json, data=data, images=images)
    to_export = "an export; --check compares all formats, on pixels, and keeps no file"
    goes_with(to_export, not check, out=out, format=format, normalized_input=normalized_input)
    format = format or "openvino"
    chosen = format_named(format)
    if out is not None:
        placed(out, format)
    if check:
        with redirect_stdout(sys.stderr):  # only the table goes to standard output
            packed, measured, _ = _packed(run, checkpoint, ends, root)
            measured = measured if data is None else _images_of(packed.graph, data)
            if measured is None:
                raise UserError(f"{run} is a packed file, which has no images. Give a folder of images: --data photos/")
            found = _through_all(packed, measured, images or IMAGES)
        sys.stdout.write((document(found) if json else markdown(found)) + "\n")
        return
    packed, measured, home = _packed(run, checkpoint, ends, root)
    if out is None:
        out = home / format / packed.graph.network
    fresh = not out.parent.exists()
    out.parent.mkdir(exist_ok=True)
    try:
        written = export_network(packed, out, format=format, normalized_input=normalized_input)
    except BaseException:
        if fresh:
            out.parent.rmdir()
        raise
    say("done", f"{written.files[-1]}: {written}")
    say("", f"the packed file of the same network: {packed.bytes / 2**20:.3g} MiB")
    _check(packed, written, measured, normalized_input=normalized_input)
    say("next", chosen.advice)


def _packed(
    run: Path | None, checkpoint: str | None, ends: Ends | None, root: Path
) -> tuple[Packed, ImageData | None, Path]:
    """The packed network of a run or of a file, the run's data, and the folder for the exported files."""
    if run is not None and (run.is_file() or (not run.exists() and str(run) in list_trained())):
        needed = f"the folder of a run; {run} is packed already, from one checkpoint and with its ends"
        goes_with(needed, False, ends=ends, checkpoint=checkpoint)
        packed = packed_form(run)
        say("export", f"{run}, {packed.graph.source.words}")
        return packed, None, run.parent
    if run is not None and not run.exists() and run.name == str(run):
        known = list_trained()
        raise UserError(
            f"there is no run, packed file or trained network named {run}.{did_you_mean(run.name, known)} A run is a "
            f"folder RUNS/EXPERIMENT/PAIR/ARM/seed-N. Trained networks: {', '.join(known)}."
        )
    found = newest(root, with_codes=True) if run is None else read(run)
    if not found.summary.has_codes:
        raise UserError(f"{found.path} has no binary layer. Give a run of a binary arm, as of xnorlit train xnor.")
    file, ends = found.checkpoint(checkpoint or "last"), ends or "float"
    say("export", f"{found.path}: {file.name}, {ends} ends")
    rebuilt = rebuild(found, file)
    return packed_of(found, rebuilt, ends), rebuilt.data, found.path


def _images_of(graph: Graph, folder: Path) -> ImageData:
    """A data module for a folder of images, with the network's size and normalisation."""
    crop = CentreCrop(graph.crop, graph.squash)
    data = ImageData(str(folder), backend="folder", image_size=graph.image_size, val_crop=crop, workers=0)
    data.setup()
    if readable(data.classes) != graph.classes:
        raise UserError(
            f"{folder} has other classes than the network. Expected class folders {', '.join(graph.classes[:5])}, ..."
        )
    return data


def _through_all(packed: Packed, data: ImageData, most: int) -> list[Door]:
    """Predictions of each runtime for some validation images, spread evenly over their listing."""
    total = data.count("val")
    most = min(most, total)
    chosen = set((np.arange(most) * total // most).tolist())
    pixels, labels, first = [], [], 0
    for batch in data.val_dataloader():
        keep = [i for i in range(len(batch.labels)) if first + i in chosen]
        pixels.append(batch.images.permute(0, 2, 3, 1).numpy()[keep])
        labels.append(batch.labels.numpy()[keep])
        first += len(batch.labels)
    return doors(packed, np.concatenate(pixels), np.concatenate(labels), {BROWSER: Network})


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
    """Images, uint8 `[N, S, S, 3]`, converted to the exported network's input."""
    if not normalized:
        return np.ascontiguousarray(images)
    mean, std = (np.array(values, np.float32) for values in (graph.mean, graph.std))
    return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))


def _milliseconds(call: Callable[[], object]) -> float:
    """Median time of `TIMED` calls, in milliseconds."""
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
