"""One link of the chain as a layer of the packed graph and its tensors."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.packed.export.chain import Link
from xnorlit.packed.export.thresholds import FAR, Thresholds, float_thresholds, integer_thresholds
from xnorlit.packed.graph import Ending, Layer, Map, Operand, Weights, Window

Tensors = dict[str, np.ndarray]


@torch.no_grad()
def packed_layer(link: Link, at: Map) -> tuple[Layer, Tensors]:
    """The packed form of a link that reads the map `at`.

    Args:
        link: The layer and its way to the next.
        at: What it reads, a flattened map in its unflattened extents.

    Raises:
        UserError: It has none.
    """
    if link.first:
        return _float_conv(link, at)
    return _float_linear(link, at) if link.layer.binarizer.input_bits == 32 else _binary(link, at)


def _float_conv(link: Link, at: Map) -> tuple[Layer, Tensors]:
    codes = link.layer.binarizer.weight_codes(link.layer.weight).values
    toward = _orientation(link, FAR)
    weight = codes.permute(0, 2, 3, 1) * toward.view(-1, 1, 1, 1)
    pieces = Operand("pixels"), Weights("float"), Ending("signs")
    layer = Layer(link.name, len(weight), *pieces, _window(link), pool=_pool(link))
    _refuse_features(link)

    def signs(sums: Tensor) -> Tensor:
        return _signs(link, link.features(sums * toward, 1))[:, :, 0]

    return layer, {"weight": _array(weight), **_bits(float_thresholds(signs, len(weight)))}


def _binary(link: Link, at: Map) -> tuple[Layer, Tensors]:
    codes = link.layer.binarizer.weight_codes(link.layer.weight).values
    if not (codes.abs() == 1).all():
        raise UserError(f"{link.name} cannot be packed: its weight codes are not -1 and +1. Check the checkpoint.")
    window = None if link.layer.window is None else _window(link)
    groups = getattr(link.layer, "groups", 1)
    # A linear layer reads the flattened map channel by channel; the engine's map is position by position.
    shape = (at.channels, at.height, at.width) if window is None else codes.shape[1:]
    products = math.prod(codes.shape[1:])
    toward = _orientation(link, products)
    signs = (codes.view(-1, *shape).permute(0, 2, 3, 1) * toward.view(-1, 1, 1, 1)).numpy()
    weight = np.packbits(signs > 0, axis=-1, bitorder="little")[None]
    pieces = link.name, len(codes), Operand("signs"), Weights("planes", (1,))
    given: dict[str, Any] = {"window": window, "groups": groups, "pool": _pool(link)}
    if link.gives_signs:
        after = Layer(*pieces, Ending("signs"), **given).output(at)
        found = _thresholds(link, after, toward, products)
        layer = Layer(*pieces, Ending("signs", per_position=found.threshold.ndim == 3), **given)
        return layer, {"weight": weight, **_bits(found)}
    maps = _affine_maps(link)
    terms = {"weight": weight}
    for i, (scale, shift, _) in enumerate(maps):
        terms |= {f"scale{i}": _array(scale * toward if i == 0 else scale), f"shift{i}": _array(shift)}
    return Layer(*pieces, Ending("reals", slopes=tuple(slope for *_, slope in maps)), **given), terms


def _float_linear(link: Link, at: Map) -> tuple[Layer, Tensors]:
    codes = link.layer.binarizer.weight_codes(link.layer.weight)
    weight = (codes.values.T * codes.scale).T.view(-1, at.channels, at.height, at.width).permute(0, 2, 3, 1)
    bias = link.layer.bias if link.layer.bias is not None else torch.zeros(len(weight))
    layer = Layer(link.name, len(weight), Operand("reals"), Weights("float"), Ending("reals", slopes=(1.0,)))
    return layer, {"weight": _array(weight), "scale0": _array(torch.ones(len(weight))), "shift0": _array(bias)}


def _thresholds(link: Link, after: Map, toward: Tensor, products: int) -> Thresholds:
    """Per channel, or `(H, W, O)` where a norm behind the flattening has its own numbers for each position."""
    positions = after.height * after.width if link.after_flatten else 1

    def signs(sums: Tensor) -> Tensor:
        return _signs(link, link.features(sums * toward, positions)).flatten(1)

    found = integer_thresholds(signs, after.channels * positions, products, link.name)
    if positions == 1:
        return found
    return Thresholds(
        *(np.ascontiguousarray(v.reshape(-1, after.height, after.width).transpose(1, 2, 0)) for v in found)
    )


def _orientation(link: Link, most: float) -> Tensor:
    """+1 where what the max pool sees grows with the sum, -1 where it falls; `(O,)`.

    The engine takes the maximum of the sums. Where a norm before the pool turns them around, the weights' signs are
    turned around as well, and the maximum is right again.
    """
    toward = torch.ones(len(link.layer.weight))
    if link.pool is None:
        return toward
    ends = link.to_pool(torch.tensor([[-most], [most]]).expand(2, len(toward)))
    return torch.where(ends[1] < ends[0], -toward, toward)


def _signs(link: Link, values: Tensor) -> Tensor:
    """The next layer's input codes, as booleans; they have to be those of the sign."""
    assert link.reader is not None
    codes = link.reader.input_codes(values).values
    if not torch.equal(codes.abs(), torch.ones_like(codes)):
        raise UserError(f"{link.name} cannot be packed: the next layer's input codes are not -1 and +1.")
    return codes > 0


def _affine_maps(link: Link) -> list[tuple[Tensor, Tensor, float]]:
    """What leads to real numbers as affine maps, `(scale, shift, slope)` each, from modules that are each one part."""
    _refuse_features(link)
    outputs = len(link.layer.weight)
    maps = [(link.scale.double(), link.layer.weight.new_zeros(outputs).double(), 1.0)]
    if link.layer.bias is not None:
        maps = [(maps[0][0], link.layer.bias.double(), 1.0)]
    for module in (*link.before_pool, *link.after_pool, *link.after_flatten, *_rectifier(link)):
        if isinstance(module, nn.ReLU):
            maps[-1] = (*maps[-1][:2], 0.0)
            continue
        if isinstance(module, nn.PReLU | RPReLU):
            raise UserError(f"{link.name} cannot be packed: a PReLU leads to real numbers; use a ReLU there.")
        varies = module.running_var > module.constant_below * module.eps
        gamma = varies.double() if module.weight is None else module.weight.double() * varies
        scale = gamma / (module.running_var.double() + module.eps).sqrt()
        shift = -module.running_mean.double() * scale
        if module.bias is not None:
            shift = shift + module.bias.double()
        if maps[-1][2] == 1:
            maps[-1] = (maps[-1][0] * scale, maps[-1][1] * scale + shift, 1.0)
        else:
            maps.append((scale, shift, 1.0))
    if len(maps) > 2:
        raise UserError(f"{link.name} cannot be packed: more than two norms with a ReLU between lead to real numbers.")
    return maps


def _rectifier(link: Link) -> list[nn.Module]:
    return [nn.ReLU()] if link.reader is not None and link.reader.rectify else []


def _refuse_features(link: Link) -> None:
    positions = any(
        isinstance(module, nn.BatchNorm1d) and module.num_features != len(link.layer.weight)
        for module in link.after_flatten
    )
    if positions:
        raise UserError(
            f"{link.name} cannot be packed: a norm behind the flattening has its own numbers for each position, "
            "which the engine does between two binary layers only. Put the norm before the flattening."
        )


def _window(link: Link) -> Window:
    assert link.layer.window is not None
    return Window(*(tuple(pair) for pair in link.layer.window))


def _pool(link: Link) -> tuple[int, int] | None:
    return link.pool and (link.pool.kernel_size, link.pool.stride)


def _bits(found: Thresholds) -> Tensors:
    return {"threshold": found.threshold[None], "flip": np.packbits(found.flip, bitorder="little")[None]}


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().to(torch.float32).numpy())
