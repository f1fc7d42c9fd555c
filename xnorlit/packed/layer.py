"""A layer of a packed network: its input (`Operand`), its weights (`Weights`) and its output (`Ending`)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

OPERANDS = ("pixels", "signs", "codes", "reals")
WEIGHTS = ("float", "int8", "planes")
ENDINGS = ("signs", "codes", "reals")
BORDERS = ("absent", "ones")
SUMS = ("fp32", "fp64")
LARGEST_SIDE = 4096  # of an image, a kernel, a stride or a padding; kLargestSide of bounds.h


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
