"""A packed network: preprocessing, class names and a chain of layers.

A layer has three independent parts: its input (`Operand`), its weights (`Weights`), and its output (`Ending`).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from xnorlit.packed.origin import Accuracy, Source

OPERANDS = ("pixels", "signs", "codes", "reals")
WEIGHTS = ("float", "int8", "planes")
ENDINGS = ("signs", "codes", "reals")


class Map(NamedTuple):
    """Extents of the map between two layers, for one image."""

    height: int
    width: int
    channels: int


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
        bits: Of a code.
        scale: With `K` the layer reads reals, takes their signs, and multiplies the sums at each position by the mean
            magnitude of the reals under it.
        step: Value of one level of reals for 8-bit weights: the levels are `round(x / step)` in 0..255.
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
        factors: For planes, `weight = sum of factors[i] * plane i / divisor`, each plane holding -1 and +1: `(1,)` for
            signs, `(1, 2)` for -3, -1, 1, 3, `(1, 1)` over 2 for ternary weights.
        divisor: 1 or 2.
    """

    form: Literal["float", "int8", "planes"]
    factors: tuple[int, ...] = ()
    divisor: int = 1


@dataclass(frozen=True)
class Ending:
    """What happens to a layer's sums n after its max pool.

    Attributes:
        form: `signs` and `codes`: output bit p is `flip[p]`, inverted by each threshold that n reaches and whose
            `change[level, p]` is set. `reals`: affine maps `n <- max(y, 0) + slope * min(y, 0)`,
            `y = n * scale + shift`, one after the other.
        bits: Of a code; 1 for signs.
        levels: Thresholds of an output channel.
        slopes: One for each affine map: 1 for nothing, 0 for a ReLU, `None` for a tensor of one per output channel.
        per_position: Whether the tensors hold one number per position and channel of the pooled map, as a norm after a
            flattening does, instead of one per channel.
    """

    form: Literal["signs", "codes", "reals"]
    bits: int = 1
    levels: int = 1
    slopes: tuple[float | None, ...] = ()
    per_position: bool = False


@dataclass(frozen=True)
class Layer:
    """One layer, with everything up to the next one's input.

    Attributes:
        name: Its block's name; its tensors are called `name.weight` and so on.
        outputs: Output channels.
        operand: Its input.
        weights: Its weights.
        ending: Its output.
        window: Its window; `None` for a layer that sees the whole map.
        groups: Groups of channels that see only each other.
        pool: Size, stride and padding of the max pool of its sums; `None` for none. Padding is never the maximum.
    """

    name: str
    outputs: int
    operand: Operand
    weights: Weights
    ending: Ending
    window: Window | None = None
    groups: int = 1
    pool: tuple[int, int, int] | None = None

    @property
    def binary(self) -> bool:
        """Whether it counts bits: integer sums of few-bit operands."""
        return self.weights.form == "planes" and self.operand.form in ("signs", "codes")

    @property
    def integer(self) -> bool:
        """Whether its thresholds are integers."""
        return (self.binary and self.operand.scale == "none") or self.weights.form == "int8"

    def looks(self, at: Map) -> Window:
        """Its window, also for a layer that sees the whole map."""
        return self.window or Window((at.height, at.width))

    def sums(self, at: Map) -> Map:
        """The extents of its sums over a map, before its pool."""
        window = self.looks(at)
        height, width = (
            (side + 2 * padding - kernel) // stride + 1
            for side, kernel, stride, padding in zip(at, window.kernel, window.stride, window.padding, strict=False)
        )
        return Map(height, width, self.outputs)

    def output(self, at: Map) -> Map:
        """The extents of its output for a map, after its pool."""
        sums = self.sums(at)
        if not self.pool:
            return sums
        size, stride, padding = self.pool
        height, width = ((side + 2 * padding - size) // stride + 1 for side in sums[:2])
        return Map(height, width, self.outputs)


@dataclass(frozen=True)
class Graph:
    """A whole packed network, without its tensors.

    Attributes:
        network: Name of the table of blocks it was built from, or of the class of another module.
        image_size: Side of the square image, pixels.
        mean: Per channel of R, G, B, 0 to 255, subtracted from the pixels.
        std: Per channel, 0 to 255.
        crop: Side of the central square over the image's shorter side: what is resized to `image_size`.
        squash: Whether the crop is that share of each side instead, so that the aspect is not kept.
        classes: Names of the classes.
        layers: From the pixels to the logits.
        source: Its origin.
        accuracy: Its accuracy when it was packed; `None` if not measured.
    """

    network: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    squash: bool
    classes: tuple[str, ...]
    layers: tuple[Layer, ...]
    source: Source = field(default_factory=Source)
    accuracy: Accuracy | None = None

    @property
    def input(self) -> Map:
        """The pixels."""
        return Map(self.image_size, self.image_size, 3)
