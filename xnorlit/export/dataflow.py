"""A trace as operations of the engine: what each one reads and who reads it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.export import nodes
from xnorlit.export.chain import as_ours, check_finite, square_pool
from xnorlit.export.known import LAYERS
from xnorlit.export.operands import refuse, refuse_beyond
from xnorlit.export.registry import parts_of, registered
from xnorlit.export.trace import IMAGES, Trace
from xnorlit.layers import BinaryLayer
from xnorlit.layers.norms import scale_and_shift
from xnorlit.models.built import DuplicateChannels
from xnorlit.packed.graph import PIXELS
from xnorlit.packed.layer import Map


@dataclass
class Op:
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
    inputs: list["Op | None"]
    shape: tuple[int, ...]
    place: str
    users: list["Op"] = field(default_factory=list)

    @property
    def takes_codes(self) -> bool:
        """Whether this is a layer that reads signs or codes."""
        return isinstance(self.module, BinaryLayer) and self.module.binarizer.input_bits < 32

    @property
    def elementwise(self) -> bool:
        """Whether it maps each real independently."""
        return isinstance(self.module, nodes.ELEMENTWISE)

    @property
    def map(self) -> Map:
        """The extents of its value; for a flattened map, those before the flattening, whose order the engine keeps."""
        op = self
        while len(op.shape) == 1 and (op.elementwise or isinstance(op.module, nn.Flatten | nodes.Add)):
            assert op.inputs[0] is not None
            op = op.inputs[0]
        return map_of(op.shape)


def operations(trace: Trace) -> list[Op]:
    """The steps as operations of the engine, in an order in which each follows those it reads.

    Args:
        trace: The network.

    Raises:
        UserError: A module has no packed form.
    """
    made: dict[str, Op | None] = {IMAGES: None}
    ops: list[Op] = []
    names: set[str] = {PIXELS}

    def add(name: str, module: nn.Module, inputs: Sequence[Op | None], shape: tuple[int, ...], place: str) -> Op:
        while name in names:
            name += "_"
        names.add(name)
        ops.append(Op(name, module, list(inputs), shape, place))
        for each in inputs:
            if each is not None:
                each.users.append(ops[-1])
        return ops[-1]

    for step in trace.steps:
        name, place, shape = step.name, step.place, trace.shapes[step.name]
        inputs: list[Op | None] = [made[each] for each in step.inputs]
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
    if type(module) in registered():  # as a binarizer's post layer; the trace replaces others
        for part in parts_of(module, name, (2, *shape)):
            kind, several = type(module).__name__, not isinstance(part.module, nodes.ELEMENTWISE)
            refuse(
                several,
                name,
                f"{kind} follows it and is registered as {type(part.module).__name__}; use an Affine, "
                "Shift, TwoSlope or Clip",
            )
            yield part.module
    elif isinstance(module, nn.Sequential):
        for part in module:
            yield from _parts(part, name, place, shape)
    elif isinstance(module, _BatchNorm):
        yield nodes.Affine(*scale_and_shift(module))
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
        if isinstance(module, nodes.AveragePool):
            sizes = {"kernel": [module.kernel], "stride": [module.stride], "padding": [module.padding]}
            refuse_beyond(name, "its average pool", place, **sizes)
        if isinstance(module, nodes.Subsample):
            refuse_beyond(name, "its slice", place, stride=[module.stride])
        yield module


def map_of(shape: Sequence[int]) -> Map:
    """The extents of a value of torch's shape `(C, H, W)` or `(C,)`."""
    return Map(shape[1], shape[2], shape[0]) if len(shape) == 3 else Map(1, 1, shape[0])
