"""onnxruntime in 8 bits: graphs of its own quantised operators."""

import importlib.util
from typing import Any

import numpy as np

from xnorlit.bench.opponents.quantized import Affine, Flatten, Pool, Product, Scale, Step

# Operator versions that onnxruntime 1.16 and later support.
OPSET, IR = 17, 8


def missing() -> str:
    """Why onnxruntime cannot be measured; empty if it can."""
    absent = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed: pip install 'xnorlit[bench]'" if absent else ""


class OnnxNetwork:
    """Quantised steps as one onnxruntime session; callable on a numpy array.

    Args:
        steps: The steps that it computes.
        shape: Shape of the input, including the batch.
        reads: Scale for quantising real inputs; None for uint8 pixels.
        threads: Number of threads of the session.
        real: Whether the last step returns real numbers instead of levels.
    """

    def __init__(
        self, steps: list[Step], shape: tuple[int, ...], reads: Scale | None, threads: int, *, real: bool
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        model = _Graph(steps, shape, reads, real=real).model()
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The output for one batch of the shape."""
        return self._session.run(None, {"x": x})[0]


class _Graph:
    """Writes the nodes in order; `self.at` is the name of the last output."""

    def __init__(self, steps: list[Step], shape: tuple[int, ...], reads: Scale | None, *, real: bool) -> None:
        from onnx import TensorProto, helper

        self._helper, self._types = helper, TensorProto
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self.at = "x"
        self._input = helper.make_tensor_value_info("x", self._type(np.float32 if reads else np.uint8), shape)
        if reads:
            self._quantize(reads)
        gives: Scale | None = None
        for i, step in enumerate(steps):
            gives = self._add(step, gives or reads, logits=real and i + 1 == len(steps))
        if real and not (isinstance(steps[-1], Product) and steps[-1].window is None):
            self._dequantize(gives)
        self._real = real

    def model(self) -> Any:
        """The whole graph."""
        output = self._helper.make_tensor_value_info(self.at, self._type(np.float32 if self._real else np.uint8), None)
        graph = self._helper.make_graph(self._nodes, "network", [self._input], [output], self._constants)
        opsets = [self._helper.make_opsetid("", OPSET), self._helper.make_opsetid("com.microsoft", 1)]
        return self._helper.make_model(graph, opset_imports=opsets, ir_version=IR)

    def _add(self, step: Step, before: Scale | None, *, logits: bool) -> Scale | None:
        if isinstance(step, Pool):
            sides = {"kernel_shape": [step.size] * 2, "strides": [step.stride] * 2}
            self._node("MaxPool", [self.at], **sides)
            return before
        if isinstance(step, Flatten):
            self._node("Flatten", [self.at])
            return before
        if isinstance(step, Affine):
            if step.reads is None:
                self._node("Cast", [self.at], to=self._types.FLOAT)
            else:
                self._dequantize(step.reads)
            self._node("Mul", [self.at, self._constant(step.factor)])
            self._node("Add", [self.at, self._constant(step.summand)])
            self._quantize(step.gives)
        else:
            self._product(step, logits=logits)
        return step.gives

    def _product(self, step: Product, *, logits: bool) -> None:
        weight = step.weight if step.window else np.ascontiguousarray(step.weight.T)
        zeros = np.zeros(len(step.weight_step), np.int8)
        operands = [*self._scale(step.reads), *map(self._constant, (weight, step.weight_step, zeros))]
        bias, gives = self._constant(step.bias), self._scale(step.gives)
        if step.window is None:
            # Without an output scale, it returns real numbers.
            self._node("QGemm", [self.at, *operands, bias, *([] if logits else gives)], domain="com.microsoft")
            return
        pads = [*step.window["padding"]] * 2
        window = {"strides": [*step.window["stride"]], "pads": pads, "group": step.window["groups"]}
        self._node("QLinearConv", [self.at, *operands, *gives, bias], kernel_shape=[*step.weight.shape[2:]], **window)
        # QLinearConv takes its operands as x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias.

    def _quantize(self, scale: Scale) -> None:
        self._node("QuantizeLinear", [self.at, *self._scale(scale)])

    def _dequantize(self, scale: Scale | None) -> None:
        assert scale is not None
        self._node("DequantizeLinear", [self.at, *self._scale(scale)])

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
