"""A packed network: preprocessing, class names, and a chain of layers or a graph of nodes.

A layer has three independent parts: its input (`Operand`), its weights (`Weights`), and its output (`Ending`).

A node reads values by name and makes one value of its own name. Its operation is a `Layer` or one of the small ones
here. All real arithmetic is fp32, and each multiplication and each addition is rounded separately.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from xnorlit.packed.origin import Accuracy, Source

OPERANDS = ("pixels", "signs", "codes", "reals")
WEIGHTS = ("float", "int8", "planes")
ENDINGS = ("signs", "codes", "reals")
BORDERS = ("absent", "ones")
SUMS = ("fp32", "fp64")
PIXELS = "pixels"  # the name of the image among the values of a graph


class Map(NamedTuple):
    """Extents of the map between two layers, for one image."""

    height: int
    width: int
    channels: int


class Flow(NamedTuple):
    """The form of a value, the bits of a code (1 for other forms), and its extents."""

    form: Literal["pixels", "signs", "codes", "reals"]
    bits: int
    map: Map


@dataclass(frozen=True)
class Window:
    """The window of a convolution, each pair (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Operand:
    """The input of a layer's sums.

    Attributes:
        form: `pixels`, normalised unless the weights are `int8`; `signs`, -1 and +1; `codes`, 0 to `2^bits - 1`;
            `reals`.
        bits: Bits of a code.
        scale: With `K` the layer reads reals, takes their signs, and multiplies the sum at each position by the mean
            magnitude of the reals in its window.
        step: Value of one level of reals for 8-bit weights; the levels are `round(x / step)` in 0..255.
    """

    form: Literal["pixels", "signs", "codes", "reals"]
    bits: int = 1
    scale: Literal["none", "K"] = "none"
    step: float = 0.0


@dataclass(frozen=True)
class Weights:
    """The weights of a layer's sums.

    Attributes:
        form: `float`; `int8`, with a scale per output channel in the ending; `planes`, bits.
        factors: For planes of -1 and +1, `weight = sum of factors[i] * plane i / divisor`: `(1,)` for
            signs, `(1, 2)` for -3, -1, 1, 3, `(1, 1)` over 2 for ternary weights.
        divisor: 1 or 2.
    """

    form: Literal["float", "int8", "planes"]
    factors: tuple[int, ...] = ()
    divisor: int = 1


@dataclass(frozen=True)
class Ending:
    """Processing of a layer's sums n after its max pool.

    Attributes:
        form: `signs` and `codes`: output bit p is `flip[p]`, inverted by each threshold that n reaches and for which
            `change[level, p]` is set. `reals`: affine maps `n <- max(y, 0) + slope * min(y, 0)`, `y = n * scale +
            shift`, one after the other.
        bits: Bits of a code; 1 for signs.
        levels: Number of thresholds per output channel.
        slopes: One for each affine map: 1 for no kink, 0 for a ReLU, `None` for a tensor of slopes per output channel.
        per_position: Whether the tensors hold one number per position and channel of the pooled map instead of one per
            channel, as after a norm that follows a flattening.
    """

    form: Literal["signs", "codes", "reals"]
    bits: int = 1
    levels: int = 1
    slopes: tuple[float | None, ...] = ()
    per_position: bool = False


@dataclass(frozen=True)
class Layer:
    """One layer, with everything up to the input of the next layer.

    Attributes:
        name: Name of its block; its tensors are called `name.weight` and so on.
        outputs: Output channels.
        operand: Its input.
        weights: Its weights.
        ending: Its output.
        window: Its window; `None` for a layer that reads the whole map.
        groups: Number of channel groups, each convolved separately.
        pool: Size, stride and padding of the max pool of its sums, if any. Padding is never the maximum.
        border: Signs outside the map: `absent` ones add nothing, `ones` are +1. `ones` occurs in graphs only.
        accumulate: Summation of float weights: `fp32`, or `fp64` with products and sums in double, row by row of the
            window, rounded once. `fp64` occurs in graphs only.
        window_sum: Whether a sum n of signs becomes `y = (n * sum_scale + A * window_scale) + constant` before the
            affine maps of its ending. A is the sum of the signs in its window. There is a `constant` per channel and
            per overlap of the window with the border. In graphs only.
    """

    name: str
    outputs: int
    operand: Operand
    weights: Weights
    ending: Ending
    window: Window | None = None
    groups: int = 1
    pool: tuple[int, int, int] | None = None
    border: Literal["absent", "ones"] = "absent"
    accumulate: Literal["fp32", "fp64"] = "fp32"
    window_sum: bool = False

    @property
    def binary(self) -> bool:
        """Whether it counts bits, that is, makes integer sums of few-bit operands."""
        return self.weights.form == "planes" and self.operand.form in ("signs", "codes")

    @property
    def integer(self) -> bool:
        """Whether its thresholds are integers."""
        return (self.binary and self.operand.scale == "none") or self.weights.form == "int8"

    def looks(self, at: Map) -> Window:
        """Its window, also for a layer that reads the whole map."""
        return self.window or Window((at.height, at.width))

    def sums(self, at: Map) -> Map:
        """The extents of its sums over a map, before the pool."""
        window = self.looks(at)
        height, width = (
            (side + 2 * padding - kernel) // stride + 1
            for side, kernel, stride, padding in zip(at, window.kernel, window.stride, window.padding, strict=False)
        )
        return Map(height, width, self.outputs)

    def output(self, at: Map) -> Map:
        """The extents of its output for a map, after the pool."""
        sums = self.sums(at)
        if not self.pool:
            return sums
        size, stride, padding = self.pool
        height, width = ((side + 2 * padding - size) // stride + 1 for side in sums[:2])
        return Map(height, width, self.outputs)

    def overlaps(self, at: Map) -> tuple[list[int], list[int]]:
        """For each row and each column of its sums over a map, the number of its window's overlap with the border.

        Two rows have the same number if the same rows of the window lie inside the map. The numbers count from 0 in
        order of first occurrence.
        """
        window, sums, found = self.looks(at), self.sums(at), []
        for side, kernel, stride, padding, outs in zip(
            at, window.kernel, window.stride, window.padding, sums, strict=False
        ):
            inside, before = (side, padding) if self.border == "absent" else (side + 2 * padding, 0)
            ways: dict[tuple[int, int], int] = {}
            starts = (out * stride - before for out in range(outs))
            found.append(
                [ways.setdefault((max(-start, 0), min(inside - start, kernel)), len(ways)) for start in starts]
            )
        return found[0], found[1]


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
