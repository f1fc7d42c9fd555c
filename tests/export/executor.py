"""A packed graph computed in numpy from its nodes and tensors alone. Slow; independent of the engine."""

import numpy as np

from xnorlit.packed.graph import (
    PIXELS,
    Add,
    Affine,
    AveragePool,
    Clip,
    Concat,
    Flatten,
    GlobalAverage,
    MaxPool,
    Shift,
    Sign,
    Subsample,
    TwoSlope,
)
from xnorlit.packed.layer import Layer

ONE, ZERO = np.float32(1), np.float32(0)


def run(graph, tensors, pixels):
    """The logits, and the integers of each layer that counts bits, by name, `(N, H, W, O)`.

    Args:
        graph: Of nodes.
        tensors: Its.
        pixels: uint8 `(N, S, S, 3)`.
    """
    values, integers = {PIXELS: pixels}, {}
    for node in graph.nodes:
        given = [values[name] for name in node.inputs]
        own = {key.rpartition(".")[2]: v for key, v in tensors.items() if key.rpartition(".")[0] == node.name}
        if isinstance(node.op, Layer):
            values[node.name] = _layer(node.op, own, given[0], graph, integers)
        else:
            values[node.name] = _small(node.op, own, given)
            assert values[node.name].dtype in (np.float32, bool)
    return values[graph.nodes[-1].name][:, 0, 0], integers


def _small(op, own, given):
    x = given[0]
    if isinstance(op, Affine):
        return x * own["scale"] + own["shift"]
    if isinstance(op, Shift):
        return x + own["shift"]
    if isinstance(op, Add):
        return x + given[1]
    if isinstance(op, TwoSlope):
        above, below = (own[s] if getattr(op, s) is None else np.float32(getattr(op, s)) for s in ("above", "below"))
        return np.where(x > 0, x * above, x * below)
    if isinstance(op, Clip):
        return np.clip(x, np.float32(op.low), np.float32(op.high))
    if isinstance(op, Sign):
        flip = np.unpackbits(own["flip"], count=x.shape[-1], bitorder="little").astype(bool)
        return (x >= own["threshold"]) ^ flip
    if isinstance(op, MaxPool):
        least = False if x.dtype == bool else np.float32(-np.inf)
        return _windows(x, (op.kernel,) * 2, (op.stride,) * 2, (op.padding,) * 2, least).max((4, 5))
    if isinstance(op, AveragePool):
        seen = _windows(x, (op.kernel,) * 2, (op.stride,) * 2, (op.padding,) * 2, ZERO)
        total = np.zeros(seen.shape[:4], np.float32)
        for i in range(op.kernel):
            for j in range(op.kernel):
                total = total + seen[..., i, j]
        return total / np.float32(op.kernel**2)
    if isinstance(op, GlobalAverage):
        return x.astype(np.float64).mean((1, 2), keepdims=True).astype(np.float32)
    if isinstance(op, Subsample):
        return np.pad(x[:, :: op.stride, :: op.stride], [(0, 0)] * 3 + [(op.before, op.after)])
    if isinstance(op, Concat):
        return np.concatenate(given, -1)
    assert isinstance(op, Flatten)
    return x.reshape(len(x), 1, 1, -1)


def _windows(x, kernel, stride, padding, fill):
    """`(N, H', W', C, kh, kw)`."""
    if np.ndim(fill):  # a value of each channel
        planes = [
            np.pad(x[..., c], [(0, 0), *((p, p) for p in padding)], constant_values=v) for c, v in enumerate(fill)
        ]
        x = np.stack(planes, -1)
    else:
        x = np.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2))[:, :: stride[0], :: stride[1]]


def _layer(layer, own, x, graph, integers):
    at = type(graph.input)(*x.shape[1:])
    window, border = layer.looks(at), 0
    if layer.weights.form == "int8" and layer.operand.form == "reals":
        x = np.rint(np.clip(x / np.float32(layer.operand.step), 0, 255))
    elif layer.weights.form == "int8":
        border = own["fill"]
    elif layer.operand.form == "pixels":
        x = (x.astype(np.float32) - np.float32(graph.mean)) / np.float32(graph.std)
    if layer.operand.form == "signs":
        assert x.dtype == bool
        x, border = np.where(x, 1, -1), 1 if layer.border == "ones" else 0
    wide = np.float64 if layer.accumulate == "fp64" or layer.binary or layer.weights.form == "int8" else np.float32
    seen = _windows(x.astype(wide), window.kernel, window.stride, window.padding, border)
    sums = _sums(seen, _weight(layer, own, x.shape[-1]), layer.groups)
    if layer.binary:
        integers[layer.name] = sums
    n = sums.astype(np.float32)
    if layer.window_sum:
        bits = _sums(seen, np.ones((layer.groups, *window.kernel, x.shape[-1] // layer.groups)), layer.groups)
        bits = np.repeat(bits, layer.outputs // layer.groups, -1).astype(np.float32)
        ways = layer.overlaps(at)
        n = n * own["sum_scale"] + bits * own["window_scale"] + own["constant"][ways[0]][:, ways[1]]
    if layer.pool:
        size, stride, padding = layer.pool
        n = _windows(n, (size,) * 2, (stride,) * 2, (padding,) * 2, np.float32(-np.inf)).max((4, 5))
    if layer.ending.form == "reals":
        for i, slope in enumerate(layer.ending.slopes):
            n = n * own[f"scale{i}"] + own[f"shift{i}"]
            n = np.where(n > 0, n, n * (own[f"slope{i}"] if slope is None else np.float32(slope)))
        assert n.dtype == np.float32
        return n
    features = n.shape[1:] if layer.ending.per_position else n.shape[-1:]

    def bits_of(octets):
        return np.unpackbits(octets, count=int(np.prod(features)), bitorder="little").reshape(features).astype(bool)

    planes = []
    for plane in range(layer.ending.bits):
        found = np.broadcast_to(bits_of(own["flip"][plane]), n.shape)
        for level in range(layer.ending.levels):
            change = bits_of(own["change"][level, plane]) if "change" in own else True
            found = found ^ ((n >= own["threshold"][level]) & change)
        planes.append(found)
    return planes[0] if layer.ending.form == "signs" else sum(found.astype(int) << p for p, found in enumerate(planes))


def _weight(layer, own, channels):
    """Weights in fp64, `(O, kh, kw, C)`."""
    if layer.weights.form != "planes":
        return own["weight"].astype(np.float64)
    bits = np.unpackbits(own["weight"], axis=-1, count=channels // layer.groups, bitorder="little")
    factors = np.array(layer.weights.factors).reshape(-1, 1, 1, 1, 1) / layer.weights.divisor
    return (factors * (2.0 * bits - 1)).sum(0)


def _sums(seen, weight, groups):
    n, height, width, channels = seen.shape[:4]
    seen = seen.reshape(n, height, width, groups, channels // groups, *seen.shape[4:])
    weight = weight.reshape(groups, -1, *weight.shape[1:]).astype(seen.dtype)
    found = [np.einsum("nhwcij,oijc->nhwo", seen[:, :, :, g], weight[g], optimize=True) for g in range(groups)]
    return np.concatenate(found, -1)
