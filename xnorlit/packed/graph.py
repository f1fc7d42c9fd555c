"""A packed network: preprocessing, class names, and a chain of layers or a graph of nodes.

A node reads values by name and makes one value of its own name. Its operation is a `Layer` or one of the small ones
here. All real arithmetic is fp32, and each multiplication and each addition is rounded separately.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from xnorlit.packed.layer import Layer, Map
from xnorlit.packed.origin import Accuracy, Source

PIXELS = "pixels"  # the name of the image among the values of a graph


@dataclass(frozen=True)
class Affine:
    """`y = x * scale`, rounded, then `y + shift`, on reals; tensors `scale` and `shift` have one number per channel."""


@dataclass(frozen=True)
class Shift:
    """`x + shift` on reals; the tensor `shift` has one number per channel."""


@dataclass(frozen=True)
class Add:
    """`a + b` of two equal maps of reals."""


@dataclass(frozen=True)
class TwoSlope:
    """`above * x` where `x > 0`, otherwise `below * x`, on reals.

    Attributes:
        above: One number, or `None` for a tensor `above` with one per channel; 1 for a ReLU and a PReLU.
        below: Likewise; 0 for a ReLU, `None` for a PReLU.
    """

    above: float | None = 1.0
    below: float | None = 0.0


@dataclass(frozen=True)
class Clip:
    """`min(max(x, low), high)` on reals."""

    low: float
    high: float


@dataclass(frozen=True)
class Sign:
    """Bits of reals, `(x >= threshold) xor flip`; tensors `threshold` and `flip` have one value per channel."""


@dataclass(frozen=True)
class MaxPool:
    """The maximum of the reals in each square window, or the OR of its signs; padding is never the maximum."""

    kernel: int
    stride: int
    padding: int = 0


@dataclass(frozen=True)
class AveragePool:
    """The sum of reals in each square window, row by row in fp32, divided by kernel x kernel; padding counts as 0."""

    kernel: int
    stride: int
    padding: int = 0


@dataclass(frozen=True)
class GlobalAverage:
    """The mean of each channel of reals; sum and division are in fp64 and rounded once."""


@dataclass(frozen=True)
class Subsample:
    """Every `stride`-th pixel of reals, starting with the first, with zero channels added before and after."""

    stride: int
    before: int = 0
    after: int = 0


@dataclass(frozen=True)
class Concat:
    """The channels of two or more maps of reals, one after the other."""


@dataclass(frozen=True)
class Flatten:
    """Reals, height x width x channels, as the channels of one position, in this order."""


Elementwise = Affine | Shift | Add | TwoSlope | Clip
Operation = Layer | Elementwise | Sign | MaxPool | AveragePool | GlobalAverage | Subsample | Concat | Flatten
POOLS = (MaxPool, AveragePool)


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes:
        name: Name of the node and of its value; its tensors are called `name.scale` and so on.
        inputs: Names of the values that it reads; `pixels` is the image.
        op: Its operation. A layer has the name of its node.
    """

    name: str
    inputs: tuple[str, ...]
    op: Operation


class Flow(NamedTuple):
    """The form of a value, the bits of a code (1 for other forms), and its extents."""

    form: Literal["pixels", "signs", "codes", "reals"]
    bits: int
    map: Map


def flow(op: Operation, inputs: Sequence[Flow]) -> Flow:
    """The result of an operation on inputs that fit it."""
    form, bits, at = inputs[0]
    if isinstance(op, Layer):
        return Flow(op.ending.form, op.ending.bits, op.output(at))
    if isinstance(op, POOLS):
        height, width = ((side + 2 * op.padding - op.kernel) // op.stride + 1 for side in at[:2])
        return Flow(form, bits, Map(height, width, at.channels))
    if isinstance(op, Sign):
        return Flow("signs", 1, at)
    if isinstance(op, GlobalAverage):
        return Flow(form, bits, Map(1, 1, at.channels))
    if isinstance(op, Subsample):
        height, width = ((side - 1) // op.stride + 1 for side in at[:2])
        return Flow(form, bits, Map(height, width, op.before + at.channels + op.after))
    if isinstance(op, Concat):
        return Flow(form, bits, Map(at.height, at.width, sum(each.map.channels for each in inputs)))
    if isinstance(op, Flatten):
        return Flow(form, bits, Map(1, 1, at.height * at.width * at.channels))
    return inputs[0]


@dataclass(frozen=True)
class Graph:
    """A whole packed network, without its tensors.

    Attributes:
        network: Name of the table of blocks that it was built from, or class name of another module.
        image_size: Side of the square image, pixels.
        mean: Per channel of R, G, B, 0 to 255, subtracted from the pixels.
        std: Per channel, 0 to 255.
        crop: Side of the central square that is resized to `image_size`, as a share of the image's shorter side.
        squash: Whether `crop` is a share of each side instead, which does not keep the aspect ratio.
        classes: Names of the classes.
        layers: Layers of a chain, from the pixels to the logits; empty for a graph of nodes.
        source: Its origin.
        accuracy: Its accuracy when it was packed; `None` if not measured.
        nodes: Nodes of a graph, each after those it reads; the value of the last one is the logits. Empty for a chain.
    """

    network: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    squash: bool
    classes: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    source: Source = field(default_factory=Source)
    accuracy: Accuracy | None = None
    nodes: tuple[Node, ...] = ()

    @property
    def input(self) -> Map:
        """The pixels."""
        return Map(self.image_size, self.image_size, 3)

    @property
    def steps(self) -> tuple[Node, ...]:
        """The nodes; in a chain, each layer is a node that reads the one before."""
        if self.nodes:
            return self.nodes
        names = [PIXELS, *(layer.name for layer in self.layers)]
        return tuple(Node(layer.name, (before,), layer) for before, layer in zip(names, self.layers, strict=False))

    def flows(self) -> dict[str, Flow]:
        """Form and extents of each value of a valid graph, including the image."""
        found = {PIXELS: Flow("pixels", 1, self.input)}
        for node in self.steps:
            found[node.name] = flow(node.op, [found[name] for name in node.inputs])
        return found
