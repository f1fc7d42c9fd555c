"""A packed network as ONNX, in standard operators only: correct in every runtime, but not small.

ONNX has no type of 1 bit and no operator that counts bits, so signs are -1 and +1 in fp32 (`onnx`), or in 8 bits
between a `QuantizeLinear` and a `DequantizeLinear` (`onnx-qdq`, a quarter of the size).
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from xnorlit.errors import UserError
from xnorlit.export.lower import lower, metadata
from xnorlit.export.operations import EXACT, Operations, Window, refuse
from xnorlit.export.steps import Steps, Tensors
from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Map

OPSET, IR = 17, 8
"""The opset of 2022, which onnxruntime has supported since 1.12 and every converter since."""

INPUT, OUTPUT, BATCH = "pixels", "logits", "N"
NO_BITS = "ONNX has no 1-bit type: the file is correct but not small; OpenVINO's format and the packed file are small"
BYTES = "its 8-bit form reads uint8 pixels; omit normalized_input"
ADVICE = f"opset {OPSET}, any batch; {NO_BITS}"


def build(graph: Graph, tensors: Tensors, *, normalized_input: bool = False, qdq: bool = False) -> Any:
    """The `onnx.ModelProto` of a packed network.

    Args:
        graph: A graph that fits the tensors.
        tensors: Tensors by name.
        normalized_input: Whether it reads normalised fp32 `[N, 3, S, S]` instead of uint8 `[N, S, S, 3]`.
        qdq: Whether few-bit weights and operands are stored in 8 bits.

    Raises:
        UserError: ONNX cannot express a layer, or onnx is not installed.
    """
    try:
        helper = import_module("onnx.helper")
    except ImportError:
        raise UserError("onnx is not installed. Install it: pip install 'xnorlit[onnx]'") from None
    nodes = Nodes(helper, graph, normalized_input=normalized_input, qdq=qdq)
    model = nodes.model(nodes.output(lower(graph, tensors, nodes)))
    helper.set_model_props(model, metadata(graph) | {"xnorlit": version("xnorlit"), "note": NO_BITS})
    import_module("onnx.checker").check_model(model)
    return model


def save(model: Any, folder: Path, name: str) -> list[Path]:
    """Write an `onnx.ModelProto` as `NAME.onnx` into a folder."""
    file = folder / f"{name}.onnx"
    file.write_bytes(model.SerializeToString())
    return [file]


class Network:
    """An exported network on onnxruntime; call it like the packed engine, with images, to get logits.

    Args:
        file: The `.onnx` file, or its content.
        _batch: Unused; any batch size works.
        threads: Number of threads.

    Raises:
        UserError: onnxruntime is not installed.
    """

    def __init__(self, file: Path | bytes, _batch: int, threads: int) -> None:
        try:
            runtime = import_module("onnxruntime")
        except ImportError:
            raise UserError("onnxruntime is not installed. Install it: pip install 'xnorlit[onnx]'") from None
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        given = file if isinstance(file, bytes) else str(file)
        self._session = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: np.ndarray, names: Sequence[str] = (OUTPUT,)) -> Any:
        """Logits, `[N, classes]`, or the values with the given names.

        Args:
            images: uint8 `[N, S, S, 3]` or fp32 `[N, 3, S, S]`, depending on the export.
            names: Names of the graph's outputs.
        """
        found = self._session.run(list(names), {INPUT: images})
        return found[0] if len(names) == 1 else found


class Nodes(Operations[str]):
    """The operations as ONNX nodes; a value is represented by its name."""

    def __init__(self, helper: Any, graph: Graph, *, normalized_input: bool, qdq: bool) -> None:
        self._helper, self._graph, self._normalized, self._qdq = helper, graph, normalized_input, qdq
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._first = graph.steps[0].name

    def model(self, logits: str) -> Any:
        """The model of the whole graph, whose output is the logits."""
        size, helper = self._graph.image_size, self._helper
        shape = [BATCH, 3, size, size] if self._normalized else [BATCH, size, size, 3]
        given = helper.make_tensor_value_info(INPUT, self._type(np.float32 if self._normalized else np.uint8), shape)
        classes = len(self._graph.classes)
        gives = helper.make_tensor_value_info(logits, self._type(np.float32), [BATCH, classes])
        graph = helper.make_graph(self._nodes, self._graph.network, [given], [gives], self._constants)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR, producer_name="xnorlit")

    @override
    def pixels(self, *, normalized: bool) -> str:
        if self._normalized:
            refuse(not normalized, self._first, BYTES)
            return INPUT
        x = self._node("Cast", self._node("Transpose", INPUT, perm=[0, 3, 1, 2]), to=self._type(np.float32))
        if not normalized:
            return x
        mean, std = (np.array(values, np.float32) for values in (self._graph.mean, self._graph.std))
        return self._node("Div", self._node("Sub", x, self._column(mean)), self._column(std))

    @override
    def steps(self, x: str, steps: Steps) -> str:
        total = ""
        for level, (above, change) in enumerate(zip(steps.above, steps.change, strict=True)):
            low = np.zeros_like(steps.start) if level else steps.start
            reached = self._node("Greater", x, self._column(above))
            part = self._node("Where", reached, self._column(low + change), self._column(low))
            total = self._node("Add", total, part) if total else part
        if not self._qdq:
            return total
        kind = np.int8 if steps.signs else np.uint8
        one, zero = self._constant(np.array(1, np.float32)), self._constant(np.array(0, kind))
        return self._node("DequantizeLinear", self._node("QuantizeLinear", total, one, zero), one, zero)

    @override
    def convolution(self, x: str, weight: np.ndarray, window: Window) -> str:
        sides = {"kernel_shape": weight.shape[2:], "strides": window.stride, "pads": [*window.padding] * 2}
        attributes = {name: [int(side) for side in values] for name, values in sides.items()}
        return self._node("Conv", x, self._weight(weight), group=window.groups, dilations=[1, 1], **attributes)

    @override
    def linear(self, x: str, weight: np.ndarray) -> str:
        make = self._weight if self._reads_codes(x) else self._weight_of_reals
        return self._node("MatMul", x, make(np.ascontiguousarray(weight.T)))

    @override
    def byte_convolution(self, x: str, weight: np.ndarray, fill: np.ndarray, window: Window) -> str:
        # sum q p = sum q (p - fill) + sum q fill: the padding of the first is 0.
        self.refuse_wide(weight)
        y = self.convolution(self.add(x, -fill.astype(np.float32)), weight, window)
        filled = (weight.astype(np.float64).sum(axis=(2, 3)) * fill).sum(axis=1)
        return self.add(y, filled.astype(np.float32))

    @override
    def levels(self, x: str, step: float) -> str:
        zero = self._constant(np.array(0, np.uint8))
        levels = self._node("QuantizeLinear", x, self._constant(np.array(step, np.float32)), zero)
        return self._node("Cast", levels, to=self._type(np.float32))

    @override
    def byte_linear(self, x: str, step: float, weight: np.ndarray) -> str:
        return self.linear(self.levels(x, step), weight)

    @override
    def multiply(self, x: str, factor: np.ndarray) -> str:
        return self._node("Mul", x, self._column(factor))

    @override
    def add(self, x: str, summand: np.ndarray) -> str:
        return self._node("Add", x, self._column(summand))

    @override
    def kink(self, x: str, slope: np.ndarray) -> str:
        if not slope.any():
            return self._node("Relu", x)
        column = np.ascontiguousarray(slope.reshape(*slope.shape, *(1,) * (3 - slope.ndim)), np.float32)
        return self._node("PRelu", x, self._constant(column))

    @override
    def clip(self, x: str, low: float, high: float) -> str:
        return self._node("Clip", x, *(self._constant(np.array(end, np.float32)) for end in (low, high)))

    @override
    def product(self, x: str, y: str) -> str:
        return self._node("Mul", x, y)

    @override
    def sum(self, x: str, y: str) -> str:
        return self._node("Add", x, y)

    @override
    def mean_magnitude(self, x: str) -> str:
        return self._node("ReduceMean", self._node("Abs", x), axes=[1], keepdims=1)

    @override
    def average_pool(self, x: str, kernel: tuple[int, int], window: Window) -> str:
        sides = {"kernel_shape": [*kernel], "strides": [*window.stride], "pads": [*window.padding] * 2}
        return self._node("AveragePool", x, count_include_pad=1, **sides)

    @override
    def max_pool(self, x: str, size: int, stride: int, padding: int) -> str:
        return self._node("MaxPool", x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[padding] * 4)

    @override
    def mean(self, x: str) -> str:
        return self._node("GlobalAveragePool", x)

    @override
    def subsample(self, x: str, stride: int, before: int, after: int) -> str:
        ends = ([0, 0], [np.iinfo(np.int32).max] * 2, [2, 3], [stride] * 2)
        part = self._node("Slice", x, *map(self._integers, ends))
        return self._node("Pad", part, self._integers([0, before, 0, 0, 0, after, 0, 0]))

    @override
    def concat(self, parts: list[str]) -> str:
        return self._node("Concat", *parts, axis=1)

    @override
    def padded(self, x: str, padding: tuple[int, int]) -> str:
        return self._node("Pad", x, self._integers([0, 0, *padding] * 2))

    @override
    def positions_first(self, x: str) -> str:
        return self._node("Transpose", x, perm=[0, 2, 3, 1])

    @override
    def features(self, x: str, count: int) -> str:
        return self._node("Reshape", x, self._integers([0, count]))

    @override
    def as_map(self, x: str, at: Map) -> str:
        return self._node("Reshape", x, self._integers([0, at.channels, at.height, at.width]))

    @override
    def named(self, x: str, name: str) -> str:
        if name in (INPUT, OUTPUT):  # a node may be called like the model's input or output, a value may not
            taken = {INPUT, OUTPUT, *(node.name for node in self._graph.steps)}
            while name in taken:
                name += "_"
        return self._renamed(x, name)

    def output(self, logits: str) -> str:
        """The logits, under the name of the model's output."""
        return self._renamed(logits, OUTPUT)

    def _renamed(self, x: str, name: str) -> str:
        maker = next((node for node in reversed(self._nodes) if node.output[0] == x), None)
        if maker is None or any(x in node.input for node in self._nodes):
            maker = self._nodes[-1] if self._node("Identity", x) else None
        assert maker is not None
        maker.name = maker.output[0] = name
        return name

    def refuse_wide(self, weight: np.ndarray) -> None:
        """Refuse weights `(O, ...)` of pixels whose sums fp32 does not hold."""
        most = 255 * int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max())
        refuse(most > EXACT, self._first, "its sums of bytes exceed what fp32 holds; keep the ends in float")

    def _reads_codes(self, x: str) -> bool:
        """Whether a value is codes in 8 bits, perhaps flattened."""
        maker = {node.output[0]: node for node in self._nodes}
        while x in maker and maker[x].op_type == "Reshape":
            x = maker[x].input[0]
        return x in maker and maker[x].op_type == "DequantizeLinear"

    def _small(self, weight: np.ndarray) -> bool:
        whole = self._qdq and np.array_equal(weight, np.rint(weight)) and np.abs(weight).max() < 128
        return bool(whole) or weight.dtype == np.int8

    def _weight_of_reals(self, weight: np.ndarray) -> str:
        """The weights of a product with reals.

        Behind a `DequantizeLinear`, onnxruntime would round the reals to 8 bits too (`MatMulNBits`).
        """
        if not self._small(weight):
            return self._weight(weight)
        return self._node("Cast", self._constant(weight.astype(np.int8)), to=self._type(np.float32))

    def _weight(self, weight: np.ndarray) -> str:
        """The weights; in 8 bits if requested and they are small integers."""
        if not self._small(weight):
            return self._constant(np.ascontiguousarray(weight, np.float32))
        one, zero = self._constant(np.array(1, np.float32)), self._constant(np.array(0, np.int8))
        return self._node("DequantizeLinear", self._constant(np.ascontiguousarray(weight, np.int8)), one, zero)

    def _column(self, values: np.ndarray) -> str:
        """A number per channel as `(1, C, 1, 1)`; one per channel and position as `(1, C, H, W)`."""
        return self._constant(np.asarray(values, np.float32).reshape(1, *values.shape, *(1,) * (3 - values.ndim)))

    def _integers(self, values: Sequence[int]) -> str:
        return self._constant(np.array(values, np.int64))

    def _constant(self, values: np.ndarray) -> str:
        name = f"constant/{len(self._constants)}"
        raw = np.ascontiguousarray(values).tobytes()
        self._constants.append(self._helper.make_tensor(name, self._type(values.dtype), values.shape, raw, raw=True))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}/{len(self._nodes)}"  # a name that no module has
        self._nodes.append(self._helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def _type(self, dtype: Any) -> int:
        return self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
