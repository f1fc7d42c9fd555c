"""A traced network as the nodes of a packed graph, for networks that are not chains.

Reals between nodes equal those of evaluation bit for bit; `bits.py` says where bits arise.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.export import nodes
from xnorlit.export.bits import bits_of
from xnorlit.export.chain import Link, square_pool
from xnorlit.export.dataflow import Op, map_of, operations
from xnorlit.export.int8 import int8_conv, int8_reals, takes_levels
from xnorlit.export.layers import Tensors, code_tensors, packed_layer
from xnorlit.export.operands import operand_of, reads_plainly, refuse
from xnorlit.export.thresholds import Steps
from xnorlit.export.trace import IMAGES, Step, Trace
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, Conv2d
from xnorlit.packed import graph as packed
from xnorlit.packed.graph import PIXELS, Node
from xnorlit.packed.layer import Ending, Layer, Map, Operand, Weights, Window


class _Value(NamedTuple):
    """A value of the packed graph.

    Attributes:
        name: Name of its node.
        map: Its extents.
        order: For a value that torch has flattened, the map before the flattening.
    """

    name: str
    map: Map
    order: Map | None = None

    @property
    def solid(self) -> bool:
        """Whether it is flattened in the packed network too."""
        return self.order is not None and self.map != self.order


@torch.no_grad()
def packed_nodes(
    trace: Trace, ends: str = "float", ranges: Callable[[Step], tuple[float, float]] | None = None
) -> tuple[tuple[Node, ...], Tensors]:
    """The nodes of a network, and their tensors.

    Args:
        trace: The network.
        ends: Whether real layers compute in 8 bits (`int8`) or exactly (`float`): convolutions of the pixels, linear
            layers, and convolutions of reals without padding and groups.
        ranges: From a step with a real layer to the least and the largest of its inputs on calibration images, for
            `int8`.

    Raises:
        UserError: A part of the network has no packed form.
    """
    ops = operations(trace)
    refuse(
        not any(isinstance(op.module, BinaryLayer) for op in ops),
        "the network",
        "it has no convolution and no linear layer",
    )
    _warn_of_rounding(trace, ops)
    return _Writer(ops, trace, ends, ranges).written()


def _warn_of_rounding(trace: Trace, ops: Sequence[Op]) -> None:
    """Warns of modules that round in another order than the engine and whose values become signs."""
    if not any(op.takes_codes for op in ops):
        return

    def loose(module: nn.Module) -> bool:
        exact = (BatchNorm1d, BatchNorm2d, Conv2d)
        real = isinstance(module, BinaryLayer) and not module.binarizer.exact and not module.binarizer.two_valued
        torchs = isinstance(module, _BatchNorm | nn.Conv2d) and not isinstance(module, exact)
        if torchs or not (real and isinstance(module, BinaryConv2d)):
            return torchs
        # Planes of weights are summed with reals in fp32, whatever evaluation does.
        return module.binarizer.weight_bits < 32 or not module.rounds_once

    if names := [step.name for step in trace.steps if loose(step.module)]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"pack: {', '.join(names[:3])}{more} round in an order of their own. The packed network matches them up "
            "to the last bit, so a sign may differ in one image of fifty. Use xl.Conv2d and xl.BatchNorm2d, or call "
            "binarize_, for equal signs.",
            stacklevel=5,  # the caller of `pack`; torch.no_grad is a frame of its own
        )


class _Writer:
    """Write the nodes that the logits depend on, in order.

    Args:
        ops: All operations.
        trace: The network.
        ends: See `packed_nodes`.
        ranges: Likewise.
    """

    def __init__(
        self, ops: list[Op], trace: Trace, ends: str, ranges: Callable[[Step], tuple[float, float]] | None
    ) -> None:
        self.ops, self.trace, self.ends, self.ranges = ops, trace, ends, ranges
        self.nodes: list[Node] = []
        self.tensors: Tensors = {}
        self.values: dict[int, _Value] = {}
        side = trace.shapes[IMAGES][1]
        self.pixels = _Value(PIXELS, Map(side, side, 3))
        self.bits = {id(op): bits_of(op, self.pixels.map) for op in ops if op.takes_codes}
        self.endings = {id(each.source): each for each in self.bits.values() if each.ending is not None}
        self.signs: dict[tuple[object, ...], _Value] = {}

    def written(self) -> tuple[tuple[Node, ...], Tensors]:
        """The nodes and their tensors."""
        needed = self._needed()
        for op in self.ops:
            if id(op) in needed:
                self.values[id(op)] = self._written(op)
        last = self.values[id(self.ops[-1])]
        if last.order is not None and not last.solid:
            last = self._solid(last)
        refuse(last.solid, self.ops[-1].name, "a flattened map gives the logits; put a linear layer after it")
        return tuple(self.nodes), self.tensors

    def _needed(self) -> set[int]:
        needed: set[int] = set()
        waiting = [self.ops[-1]]
        while waiting:
            op = waiting.pop()
            if id(op) in needed:
                continue
            needed.add(id(op))
            made = self.bits.get(id(op))
            waiting += [made.source] if made else [each for each in op.inputs if each is not None]
        return needed

    def _add(self, name: str, inputs: Sequence[_Value], op: packed.Operation, tensors: Tensors, at: Map) -> _Value:
        self.nodes.append(Node(name, tuple(each.name for each in inputs), op))
        self.tensors |= {f"{name}.{key}": np.ascontiguousarray(values) for key, values in tensors.items()}
        return _Value(name, at, inputs[0].order if inputs else None)

    def _free(self, name: str) -> str:
        taken = {node.name for node in self.nodes} | {op.name for op in self.ops}
        while name in taken:
            name += "_"
        return name

    def _solid(self, value: _Value) -> _Value:
        """The value, flattened in the packed network too."""
        if value.order is None or value.solid:
            return value
        name = self._free(f"{value.name}.flat")
        return self._add(name, [value], packed.Flatten(), {}, Map(1, 1, math.prod(value.order)))

    def _written(self, op: Op) -> _Value:
        if isinstance(op.module, BinaryLayer):
            return self._layer(op, op.module)
        inputs = [self.values[id(each)] for each in op.inputs if each is not None]
        if isinstance(op.module, nn.Flatten):
            given = inputs[0]
            return given if given.map[:2] == (1, 1) else given._replace(order=given.map)
        if op.elementwise:
            return self._elementwise(op, inputs[0])
        if any(each.order is not None for each in inputs):
            same = len({each.order for each in inputs}) == 1 and isinstance(op.module, nodes.Add)
            refuse(not same, op.name, f"it reads a flattened map of several positions{op.place}; flatten after it")
            inputs = [self._solid(each) for each in inputs] if len({each.map for each in inputs}) > 1 else inputs
        form, at = self._form(op), map_of(op.shape)
        return self._add(op.name, inputs, form, {}, inputs[0].map if isinstance(op.module, nodes.Add) else at)

    def _form(self, op: Op) -> packed.Operation:
        module = op.module
        if isinstance(module, nn.MaxPool2d):
            return packed.MaxPool(*square_pool(module, op.name, op.place))
        if isinstance(module, nodes.AveragePool):
            return packed.AveragePool(module.kernel, module.stride, module.padding)
        if isinstance(module, nodes.Subsample):
            return packed.Subsample(module.stride, module.before, module.after)
        kinds = {nodes.Add: packed.Add, nodes.Concat: packed.Concat, nodes.GlobalAverage: packed.GlobalAverage}
        return kinds[type(module)]()

    def _elementwise(self, op: Op, given: _Value) -> _Value:
        module = op.module
        numbers = {key: values for key, values in module.named_buffers() if values.ndim}
        if isinstance(module, nodes.Clip):
            return self._add(op.name, [given], packed.Clip(module.low, module.high), {}, given.map)
        if given.order is not None and numbers:
            # Each position of a flattened map has its own numbers, in torch's order.
            given = self._solid(given)
            numbers = {key: _in_order(values, given.order) for key, values in numbers.items() if given.order}
        tensors = {key: values.expand(given.map.channels).numpy() for key, values in numbers.items()}
        if isinstance(module, nodes.TwoSlope):
            slopes = [None if key in numbers else float(getattr(module, key)) for key in ("above", "below")]
            return self._add(op.name, [given], packed.TwoSlope(*slopes), tensors, given.map)
        form = packed.Affine() if isinstance(module, nodes.Affine) else packed.Shift()
        return self._add(op.name, [given], form, tensors, given.map)

    def _layer(self, op: Op, layer: BinaryLayer) -> _Value:
        given = self._operand(op)
        order = given.order
        if made := self.endings.get(id(op)):
            assert made.ending is not None
            found, tensors = made.ending, dict(made.tensors or {})
        else:
            operand = operand_of(layer, op.name, first=op.inputs[0] is None)
            flat = layer.window is None
            plain = operand.form != "reals" or reads_plainly(layer.binarizer, layer.channels, flat=flat)
            kind = type(layer.binarizer).__name__
            refuse(not plain, op.name, f"{kind} shifts or scales its real inputs{op.place}")
            link = Link(op.name, layer, operand, (), None, (), (), None, None, 1)
            found, tensors = packed_layer(link, order or given.map)
        if given.solid:
            assert order is not None
            tensors["weight"] = _flattened(tensors["weight"], found.weights, order)
        if self.ends == "int8" and found.operand.form == "pixels" and found.weights.form == "float":
            mean, std = (values.flatten().tolist() for values in (self.trace.normalize.mean, self.trace.normalize.std))
            found, tensors = int8_conv(found, tensors, mean, std)
        elif self.ends == "int8" and takes_levels(found):
            assert self.ranges is not None
            step = next(step for step in self.trace.steps if step.name == op.name)
            found, tensors, middle = int8_reals(found, tensors, *self.ranges(step))
            if middle:
                shift = {"shift": np.full(given.map.channels, middle, np.float32)}
                given = self._add(self._free(f"{op.name}.levels"), [given], packed.Shift(), shift, given.map)
        elif found.weights.form == "float":
            found = replace(found, accumulate="fp64")
        if getattr(layer, "padding_mode", "zeros") == "ones":
            found = replace(found, border="ones")
        if found.ending.form == "reals" and found.ending.slopes == (1.0,):
            changed = (tensors["scale0"] != 1).any() or (tensors["shift0"] != 0).any()
            if not changed:
                found = replace(found, ending=Ending("reals"))
                tensors = {key: values for key, values in tensors.items() if key not in ("scale0", "shift0")}
        node = self._add(op.name, [given], found, tensors, found.output(given.map))
        return node._replace(order=None)

    def _operand(self, op: Op) -> _Value:
        """What a layer reads: reals, pixels or bits. Makes the bits here unless the layer before makes them."""
        made = self.bits.get(id(op))
        if made is None:
            return self.pixels if op.inputs[0] is None else self.values[id(op.inputs[0])]
        if made.ending is not None:
            return self.values[id(made.source)]
        given = self.values[id(made.source)]
        steps, operand = made.steps, made.operand
        assert steps is not None
        assert operand is not None
        if steps.threshold.shape[1] != given.map.channels:
            given = self._solid(given)
        if given.solid:
            steps = Steps(*(_in_order(torch.from_numpy(values), given.order).numpy() for values in steps))
        key = (given.name, operand, *(values.tobytes() for values in steps))
        if key not in self.signs:
            name = self._free(f"{op.name}.sign" if operand.form == "signs" else f"{op.name}.codes")
            form, tensors = _sign(steps) if operand.form == "signs" else _codes(name, operand.bits, steps)
            self.signs[key] = self._add(name, [given], form, tensors, given.map)
        found = self.signs[key]
        if made.pool is not None:
            form, size = self._form(made.pool), map_of(made.pool.shape)
            found = self._add(made.pool.name, [found], form, {}, size)
        return found


def _sign(steps: Steps) -> tuple[packed.Sign, Tensors]:
    flip = np.packbits(steps.start, bitorder="little")
    return packed.Sign(), {"threshold": steps.threshold[0].astype(np.float32), "flip": flip}


def _codes(name: str, bits: int, steps: Steps) -> tuple[Layer, Tensors]:
    """Codes of reals: a layer whose sums are these reals, channel by channel, and whose ending is the codes."""
    levels, channels = steps.threshold.shape
    ending = Ending("codes", bits, levels)
    layer = Layer(
        name, channels, Operand("reals"), Weights("float"), ending, Window((1, 1)), channels, accumulate="fp64"
    )
    steps = steps._replace(threshold=steps.threshold.astype(np.float32))
    return layer, {"weight": np.ones((channels, 1, 1, 1), np.float32)} | code_tensors(steps, bits)


def _in_order(values: Tensor, order: Map | None) -> Tensor:
    """Numbers of a flattened map, reordered from torch's order (channel by channel) to the engine's."""
    assert order is not None
    if values.numel() == 1 or values.shape[-1] == order.channels:
        return values
    shape = (*values.shape[:-1], order.channels, order.height, order.width)
    return values.reshape(shape).movedim(-3, -1).flatten(-3)


def _flattened(weight: np.ndarray, weights: Weights, order: Map) -> np.ndarray:
    """Weights `(..., H, W, C)` of a map, reordered for its flattened values."""
    if weights.form == "float":
        return weight.reshape(len(weight), 1, 1, -1)
    bits = np.unpackbits(weight, axis=-1, count=order.channels, bitorder="little")
    return np.packbits(bits.reshape(*bits.shape[:2], 1, 1, -1), axis=-1, bitorder="little")
