"""Run one network on every installed runtime, and compare predictions, size and time."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from xnorlit.edge.console import progress
from xnorlit.errors import UserError
from xnorlit.export.formats import FORMATS, export
from xnorlit.export.from_c import Network as FromC
from xnorlit.export.pack import Packed
from xnorlit.packed import PackedNetwork

C = "C (xnorlit.h)"
BATCH = 50
TURNS = 20  # calls with one image; the median counts
SLOW = 1.0  # seconds per call above which a few turns must suffice

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Door:
    """The results of a network on one runtime.

    Attributes:
        name: Name of the runtime and of the format that it read.
        images: Number of classified images; 0 if it did not run.
        top1: Share of correct likeliest classes, in percent.
        differ: Number of images whose five likeliest classes, in order, differ from the engine's.
        bytes: Size of the network's files.
        milliseconds: Median time of one image.
        remark: Why it did not run.
    """

    name: str
    images: int = 0
    top1: float | None = None
    differ: int | None = None
    bytes: int | None = None
    milliseconds: float | None = None
    remark: str = ""


class Other(Protocol):
    """A runtime of packed files that no format exports to.

    Attributes:
        bytes: Size of what it reads.
    """

    bytes: int

    def __call__(self, images: np.ndarray, /) -> np.ndarray:
        """Logits, `[N, classes]`, of uint8 `[N, S, S, 3]`."""
        ...

    def milliseconds(self, image: np.ndarray, /) -> float:
        """Median time of one image."""
        ...


Others = Mapping[str, Callable[[bytes], AbstractContextManager[Other]]]


def doors(packed: Packed, images: np.ndarray, labels: np.ndarray, others: Others | None = None) -> list[Door]:
    """Results of the packed engine, its C interface and each format; a missing or refused one has a row that says why.

    Args:
        packed: The network.
        images: uint8 `[N, S, S, 3]`, N at least 1.
        labels: True classes, `[N]`.
        others: Further runtimes by their name, each made from the bytes of the packed file.
    """
    engine = PackedNetwork(*packed)

    def single(some: np.ndarray) -> np.ndarray:
        return engine(some, threads=1)

    ours = _five(_logits(engine, images, "xnorlit"))
    found = [_door(f"xnorlit ({engine.isa})", ours, ours, labels, packed.bytes, _milliseconds(single, images[:1]))]
    try:
        from_c = FromC(packed.content)
        theirs = _five(_logits(from_c, images, C))
        found.append(_door(C, theirs, ours, labels, packed.bytes, _milliseconds(from_c, images[:1])))
    except UserError as error:
        found.append(Door(C, remark=str(error)))
    for title, made in (others or {}).items():
        try:
            with made(packed.content) as network:
                theirs = _five(_logits(network, images, title))
                found.append(_door(title, theirs, ours, labels, network.bytes, network.milliseconds(images[:1])))
        except UserError as error:
            found.append(Door(title, remark=str(error)))
    for name, format in FORMATS.items():
        title = f"{format.runtime} ({name})"
        with tempfile.TemporaryDirectory() as folder:
            try:
                written = export(packed, Path(folder) / "network", format=name)
                many = format.network(written.files[-1], min(BATCH, len(images)), 1)
                alone = format.network(written.files[-1], 1, 1)
            except UserError as error:
                found.append(Door(title, remark=str(error)))
                continue
            theirs = _five(_logits(many, images, title))
            found.append(_door(title, theirs, ours, labels, written.bytes, _milliseconds(alone, images[:1])))
    return found


def markdown(found: Sequence[Door]) -> str:
    """The rows as a table.

    Args:
        found: Results, at least one.
    """
    lines = ["| runtime | top-1 % | images whose top 5 differ | bytes | ms an image |", "|---|---|---|---|---|"]
    for door in found:
        if door.top1 is None:
            lines.append(f"| {door.name} | {door.remark.replace('|', '/')} | | | |")
            continue
        differ = f"{door.differ:,} of {door.images:,}"
        lines.append(f"| {door.name} | {door.top1:.2f} | {differ} | {door.bytes:,} | {door.milliseconds:.3g} |")
    return "\n".join(lines)


def document(found: Sequence[Door]) -> str:
    """The rows as JSON.

    Args:
        found: Results, any number.
    """
    return json.dumps([asdict(door) for door in found], indent=2)


def _door(name: str, theirs: np.ndarray, ours: np.ndarray, labels: np.ndarray, size: int, milliseconds: float) -> Door:
    right, differ = int((theirs[:, 0] == labels).sum()), int((theirs != ours).any(axis=1).sum())
    return Door(name, len(labels), 100 * right / len(labels), differ, size, milliseconds)


def _logits(network: Run, images: np.ndarray, title: str) -> np.ndarray:
    starts = range(0, len(images), BATCH)
    batches = progress(starts, len(starts), "check", title, stderr=True)
    return np.concatenate([network(images[first : first + BATCH]) for first in batches])


def _five(logits: np.ndarray) -> np.ndarray:
    """The five likeliest classes, likeliest first; among equal ones, the first comes first."""
    return np.argsort(-logits, axis=1, kind="stable")[:, :5]


def _milliseconds(network: Run, image: np.ndarray) -> float:
    taken: list[float] = []
    while len(taken) < TURNS and not (len(taken) >= 3 and sum(taken) > SLOW):
        started = time.perf_counter()
        network(image)
        taken.append(time.perf_counter() - started)
    return 1000 * float(np.median(taken))
