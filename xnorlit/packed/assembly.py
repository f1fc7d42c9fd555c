"""A graph's layers as the engine's."""

from collections.abc import Mapping

import numpy as np

from xnorlit.packed import _kernels
from xnorlit.packed.graph import Graph, Layer, Map

NONE = np.empty(0, np.float32)


def add_layer(
    engine: _kernels.Engine,
    layer: Layer,
    at: Map,
    graph: Graph,
    tensors: Mapping[str, np.ndarray],
    ending: _kernels.Ending | None = None,
) -> None:
    """Gives the engine one layer of a graph.

    Args:
        engine: Has the layers before it.
        layer: The layer.
        at: The map that it reads.
        graph: Its graph.
        tensors: By name, as in the file.
        ending: In place of the layer's own.
    """
    operand, weights, looks = layer.operand, layer.weights, layer.looks(at)
    weight = _tensor(layer, "weight", tensors)
    ending = ending or engine_ending(layer, at, tensors)
    window = [*looks.kernel, *looks.stride, *looks.padding]
    frame = list(at), window, layer.groups, layer.outputs, weight
    if weights.form == "int8" and operand.form == "pixels":
        engine.add_byte_conv(list(at), window, layer.outputs, weight, _tensor(layer, "fill", tensors), ending)
    elif weights.form == "int8":
        engine.add_byte_linear(list(at), layer.outputs, operand.step, weight, ending)
    elif layer.binary:
        scaled, planes = operand.scale == "K", (list(weights.factors), weights.divisor)
        engine.add_binary(*frame, operand.bits, operand.form == "signs", scaled, *planes, ending)
    else:
        pixels = operand.form == "pixels"
        mean, std = (np.array(values, np.float32) if pixels else NONE for values in (graph.mean, graph.std))
        if weights.form == "float":
            engine.add_real(*frame, operand.form, operand.bits, mean, std, ending)
        else:
            planes = list(weights.factors), weights.divisor
            engine.add_real_planes(*frame, *planes, operand.form, operand.bits, mean, std, ending)


def engine_ending(layer: Layer, at: Map, tensors: Mapping[str, np.ndarray]) -> _kernels.Ending:
    """What becomes of a layer's sums over the map `at`."""
    ending, pool = layer.ending, list(layer.pool or ())
    if ending.form == "reals":
        every = range(len(ending.slopes))
        scales, shifts = ([_tensor(layer, f"{name}{i}", tensors).ravel() for i in every] for name in ("scale", "shift"))
        slopes = [
            _tensor(layer, f"slope{i}", tensors).ravel() if slope is None else np.array([slope], np.float32)
            for i, slope in enumerate(ending.slopes)
        ]
        return _kernels.Ending.reals(pool, ending.per_position, scales, shifts, slopes)
    features = int(np.prod(layer.output(at))) if ending.per_position else layer.outputs
    flips = _bits(_tensor(layer, "flip", tensors), features)
    changes = np.empty(0, np.uint8)
    if ending.levels > 1 or ending.bits > 1:
        changes = _bits(_tensor(layer, "change", tensors), features)
    thresholds = _tensor(layer, "threshold", tensors).ravel()
    return _kernels.Ending.bits(pool, ending.per_position, ending.bits, ending.levels, thresholds, flips, changes)


def _tensor(layer: Layer, name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(tensors[f"{layer.name}.{name}"])


def _bits(octets: np.ndarray, features: int) -> np.ndarray:
    return np.unpackbits(octets, axis=-1, count=features, bitorder="little").ravel()
