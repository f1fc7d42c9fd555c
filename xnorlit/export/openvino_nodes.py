"""The plain operations as OpenVINO nodes: `BinaryConvolution` on the bits of a two-level `FakeQuantize`.

That operation has no groups, so each group becomes one of its own.
"""

from collections import Counter
from typing import Any

import numpy as np
from typing_extensions import override

from xnorlit.export.operations import EXACT, Operations, Window, refuse
from xnorlit.export.steps import Steps
from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Map

INPUT = "pixels"


class Nodes(Operations[Any]):
    """The operations as OpenVINO nodes.

    Args:
        openvino: The package.
        opset: Its operations.
        graph: The graph whose pixels are read; `None` for nodes of other inputs.
        batch: Batch size.
        normalized_input: See `build`.
    """

    def __init__(
        self, openvino: Any, opset: Any, graph: Graph | None, batch: int = 1, *, normalized_input: bool = False
    ) -> None:
        self._ov, self._op, self._normalized = openvino, opset, normalized_input
        self._made = Counter[tuple[Any, ...]]()  # signs by their value and steps
        if graph is None:
            return
        self._graph, self._first = graph, graph.steps[0].name
        size = graph.image_size
        shape, kind = ([batch, 3, size, size], np.float32) if normalized_input else ([batch, size, size, 3], np.uint8)
        self.parameter = opset.parameter(shape, kind, name=INPUT)
        self.parameter.output(0).get_tensor().set_names({INPUT})

    @override
    def pixels(self, *, normalized: bool) -> Any:
        if self._normalized:
            refuse(not normalized, self._first, "its 8-bit form reads uint8 pixels; omit normalized_input")
            return self.parameter
        x = self._op.transpose(self._op.convert(self.parameter, "f32"), np.array([0, 3, 1, 2]))
        if not normalized:
            return x
        mean, std = (np.array(values, np.float32) for values in (self._graph.mean, self._graph.std))
        return self._op.divide(self._op.subtract(x, _column(mean)), _column(std))

    @override
    def steps(self, x: Any, steps: Steps) -> Any:
        total = None
        for level, (above, change) in enumerate(zip(steps.above, steps.change, strict=True)):
            low = np.zeros_like(steps.start) if level else steps.start
            # No FakeQuantize: unless it makes bits, the plugin divides by the difference of its limits, here 0.
            limit, high, low = (
                self._constant(_column(values.astype(np.float32))) for values in (above, low + change, low)
            )
            part = self._op.select(self._op.greater(x, limit), high, low)
            total = part if total is None else self._op.add(total, part)
        return total

    @override
    def sign_sums(self, x: Any, steps: Steps, positive: np.ndarray, window: Window) -> Any:
        if not _counts(x.get_output_shape(0) if hasattr(x, "get_output_shape") else x.get_shape(), positive, window):
            return super().sign_sums(x, steps, positive, window)
        parts = [x]
        if window.groups > 1:
            split = self._op.split(x, np.array(1), window.groups)
            parts = [split.output(i) for i in range(window.groups)]
        sums = []
        for i, part in enumerate(parts):
            mine = _of_group(i, window.groups, steps.above.shape[1])
            above, start, change = steps.above[0, mine], steps.start[mine], steps.change[0, mine]
            bits = self._signs(part, above, (start + 1) / 2, (start + 1 + change) / 2)
            weight = self._bits(positive[_of_group(i, window.groups, len(positive))])
            pads = list(window.padding)
            stride = list(window.stride)
            sums.append(
                self._op.binary_convolution(
                    bits, weight, stride, pads, pads, [1, 1], "xnor-popcount", float(window.border)
                )
            )
        return sums[0] if len(sums) == 1 else self._op.concat(sums, 1)

    @override
    def convolution(self, x: Any, weight: np.ndarray, window: Window) -> Any:
        pads, stride, weight = list(window.padding), list(window.stride), np.ascontiguousarray(weight, np.float32)
        if window.groups == 1:
            return self._op.convolution(x, self._constant(weight), stride, pads, pads, [1, 1])
        weight = weight.reshape(window.groups, -1, *weight.shape[1:])
        return self._op.group_convolution(x, self._constant(weight), stride, pads, pads, [1, 1])

    @override
    def linear(self, x: Any, weight: np.ndarray) -> Any:
        return self._op.matmul(x, self._constant(np.ascontiguousarray(weight, np.float32)), False, True)

    @override
    def byte_convolution(self, x: Any, weight: np.ndarray, fill: np.ndarray, window: Window) -> Any:
        # sum q p = sum q (p - fill) + sum q fill: the padding of the first is 0.
        refuse(
            255 * _most(weight) > EXACT, self._first, "its sums of bytes exceed what fp32 holds; keep the ends in float"
        )
        low = -fill.astype(np.float32)
        ends = np.float32(0), np.float32(255), _column(low), _column(low + 255)
        levels = self._op.fake_quantize(x, *map(self._constant, ends), 256)
        pads, stride = list(window.padding), list(window.stride)
        y = self._op.convolution(levels, self._bytes(weight), stride, pads, pads, [1, 1])
        filled = (weight.astype(np.float64).sum(axis=(2, 3)) * fill).sum(axis=1)
        return self.add(y, filled.astype(np.float32))

    @override
    def levels(self, x: Any, step: float) -> Any:
        ends = (0, 255 * np.float32(step), 0, 255)
        return self._op.fake_quantize(x, *(self._constant(np.float32(v)) for v in ends), 256)

    @override
    def byte_linear(self, x: Any, step: float, weight: np.ndarray) -> Any:
        return self._op.matmul(self.levels(x, step), self._bytes(weight), False, True)

    @override
    def multiply(self, x: Any, factor: np.ndarray) -> Any:
        return self._op.multiply(x, self._constant(_column(factor.astype(np.float32))))

    @override
    def add(self, x: Any, summand: np.ndarray) -> Any:
        return self._op.add(x, self._constant(_column(summand.astype(np.float32))))

    @override
    def kink(self, x: Any, slope: np.ndarray) -> Any:
        if not slope.any():
            return self._op.relu(x)
        if slope.ndim == 1:
            return self._op.prelu(x, self._constant(slope.astype(np.float32)))
        below = self._op.minimum(x, self._constant(np.zeros(1, np.float32)))
        return self._op.add(self._op.relu(x), self.multiply(below, slope))

    @override
    def clip(self, x: Any, low: float, high: float) -> Any:
        return self._op.clamp(x, low, high)

    @override
    def product(self, x: Any, y: Any) -> Any:
        return self._op.multiply(x, y)

    @override
    def sum(self, x: Any, y: Any) -> Any:
        return self._op.add(x, y)

    @override
    def mean_magnitude(self, x: Any) -> Any:
        return self._op.reduce_mean(self._op.abs(x), np.array([1]), keep_dims=True)

    @override
    def average_pool(self, x: Any, kernel: tuple[int, int], window: Window) -> Any:
        pads = list(window.padding)
        return self._op.avg_pool(x, list(window.stride), pads, pads, list(kernel), False)

    @override
    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        sides = ([value] * 2 for value in (stride, 1, padding, padding, size))
        return self._op.max_pool(x, *sides).output(0)

    @override
    def mean(self, x: Any) -> Any:
        return self._op.reduce_mean(x, np.array([2, 3]), keep_dims=True)

    @override
    def subsample(self, x: Any, stride: int, before: int, after: int) -> Any:
        ends = np.array([0, 0]), np.array([np.iinfo(np.int32).max] * 2)
        part = self._op.slice(x, *ends, np.array([stride] * 2), np.array([2, 3]))
        return self._pad(part, [0, before, 0, 0], [0, after, 0, 0])

    @override
    def concat(self, parts: list[Any]) -> Any:
        return self._op.concat(parts, 1)

    @override
    def padded(self, x: Any, padding: tuple[int, int]) -> Any:
        return self._pad(x, [0, 0, *padding], [0, 0, *padding])

    @override
    def positions_first(self, x: Any) -> Any:
        return self._op.transpose(x, np.array([0, 2, 3, 1]))

    @override
    def features(self, x: Any, count: int) -> Any:
        return self._op.reshape(x, np.array([0, count]), special_zero=True)

    @override
    def as_map(self, x: Any, at: Map) -> Any:
        return self._op.reshape(x, np.array([0, at.channels, at.height, at.width]), special_zero=True)

    @override
    def named(self, x: Any, name: str) -> Any:
        node = x.get_node() if hasattr(x, "get_node") else x
        node.set_friendly_name(name)
        return x

    def _pad(self, x: Any, before: list[int], after: list[int]) -> Any:
        return self._op.pad(x, np.array(before), np.array(after), "constant", self._constant(np.float32(0)))

    def _signs(self, x: Any, above: np.ndarray, low: np.ndarray, high: np.ndarray) -> Any:
        ends = [np.broadcast_to(values, above.shape).astype(np.float32) for values in (above, above, low, high)]
        value = x if hasattr(x, "get_index") else x.output(0)
        key = (value.get_node().get_friendly_name(), value.get_index(), *(each.tobytes() for each in ends[1:]))
        # The plugin merges equal nodes, and gives wrong bits if several layers read such a node behind a sum.
        for _ in range(self._made[key]):
            x = self._op.max_pool(x, [1, 1], [1, 1], [0, 0], [0, 0], [1, 1]).output(0)
        self._made[key] += 1
        # Each input needs its own constant: a shared one keeps the plugin from fusing the node.
        return self._op.fake_quantize(x, *(self._constant(_column(each)) for each in ends), 2)

    def _bits(self, positive: np.ndarray) -> Any:
        octets = np.packbits(positive.reshape(-1), bitorder="little")
        shape = self._ov.Shape(list(positive.shape))
        # Copied into the graph, because a constant on the array's memory would outlive the array.
        constant = self._ov.Tensor(self._ov.Type.u1, shape)
        constant.data.reshape(-1)[: len(octets)] = octets
        return self._op.constant(constant)

    def _bytes(self, weight: np.ndarray) -> Any:
        """8-bit weights in the form that the plugin recognises: converted, then multiplied by a scale per output."""
        ones = np.ones((len(weight), *(1,) * (weight.ndim - 1)), np.float32)
        levels = self._op.convert(self._constant(np.ascontiguousarray(weight)), "f32")
        return self._op.multiply(levels, self._constant(ones))

    def _constant(self, values: np.ndarray | np.float32) -> Any:
        return self._op.constant(values)


def _counts(shape: Any, positive: np.ndarray, window: Window) -> bool:
    """Whether the plugin's binary kernels support a window on any processor and count correctly.

    In 2026.4.1, sums over a number of channels that is not a multiple of 8 are wrong or do not compile. The limits of
    the window are those of its kernels.
    """
    if positive.shape[1] % 8:
        return False
    width, kernel = int(shape[3]), positive.shape[3]
    stride, padding = window.stride[1], window.padding[1]
    columns = (width + 2 * padding - kernel) // stride + 1
    if padding > min(2, columns):  # columns processed at once with AVX2; with AVX-512 there are at least as many
        return False
    return kernel <= 7 or not any(window.padding) or window.stride == (1, 1)


def _of_group(group: int, groups: int, channels: int) -> slice:
    each = channels // groups
    return slice(group * each, (group + 1) * each)


def _column(values: np.ndarray) -> np.ndarray:
    """A number per channel as `(1, C, 1, 1)`; one per channel and position as `(1, C, H, W)`."""
    return values.reshape(1, *values.shape, *(1,) * (3 - values.ndim))


def _most(weight: np.ndarray) -> int:
    return int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max())
