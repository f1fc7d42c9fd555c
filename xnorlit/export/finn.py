"""A packed network as QONNX in the form from which FINN builds FPGA accelerators: few bits everywhere, no reals.

Codes are `MultiThreshold` nodes. FINN pads with zeros, but a sign has no zero. Where signs are padded, each threshold
is therefore repeated, as INT2 with a bias of -1: the values remain -1 and +1, and the type has a zero.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from typing_extensions import override

from xnorlit.export import qonnx
from xnorlit.export.int8 import nearest_bytes, on_bytes
from xnorlit.export.lower import planes_of, weight_of
from xnorlit.export.operations import refuse
from xnorlit.export.qonnx import OPSET, module, turning
from xnorlit.export.steps import LARGEST, Steps, Tensors
from xnorlit.packed.graph import Graph, MaxPool, Node
from xnorlit.packed.layer import Layer

ADVICE = f"opset {OPSET}, batch 1, reads fp32 [1, 3, S, S] of 0 to 255, typed UINT8; FINN's builder starts from it"


def build(graph: Graph, tensors: Tensors, *, batch: int = 1, normalized_input: bool = False) -> Any:
    """The `onnx.ModelProto` of a packed network in FINN's form.

    Args:
        graph: A graph that fits the tensors.
        tensors: Tensors by name.
        batch: Batch size.
        normalized_input: Refused, because FINN reads bytes.

    Raises:
        UserError: FINN cannot build a layer, or qonnx is not installed.
    """
    module("custom_op.registry")
    refuse(normalized_input, graph.steps[0].name, "FINN reads pixels of 0 to 255; omit normalized_input")
    for i, node in enumerate(graph.steps):
        _refuse(node, first=i == 0)
    return qonnx.build(*with_bytes(graph, tensors), batch=batch, nodes=Nodes)


def _refuse(node: Node, *, first: bool) -> None:
    """Refuse what FINN does not build."""
    layer, name = node.op, node.name
    if not isinstance(layer, Layer):
        what = f"{type(layer).__name__} between layers computes with reals, which FINN does not build"
        refuse(not isinstance(layer, MaxPool), name, f"{what}; use a network without shortcuts (cnv), or qonnx")
        return
    bits = 32 if first else 8
    trained = f"--model.layers.{name} '{{class_path: LSQ, init_args: {{weight_bits: 8, input_bits: {bits}}}}}'"
    fp32 = (
        f"its weights are fp32, which FINN does not build; train them in few bits ({trained}), or pack the run with "
        "--ends int8"
    )
    refuse(layer.weights.form == "float", name, fp32)
    real = layer.operand.form == "reals" and layer.weights.form == "planes"
    refuse(real, name, "its inputs are real, which FINN does not build; use a binarizer of few-bit inputs, or qonnx")
    refuse(layer.window_sum, name, "its two values per input are no signs; use another binarizer (XNOR), or qonnx")
    refuse(layer.border == "ones", name, "FINN pads with zeros, not with ones; use padding_mode='zeros', or qonnx")
    grouped = "FINN's convolutions have one group; use groups=1, or qonnx"
    refuse(layer.groups > 1, name, grouped)


def with_bytes(graph: Graph, tensors: Tensors) -> tuple[Graph, dict[str, np.ndarray]]:
    """The same graph with integer weights on the bytes of the pixels instead of planes on normalised pixels.

    Args:
        graph: A graph that fits the tensors.
        tensors: Tensors by name.

    Raises:
        UserError: The normalisation cannot be moved after the sums.
    """
    found, steps = dict(tensors), []
    for node in graph.steps:
        layer = node.op
        if isinstance(layer, Layer) and layer.operand.form == "pixels" and layer.weights.form == "planes":
            refuse(layer.window is None, node.name, "it is not a convolution of the pixels; put one before it")
            own = {key.rpartition(".")[2]: found.pop(key) for key in tensors if key.rpartition(".")[0] == node.name}
            layer, own = _on_bytes(layer, own, graph)
            found |= {f"{node.name}.{key}": value for key, value in own.items()}
        steps.append(replace(node, op=layer))
    if graph.nodes:
        return replace(graph, nodes=tuple(steps)), found
    return replace(graph, layers=tuple(node.op for node in steps if isinstance(node.op, Layer))), found


def _on_bytes(layer: Layer, own: dict[str, np.ndarray], graph: Graph) -> tuple[Layer, dict[str, np.ndarray]]:
    std, mean = set(graph.std), np.asarray(graph.mean, np.float64)
    one = "the channels of its pixels have several standard deviations, so its weights would need more bits"
    refuse(len(std) > 1, layer.name, f"{one}; train with one data.std for all, or pack the run with --ends int8")
    assert layer.window is not None
    padded = any(layer.window.padding) and not np.array_equal(mean, nearest_bytes(mean))
    refuse(
        padded,
        layer.name,
        "it pads pixels with a mean that is not a byte; train with a data.mean of whole numbers from 0 to 255, or "
        "without padding",
    )
    weight = weight_of(layer, planes_of(layer, own["weight"], graph.input))
    return on_bytes(layer, own, weight.astype(np.int16), 1 / std.pop(), mean)


class Nodes(qonnx.Nodes):
    """The operations as nodes for FINN's streamlining."""

    @override
    def steps(self, x: str, steps: Steps) -> str:
        return self._shared(x, steps, self._thresholds)

    @override
    def _operand(self, x: str, steps: Steps, *, padded: bool) -> str:
        return self._shared(x, steps, self._doubled if padded else self._thresholds)

    def _doubled(self, x: str, steps: Steps) -> str:
        return self._thresholds(x, steps, times=2)

    @override
    def _thresholds(self, x: str, steps: Steps, times: int = 1) -> str:
        why = "its codes rise and fall with its sums; use another binarizer, or qonnx"
        refuse(bool(turning(steps).any()), self._last, why)
        return super()._thresholds(x, steps, times)

    @override
    def levels(self, x: str, step: float) -> str:
        self._bypass_relu(x)
        return self._counted(x, _least(np.float32(step))[None], "UINT8")

    @override
    def _weight(self, weight: np.ndarray) -> str:
        most = int(max(weight.max(), -weight.min() - 1))
        refuse(most >= 2**7, self._next, f"its weights reach {most}, beyond 8 bits; train with weight_bits: 7")
        return super()._weight(weight)

    def _bypass_relu(self, x: str) -> None:
        """Remove a ReLU before thresholds above zero, where it has no effect."""
        maker = {node.output[0]: node for node in self._nodes}
        flat = maker[x]
        relu = maker.get(flat.input[0]) if flat.op_type == "Reshape" else None
        if relu is not None and relu.op_type == "Relu":
            flat.input[0] = relu.input[0]
            self._nodes.remove(relu)

    @property
    def _last(self) -> str:
        """Name of the layer whose sums were made last."""
        names = (node.name for node in reversed(self._nodes) if node.name.endswith("/sums"))
        return next(names, self._first).removesuffix("/sums")

    @property
    def _next(self) -> str:
        """Name of the layer after it."""
        made = any(node.name.endswith("/sums") for node in self._nodes)
        names = [node.name for node in self._graph.steps if isinstance(node.op, Layer)]
        return names[names.index(self._last) + made]


def _least(step: np.float32) -> np.ndarray:
    """The least fp32 x for which `round(x / step)` reaches each level from 1 to 255."""
    levels = np.arange(1, 256)
    x = ((levels - 0.5) * step).astype(np.float32)
    while (over := np.rint(x / step) >= levels).any():
        x = np.where(over, np.nextafter(x, np.float32(0)), x)
    while (under := np.rint(x / step) < levels).any():
        x = np.where(under, np.nextafter(x, LARGEST), x)
    return x
