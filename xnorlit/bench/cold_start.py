"""One photo, from a cold process to the printed answer: `xnorlit classify`, and the float twin in torch."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from xnorlit.bench.figures import Figure, ratio
from xnorlit.bench.subject import Subject, pixels
from xnorlit.bench.turns import by_turns
from xnorlit.export.pack import write

PHOTO_SIDE = 480


@dataclass(frozen=True)
class ColdStart:
    """Seconds of whole processes from start to exit, one of each per round.

    Attributes:
        classify: `xnorlit classify FILE PHOTO`.
        twin: `python -m xnorlit.bench.twin`: the same photo by the float twin in torch.
        ratio: The twin's time over ours.
    """

    classify: Figure
    twin: Figure
    ratio: Figure


def measure_cold_start(subject: Subject, rounds: int) -> ColdStart:
    """Run the two processes in turns, with files in the system's cache and as many threads as each chooses.

    Args:
        subject: The network and its twin; the photo is generated.
        rounds: Number of turns of each.
    """
    graph = subject.graph
    with tempfile.TemporaryDirectory() as folder:
        file, checkpoint, photo = (
            str(Path(folder) / name) for name in ("packed.safetensors", "twin.ckpt", "photo.jpg")
        )
        write(file, graph, subject.tensors)
        shape = ["--image-size", str(graph.image_size), "--crop", str(graph.crop)]
        shape += ["--squash"] if graph.squash else []
        torch.save(subject.twin, checkpoint)
        Image.fromarray(pixels(1, PHOTO_SIDE)[0]).save(photo)
        seconds = by_turns(
            {
                "classify": _process("xnorlit", "classify", file, photo),
                "twin": _process("xnorlit.bench.twin", checkpoint, photo, *shape),
            },
            rounds,
        ).steady
    found = (Figure.of(seconds[side]) for side in ("classify", "twin"))
    return ColdStart(*found, ratio(over=seconds["twin"], ours=seconds["classify"]))


def _process(*args: str) -> Callable[[], None]:
    def call() -> None:
        subprocess.run([sys.executable, "-m", *args], check=True, capture_output=True)

    return call
