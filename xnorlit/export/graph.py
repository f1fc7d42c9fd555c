"""A traced network as the nodes of a packed graph, for networks that are not chains.

Reals between nodes equal those of evaluation bit for bit. Bits arise in one of two places. If only one binary layer
reads a layer, that layer's ending makes them, by thresholds on its sums. Otherwise a node of its own makes them, by
thresholds on reals. Running the modules in between finds both kinds of thresholds.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.export import nodes
from xnorlit.export.chain import Link, as_ours, check_finite, square_pool
from xnorlit.export.int8 import int8_conv, int8_reals, takes_levels
from xnorlit.export.layers import Tensors, packed_layer, plane_bits
from xnorlit.export.operands import operand_of, packed_bits, reads_plainly, refuse
from xnorlit.export.thresholds import Steps, real_steps
from xnorlit.export.trace import IMAGES, LAYERS, Step, Trace
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLayer, Conv2d
from xnorlit.models.built import DuplicateChannels
from xnorlit.packed import graph as packed
from xnorlit.packed.graph import PIXELS, Ending, Layer, Map, Node, Operand, Weights, Window

NOTHING = (1.0,)  # slopes of an ending without a kink


@dataclass
class _Op:
    """One operation; its value has its name.

    Attributes:
        name: Its name in the packed network.
        module: A layer of ours, a node's module, a max pool or a flattening.
        inputs: The operations that it reads; None for the pixels.
        shape: Shape of its value for one image, in torch's order.
        place: Where the user's code calls it.
        users: The operations that read it, one entry per read.
    """

    name: str
    module: nn.Module
    inputs: list["_Op | None"]
    shape: tuple[int, ...]
    place: str
    users: list["_Op"] = field(default_factory=list)

    @property
    def takes_codes(self) -> bool:
        """Whether this is a layer that reads signs or codes."""
        return isinstance(self.module, BinaryLayer) and self.module.binarizer.input_bits < 32

    @property
    def elementwise(self) -> bool:
        """Whether it maps each real independently."""
        return isinstance(self.module, nodes.NODES)


class _Bits(NamedTuple):
    """Where the bits that a layer reads come from.

    Attributes:
        source: The layer whose ending makes them, or the reals that a node compares.
        ending: The layer, packed with an ending in bits; None if a node makes the bits.
        tensors: Tensors of that layer.
        steps: Steps of the node, per channel in torch's order.
        operand: What the reader takes them for.
        pool: A max pool of the bits, after the node.
    """

    source: _Op
    ending: Layer | None = None
    tensors: Tensors | None = None
    steps: Steps | None = None
    operand: Operand | None = None
    pool: _Op | None = None


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
    ops = _operations(trace)
    refuse(
        not any(isinstance(op.module, BinaryLayer) for op in ops),
        "the network",
        "it has no convolution and no linear layer",
    )
    _warn_of_rounding(trace, ops)
    return _Writer(ops, trace, ends, ranges).written()


def _warn_of_rounding(trace: Trace, ops: Sequence[_Op]) -> None:
    """Warns of modules that round as torch's kernels do and whose values become signs."""
    if not any(op.takes_codes for op in ops):
        return

    def loose(module: nn.Module) -> bool:
        exact = (BatchNorm1d, BatchNorm2d, Conv2d)
        real = isinstance(module, BinaryLayer) and not module.binarizer.exact and not module.binarizer.two_valued
        torchs = isinstance(module, _BatchNorm | nn.Conv2d) and not isinstance(module, exact)
        return torchs or (real and isinstance(module, BinaryConv2d) and not module.rounds_once)

    if names := [step.name for step in trace.steps if loose(step.module)]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"pack: {', '.join(names[:3])}{more} round as torch's kernels do. The packed network matches them up to "
            "the last bit, so a sign may differ in one image of fifty. Use xl.Conv2d and xl.BatchNorm2d, or call "
            "binarize_, for equal signs.",
            stacklevel=4,
        )


# --- operations -------------------------------------------------------------------------------------------------------
def _operations(trace: Trace) -> list[_Op]:
    """The steps as operations of the engine, in an order in which each follows those it reads."""
    made: dict[str, _Op | None] = {IMAGES: None}
    ops: list[_Op] = []
    names: set[str] = {PIXELS}

    def add(name: str, module: nn.Module, inputs: Sequence[_Op | None], shape: tuple[int, ...], place: str) -> _Op:
        while name in names:
            name += "_"
        names.add(name)
        ops.append(_Op(name, module, list(inputs), shape, place))
        for each in inputs:
            if each is not None:
                each.users.append(ops[-1])
        return ops[-1]

    for step in trace.steps:
        name, place, shape = step.name, step.place, trace.shapes[step.name]
        inputs: list[_Op | None] = [made[each] for each in step.inputs]
        if not isinstance(step.module, LAYERS):
            pixels = f"it stands between the pixels and the first layer{place}"
            refuse(None in inputs, name, pixels)
            check_finite(step.module, name)
            parts = list(_parts(step.module, name, place, trace.shapes[step.inputs[0]]))
            inputs = inputs * 2 if isinstance(step.module, DuplicateChannels) else inputs
            for i, part in enumerate(parts):
                last = i == len(parts) - 1
                inputs = [add(name if last else f"{name}.{i}", part, inputs, shape, place)]
            made[name] = inputs[0]
            continue
        layer = as_ours(step)
        if layer.binarizer.input_bits == 32 and layer.binarizer.rectify and inputs[0] is not None:
            given = trace.shapes[step.inputs[0]]
            inputs = [add(f"{name}.rectified", nodes.TwoSlope(1.0, 0.0), inputs, given, place)]
        op = add(name, layer, inputs, shape, place)
        if layer.shortcut:
            refuse(made[step.inputs[0]] is None, name, f"its shortcut adds the pixels{place}")
            op = add(f"{name}.sum", nodes.Add(), [op, made[step.inputs[0]]], shape, place)
        if layer.post_layer is not None:
            for i, part in enumerate(_parts(layer.post_layer, name, place, shape)):
                op = add(f"{name}.behind{i}", part, [op], shape, place)
        made[name] = op
    return ops


def _parts(module: nn.Module, name: str, place: str, shape: Sequence[int]) -> Iterator[nn.Module]:
    """The nodes of a module other than a layer; max pools, averages and flattenings stay modules."""
    if type(module) in nodes.registered():
        yield from nodes.nodes_of(module, name, (2, *shape))
    elif isinstance(module, nn.Sequential):
        for part in module:
            yield from _parts(part, name, place, shape)
    elif isinstance(module, _BatchNorm):
        yield nodes.Affine(*_scale_and_shift(module))
    elif isinstance(module, nn.ReLU):
        yield nodes.TwoSlope(1.0, 0.0)
    elif isinstance(module, nn.PReLU):
        yield nodes.TwoSlope(1.0, module.weight.flatten() if module.weight.numel() > 1 else module.weight.flatten()[0])
    elif isinstance(module, nn.LeakyReLU):
        yield nodes.TwoSlope(1.0, module.negative_slope)
    elif isinstance(module, nn.Hardtanh):
        yield nodes.Clip(module.min_val, module.max_val)
    elif isinstance(module, RPReLU):
        yield from (nodes.Shift(module.before), nodes.TwoSlope(1.0, module.slope), nodes.Shift(module.after))
    elif isinstance(module, Maxout):
        yield nodes.TwoSlope(module.positive, module.negative)
    elif isinstance(module, nn.AdaptiveAvgPool2d):
        yield nodes.GlobalAverage()
    elif isinstance(module, DuplicateChannels):
        yield nodes.Concat()
    elif isinstance(module, nn.MaxPool2d):
        square_pool(module, name, place)
        yield module
    else:
        known = isinstance(module, nn.Flatten) or type(module).__module__ == nodes.__name__
        why = f"{type(module).__name__} follows it{place} and has no packed form; register it with register_node"
        refuse(not known, name, why)
        yield module


def _scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    if isinstance(norm, BatchNorm1d | BatchNorm2d):
        return norm.scale_and_shift()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _map(shape: Sequence[int]) -> Map:
    return Map(shape[1], shape[2], shape[0]) if len(shape) == 3 else Map(1, 1, shape[0])


# --- bits -------------------------------------------------------------------------------------------------------------
def _for_bits_alone(op: _Op) -> bool:
    """Whether a value is read only as signs or codes, directly or through elementwise operations."""
    return bool(op.users) and all(
        user.takes_codes or ((user.elementwise or isinstance(user.module, nn.Flatten)) and _for_bits_alone(user))
        for user in op.users
    )


def _bits(reader: _Op, pixels: Map) -> _Bits:
    """Where the bits that a layer reads come from, for an image of those extents."""
    before = reader.inputs[0]
    operand = operand_of(reader.module, reader.name, first=before is None)  # type: ignore[arg-type]
    kind = type(reader.module.binarizer).__name__
    scaled = f"{kind} scales its sums by input magnitudes (K){reader.place}, which graphs lack; train without K"
    refuse(operand.scale == "K", reader.name, scaled)
    assert before is not None
    if found := _at_ending(reader, before, operand, pixels):
        return found
    between: list[_Op] = []
    source = before
    while (source.elementwise or isinstance(source.module, nn.Flatten)) and _for_bits_alone(source):
        if isinstance(source.module, nn.Flatten) and _apart(reader, [source, *between]):
            break
        between.insert(0, source)
        assert source.inputs[0] is not None
        source = source.inputs[0]
    try:
        steps = _steps(reader, operand, between)
    except UserError:
        if not between:
            raise
        source, between = before, []
        steps = _steps(reader, operand, between)
    pooled = isinstance(source.module, nn.MaxPool2d) and len(source.users) == 1 and not steps.start.any()
    if pooled and operand.form == "signs" and source.inputs[0] is not None:
        return _Bits(source.inputs[0], steps=steps, operand=operand, pool=source)
    return _Bits(source, steps=steps, operand=operand)


def _apart(reader: _Op, between: Sequence[_Op]) -> bool:
    """Whether the positions of a flattened map have thresholds of their own."""
    flat = between[0]
    features = flat.shape[0]
    assert isinstance(reader.module, BinaryLayer)
    modules = [reader.module.binarizer, *(op.module for op in between)]
    own = [values for module in modules for values in _tensors(module)]
    given = flat.inputs[0]
    assert given is not None
    return math.prod(given.shape[1:]) > 1 and any(values.numel() == features for values in own)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _steps(reader: _Op, operand: Operand, between: Sequence[_Op]) -> Steps:
    """Steps, per channel in torch's order, that give a layer's signs or codes from the value before `between`."""
    layer, start = reader.module, reader.inputs[0] if not between else between[0].inputs[0]
    assert isinstance(layer, BinaryLayer)
    assert start is not None
    channels, kind = start.shape[0], type(layer.binarizer).__name__

    def codes(values: Tensor) -> Tensor:
        x = values.to(torch.float32).expand(-1, channels)
        for op in between:
            if not isinstance(op.module, nn.Flatten):
                x = op.module(x)
        x = x if layer.window is None else x[:, :, None, None]
        signs = layer.binarizer.input_values(x).signs if layer.binarizer.two_valued else None
        found = layer.binarizer.input_codes(x).values if signs is None else signs
        found = (
            (found.reshape(len(x), channels) + 1) / 2 if operand.form == "signs" else found.reshape(len(x), channels)
        )
        whole = torch.equal(found, found.round()) and found.min() >= 0 and found.max() < 2**operand.bits
        what = "signs" if operand.form == "signs" else f"codes of {operand.bits} bits"
        refuse(not whole, reader.name, f"{kind} does not turn its input into {what}{reader.place}")
        return found.to(torch.int64)

    return real_steps(codes, channels, reader.name)


def _at_ending(reader: _Op, before: _Op, operand: Operand, pixels: Map) -> _Bits | None:
    """Bits that the layer before makes itself; None if it has other readers or can only give reals."""
    found: list[_Op] = []
    op = before
    while op.elementwise or isinstance(op.module, nn.Flatten | nn.MaxPool2d):
        found.insert(0, op)
        if len(op.users) != 1 or op.inputs[0] is None:
            return None
        op = op.inputs[0]
    layer = op.module
    assert isinstance(reader.module, BinaryLayer)
    if not isinstance(layer, BinaryLayer) or layer.binarizer.two_valued or len(op.users) != 1:
        return None
    kinds = ["pool" if isinstance(each.module, nn.MaxPool2d) else "flat" for each in found if not each.elementwise]
    if kinds not in ([], ["pool"], ["flat"], ["pool", "flat"]):
        return None
    if layer.binarizer.input_bits < 32 and op.inputs[0] is not None:
        scaled = operand_of(layer, op.name, first=False).scale == "K"
        if scaled:
            return None
    parts: dict[str, list[nn.Module]] = {"before_pool": [], "after_pool": [], "after_flatten": []}
    at, pool = "before_pool", None
    for each in found:
        if isinstance(each.module, nn.MaxPool2d):
            pool, at = square_pool(each.module, each.name, each.place), "after_pool"
        elif isinstance(each.module, nn.Flatten):
            at = "after_flatten"
        else:
            parts[at].append(each.module)
    given = operand_of(layer, op.name, first=op.inputs[0] is None)
    modules = {part: tuple(each) for part, each in parts.items()}
    link = Link(
        op.name,
        layer,
        given,
        pool=pool,
        reader=reader.module,
        reads=operand,
        copies=1,
        **modules,  # type: ignore
    )
    source = op.inputs[0]
    try:
        found_layer, tensors = packed_layer(link, _map(source.shape) if source else pixels)
    except UserError:
        return None
    return _Bits(op, ending=found_layer, tensors=tensors)


# --- writing ----------------------------------------------------------------------------------------------------------
class _Writer:
    """Writes the nodes that the logits depend on, in order.

    Args:
        ops: All operations.
        trace: The network.
        ends: See `packed_nodes`.
        ranges: Likewise.
    """

    def __init__(
        self, ops: list[_Op], trace: Trace, ends: str, ranges: Callable[[Step], tuple[float, float]] | None
    ) -> None:
        self.ops, self.trace, self.ends, self.ranges = ops, trace, ends, ranges
        self.nodes: list[Node] = []
        self.tensors: Tensors = {}
        self.values: dict[int, _Value] = {}
        side = trace.shapes[IMAGES][1]
        self.pixels = _Value(PIXELS, Map(side, side, 3))
        self.bits = {id(op): _bits(op, self.pixels.map) for op in ops if op.takes_codes}
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

    def _written(self, op: _Op) -> _Value:
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
        form, at = self._form(op), _map(op.shape)
        return self._add(op.name, inputs, form, {}, inputs[0].map if isinstance(op.module, nodes.Add) else at)

    def _form(self, op: _Op) -> packed.Operation:
        module = op.module
        if isinstance(module, nn.MaxPool2d):
            return packed.MaxPool(*square_pool(module, op.name, op.place))
        if isinstance(module, nodes.AveragePool):
            return packed.AveragePool(module.kernel, module.stride, module.padding)
        if isinstance(module, nodes.Subsample):
            return packed.Subsample(module.stride, module.before, module.after)
        kinds = {nodes.Add: packed.Add, nodes.Concat: packed.Concat, nodes.GlobalAverage: packed.GlobalAverage}
        return kinds[type(module)]()

    def _elementwise(self, op: _Op, given: _Value) -> _Value:
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

    def _layer(self, op: _Op, layer: BinaryLayer) -> _Value:
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
            found, tensors = (
                _two_valued(link, order or given.map)
                if layer.binarizer.two_valued
                else packed_layer(link, order or given.map)
            )
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
        if found.ending.form == "reals" and found.ending.slopes == NOTHING:
            changed = (tensors["scale0"] != 1).any() or (tensors["shift0"] != 0).any()
            if not changed:
                found = replace(found, ending=Ending("reals"))
                tensors = {key: values for key, values in tensors.items() if key not in ("scale0", "shift0")}
        node = self._add(op.name, [given], found, tensors, found.output(given.map))
        return node._replace(order=None)

    def _operand(self, op: _Op) -> _Value:
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
            form, size = self._form(made.pool), _map(made.pool.shape)
            found = self._add(made.pool.name, [found], form, {}, size)
        return found


def _sign(steps: Steps) -> tuple[packed.Sign, Tensors]:
    flip = np.packbits(steps.start, bitorder="little")
    return packed.Sign(), {"threshold": steps.threshold[0].astype(np.float32), "flip": flip}


def _codes(name: str, bits: int, steps: Steps) -> tuple[Layer, Tensors]:
    """Codes of reals: a layer whose sums are these reals, channel by channel, and whose ending is the codes."""
    levels, channels = steps.threshold.shape
    ending = Ending("codes", bits=bits, levels=levels)
    layer = Layer(
        name, channels, Operand("reals"), Weights("float"), ending, Window((1, 1)), channels, accumulate="fp64"
    )
    tensors = {
        "weight": np.ones((channels, 1, 1, 1), np.float32),
        "threshold": steps.threshold.astype(np.float32),
        "flip": plane_bits(steps.start.reshape(1, -1), bits)[0],
    }
    if levels > 1 or bits > 1:
        tensors["change"] = plane_bits(steps.change, bits)
    return layer, tensors


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


def _two_valued(link: Link, at: Map) -> tuple[Layer, Tensors]:
    """A layer of two-valued operands, as sums of signs plus the contribution of their centres."""
    layer = link.layer
    weights = layer.binarizer.weight_values(layer.weight)
    inputs = layer.binarizer.input_values(layer.weight.new_zeros(1, layer.channels))
    window = layer.window and Window(*layer.window)
    shape = layer.weight.shape[1:] if window else (at.channels, at.height, at.width)
    rows = (weights.signs > 0).view(-1, *shape).permute(0, 2, 3, 1)
    found = Layer(
        link.name,
        len(rows),
        link.operand,
        Weights("planes", (1,)),
        Ending("reals", slopes=NOTHING),
        window,
        getattr(layer, "groups", 1),
        window_sum=True,
    )
    x = torch.zeros(1, layer.channels, at.height, at.width) if window else torch.zeros(1, math.prod(shape))
    inside = layer.inside(x, inputs, weights)
    inside = inside.expand(1, len(rows), *found.sums(at)[:2]) if window else inside[:, :, None, None]
    ways = found.overlaps(at)
    firsts = [[numbers.index(way) for way in range(max(numbers) + 1)] for numbers in ways]
    constant = inside[0][:, firsts[0]][:, :, firsts[1]].permute(1, 2, 0)
    factors = [(inputs.distance.double() * each.double()).float() for each in (weights.distance, weights.centre)]
    bias = torch.zeros(len(rows)) if layer.bias is None else layer.bias
    return found, {
        "weight": packed_bits(rows[None]),
        "sum_scale": factors[0].numpy(),
        "window_scale": factors[1].numpy(),
        "constant": np.ascontiguousarray(constant.numpy()),
        "scale0": np.ones(len(rows), np.float32),
        "shift0": bias.numpy(),
    }
