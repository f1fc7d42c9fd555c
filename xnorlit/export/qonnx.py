"""A packed network as QONNX, which has 1-bit types: for simulators and hls4ml.

Signs and binary weights are `BipolarQuant` nodes of scale 1, so that an analysis counts them as one bit; weights and
codes of more bits are `Quant` nodes. alpha and the norm follow the convolution, as an `Add` before the next sign or as
a `Mul` and an `Add`.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from xnorlit.errors import UserError
from xnorlit.export import onnx
from xnorlit.export.lower import lower, metadata
from xnorlit.export.onnx import INPUT, OPSET, OUTPUT
from xnorlit.export.operations import Window, refuse
from xnorlit.export.steps import LARGEST, Steps, Tensors
from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Layer

DOMAIN = "qonnx.custom_op.general"
MOST_LEVELS = 15  # levels of codes that are written as signs; qonnx takes minutes for hundreds of nodes
MOST_BITS = 9  # bits of integer weights: 8, and one more for an inverted -128
ADVICE = f"opset {OPSET}, batch 1, reads fp32 [1, 3, S, S] of 0 to 255; check it with qonnx-exec, give it to hls4ml"


def build(
    graph: Graph,
    tensors: Tensors,
    *,
    batch: int = 1,
    normalized_input: bool = False,
    nodes: "type[Nodes] | None" = None,
) -> Any:
    """The `onnx.ModelProto` of a packed network, with QONNX's nodes.

    Args:
        graph: A graph that fits the tensors.
        tensors: Tensors by name.
        batch: Batch size; QONNX has no symbolic one.
        normalized_input: Whether it reads normalised fp32 `[batch, 3, S, S]` instead of 0 to 255.
        nodes: The operations; default: those of the plain form.

    Raises:
        UserError: QONNX cannot express a layer, or qonnx is not installed.
    """
    module("custom_op.registry")
    for node in graph.steps:
        scaled = isinstance(node.op, Layer) and node.op.operand.scale == "K"
        why = "QONNX has no type for the K map of its real inputs; train without input_scale: K, or use openvino"
        refuse(scaled, node.name, why)
    helper = import_module("onnx.helper")
    ops = (nodes or Nodes)(helper, graph, batch, normalized_input=normalized_input)
    model = ops.model(ops.output(lower(graph, tensors, ops)))
    helper.set_model_props(model, metadata(graph) | {"xnorlit": version("xnorlit")})
    import_module("onnx.checker").check_model(model)
    return model


class Network:
    """An exported network on qonnx's slow executor; call it like the packed engine, with images, to get logits.

    Args:
        file: The `.onnx` file, or the model.
        batch: Batch size; a smaller last batch is padded.
        _threads: Unused; the executor chooses the number itself.

    Raises:
        UserError: qonnx is not installed.
    """

    def __init__(self, file: Path | Any, batch: int, _threads: int) -> None:
        model = module("core.modelwrapper").ModelWrapper(str(file) if isinstance(file, Path) else file)
        model = model.transform(module("transformation.change_batchsize").ChangeBatchSize(batch))
        self._model = model.transform(module("transformation.infer_shapes").InferShapes())
        self._execute = module("core.onnx_exec").execute_onnx
        self._batch = batch

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits, `[N, classes]`.

        Args:
            images: uint8 `[N, S, S, 3]` or fp32 `[N, 3, S, S]`, depending on the export.
        """
        found = []
        given = images.transpose(0, 3, 1, 2) if images.dtype == np.uint8 else images
        for first in range(0, len(given), self._batch):
            some = given[first : first + self._batch].astype(np.float32)
            full = np.concatenate([some, np.zeros((self._batch - len(some), *some.shape[1:]), np.float32)])
            found.append(self._execute(self._model, {INPUT: full})[OUTPUT][: len(some)])
        return np.concatenate(found)


def module(name: str) -> Any:
    """A module of qonnx.

    Raises:
        UserError: qonnx is not installed.
    """
    try:
        return import_module(f"qonnx.{name}")
    except ImportError:
        raise UserError("qonnx is not installed. Install it: pip install 'xnorlit[qonnx]'") from None


class Nodes(onnx.Nodes):
    """The operations as nodes of the plain form.

    Args:
        helper: `onnx.helper`.
        graph: The graph whose pixels are read.
        batch: Batch size.
        normalized_input: See `build`.
    """

    def __init__(self, helper: Any, graph: Graph, batch: int, *, normalized_input: bool) -> None:
        super().__init__(helper, graph, normalized_input=normalized_input, qdq=False)
        self._batch = batch
        self._types: dict[str, str] = {} if normalized_input else {INPUT: "UINT8"}
        self._codes: dict[tuple[Any, ...], str] = {}

    @override
    def model(self, logits: str) -> Any:
        helper, size = self._helper, self._graph.image_size
        kind, classes = self._type(np.float32), len(self._graph.classes)
        given = helper.make_tensor_value_info(INPUT, kind, [self._batch, 3, size, size])
        gives = helper.make_tensor_value_info(logits, kind, [self._batch, classes])
        graph = helper.make_graph(self._nodes, self._graph.network, [given], [gives], self._constants)
        for name, value in self._types.items():
            told = graph.quantization_annotation.add(tensor_name=name)
            told.quant_parameter_tensor_names.add(key="finn_datatype", value=value)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=onnx.IR, producer_name="xnorlit")

    @override
    def pixels(self, *, normalized: bool) -> str:
        if self._normalized or not normalized:
            refuse(self._normalized and not normalized, self._first, onnx.BYTES)
            return INPUT
        mean, std = (np.array(values, np.float32) for values in (self._graph.mean, self._graph.std))
        return self._node("Div", self._node("Sub", INPUT, self._column(mean)), self._column(std))

    @override
    def steps(self, x: str, steps: Steps) -> str:
        return self._shared(x, steps, self._signs if steps.single else self._several)

    def _shared(self, x: str, steps: Steps, make: Callable[[str, Steps], str]) -> str:
        """Codes of a value, made once for all of their readers."""
        key = (x, make, steps.signs, steps.above.tobytes(), steps.start.tobytes(), steps.change.tobytes())
        if key not in self._codes:
            self._codes[key] = make(x, steps)
        return self._codes[key]

    def _signs(self, x: str, steps: Steps) -> str:
        """One threshold per channel: the sign of `x - reached` where it rises, of `held - x` where it falls."""
        falls = steps.change[0] < 0
        if falls.any():
            x = self.multiply(x, np.where(falls, -1, 1))
        shift = np.where(falls, steps.held[0], -steps.reached[0])
        return self._bipolar(self.add(x, shift) if shift.any() else x)

    def _several(self, x: str, steps: Steps) -> str:
        """Codes as a sum over a few levels, or as many thresholds in one node."""
        many = len(steps.above) > MOST_LEVELS and not turning(steps).any()
        return self._thresholds(x, steps) if many else self._levels(x, steps)

    def _levels(self, x: str, steps: Steps) -> str:
        """Codes as a sum over levels: `start + change (1 + sign(x - reached)) / 2`."""
        total = ""
        for reached, change in zip(steps.reached, steps.change, strict=True):
            part = self.multiply(self._bipolar(self.add(x, -reached)), change / 2)
            total = self._node("Add", total, part) if total else part
        codes = self.add(total, steps.start + steps.change.sum(axis=0) / 2)
        if steps.signs:
            return self._bipolar(codes)
        most = (steps.start + np.cumsum(steps.change, axis=0)).max(initial=steps.start.max())
        return self._quant(codes, max(1, int(most).bit_length()), signed=False)

    def _thresholds(self, x: str, steps: Steps, times: int = 1) -> str:
        """The number of thresholds of a channel that x reaches, scaled and shifted.

        Args:
            x: Reals or integers.
            steps: Steps to signs or codes; each channel rises or falls.
            times: How often each threshold is repeated; 2 for signs that are padded with zeros.
        """
        unit = 2 if steps.signs else 1
        falls = (steps.change < 0).any(axis=0)
        if falls.any():
            x = self.multiply(x, np.where(falls, -1, 1))
        counts = (np.abs(steps.change) / unit).astype(int)
        always = (steps.start + np.minimum(steps.change, 0).sum(axis=0) + steps.signs) / unit
        reached = np.where(falls, -steps.held, steps.reached)
        rows = [
            [-LARGEST] * int(count) + sorted(np.repeat(reached[:, c], counts[:, c]).tolist())
            for c, count in enumerate(always)
        ]
        most = max(1, *map(len, rows))
        table = np.array([row + [LARGEST] * (most - len(row)) for row in rows], np.float32).repeat(times, axis=1)
        if not steps.signs:
            return self._counted(x, table, f"UINT{max(2, most.bit_length())}")  # hardware has no {0, 1}
        return self._counted(x, table, "BIPOLAR" if times == 1 else "INT2", 2 / times, -1)

    def _counted(self, x: str, table: np.ndarray, kind: str, scale: float = 1, bias: float = 0) -> str:
        how = {"out_dtype": kind, "out_scale": float(scale), "out_bias": float(bias)}
        return self._node("MultiThreshold", x, self._constant(table), domain=DOMAIN, **how)

    @override
    def sign_sums(self, x: str, steps: Steps, positive: np.ndarray, window: Window) -> str:
        return self.integer_sums(x, steps, 2 * positive.astype(np.float32) - 1, window)

    @override
    def integer_sums(self, x: str, steps: Steps, weight: np.ndarray, window: Window) -> str:
        signs = self._operand(x, steps, padded=any(window.padding))
        whole, window = self.bordered(signs, window)
        return self.convolution(signs if whole is signs else self._bipolar(whole), weight, window)

    def _operand(self, x: str, steps: Steps, *, padded: bool) -> str:
        """Signs for a convolution, which may pad them with zeros."""
        return self.steps(x, steps)

    @override
    def byte_convolution(self, x: str, weight: np.ndarray, fill: np.ndarray, window: Window) -> str:
        self.refuse_wide(weight)
        if not any(window.padding):
            return self.convolution(x, weight, window)
        # sum q p = sum q (p - fill) + sum q fill: the padding of the first is 0.
        y = self.convolution(self._whole_add(x, -fill.astype(np.float32)), weight, window)
        filled = (weight.astype(np.float64).sum(axis=(2, 3)) * fill).sum(axis=1)
        return self._whole_add(y, filled.astype(np.float32))

    def _whole_add(self, x: str, summand: np.ndarray) -> str:
        """Add integers, with an integer type."""
        found = self.add(x, summand)
        self._types[self._nodes[-1].input[1]] = "INT32"
        return found

    @override
    def levels(self, x: str, step: float) -> str:
        return self._quant(self._node("Div", x, self._constant(np.array(step, np.float32))), 8, signed=False)

    @override
    def _weight_of_reals(self, weight: np.ndarray) -> str:
        return self._weight(weight)

    @override
    def _weight(self, weight: np.ndarray) -> str:
        values = self._constant(np.ascontiguousarray(weight, np.float32))
        low, high = float(weight.min()), float(weight.max())
        if not np.array_equal(weight, np.rint(weight)) or max(-low, high + 1) > 2 ** (MOST_BITS - 1):
            return values
        if (np.abs(weight) == 1).all():
            return self._bipolar(values)
        bits = next(k for k in range(2, MOST_BITS + 1) if -(2 ** (k - 1)) <= low and high < 2 ** (k - 1))
        return self._quant(values, bits, signed=True)

    def _bipolar(self, x: str) -> str:
        return self._node("BipolarQuant", x, self._constant(np.array(1, np.float32)), domain=DOMAIN)

    def _quant(self, x: str, bits: int, *, signed: bool) -> str:
        """`round(clip(x))` as integers of so many bits."""
        ends = (self._constant(np.array(value, np.float32)) for value in (1, 0, bits))
        how = {"signed": int(signed), "narrow": 0, "rounding_mode": "ROUND"}
        return self._node("Quant", x, *ends, domain=DOMAIN, **how)


def turning(steps: Steps) -> np.ndarray:
    """Whether the codes of each channel both rise and fall, `(C,)`."""
    return np.logical_and(steps.change.min(axis=0) < 0, steps.change.max(axis=0) > 0)
