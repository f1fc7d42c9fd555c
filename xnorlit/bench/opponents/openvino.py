"""OpenVINO's CPU plugin: fp32, 8 bits, and the binary network that `xnorlit export` writes, with our own bits.

Every side binds its input beforehand and runs one stream, so a call contains only the inference.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.bench.opponents.quantized import Product, Scale
from xnorlit.bench.turns import Call
from xnorlit.export import openvino as format
from xnorlit.export.operations import Window
from xnorlit.export.steps import ZERO, Tensors
from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Layer, Map

WITHIN = 1e-3  # tolerance relative to the largest logit, for different orders of summation in the real ends


class OpponentError(Exception):
    """Why a side cannot be measured."""


def missing() -> str:
    """Why OpenVINO cannot be measured here; empty if it can."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino not installed: pip install 'xnorlit[bench]'"
    found = version("openvino")
    if found.partition(".")[0] != str(format.MAJOR):
        return f"openvino {found} has another major version than {format.MAJOR}, which we compared with"
    return ""


def binary_missing() -> str:
    """Why its binary convolutions cannot be measured; empty if they can."""
    if why := missing():
        return why
    able = format.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "" if "BIN" in able else f"OpenVINO has no binary kernels for this processor: {', '.join(able)}"


def binary_network(graph: Graph, tensors: Tensors, images: np.ndarray, threads: int, expected: np.ndarray) -> Call:
    """The whole network with our weights and thresholds.

    Args:
        graph: The packed network.
        tensors: Its tensors.
        images: uint8 `[N, S, S, 3]`.
        threads: Number of threads of the plugin.
        expected: Our logits of the same images.

    Raises:
        OpponentError: It does not compile, or gives other results.
    """
    call, output = _bound(lambda: format.build(graph, tensors, batch=len(images)), images, threads)
    call()
    logits = output()
    order = [np.argsort(-values, axis=1, kind="stable")[:, :5] for values in (expected, logits)]
    likeliest = [np.take_along_axis(expected, each, axis=1) for each in order]
    if np.abs(likeliest[0] - likeliest[1]).max() > WITHIN * np.abs(expected).max():
        raise OpponentError("OpenVINO's binary network names other classes than ours")
    return call


def profiler(graph: Graph, tensors: Tensors, images: np.ndarray, threads: int) -> Callable[[], dict[str, float]]:
    """A call that runs the network and gives the seconds of each binary layer, from the plugin's own profiler.

    They are the times of the node that counts bits, together with the sign after it where that is fused, as between
    two convolutions.

    Args:
        graph: See `binary_network`.
        tensors: See `binary_network`.
        images: uint8 `[N, S, S, 3]`.
        threads: Number of threads of the plugin.

    Raises:
        OpponentError: It does not compile.
    """
    request = _request(lambda: format.build(graph, tensors, batch=len(images)), threads, {"PERF_COUNT": True})
    request.set_input_tensor(import_module("openvino").Tensor(np.ascontiguousarray(images), shared_memory=True))

    def call() -> dict[str, float]:
        request.infer()
        return {
            node.node_name.removesuffix("/sums"): node.real_time.total_seconds()
            for node in request.get_profiling_info()
            if node.node_type == "BinaryConvolution" and node.real_time
        }

    return call


def held_to_avx2(graph: Graph, tensors: Tensors, cases: Sequence[tuple[int, int]], rounds: int) -> list[list[float]]:
    """Seconds of the whole binary network with OpenVINO limited to AVX2: a list per case, a number per round.

    oneDNN reads `ONEDNN_MAX_CPU_ISA` when it is loaded, so this runs in a process of its own, whose rounds do not take
    turns with the other sides. The variable limits most of OpenVINO's kernels, but not all.

    Args:
        graph: See `binary_network`.
        tensors: See `binary_network`.
        cases: Batch size and number of threads of each case.
        rounds: Number of rounds of each case.

    Raises:
        OpponentError: It does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = format.save(format.build(graph, tensors), Path(folder), "network")[-1]
        told = json.dumps({"file": str(file), "cases": [list(case) for case in cases], "rounds": rounds})
        variables = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
        command = [sys.executable, "-c", _HELD, told]
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise OpponentError(f"does not run limited to AVX2: {lines[-1][:120]}")
    return json.loads(done.stdout.splitlines()[-1])


# Needs neither torch nor xnorlit. A round is the mean of some calls, after as many calls for warming up.
_HELD = """
import json, sys, time
import numpy as np, openvino
told, core, found = json.loads(sys.argv[1]), openvino.Core(), []
for batch, threads in told["cases"]:
    model = core.read_model(told["file"])
    model.reshape([batch, *list(model.input(0).get_shape())[1:]])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    images = np.random.default_rng(0).integers(0, 256, list(model.input(0).get_shape()), np.uint8)
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
    request.infer()
    start = time.perf_counter()
    request.infer()
    repeats = max(1, round(2e-3 / (time.perf_counter() - start)))
    times = []
    for _ in range(told["rounds"]):
        for _ in range(repeats):
            request.infer()
        start = time.perf_counter()
        for _ in range(repeats):
            request.infer()
        times.append((time.perf_counter() - start) / repeats)
    found.append(times)
print(json.dumps(found))
"""


def fp32_network(model: bytes, pixels: np.ndarray, threads: int, expected: np.ndarray) -> Call:
    """The exported float twin.

    Args:
        model: The ONNX file.
        pixels: uint8 `[N, 3, S, S]`.
        threads: Number of threads of the plugin.
        expected: The twin's logits of these images.

    Raises:
        OpponentError: It does not compile, or gives other results.
    """
    call, output = _bound(lambda: format.core().read_model(model), pixels, threads)
    call()
    if np.abs(output() - expected).max() > WITHIN * np.abs(expected).max():
        raise OpponentError("OpenVINO's fp32 network computes other logits than the twin")
    return call


def int8_network(model: bytes, pixels: np.ndarray, threads: int) -> Call:
    """The exported float twin in 8 bits.

    Args:
        model: The ONNX file.
        pixels: uint8 `[N, 3, S, S]`.
        threads: Number of threads of the plugin.

    Raises:
        OpponentError: It does not compile.
    """
    return _bound(lambda: format.core().read_model(model), pixels, threads)[0]


def layer_calls(
    layer: Layer,
    at: Map,
    weight: np.ndarray,
    octets: np.ndarray,
    quantized: tuple[Scale, Product],
    threads: int,
    x: np.ndarray,
    expected: np.ndarray,
) -> tuple[dict[str, Call], dict[str, str]]:
    """One layer on reals in fp32, in 8 bits and binary, and why a form is missing.

    Args:
        layer: The layer.
        at: The map that it reads.
        weight: Reals `(O, C / groups, kh, kw)`, or `(O, I)`.
        octets: Our bits of another layer of these extents.
        quantized: The layer in 8 bits, and the scale of its input.
        threads: Number of threads of the plugin.
        x: Reals `[N, H, W, C]`.
        expected: Our integers of the signs of `x`, `[N, H', W', O]`.
    """
    looks = layer.looks(at)
    window = Window(looks.stride, looks.padding, layer.groups)
    weight = weight.reshape(layer.outputs, -1, *looks.kernel)
    positive = np.unpackbits(octets[0], axis=-1, count=at.channels // layer.groups, bitorder="little") == 1

    def fp32() -> Any:
        builder = _Builder(x.shape)
        return builder.model(builder.nodes.convolution(builder.x, weight, window))

    def int8() -> Any:
        builder = _Builder(x.shape)
        reads, product = quantized
        shaped = product.weight.reshape(layer.outputs, -1, *looks.kernel)
        y = builder.product(builder.levels(builder.x, reads), product, shaped, window)
        return builder.model(builder.levels(y, product.gives))

    def binary() -> Any:
        builder = _Builder(x.shape)
        steps = ZERO.each(lambda part: np.broadcast_to(part, (*part.shape[:-1], at.channels)))
        return builder.model(builder.nodes.sign_sums(builder.x, steps, positive.transpose(0, 3, 1, 2), window))

    calls: dict[str, Call] = {}
    absent: dict[str, str] = {}
    for name, build in (("fp32", fp32), ("int8", int8), ("binary", binary)):
        try:
            if name == "binary" and (why := binary_missing()):
                raise OpponentError(why)
            call, output = _bound(build, x, threads)
            call()
            if name == "binary" and not np.array_equal(output().transpose(0, 2, 3, 1), expected):
                raise OpponentError("OpenVINO's binary layer computes other integers than ours")
            calls[name] = call
        except OpponentError as error:
            absent[name] = str(error)
    return calls, absent


def _request(build: Callable[[], Any], threads: int, settings: Mapping[str, Any]) -> Any:
    """An inference request of the compiled model.

    Raises:
        OpponentError: It cannot be built or compiled.
    """
    chosen = {**format.PRECISION, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, **settings}
    try:
        return format.core().compile_model(build(), "CPU", chosen).create_infer_request()
    except Exception as error:  # from the plugin, or because the exporter refuses the form
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OpponentError(f"does not compile: {lines[-1][:120] if lines else type(error).__name__}") from None


def _bound(build: Callable[[], Any], given: np.ndarray, threads: int) -> tuple[Call, Callable[[], np.ndarray]]:
    """A call that infers a bound input, and a function for its output."""
    request = _request(build, threads, {})
    given = np.ascontiguousarray(given)
    request.set_input_tensor(import_module("openvino").Tensor(given, shared_memory=True))
    keep = (request, given)  # the plugin reads the array's memory
    return lambda: keep[0].infer(), lambda: keep[0].get_output_tensor(0).data.copy()


class _Builder:
    """Build models of single layers that read reals `[N, H, W, C]`."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._ov = import_module("openvino")
        self._op = import_module("openvino.opset13")
        self.nodes = format.Nodes(self._ov, self._op, None)
        self._parameter = self._op.parameter(list(shape), np.float32)
        self.x = self._op.transpose(self._parameter, np.array([0, 3, 1, 2]))

    def model(self, y: Any) -> Any:
        """The model that computes a value."""
        return self._ov.Model([y], [self._parameter], "opponent")

    def product(self, x: Any, step: Product, weight: np.ndarray, window: Window | None) -> Any:
        """A product with 8-bit weights, plus its bias."""
        bias = (step.bias * step.weight_step * step.reads.step).astype(np.float32)
        scale = step.weight_step.reshape(-1, *(1,) * (weight.ndim - 1)).astype(np.float32)
        levels = self._op.multiply(self._op.convert(self._op.constant(np.ascontiguousarray(weight)), "f32"), scale)
        if window is None:
            return self._op.add(self._op.matmul(x, levels, False, True), bias)
        pads, stride = list(window.padding), list(window.stride)
        if window.groups > 1:
            shape = [window.groups, len(weight) // window.groups, *weight.shape[1:]]
            levels = self._op.reshape(levels, np.array(shape), special_zero=False)
            y = self._op.group_convolution(x, levels, stride, pads, pads, [1, 1])
        else:
            y = self._op.convolution(x, levels, stride, pads, pads, [1, 1])
        return self._op.add(y, bias.reshape(1, -1, 1, 1)) if bias.any() else y

    def levels(self, x: Any, scale: Scale) -> Any:
        """Quantises to the levels of a scale."""
        ends = [np.float32(-scale.zero * scale.step), np.float32((255 - scale.zero) * scale.step)] * 2
        return self._op.fake_quantize(x, *map(self._op.constant, ends), 256)
