"""One link of the chain as a layer of the packed graph and its tensors."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from xnorlit.export.bends import FAR, Bend, growth, integers, reals
from xnorlit.export.chain import Link
from xnorlit.export.maps import affine_maps
from xnorlit.export.operands import packed_bits, refuse, weight_planes
from xnorlit.export.thresholds import Steps, integer_steps, real_steps
from xnorlit.packed.layer import Ending, Layer, Map, Weights, Window

Tensors = dict[str, np.ndarray]


@torch.no_grad()
def packed_layer(link: Link, at: Map) -> tuple[Layer, Tensors]:
    """The packed form of a link that reads the map `at`.

    Args:
        link: The layer, with everything up to the next layer.
        at: Its input map; for a flattened map, the extents before the flattening.

    Raises:
        UserError: It has no packed form.
    """
    if link.layer.binarizer.two_valued:
        return _two_valued(link, at)
    codes = link.layer.binarizer.weight_codes(link.layer.weight).values
    window = link.layer.window and Window(*link.layer.window)
    # A linear layer reads the flattened map channel by channel; the engine's map is position by position.
    shape = codes.shape[1:] if window else (at.channels, at.height, at.width)
    rows = codes.view(-1, *shape).permute(0, 2, 3, 1).repeat(link.copies, 1, 1, 1)
    real = link.layer.binarizer.weight_bits == 32
    planes, weights = (rows, Weights("float")) if real else weight_planes(rows, link.name)
    layer = Layer(
        link.name,
        link.outputs,
        link.operand,
        weights,
        Ending("reals", slopes=(1.0,)),
        window,
        getattr(link.layer, "groups", 1),
        link.pool,
    )
    after = layer.output(at)
    most = _largest_sum(layer, math.prod(shape))
    toward = _orientation(link, most)
    turned = toward.view(-1, 1, 1, 1)
    weight = _floats(planes * turned) if real else packed_bits(planes ^ (turned < 0))
    ending, tensors = (_reals if link.gives_reals else _codes)(link, layer, after, toward, most)
    return replace(layer, ending=ending), {"weight": weight, **tensors}


def _largest_sum(layer: Layer, products: int) -> float:
    """An upper bound on the magnitude of a layer's sums."""
    if not layer.integer:
        return FAR
    return products * (2**layer.operand.bits - 1) * sum(map(abs, layer.weights.factors)) // layer.weights.divisor


def _orientation(link: Link, most: float) -> Tensor:
    """+1 where the max pool's input grows with the sum, -1 where it falls; `(O,)`.

    The engine takes the maximum of the sums. Where a norm before the pool inverts their order, the weights' signs
    are inverted too, which keeps the maximum right.
    """
    toward = torch.ones(link.outputs)
    if link.pool is None:
        return toward
    sums = integers(int(most)) if most < FAR else reals()
    grows = growth(link.to_pool, sums, link.outputs, list(link.bends(1, to_pool=True)))
    falls = (grows < 0).any(dim=0)
    toward = torch.where(falls, -toward, toward)
    both = (grows > 0).any(dim=0) & falls
    refuse(
        bool(both.any()),
        link.name,
        "what precedes its max pool is not monotonic (a PReLU with a negative slope), so the largest value does "
        "not come from the largest sum; put it after the pool",
    )
    return toward


def _codes(link: Link, layer: Layer, after: Map, toward: Tensor, most: float) -> tuple[Ending, Tensors]:
    """An ending in the codes that the next layer reads."""
    assert link.reads is not None
    positions = _positions(link, after)
    each = toward.repeat_interleave(positions)

    def codes(sums: Tensor) -> Tensor:
        return link.codes(sums * (toward if sums.shape[1] == 1 else each), positions)

    bends = [Bend(lambda sums, reads=reads: reads(sums * each), at) for reads, at in link.bends(positions)]
    features = link.outputs * positions
    if layer.integer:
        steps = integer_steps(codes, features, int(most), link.name, bends)
    else:
        steps = real_steps(codes, features, link.name, bends)
    bits = link.reads.bits
    if positions > 1:
        extents = (-1, link.outputs, after.height, after.width)
        steps = Steps(*(np.ascontiguousarray(v.reshape(extents).transpose(0, 2, 3, 1)) for v in steps))
    ending = Ending(link.reads.form, bits, len(steps.threshold), per_position=positions > 1)  # type: ignore[arg-type]
    return ending, code_tensors(steps, bits)


def _reals(link: Link, layer: Layer, after: Map, toward: Tensor, most: float) -> tuple[Ending, Tensors]:
    """An ending in real numbers."""
    modules = [*link.before_pool, *link.after_pool, *link.after_flatten]
    if link.reads is not None and link.reads.form == "reals" and link.reader.binarizer.rectify:  # type: ignore[union-attr]
        modules.append(nn.ReLU())
    maps = affine_maps(link.scale * toward, link.bias, modules, flat=link.layer.window is None, name=link.name)
    per_position = any(v.ndim == 2 for one in maps for v in one if isinstance(v, Tensor))
    tensors = {}
    for i, one in enumerate(maps):
        for name, values in one._asdict().items():
            if not isinstance(values, Tensor):
                continue
            if per_position:
                values = values.view(link.outputs, -1).expand(-1, after.height * after.width)
                values = values.reshape(-1, after.height, after.width).permute(1, 2, 0)
            tensors[f"{name}{i}"] = _floats(values)
    slopes = tuple(None if isinstance(one.slope, Tensor) else one.slope for one in maps)
    return Ending("reals", slopes=slopes, per_position=per_position), tensors


def _positions(link: Link, after: Map) -> int:
    """Number of positions with thresholds of their own: more than 1 after a flattening with parameters per feature."""
    positions = after.height * after.width
    reader = link.reader
    if positions == 1 or reader is None or reader.window is not None:
        return 1
    own = [*reader.binarizer.parameters(), *reader.binarizer.buffers()]
    features = link.outputs * positions
    return positions if link.after_flatten or any(values.numel() == features for values in own) else 1


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
        Ending("reals", slopes=(1.0,)),
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
    bias = torch.zeros(len(rows)) if link.bias is None else link.bias
    return found, {
        "weight": packed_bits(rows[None]),
        "sum_scale": factors[0].numpy(),
        "window_scale": factors[1].numpy(),
        "constant": np.ascontiguousarray(constant.numpy()),
        "scale0": np.ones(len(rows), np.float32),
        "shift0": bias.numpy(),
    }


def code_tensors(steps: Steps, bits: int) -> Tensors:
    """The tensors of an ending that turns each value into a code of some bits."""
    tensors = {"threshold": steps.threshold, "flip": _plane_bits(steps.start.reshape(1, -1), bits)[0]}
    if (levels := len(steps.threshold)) > 1 or bits > 1:
        tensors["change"] = _plane_bits(steps.change.reshape(levels, -1), bits)
    return tensors


def _plane_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Rows of codes as planes of octets, `(rows, bits, octets)`."""
    planes = np.stack([codes >> p & 1 for p in range(bits)], axis=1)
    return np.packbits(planes, axis=-1, bitorder="little")


def _floats(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().to(torch.float32).numpy())
