"""The path from sums to real numbers, as affine maps that each end in a kink at zero."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.export.operands import refuse
from xnorlit.layers.norms import scale_and_shift
from xnorlit.packed._kernels import MOST_MAPS

FAR = (1e4, 2e4)  # where a module after a layer is assumed to be beyond its kink


class Halves(nn.Module):
    """Apply a module to each of the two copies that `DuplicateChannels` made."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 2C, ...)`, each half separately."""
        return torch.cat([self.module(half) for half in x.chunk(2, dim=1)], dim=1)


class AffineMap(NamedTuple):
    """`n <- max(y, 0) + slope * min(y, 0)`, `y = n * scale + shift`; `(O,)`, or `(O, positions)` after a flattening.

    A slope is one number, or a tensor with a number for each channel.
    """

    scale: Tensor
    shift: Tensor
    slope: Tensor | float = 1.0


def affine_maps(
    scale: Tensor, bias: Tensor | None, modules: Sequence[nn.Module], *, flat: bool, name: str
) -> list[AffineMap]:
    """A scale, a bias and elementwise modules as affine maps.

    Args:
        scale: Factor of each output channel, `(O,)`.
        bias: Bias of each, `(O,)`, or none.
        modules: Modules in order; after a flattening, one may have `O * positions` features.
        flat: Whether the layer's output has no positions.
        name: Name of the layer, for errors.

    Raises:
        UserError: A module is not such a map, or there are too many.
    """
    maps = [AffineMap(scale.double(), torch.zeros(len(scale)).double() if bias is None else bias.double())]
    for module in modules:
        for part in _parts(module, len(scale), flat, name):
            maps = _behind(maps, part)
    refuse(len(maps) > MOST_MAPS, name, f"more than {MOST_MAPS} affine maps with kinks between lead to real numbers")
    return maps


def _parts(module: nn.Module, outputs: int, flat: bool, name: str) -> list[AffineMap]:
    if isinstance(module, Halves):
        halves = _parts(module.module, outputs // 2, flat, name)
        return [AffineMap(*map(_doubled, half)) for half in halves]
    one, zero = torch.ones(outputs).double(), torch.zeros(outputs).double()
    if isinstance(module, nn.ReLU):
        return [AffineMap(one, zero, 0.0)]
    if isinstance(module, nn.PReLU):
        return [AffineMap(one, zero, _features(module.weight, outputs))]
    if isinstance(module, nn.LeakyReLU):
        return [AffineMap(one, zero, module.negative_slope)]
    if isinstance(module, nn.Hardtanh):
        # max(x, low) = relu(x - low) + low, and min(y, high) = high - relu(high - y)
        return [
            AffineMap(one, zero - module.min_val, 0.0),
            AffineMap(-one, zero + module.max_val - module.min_val, 0.0),
            AffineMap(-one, zero + module.max_val),
        ]
    if isinstance(module, _BatchNorm):
        return [AffineMap(*(_features(values, outputs) for values in scale_and_shift(module)))]
    return _kinked(module, outputs, flat, name)


def _doubled(values: Any) -> Any:
    return torch.cat([values, values]) if isinstance(values, Tensor) else values


def _kinked(module: nn.Module, outputs: int, flat: bool, name: str) -> list[AffineMap]:
    """A module as two straight lines that meet, found by evaluating it far out on both sides."""
    module = module.double()
    features = len(next(module.parameters())) if isinstance(module, RPReLU | Maxout) else outputs
    flat = flat or features > outputs

    def at(values: Tensor) -> Tensor:
        return module(values if flat else values[:, :, None, None]).flatten(1)

    places = torch.tensor([-FAR[1], -FAR[0], FAR[0], FAR[1]]).double()
    y = at(places[:, None].expand(-1, features))
    left, right = (y[1] - y[0]) / (FAR[1] - FAR[0]), (y[3] - y[2]) / (FAR[1] - FAR[0])
    below, above = y[1] + left * FAR[0], y[2] - right * FAR[0]  # the lines' values at 0
    kink = torch.where(left == right, 0.0, (below - above) / torch.where(left == right, 1.0, right - left))
    height = above + right * kink
    # Factor out the steeper slope, to avoid a division by zero.
    turn = right.abs() < left.abs()
    outer = torch.where(turn, -left, right)
    slope = torch.where(turn, right, left) * torch.where(turn, -1.0, 1.0) / torch.where(outer == 0, 1.0, outer)
    side = torch.where(turn, -1.0, 1.0).double()
    maps = [AffineMap(side, -kink * side, slope), AffineMap(outer, height)]
    probes = torch.randn(64, features, generator=torch.Generator().manual_seed(0)).double() * 5 + kink
    found = probes
    for part in maps:
        found = part.scale * found + part.shift
        found = found.clamp(min=0) + part.slope * found.clamp(max=0)
    refuse(
        not torch.allclose(at(probes), found, rtol=1e-5, atol=1e-5),
        name,
        f"{type(module).__name__} follows it and is not two straight lines; use a PReLU",
    )
    module.float()
    bent, straight = maps
    return [
        AffineMap(*(_features(values, outputs) for values in (bent.scale, bent.shift, slope))),
        AffineMap(_features(straight.scale, outputs), _features(straight.shift, outputs)),
    ]


def _behind(maps: list[AffineMap], part: AffineMap) -> list[AffineMap]:
    """Appends a map; merges it into the last one if that has no kink."""
    last = maps[-1]
    if not isinstance(last.slope, float) or last.slope != 1:
        return [*maps, part]
    scale, shift = _together(last.scale, part.scale), _together(last.shift, part.scale)
    return [*maps[:-1], AffineMap(scale, torch.add(*_alike(shift, part.shift)), part.slope)]


def _together(first: Tensor, second: Tensor) -> Tensor:
    first, second = _alike(first, second)
    return first * second


def _alike(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(v[:, None] if v.ndim < max(first.ndim, second.ndim) else v for v in (first, second))  # type: ignore


def _features(values: Tensor, outputs: int) -> Tensor:
    """Numbers per channel, `(O,)`, or per channel and position, `(O, positions)`."""
    values = values.double()
    return values.view(outputs, -1) if values.numel() > outputs else values.expand(outputs)
