"""The subject of a bench: a packed file or a network with random weights, and its float twin."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from xnorlit.export.random_weights import random_network
from xnorlit.models import BuiltNetwork, Normalize, create, list_networks
from xnorlit.models.plain import plain
from xnorlit.packed import PackedNetwork, load
from xnorlit.packed.graph import (
    PIXELS,
    Add,
    Affine,
    AveragePool,
    Clip,
    Concat,
    Flatten,
    GlobalAverage,
    Graph,
    MaxPool,
    Operation,
    Sign,
    Subsample,
    TwoSlope,
)
from xnorlit.packed.isa import VARIABLE
from xnorlit.packed.layer import Ending, Layer, Map, Window

Tensors = Mapping[str, np.ndarray]
RANDOM = "random weights"
ENDS: tuple[Literal["float", "int8"], ...] = ("float", "int8")
CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Subject:
    """A packed network with one or both kinds of ends, and the float twin with its own weights.

    Attributes:
        weights: `random weights`, or the source file and its origin.
        packed: Graph and tensors by kind of ends, `float` or `int8`. The first is the requested one; a module packed
            from Python has no other.
        twin: The float twin of plain torch modules, uint8 `(N, 3, S, S)` to logits, in evaluation mode.
    """

    weights: str
    packed: Mapping[str, tuple[Graph, Tensors]]
    twin: torch.nn.Module

    @property
    def graph(self) -> Graph:
        """The requested graph."""
        return next(iter(self.packed.values()))[0]

    @property
    def tensors(self) -> Tensors:
        """Its tensors."""
        return next(iter(self.packed.values()))[1]

    def engine(self, ends: str, isa: str) -> PackedNetwork:
        """A network with these ends that runs on these kernels."""
        with kernels(isa):
            return PackedNetwork(*self.packed[ends])

    def layers(self) -> Iterator[tuple[Layer, Map]]:
        """Every layer and the map that it reads."""
        return layers_of(self.graph)

    def binary_layers(self) -> Iterator[tuple[Layer, Map]]:
        """The layers that read signs, which can be measured individually, with the maps that they read."""
        yield from ((layer, at) for layer, at in self.layers() if layer.binary and layer.operand.form == "signs")


def of_file(path: Path) -> Subject:
    """The subject of a packed file. Its other kind of ends gets random weights, which take the same time.

    A file does not name its method, and networks with random weights are XNOR's. If the file computes otherwise, it is
    measured with its own ends alone.

    Raises:
        UserError: It is not a packed network.
    """
    network = load(path)
    graph, tensors = network.graph, network.tensors
    first = "int8" if any(layer.weights.form == "int8" for layer, _ in layers_of(graph)) else "float"
    both = {first: (graph, tensors)}
    weights = f"{path} ({graph.source.run or graph.source.words})"
    for ends in ENDS if is_named(graph) else ():
        if ends not in both:
            size = graph.image_size
            other = random_network(graph.network, ends, classes=len(graph.classes), image_size=size)
            if _work(other.graph) == _work(graph):
                both[ends] = other
            else:
                weights += f", with {first} ends alone: its method is not XNOR, which random weights have"
    return Subject(weights, both, twin_of(graph))


def _work(graph: Graph) -> list[object]:
    """What takes the time of a network, without its ends: each few-bit layer, and the kinds of the other operations."""
    found: list[object] = []
    for node in graph.steps:
        op = node.op
        if isinstance(op, Layer) and op.weights.form == "planes":
            found.append(replace(op, ending=Ending(op.ending.form, op.ending.bits)))
        elif not node.name.endswith(".levels"):  # the shift of 8-bit ends
            found.append((node.name, type(op)))
    return found


def of_random_weights(network: str) -> Subject:
    """The subject of an untrained network; the time does not depend on the weights.

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


def twin_of(graph: Graph) -> torch.nn.Module:
    """The float twin of a packed network: torch's own modules with fresh weights, in evaluation mode.

    All libraries get the same one. A network that has a name has the package's own twin, as `plain` makes it. A module
    packed from Python has no float network: its packed operations stand for it, see `GraphTwin`.
    """
    if is_named(graph):
        return plain(named_twin(graph))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        twin = GraphTwin(graph)
        if graph.layers:  # Libraries can quantise this chain of torch's own modules.
            modules = (module for part in twin.parts for module in part.children())
            return torch.nn.Sequential(twin.normalize, *modules, torch.nn.Flatten()).eval()
        return twin.eval()


class GraphTwin(torch.nn.Module):
    """A packed graph in fp32 with fresh weights: uint8 `(N, 3, S, S)` to logits.

    It stands for the float network of a module that has no name. Layers have a bias and the ReLU or clipping of their
    ending. Signs become ReLUs. Batch norms that were folded into thresholds are missing.

    Args:
        graph: The graph, or a chain.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.normalize = Normalize(graph.mean, graph.std)
        self.steps = graph.steps
        flows, last = graph.flows(), graph.steps[-1].name
        self.parts = torch.nn.ModuleList(
            _float_step(node.op, flows[node.inputs[0]].map, last=node.name == last) for node in graph.steps
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits, `(N, classes)`."""
        values = {PIXELS: self.normalize(pixels)}
        for node, part in zip(self.steps, self.parts, strict=True):
            first, *rest = (values[name] for name in node.inputs)
            if isinstance(node.op, Add):
                values[node.name] = first + rest[0]
            elif isinstance(node.op, Concat):
                values[node.name] = torch.cat([first, *rest], 1)
            else:
                values[node.name] = part(first)
        return values[self.steps[-1].name].flatten(1)


def _float_step(op: Operation, at: Map, *, last: bool) -> torch.nn.Module:
    """One operation of a graph as a torch module; `Add` and `Concat` stay the graph's."""
    nn = torch.nn
    match op:
        case Layer(window=None):
            found = [nn.Flatten(), nn.Linear(at.height * at.width * at.channels, op.outputs)]
        case Layer(window=Window(kernel, stride, padding)):
            found = [nn.Conv2d(at.channels, op.outputs, kernel, stride, padding, groups=op.groups)]
        case Affine():
            found = [nn.BatchNorm2d(at.channels)]
        case Sign() | TwoSlope():
            found = [nn.ReLU()]
        case Clip(low, high):
            found = [nn.Hardtanh(low, high)]
        case MaxPool(kernel, stride, padding):
            found = [nn.MaxPool2d(kernel, stride, padding)]
        case AveragePool(kernel, stride, padding):
            found = [nn.AvgPool2d(kernel, stride, padding)]
        case GlobalAverage():
            found = [nn.AdaptiveAvgPool2d(1)]
        case Subsample(stride, before, after):
            found = [nn.AvgPool2d(1, stride), nn.ConstantPad3d((0, 0, 0, 0, before, after), 0.0)]
        case Flatten():
            found = [nn.Flatten()]
        case _:  # a shift, whose cost the next operation hides
            return nn.Identity()
    if isinstance(op, Layer):
        found += [nn.MaxPool2d(*op.pool)] if op.pool else []
        found += [nn.ReLU()] if not last and (op.ending.form != "reals" or 0.0 in op.ending.slopes) else []
    return nn.Sequential(*found)


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
def kernels(isa: str) -> Iterator[None]:
    """Engines created in this context run on these kernels."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = isa
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
