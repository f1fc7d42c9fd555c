"""What is measured: a packed file, or a network of random weights, beside its float twin."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xnorlit.bench.opponents.fp32 import plain
from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR
from xnorlit.models import build, network_named
from xnorlit.packed import PackedNetwork, load, tensorfile
from xnorlit.packed.document import parse
from xnorlit.packed.engine import METADATA
from xnorlit.packed.export import pack
from xnorlit.packed.graph import Graph, Layer, Map
from xnorlit.packed.path import VARIABLE

Tensors = Mapping[str, np.ndarray]
RANDOM = "random weights"
ENDS = {"float": "fp32 ends", "int8": "int8 ends"}
CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Subject:
    """A packed network in one or both kinds of ends, and the float twin with weights of its own.

    Attributes:
        weights: `random weights`, or the file they come from and what that says of their origin.
        packed: Graph and tensors by kind of ends, `float` or `int8`; the first is the one that was asked for.
        twin: The float twin of plain torch modules, uint8 `(N, 3, S, S)` to logits, in evaluation mode.
    """

    weights: str
    packed: Mapping[str, tuple[Graph, Tensors]]
    twin: torch.nn.Sequential

    @property
    def graph(self) -> Graph:
        """The graph that was asked for."""
        return next(iter(self.packed.values()))[0]

    @property
    def tensors(self) -> Tensors:
        """Its tensors."""
        return next(iter(self.packed.values()))[1]

    def engine(self, ends: str, path: str) -> PackedNetwork:
        """A network with these ends that runs on these kernels."""
        with kernels(path):
            return PackedNetwork(*self.packed[ends])

    def layers(self) -> Iterator[tuple[Layer, Map]]:
        """Every layer and what it reads."""
        at = self.graph.input
        for layer in self.graph.layers:
            yield layer, at
            at = layer.output(at)

    def binary_layers(self) -> Iterator[tuple[Layer, Map]]:
        """The layers that read signs, and what each reads: those that can be measured by themselves."""
        yield from ((layer, at) for layer, at in self.layers() if layer.binary and layer.operand.form == "signs")


def of_file(path: Path) -> Subject:
    """A packed file as it is; its other kind of ends is measured with random weights, which cost the same time.

    Raises:
        UserError: It is not a packed network, or of a network that this version does not know.
    """
    load(path)
    metadata, tensors = tensorfile.read(path)
    graph = parse(json.loads(metadata[METADATA]), tensors)
    first = "int8" if any(layer.weights.form == "int8" for layer in graph.layers) else "float"
    both = {first: (graph, tensors)}
    for ends in ENDS:
        if ends not in both:
            both[ends] = _random(graph.network, len(graph.classes), graph.image_size, ends)
    weights = RANDOM if graph.source.weights == "random" else graph.source.run
    return Subject(f"{path} ({weights})", both, _twin(graph))


def of_random_weights(network: str, classes: int = 1000) -> Subject:
    """A network as it is before training: the time does not depend on the weights.

    Args:
        network: Name of its table.
        classes: Number of classes.
    """
    size = network_named(network).image_size
    both = {ends: _random(network, classes, size, ends) for ends in ENDS}
    return Subject(RANDOM, both, _twin(both["float"][0]))


def _random(network: str, classes: int, size: int, ends: str) -> tuple[Graph, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    model = build(network_named(network), XNOR(), classes=classes, image_size=size).eval()
    images = pixels(CALIBRATION_IMAGES, size) if ends == "int8" else None
    names = [str(number) for number in range(classes)]
    return pack(model, image_size=size, classes=names, ends=ends, calibration=images)  # type: ignore[arg-type]


def _twin(graph: Graph) -> torch.nn.Sequential:
    torch.manual_seed(0)
    table, size = network_named(graph.network), graph.image_size
    return plain(build(table, Float(), classes=len(graph.classes), image_size=size, mean=graph.mean, std=graph.std))


def pixels(count: int, size: int) -> np.ndarray:
    """Made-up images, uint8 `[N, S, S, 3]`; the same ones at each call."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@contextmanager
def kernels(path: str) -> Iterator[None]:
    """Engines that are made meanwhile run on these kernels."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = path
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
