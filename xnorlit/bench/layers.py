"""Measure single binary layers, from real numbers to the bits that the next layer reads."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from xnorlit.bench.opponents import onnx_int8, openvino, torch_int8
from xnorlit.bench.opponents.compiled import CompileError, compiled
from xnorlit.bench.opponents.fp32 import apply, fp32_calls, operands
from xnorlit.bench.opponents.quantized import quantized_layer
from xnorlit.bench.row import COMPILED, ONNX_INT8, OPENVINO, OV_INSIDE, TORCH_INT8, Row, packed
from xnorlit.bench.settings import Settings
from xnorlit.bench.subject import Subject, pixels
from xnorlit.bench.turns import Call, Turns, by_turns
from xnorlit.packed import PackedNetwork, _kernels
from xnorlit.packed.layer import Layer, Map


def measure_layers(subject: Subject, settings: Settings, done: Callable[[str], None]) -> list[Row]:
    """Each binary layer at each batch and number of threads.

    Args:
        subject: The network.
        settings: What to measure.
        done: Called with the name of each row before it is measured.
    """
    rows = []
    networks = {isa: subject.engine(next(iter(subject.packed)), isa) for isa in settings.isas}
    inside = {
        (batch, threads): _inside(subject, networks, batch, threads, settings)
        for batch in settings.batches
        for threads in settings.threads
    }
    for layer, at in subject.binary_layers():
        weight = subject.tensors[f"{layer.name}.weight"]
        engines = {isa: binary_engine(isa, layer, at, weight) for isa in settings.isas}
        for batch in settings.batches:
            for threads in settings.threads:
                done(f"{layer.name}, batch {batch}, {threads} thread{'s' if threads > 1 else ''}")
                torch.set_num_threads(threads)
                row = _row(layer, at, engines, weight, batch, threads, settings)
                rows.append(_with_inside(row, *inside[batch, threads], settings.rounds))
    return rows


def _inside(
    subject: Subject, networks: Mapping[str, PackedNetwork], batch: int, threads: int, settings: Settings
) -> tuple[dict[str, dict[str, list[float]]], str]:
    """Seconds of layers inside their network, by side and layer, one per round; and why OpenVINO's are missing.

    Both sides have the same ends, and each runs once before the call that counts.
    """
    images, why = pixels(batch, subject.graph.image_size), settings.absent.get(OV_INSIDE, "")
    profilers: dict[str, Callable[[], dict[str, float]]] = {
        packed(isa, inside=True): lambda network=network: network.profile(images, threads=threads)
        for isa, network in networks.items()
    }
    if not why:
        try:
            profilers[OV_INSIDE] = openvino.profiler(subject.graph, subject.tensors, images, threads)
        except openvino.OpponentError as error:
            why = str(error)
    found: dict[str, dict[str, list[float]]] = {side: {} for side in profilers}
    for _ in range(settings.rounds):
        for side, profiler in profilers.items():
            profiler()
            for layer, seconds in profiler().items():
                found[side].setdefault(layer, []).append(seconds)
    return found, why


def _with_inside(row: Row, inside: Mapping[str, Mapping[str, list[float]]], why: str, rounds: int) -> Row:
    """A row with the times of the layer inside each network beside the others."""
    absent = dict(row.absent)
    times = {side: found for side, layers in inside.items() if len(found := layers.get(row.part, [])) == rounds}
    if OV_INSIDE not in times:
        absent[OV_INSIDE] = why or "OpenVINO's profiler names no such layer"
    return replace(row, absent=absent, turns=Turns(*({**samples, **times} for samples in row.turns)))


def binary_engine(isa: str, layer: Layer, at: Map, weight: np.ndarray) -> _kernels.Engine:
    """An engine of one layer: from real numbers to the bits after a threshold of 0, before any pool."""
    zeros, none = np.zeros(layer.outputs, np.int32), np.empty(0, np.uint8)
    ending = _kernels.Ending.bits(thresholds=zeros, flips=zeros.astype(np.uint8), changes=none, planes=1, levels=1)
    return _engine(isa, layer, at, weight, ending)


def integers(layer: Layer, at: Map, bits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A layer's sums of the signs of reals, int32 `[N, H', W', O]`."""
    engine = _engine("", layer, at, bits, _kernels.Ending.sums())
    out = np.empty((len(x), engine.output_elements), np.int32)
    engine.run(x, out, 1)
    return out.reshape(len(x), *engine.output_shape)


def _engine(isa: str, layer: Layer, at: Map, weight: np.ndarray, ending: _kernels.Ending) -> _kernels.Engine:
    """The layer as one that needs no graph: signs of reals in, padding that counts 0."""
    engine, looks = _kernels.Engine(isa), layer.looks(at)
    engine.add_sign(list(at))
    window = [*looks.kernel, *looks.stride, *looks.padding]
    frame = _kernels.Frame(shape=at, window=window, groups=layer.groups, outputs=layer.outputs)
    planes = _kernels.Planes(weight, factors=layer.weights.factors, divisor=layer.weights.divisor)
    engine.add_binary(frame, _kernels.Operand("signs"), planes, ending)
    return engine


def macs_of(layer: Layer, at: Map) -> int:
    """Multiply-adds of a layer for one image."""
    looks, after = layer.looks(at), layer.sums(at)
    window = looks.kernel[0] * looks.kernel[1] * (at.channels // layer.groups)
    return after.height * after.width * layer.outputs * window


def _row(
    layer: Layer,
    at: Map,
    engines: dict[str, _kernels.Engine],
    weight: np.ndarray,
    batch: int,
    threads: int,
    settings: Settings,
) -> Row:
    calls, absent, compile_seconds = _opponents(layer, at, weight, batch, threads, settings)
    x = np.random.default_rng(0).standard_normal((batch, *at), np.float32)
    for isa, engine in engines.items():
        out = np.empty((batch, engine.output_elements), np.uint32)
        calls[packed(isa)] = lambda engine=engine, out=out: engine.run(x, out, threads)
        if threads > 1:
            calls[packed(isa, alone=True)] = lambda engine=engine, out=out: engine.run(x, out, 1)
    turns = by_turns(calls, settings.rounds, settle=threads > 1)
    return Row(layer.name, batch, threads, turns, batch * macs_of(layer, at), absent, compile_seconds)


def _opponents(
    layer: Layer, at: Map, bits: np.ndarray, batch: int, threads: int, settings: Settings
) -> tuple[dict[str, Call], dict[str, str], float]:
    """The opponents' calls, why some are missing, and the seconds of compiling."""
    calls, absent, compile_seconds = fp32_calls(layer, at, batch), dict(settings.absent), 0.0
    x, weight = operands(layer, at, batch)
    if COMPILED not in absent:
        try:
            calls[COMPILED], compile_seconds = compiled(_Module(layer, weight), x)
        except CompileError as error:
            absent[COMPILED] = str(error)
    window = None
    if layer.window is not None:
        window = {"stride": layer.window.stride, "padding": layer.window.padding, "groups": layer.groups}
    reads, product = quantized_layer(x, weight, apply(layer, x, weight), window)
    if ONNX_INT8 not in absent:
        calls[ONNX_INT8] = onnx_int8.layer_call(product, reads, x.numpy(), threads)
    if TORCH_INT8 not in absent:
        network = torch_int8.TorchInt8([product], reads, real=False)
        given = x.to(memory_format=torch.channels_last) if layer.window else x
        calls[TORCH_INT8] = lambda: network(given)
    if OPENVINO[0] not in absent:
        real = np.random.default_rng(0).standard_normal((batch, *at), np.float32)
        expected = integers(layer, at, bits, real)
        theirs, missing = openvino.layer_calls(
            layer, at, weight.numpy(), bits, (reads, product), threads, real, expected
        )
        sides = dict(zip(("fp32", "int8", "binary"), OPENVINO, strict=True))
        calls |= {sides[name]: call for name, call in theirs.items()}
        absent |= {sides[name]: why for name, why in missing.items()}
    return calls, absent, compile_seconds


class _Module(torch.nn.Module):
    """The layer as a module, whose weights torch.compile may lay out freely."""

    def __init__(self, layer: Layer, weight: torch.Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.weight = torch.nn.Parameter(weight)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return apply(self.layer, x, self.weight)
