"""Run exported networks on their runtimes, and read the integers of their layers."""

import numpy as np
import pytest

from xnorlit.export import finn as finn_format
from xnorlit.export import onnx as onnx_format
from xnorlit.export import openvino as openvino_format
from xnorlit.export import qonnx as qonnx_format


def with_openvino(graph, tensors, pixels, *, sums=False, **how):
    """Logits of images, and with `sums` also `{layer: (N, H', W', O)}`."""
    openvino = pytest.importorskip("openvino")
    model = openvino_format.build(graph, tensors, batch=len(pixels), **how)
    found = [op.output(0) for op in model.get_ops() if op.get_friendly_name().endswith("/sums")] if sums else []
    names = [output.get_node().get_friendly_name().removesuffix("/sums") for output in found]
    whole = openvino.Model([model.output(0), *found], model.get_parameters(), "test")
    settings = openvino_format.PRECISION | {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    given = openvino_format.core().compile_model(whole, "CPU", settings)(pixels)
    logits, *rest = (given[i].copy() for i in range(len(given)))
    maps = (values.reshape(*values.shape, *(1,) * (4 - values.ndim)).transpose(0, 2, 3, 1) for values in rest)
    return (logits, dict(zip(names, maps, strict=True))) if sums else logits


def with_onnx(graph, tensors, pixels, *, sums=False, qdq=False, **how):
    """The same from onnxruntime."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    model = onnx_format.build(graph, tensors, qdq=qdq, **how)
    names = [node.output[0] for node in model.graph.node if node.output[0].endswith("/sums")] if sums else []
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    network = onnx_format.Network(model.SerializeToString(), 1, 1)
    if not sums:
        return network(pixels)
    logits, *rest = network(pixels, ["logits", *names])
    maps = (values.reshape(*values.shape, *(1,) * (4 - values.ndim)).transpose(0, 2, 3, 1) for values in rest)
    return logits, {name.removesuffix("/sums"): found for name, found in zip(names, maps, strict=True)}


def with_onnx_qdq(graph, tensors, pixels, **how):
    """The same with few-bit weights in 8 bits."""
    return with_onnx(graph, tensors, pixels, qdq=True, **how)


def with_qonnx(graph, tensors, pixels, *, sums=False, build=None, **how):
    """The same from qonnx's executor, behind its clean-up."""
    pytest.importorskip("qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    built = (build or qonnx_format.build)(graph, tensors, batch=len(pixels), **how)
    model = ModelWrapper(built).transform(InferShapes())
    given = pixels.transpose(0, 3, 1, 2) if pixels.dtype == np.uint8 else pixels
    found = execute_onnx(model, {"pixels": given.astype(np.float32)}, return_full_exec_context=True)
    if not sums:
        return found["logits"]
    names = [node.output[0] for node in built.graph.node if node.output[0].endswith("/sums")]
    maps = {name.removesuffix("/sums"): found[name] for name in names}
    maps = {name: values.reshape(*values.shape, *(1,) * (4 - values.ndim)) for name, values in maps.items()}
    return found["logits"], {name: values.transpose(0, 2, 3, 1) for name, values in maps.items()}


def with_finn(graph, tensors, pixels, **how):
    """The same in FINN's form."""
    return with_qonnx(graph, tensors, pixels, build=finn_format.build, **how)


RUNTIMES = {
    "openvino": with_openvino,
    "onnx": with_onnx,
    "onnx-qdq": with_onnx_qdq,
    "qonnx": with_qonnx,
    "finn": with_finn,
}


def same_top5(ours, theirs, within=1e-4):
    """Whether the five likeliest are equal, in order, except for ties."""
    first, second = (np.argsort(-logits, axis=1, kind="stable")[:, :5] for logits in (ours, theirs))
    values = [np.take_along_axis(ours, order, axis=1) for order in (first, second)]
    return bool((np.abs(values[0] - values[1]) <= within * max(1, np.abs(ours).max())).all())
