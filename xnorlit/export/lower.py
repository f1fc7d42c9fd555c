"""Lowers a packed graph to the plain operations that every runtime has.

All formats share this walk; each is a class of `Operations`. Every code between two layers is a comparison with the
packed graph's own threshold, which is exact, also at equality.
"""

import math
from dataclasses import dataclass
from typing import Generic

import numpy as np

from xnorlit.errors import UserError
from xnorlit.export.operations import EXACT, Operations, V, Window, refuse
from xnorlit.export.steps import ZERO, Steps, Tensors, steps_of
from xnorlit.packed.graph import (
    PIXELS,
    Add,
    Affine,
    AveragePool,
    Clip,
    Concat,
    Flatten,
    GlobalAverage,
    Graph,
    MaxPool,
    Node,
    Shift,
    Sign,
    Subsample,
    TwoSlope,
)
from xnorlit.packed.layer import Layer, Map


def metadata(graph: Graph) -> dict[str, str]:
    """Metadata of every format: the network's origin, its classes and how pictures are prepared."""
    return {
        "network": graph.network,
        "source": graph.source.words,
        "classes": "\n".join(graph.classes),
        "crop": str(graph.crop),
        "squash": str(graph.squash).lower(),
        "mean": " ".join(map(str, graph.mean)),
        "std": " ".join(map(str, graph.std)),
    }


@dataclass(frozen=True)
class _Value(Generic[V]):
    """A value of the packed graph: reals, or reals with the steps that turn them into codes for a reader.

    Attributes:
        x: A map of reals.
        at: Its extents.
        steps: Steps to signs or codes; `None` for reals.
        flat: Whether `x` has a channel for each channel and position of the map, `(N, C H W, 1, 1)`.
    """

    x: V
    at: Map
    steps: Steps | None = None
    flat: bool = False


def lower(graph: Graph, tensors: Tensors, ops: Operations[V]) -> V:
    """Build a graph's logits, `(N, classes)`, from a format's operations.

    A layer's sums before its pool are named `LAYER/sums`; for a layer that counts bits they are the module's integers.
    Other values have their node's name.

    Args:
        graph: A graph that fits the tensors.
        tensors: Tensors by name.
        ops: Operations that have built nothing yet.

    Raises:
        UserError: The format cannot express a layer; the message names it and what to use instead.
    """
    return _Walk(graph, tensors, ops).logits()


class _Walk(Generic[V]):
    """One walk over a graph's nodes."""

    def __init__(self, graph: Graph, tensors: Tensors, ops: Operations[V]) -> None:
        self._graph, self._tensors, self._ops = graph, tensors, ops
        self._values: dict[str, _Value[V]] = {}
        self._coded: dict[str, V] = {}

    def logits(self) -> V:
        for node in self._graph.steps:
            self._values[node.name] = self._layer(node, node.op) if isinstance(node.op, Layer) else self._other(node)
        last = self._graph.steps[-1].name
        return self._ops.features(self._values[last].x, len(self._graph.classes))

    def _own(self, name: str) -> Tensors:
        return {key.rpartition(".")[2]: value for key, value in self._tensors.items() if key.rpartition(".")[0] == name}

    def _numbers(self, name: str) -> V:
        """A value as reals, or the numbers of its codes."""
        given = self._values[name]
        if given.steps is None:
            return given.x
        if name not in self._coded:
            self._coded[name] = self._ops.steps(given.x, given.steps)
        return self._coded[name]

    def _other(self, node: Node) -> _Value[V]:
        """A node other than a layer."""
        op, ops, own = node.op, self._ops, self._own(node.name)
        at = self._graph.flows()[node.name].map
        x = self._numbers(node.inputs[0])
        if isinstance(op, Sign):
            return _Value(x, at, steps_of(own, 1, math.prod(own["threshold"].shape), signs=True))
        if isinstance(op, MaxPool):
            pooled = ops.max_pool(x, op.kernel, op.stride, op.padding)
            bits = self._values[node.inputs[0]].steps is not None
            return _Value(ops.named(pooled, node.name), at, ZERO if bits else None)
        return _Value(ops.named(self._real(node, x, own), node.name), at)

    def _real(self, node: Node, x: V, own: Tensors) -> V:
        """A node from reals to reals."""
        op, ops = node.op, self._ops
        if isinstance(op, Affine):
            return ops.add(ops.multiply(x, own["scale"]), own["shift"])
        if isinstance(op, Shift):
            return ops.add(x, own["shift"])
        if isinstance(op, Add):
            return ops.sum(x, self._numbers(node.inputs[1]))
        if isinstance(op, TwoSlope):
            return self._two_slope(op, x, own, self._values[node.inputs[0]].at)
        if isinstance(op, Clip):
            return ops.clip(x, op.low, op.high)
        if isinstance(op, AveragePool):
            return ops.average_pool(x, (op.kernel, op.kernel), Window((op.stride, op.stride), (op.padding, op.padding)))
        if isinstance(op, GlobalAverage):
            return ops.mean(x)
        if isinstance(op, Subsample):
            return ops.subsample(x, op.stride, op.before, op.after)
        if isinstance(op, Concat):
            return ops.concat([x, *(self._numbers(name) for name in node.inputs[1:])])
        if isinstance(op, Flatten):
            return self._flattened(x, self._values[node.inputs[0]].at)
        raise UserError(f"{node.name} cannot be exported: the exporter does not know {type(op).__name__}.")

    def _two_slope(self, op: TwoSlope, x: V, own: Tensors, at: Map) -> V:
        above, below = (
            own[name] if slope is None else np.full(at.channels, slope, np.float32)
            for name, slope in (("above", op.above), ("below", op.below))
        )
        if (above == 1).all():
            return self._ops.kink(x, below)
        nothing = np.zeros(at.channels, np.float32)
        high = self._ops.multiply(self._ops.kink(x, nothing), above)
        low = self._ops.multiply(self._ops.kink(self._ops.multiply(x, nothing - 1), nothing), -below)
        return self._ops.sum(high, low)

    def _flattened(self, x: V, at: Map) -> V:
        """Flattens position by position, as the engine does; the runtimes flatten channel by channel."""
        moved = self._ops.positions_first(x)
        return self._ops.as_map(moved, Map(1, 1, math.prod(at)))

    def _layer(self, node: Node, layer: Layer) -> _Value[V]:
        (name,) = node.inputs
        if name == PIXELS:
            self._values[PIXELS] = _Value(self._ops.pixels(normalized=layer.weights.form != "int8"), self._graph.input)
        given, own, ops = self._values[name], self._own(node.name), self._ops
        sums = ops.named(self._sums(layer, name, own), f"{layer.name}/sums")
        if layer.window_sum:
            sums = self._with_window(layer, given, sums, own)
        if layer.operand.scale == "K":
            looks = layer.looks(given.at)
            mean = ops.mean_magnitude(given.x)
            sums = ops.product(sums, ops.average_pool(mean, looks.kernel, Window(looks.stride, looks.padding)))
        if layer.pool:
            sums = ops.max_pool(sums, *layer.pool)
        after, ending = layer.output(given.at), layer.ending
        if ending.form == "reals":
            return _Value(self._reals(layer, sums, own), after)
        if not ending.per_position:
            return _Value(sums, after, steps_of(own, ending.levels, layer.outputs, signs=ending.form == "signs"))
        # With thresholds per position, each position becomes a channel.
        features = math.prod(after)
        order = np.arange(features).reshape(after).transpose(2, 0, 1).ravel()
        steps = steps_of(own, ending.levels, features, signs=ending.form == "signs")
        steps = steps.each(lambda part: np.ascontiguousarray(part[..., order]))
        return _Value(ops.as_map(sums, Map(1, 1, features)), after, steps, flat=True)

    def _sums(self, layer: Layer, name: str, own: Tensors) -> V:
        """A layer's sums over its input, `(N, O, H', W')`."""
        given, ops, form = self._values[name], self._ops, layer.weights.form
        at = given.at
        looks = layer.looks(at)
        window = Window(looks.stride, looks.padding, layer.groups, int(layer.border == "ones"))
        if form != "planes":
            weight = own["weight"].transpose(0, 3, 1, 2)
            if form == "int8" and layer.operand.form == "pixels":
                return ops.byte_convolution(given.x, weight, own["fill"], window)
            if form == "int8":
                if looks.kernel != at[:2]:
                    return ops.convolution(ops.levels(self._numbers(name), layer.operand.step), weight, window)
                flat = ops.features(given.x, math.prod(at))
                y = ops.byte_linear(flat, layer.operand.step, weight.reshape(len(weight), -1))
                return ops.as_map(y, Map(1, 1, layer.outputs))
            return self._product(layer, name, weight, window)
        planes = planes_of(layer, own["weight"], at).transpose(0, 1, 4, 2, 3)
        if layer.operand.form == "signs":
            return self._sign_sums(layer, given, planes, window)
        weight = weight_of(layer, planes)
        if layer.binary:
            most = int(np.abs(weight).reshape(len(weight), -1).sum(axis=1).max()) * (2**layer.operand.bits - 1)
            refuse(
                most > EXACT,
                layer.name,
                f"its sums reach {most}, but fp32 is exact only up to {EXACT}; train with fewer bits",
            )
        return self._product(layer, name, weight.astype(np.float32), window)

    def _product(self, layer: Layer, name: str, weight: np.ndarray, window: Window) -> V:
        ops, given, x = self._ops, self._values[name], self._numbers(name)
        if layer.window is None:
            y = ops.linear(ops.features(x, math.prod(given.at)), weight.reshape(len(weight), -1))
            return ops.as_map(y, Map(1, 1, layer.outputs))
        x, window = ops.bordered(x, window)
        return ops.convolution(x, weight, window)

    def _sign_sums(self, layer: Layer, given: _Value[V], planes: np.ndarray, window: Window) -> V:
        """Sums of signs times planes of signs, each plane multiplied by its factor."""
        ops = self._ops
        x, steps = self._signs(given)
        if given.flat:
            planes = planes.reshape(*planes.shape[:2], -1, 1, 1)
        if len(planes) > 1 and (sums := ops.integer_sums(x, steps, weight_of(layer, planes), window)) is not None:
            return sums
        total = None
        for factor, plane in zip(np.array(layer.weights.factors) / layer.weights.divisor, planes, strict=True):
            part = ops.sign_sums(x, steps, plane, window)
            if factor != 1:
                part = ops.multiply(part, np.full(layer.outputs, factor, np.float32))
            total = part if total is None else ops.sum(total, part)
        assert total is not None
        return total

    def _signs(self, given: _Value[V]) -> tuple[V, Steps]:
        """A value, and one threshold per channel that turns it into signs."""
        x, steps, channels = given.x, given.steps or ZERO, math.prod(given.at) if given.flat else given.at.channels
        if not steps.single:
            x, steps = self._ops.steps(x, steps), ZERO
        return x, steps.each(lambda part: np.broadcast_to(part, (*part.shape[:-1], channels)))

    def _with_window(self, layer: Layer, given: _Value[V], sums: V, own: Tensors) -> V:
        """`(n * sum_scale + A * window_scale) + constant`, where A is the sum of the signs in the window."""
        ops, at, looks = self._ops, given.at, layer.looks(given.at)
        x, steps = self._signs(given)
        window = Window(looks.stride, looks.padding, layer.groups, int(layer.border == "ones"))
        outputs = layer.outputs if layer.groups > 1 else 1  # one sum serves all outputs of a group
        seen = (math.prod(at), 1, 1) if given.flat else (at.channels // layer.groups, *looks.kernel)
        inside = ops.sign_sums(x, steps, np.ones((outputs, *seen), bool), window)
        rows, columns = layer.overlaps(at)
        constant = own["constant"][np.ix_(rows, columns)].transpose(2, 0, 1)
        both = ops.sum(ops.multiply(sums, own["sum_scale"]), ops.multiply(inside, own["window_scale"]))
        return ops.add(both, np.ascontiguousarray(constant))

    def _reals(self, layer: Layer, sums: V, own: Tensors) -> V:
        """Apply affine maps, each with a kink at zero."""
        ops = self._ops
        for i, slope in enumerate(layer.ending.slopes):
            sums = ops.multiply(sums, _each(own[f"scale{i}"]))
            if (shift := own[f"shift{i}"]).any():
                sums = ops.add(sums, _each(shift))
            if slope is None:
                sums = ops.kink(sums, _each(own[f"slope{i}"]))
            elif slope != 1:
                sums = ops.kink(sums, np.full(layer.outputs, slope, np.float32))
        return sums


def planes_of(layer: Layer, octets: np.ndarray, at: Map) -> np.ndarray:
    """Which weights of each plane are +1, `(P, O, kh, kw, C / groups)`, of a layer that reads the map `at`."""
    return np.unpackbits(octets, axis=-1, count=at.channels // layer.groups, bitorder="little") == 1


def weight_of(layer: Layer, planes: np.ndarray) -> np.ndarray:
    """What the planes add up to."""
    factors = np.array(layer.weights.factors).reshape(-1, *(1,) * (planes.ndim - 1))
    return (factors * (2 * planes.astype(np.int64) - 1)).sum(axis=0) / layer.weights.divisor


def _each(values: np.ndarray) -> np.ndarray:
    """Numbers per channel unchanged; numbers `(H, W, C)` as `(C, H, W)`."""
    return values if values.ndim == 1 else np.ascontiguousarray(values.transpose(2, 0, 1))
