"""The command `xnorlit classify`: classify pictures with a packed network. Needs only numpy, Pillow and the kernels."""

import itertools
import json as json_format
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

import xnorlit as xl
from xnorlit.commands.arguments import Count, Range
from xnorlit.data.pictures import SUFFIXES, UnreadableImageError, as_validated, names_below, reason_of
from xnorlit.edge.names import is_folder, printable
from xnorlit.edge.processes import cores
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.threads import MOST_THREADS
from xnorlit.packed.trained import located

AHEAD = 4  # pictures that each thread may be ahead of the output


@dataclass(frozen=True)
class Answer:
    """The result for one picture.

    Attributes:
        picture: Its file.
        top: Numbers of the classes, likeliest first.
        probabilities: Their probabilities (softmax).
        milliseconds: Time of the network alone.
    """

    picture: Path
    top: tuple[int, ...]
    probabilities: tuple[float, ...]
    milliseconds: float


@dataclass(frozen=True)
class Failure:
    """Why a picture, or the pictures of a folder, were not classified."""

    picture: Path
    reason: str


def classify(
    file: Path,
    pictures: Sequence[Path],
    *,
    top: Count = 5,
    threads: Annotated[int, Range(1, MOST_THREADS)] | None = None,
    json: bool = False,
) -> int:
    """Classify pictures with a packed network, and print the likeliest classes.

    Pictures are rotated, cropped and resized as in validation. The printed time is that of the network alone, without
    reading the picture.

    Args:
        file: A packed file (xnorlit pack writes it), or the name of a trained network (xnorlit zoo lists them).
        pictures: Pictures, or folders of pictures.
        top: Number of classes to print for each picture.
        threads: Number of threads (default: all cores).
        json: Print JSON instead.

    Returns:
        Exit status: 1 if a picture could not be classified (the others were), else 0.

    Raises:
        UserError: The file is not a packed network, or there is no trained network of that name.
    """
    file = located(file)
    network = xl.load(file)
    if threads and threads > cores():
        sys.stderr.write(f"note: {threads} threads are no faster than {cores()} on {cores()} cores\n")
    found = classified(network, pictures, top, threads or cores())
    if len(pictures) > 1 or is_folder(pictures[0]):
        found = _counted(found, pictures)
    show = _show_json if json else _show_lines
    return show(found, network, file, pictures)


def classified(network: PackedNetwork, paths: Sequence[Path], top: int, threads: int) -> Iterator[Answer | Failure]:
    """The result for each picture, in order.

    Of several pictures, each of `threads` threads reads, crops, resizes and classifies one at a time. So there are no
    more busy threads than processors, and at most `AHEAD` answers per thread wait for an earlier one.

    Args:
        network: The network.
        paths: Pictures, and folders to search for pictures at any depth.
        top: Number of classes in each answer.
        threads: Number of threads.
    """
    every = pictures_of(paths)
    first = list(itertools.islice(every, 2))
    several = len(first) > 1 and threads > 1

    def answer(picture: Path | Failure) -> Answer | Failure:
        return _answer(network, picture, top, 1 if several else threads)

    return _in_order(answer, itertools.chain(first, every), threads if several else 0)


def _answer(network: PackedNetwork, picture: Path | Failure, top: int, threads: int) -> Answer | Failure:
    if isinstance(picture, Failure):
        return picture
    graph = network.graph
    try:
        pixels = as_validated(picture, graph.image_size, graph.crop, graph.squash)
    except UnreadableImageError as error:
        return Failure(picture, error.reason)
    started = time.perf_counter()
    logits = network(pixels[None], threads=threads)[0].astype(np.float64)
    milliseconds = 1000 * (time.perf_counter() - started)
    if not np.isfinite(logits).all():
        return Failure(picture, "the network's outputs are NaN or infinite")
    odds = np.exp(logits - logits.max())
    likeliest = np.argsort(-logits, kind="stable")[:top]
    probabilities = (odds / odds.sum())[likeliest]
    return Answer(picture, tuple(likeliest.tolist()), tuple(probabilities.tolist()), milliseconds)


def _in_order(
    answer: Callable[[Path | Failure], Answer | Failure], pictures: Iterable[Path | Failure], threads: int
) -> Iterator[Answer | Failure]:
    """The answer to each picture, in order. `threads` threads find them, `AHEAD` pictures each ahead of the reader."""
    if not threads:
        yield from map(answer, pictures)
        return
    from concurrent.futures import Future, ThreadPoolExecutor  # a single picture needs none

    waiting: deque[Future[Answer | Failure]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for picture in pictures:
            waiting.append(pool.submit(answer, picture))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # after Ctrl-C, or when the reader of the output stops
        pool.shutdown(cancel_futures=True)


def pictures_of(paths: Sequence[Path]) -> Iterator[Path | Failure]:
    """The pictures: each file, the sorted pictures of each folder, and each folder that has none or cannot be read."""
    for path in paths:
        if is_folder(path):
            yield from _pictures_below(path)
        else:
            yield path


def _pictures_below(folder: Path) -> Iterator[Path | Failure]:
    failures: list[Failure] = []

    def refuse(inner: Path, error: Exception) -> None:
        failures.append(Failure(inner, reason_of(error)))

    pictures = sorted(folder / name for name in names_below(folder, ".", refuse))
    if not pictures and not failures:
        yield Failure(folder, f"a folder without pictures ({', '.join(sorted(SUFFIXES))})")
    yield from sorted(failures, key=lambda failure: failure.picture)
    yield from pictures


def _counted(found: Iterator[Answer | Failure], paths: Sequence[Path]) -> Iterator[Answer | Failure]:
    """The answers, with a progress bar if they go to a file or pipe."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        return found
    from xnorlit.edge.console import progress  # Imported here, because a single picture does not need it.

    return progress(found, sum(1 for _ in pictures_of(paths)), "classify", "pictures", stderr=True)


def _show_lines(found: Iterator[Answer | Failure], network: PackedNetwork, file: Path, paths: Sequence[Path]) -> int:
    graph = network.graph
    classes = [_one_line(name) for name in network.classes]
    wide = max((len(_one_line(str(path))) for path in pictures_of(paths) if isinstance(path, Path)), default=0)
    broad = max(len(name) for name in classes)
    weighs = f"{file.stat().st_size / 2**20:.3g} MiB network"
    failures = 0
    if graph.source.weights == "random":
        sys.stderr.write(f"note: the weights in {file} are random, so its answers mean nothing\n")
    for each in found:
        name = _one_line(str(each.picture))
        if isinstance(each, Failure):
            failures += 1
            sys.stderr.write(f"error: {name}: {_one_line(each.reason)}\n")
            continue
        shares = zip(each.top, each.probabilities, strict=True)
        answers = "   ".join(f"{classes[number]:<{broad}} {100 * share:5.1f} %" for number, share in shares)
        _write(f"{name:<{wide}}   {answers}     ({each.milliseconds:.1f} ms, {weighs})\n")
    return int(failures > 0)


def _show_json(found: Iterator[Answer | Failure], network: PackedNetwork, file: Path, _: Sequence[Path]) -> int:
    graph, pictures, failures = network.graph, [], 0
    for each in found:
        if isinstance(each, Failure):
            failures += 1
            pictures.append({"picture": str(each.picture), "error": each.reason})
            continue
        top = [
            {"class": network.classes[number], "number": number, "probability": share}
            for number, share in zip(each.top, each.probabilities, strict=True)
        ]
        pictures.append({"picture": str(each.picture), "top": top, "milliseconds": each.milliseconds})
    about = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "network": graph.network,
        "kernels": network.isa,
        "source": asdict(graph.source),
        "accuracy": graph.accuracy and asdict(graph.accuracy),
    }
    _write(json_format.dumps({"network": about, "pictures": pictures}, indent=2) + "\n")
    return int(failures > 0)


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _write(text: str) -> None:
    """Print; escape characters that the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
