"""Where the bits that a layer of a graph reads arise: at the ending of the layer before, or in a node of their own.

If only one binary layer reads a layer, that layer's ending makes them, by thresholds on its sums. Otherwise a node
makes them, by thresholds on reals. Running the modules in between finds both kinds of thresholds.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xnorlit.binarize import input_signs_or_codes
from xnorlit.errors import UserError
from xnorlit.export.bends import Bend, bends_of
from xnorlit.export.chain import Link, square_pool
from xnorlit.export.dataflow import Op
from xnorlit.export.layers import Tensors, packed_layer
from xnorlit.export.operands import operand_of, refuse
from xnorlit.export.thresholds import Steps, real_steps
from xnorlit.layers import BinaryLayer
from xnorlit.packed.layer import Layer, Map, Operand


class Bits(NamedTuple):
    """Where the bits that a layer reads come from.

    Attributes:
        source: The layer whose ending makes them, or the reals that a node compares.
        ending: The layer, packed with an ending in bits; None if a node makes the bits.
        tensors: Tensors of that layer.
        steps: Steps of the node, per channel in torch's order.
        operand: What the reader takes them for.
        pool: A max pool of the bits, after the node.
    """

    source: Op
    ending: Layer | None = None
    tensors: Tensors | None = None
    steps: Steps | None = None
    operand: Operand | None = None
    pool: Op | None = None


def _for_bits_alone(op: Op) -> bool:
    """Whether a value is read only as signs or codes, directly or through elementwise operations."""
    return bool(op.users) and all(
        user.takes_codes or ((user.elementwise or isinstance(user.module, nn.Flatten)) and _for_bits_alone(user))
        for user in op.users
    )


def bits_of(reader: Op, pixels: Map) -> Bits:
    """Where the bits that a layer reads come from.

    Args:
        reader: The layer.
        pixels: Extents of the image.

    Raises:
        UserError: They have no packed form.
    """
    before = reader.inputs[0]
    operand = operand_of(reader.module, reader.name, first=before is None)  # type: ignore[arg-type]
    kind = type(reader.module.binarizer).__name__
    scaled = f"{kind} scales its sums by input magnitudes (K){reader.place}, which graphs lack; train without K"
    refuse(operand.scale == "K", reader.name, scaled)
    assert before is not None
    if found := _at_ending(reader, before, operand, pixels):
        return found
    between: list[Op] = []
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
        return Bits(source.inputs[0], steps=steps, operand=operand, pool=source)
    return Bits(source, steps=steps, operand=operand)


def _apart(reader: Op, between: Sequence[Op]) -> bool:
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


def _steps(reader: Op, operand: Operand, between: Sequence[Op]) -> Steps:
    """Steps, per channel in torch's order, that give a layer's signs or codes from the value before `between`."""
    layer, start = reader.module, reader.inputs[0] if not between else between[0].inputs[0]
    assert isinstance(layer, BinaryLayer)
    assert start is not None
    channels, kind = start.shape[0], type(layer.binarizer).__name__

    modules = [op.module for op in between if not isinstance(op.module, nn.Flatten)]

    def through(values: Tensor, modules: Sequence[nn.Module]) -> Tensor:
        x = values.to(torch.float32).expand(-1, channels)
        for module in modules:
            x = module(x)
        return x

    def codes(values: Tensor) -> Tensor:
        x = through(values, modules)
        x = x if layer.window is None else x[:, :, None, None]
        found = input_signs_or_codes(layer.binarizer, x).reshape(len(x), channels)
        found = (found + 1) / 2 if operand.form == "signs" else found
        whole = torch.equal(found, found.round()) and found.min() >= 0 and found.max() < 2**operand.bits
        what = "signs" if operand.form == "signs" else f"codes of {operand.bits} bits"
        refuse(not whole, reader.name, f"{kind} does not turn its input into {what}{reader.place}")
        return found.to(torch.int64)

    bends = [
        Bend(partial(through, modules=modules[:i]), at) for i, module in enumerate(modules) for at in bends_of(module)
    ]
    return real_steps(codes, channels, reader.name, bends)


def _at_ending(reader: Op, before: Op, operand: Operand, pixels: Map) -> Bits | None:
    """Bits that the layer before makes itself; None if it has other readers or can only give reals."""
    found: list[Op] = []
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
        found_layer, tensors = packed_layer(link, source.map if source else pixels)
    except UserError:
        return None
    return Bits(op, ending=found_layer, tensors=tensors)
