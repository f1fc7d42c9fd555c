"""What is measured: a packed file, or a network with random weights, and its float twin."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from xnorlit.export.random_weights import random_network
from xnorlit.models import BuiltNetwork, Normalize, create, list_networks
from xnorlit.models.plain import plain
from xnorlit.packed import PackedNetwork, load, tensorfile
from xnorlit.packed.document import parse
from xnorlit.packed.engine import METADATA
from xnorlit.packed.graph import Graph, Layer, Map
from xnorlit.packed.path import VARIABLE

Tensors = Mapping[str, np.ndarray]
RANDOM = "random weights"
ENDS: tuple[Literal["float", "int8"], ...] = ("float", "int8")
CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Subject:
    """A packed network with one or both kinds of ends, and the float twin with its own weights.

    Attributes:
        weights: `random weights`, or the source file and the origin that it states.
        packed: Graph and tensors by kind of ends, `float` or `int8`; the first is the requested one, and the only one
            of a module packed from Python.
        twin: The float twin of plain torch modules, uint8 `(N, 3, S, S)` to logits, in evaluation mode.
    """

    weights: str
    packed: Mapping[str, tuple[Graph, Tensors]]
    twin: torch.nn.Sequential

    @property
    def graph(self) -> Graph:
        """The requested graph."""
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
        """Every layer and the map that it reads."""
        return layers_of(self.graph)

    def binary_layers(self) -> Iterator[tuple[Layer, Map]]:
        """The layers that read signs, with the maps that they read: those that can be measured alone."""
        yield from ((layer, at) for layer, at in self.layers() if layer.binary and layer.operand.form == "signs")


def of_file(path: Path) -> Subject:
    """A packed file. Its other kind of ends is measured with random weights, which take the same time.

    Raises:
        UserError: It is not a packed network.
    """
    load(path)
    metadata, tensors = tensorfile.read(path)
    graph = parse(json.loads(metadata[METADATA]), tensors)
    first = "int8" if any(layer.weights.form == "int8" for layer, _ in layers_of(graph)) else "float"
    both = {first: (graph, tensors)}
    for ends in ENDS if is_named(graph) else ():
        if ends not in both:
            size = graph.image_size
            both[ends] = random_network(graph.network, ends, classes=len(graph.classes), image_size=size)
    weights = graph.source.run or graph.source.words
    return Subject(f"{path} ({weights})", both, twin_of(graph))


def of_random_weights(network: str) -> Subject:
    """An untrained network: the time does not depend on the weights.

    Args:
        network: Name of its table.
    """
    both = {ends: random_network(network, ends) for ends in ENDS}
    return Subject(RANDOM, both, twin_of(both["float"][0]))


def is_named(graph: Graph) -> bool:
    """Whether the network can be built by its name; a module packed from Python cannot."""
    return graph.network in list_networks()


def named_twin(graph: Graph) -> BuiltNetwork:
    """The float twin of a network that has a name, with fresh weights, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        twin = create(
            graph.network,
            binarizer="Float",
            classes=len(graph.classes),
            image_size=graph.image_size,
            mean=graph.mean,
            std=graph.std,
        )
    return twin.eval()


def twin_of(graph: Graph) -> torch.nn.Sequential:
    """The float twin of a packed network: torch's own modules with fresh weights, in evaluation mode.

    A module packed from Python is rebuilt from its packed layers: each as a float layer with a bias, then its max pool
    and a ReLU. Batch norms are missing, since the file holds them folded.
    """
    if is_named(graph):
        return plain(named_twin(graph))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules: list[torch.nn.Module] = [Normalize(graph.mean, graph.std)]
        for layer, at in layers_of(graph):
            if layer.window is None:
                inputs = at.height * at.width * at.channels
                modules += [torch.nn.Flatten(), torch.nn.Linear(inputs, layer.outputs)]
            else:
                window = layer.window.kernel, layer.window.stride, layer.window.padding
                modules.append(torch.nn.Conv2d(at.channels, layer.outputs, *window, groups=layer.groups))
            modules += [torch.nn.MaxPool2d(*layer.pool)] if layer.pool else []
            modules.append(torch.nn.ReLU())
        return torch.nn.Sequential(*modules[:-1], torch.nn.Flatten()).eval()


def layers_of(graph: Graph) -> Iterator[tuple[Layer, Map]]:
    """Every layer and the map that it reads."""
    flows = graph.flows()
    for node in graph.steps:
        if isinstance(node.op, Layer):
            yield node.op, flows[node.inputs[0]].map


def pixels(count: int, size: int) -> np.ndarray:
    """Random images, uint8 `[N, S, S, 3]`; the same at each call."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@contextmanager
def kernels(path: str) -> Iterator[None]:
    """Engines created in this context run on these kernels."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = path
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
