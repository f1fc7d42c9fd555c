"""onnxruntime in 8 bits: a layer of its own quantised operator, and the exported twin."""

from typing import Any

import numpy as np

from xnorlit.bench.opponents.exported import INPUT, lacking
from xnorlit.bench.opponents.quantized import Product, Scale
from xnorlit.bench.turns import Call

# Operator versions that onnxruntime 1.16 and later support.
OPSET, IR = 17, 8


def missing() -> str:
    """Why onnxruntime cannot be measured; empty if it can."""
    return lacking("onnx", "onnxruntime")


def network_call(model: bytes, pixels: np.ndarray, threads: int) -> Call:
    """A call that runs an exported network on a batch, and returns the logits.

    Args:
        model: The ONNX file.
        pixels: uint8 `[N, 3, S, S]`.
        threads: Number of threads of the session.
    """
    session = _session(model, threads)
    return lambda: session.run(None, {INPUT: pixels})[0]


def layer_call(product: Product, reads: Scale, x: np.ndarray, threads: int) -> Call:
    """A call that quantises real inputs, runs one layer, and returns its levels.

    Args:
        product: The layer.
        reads: Scale of its inputs.
        x: fp32 `[N, C, H, W]`, or `[N, I]`.
        threads: Number of threads of the session.
    """
    session = _session(_Graph(product, x.shape, reads).model().SerializeToString(), threads)
    return lambda: session.run(None, {"x": x})[0]


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class _Graph:
    """Write the two nodes of a layer; `self.at` is the name of the last output."""

    def __init__(self, product: Product, shape: tuple[int, ...], reads: Scale) -> None:
        from onnx import TensorProto, helper

        self._helper, self._types = helper, TensorProto
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self.at = "x"
        self._input = helper.make_tensor_value_info("x", self._type(np.float32), shape)
        self._node("QuantizeLinear", [self.at, *self._scale(reads)])
        self._product(product)

    def model(self) -> Any:
        """The whole graph."""
        output = self._helper.make_tensor_value_info(self.at, self._type(np.uint8), None)
        graph = self._helper.make_graph(self._nodes, "layer", [self._input], [output], self._constants)
        opsets = [self._helper.make_opsetid("", OPSET), self._helper.make_opsetid("com.microsoft", 1)]
        return self._helper.make_model(graph, opset_imports=opsets, ir_version=IR)

    def _product(self, step: Product) -> None:
        weight = step.weight if step.window else np.ascontiguousarray(step.weight.T)
        zeros = np.zeros(len(step.weight_step), np.int8)
        operands = [*self._scale(step.reads), *map(self._constant, (weight, step.weight_step, zeros))]
        bias, gives = self._constant(step.bias), self._scale(step.gives)
        if step.window is None:
            self._node("QGemm", [self.at, *operands, bias, *gives], domain="com.microsoft")
            return
        pads = [*step.window["padding"]] * 2
        window = {"strides": [*step.window["stride"]], "pads": pads, "group": step.window["groups"]}
        self._node("QLinearConv", [self.at, *operands, *gives, bias], kernel_shape=[*step.weight.shape[2:]], **window)
        # QLinearConv takes its operands as x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias.

    def _scale(self, scale: Scale) -> list[str]:
        return [self._constant(np.array(scale.step, np.float32)), self._constant(np.array(scale.zero, np.uint8))]

    def _constant(self, values: np.ndarray) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(
            self._helper.make_tensor(name, self._type(values.dtype), values.shape, values.tobytes(), raw=True)
        )
        return name

    def _node(self, operator: str, inputs: list[str], domain: str = "", **attributes: Any) -> None:
        self.at = f"v{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(operator, inputs, [self.at], domain=domain, **attributes))

    def _type(self, dtype: Any) -> int:
        return self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
