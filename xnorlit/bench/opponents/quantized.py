"""A float network as 8-bit integer steps that any library can compute.

Static quantisation as libraries recommend it: one scale and zero point per activation, calibrated on some images;
symmetric weights with one scale per output channel. Weights have 7 bits, because processors without VNNI add pairs of
products in 16 bits, which would saturate. Batch norms are folded into the preceding layer wherever that is the same
function. A ReLU becomes the zero point 0 of its output and costs nothing.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xnorlit.models.builder import Normalize

LEVELS = 255


class UnsupportedError(Exception):
    """A module without an 8-bit form; the message names it."""


LARGEST_WEIGHT = 63


@dataclass(frozen=True)
class Scale:
    """The value of a level: `value = step * (level - zero)`, levels 0 to 255."""

    step: float
    zero: int

    @staticmethod
    def of(values: Tensor) -> "Scale":
        """The scale whose levels cover all values and 0."""
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        step = (high - low) / LEVELS or 1.0
        return Scale(step, round(-low / step))


@dataclass(frozen=True)
class Product:
    """A convolution or a product in integers.

    Attributes:
        weight: int8 `(O, I / groups, kh, kw)` or `(O, I)`.
        weight_step: Step per output channel.
        bias: int32 per output channel, in units of `weight_step * reads.step`.
        reads: Scale of the input.
        gives: Scale of the output.
        window: Kernel, stride, padding, each (vertical, horizontal), and groups; `None` for a product.
    """

    weight: np.ndarray
    weight_step: np.ndarray
    bias: np.ndarray
    reads: Scale
    gives: Scale
    window: dict[str, Any] | None


@dataclass(frozen=True)
class Affine:
    """`x * factor + summand` in float between two quantised maps: the pixels' normalisation or a norm that cannot fold.

    Attributes:
        factor: `(C, 1, 1)` or `(C,)`.
        summand: Likewise.
        reads: Scale of the input; `None` for pixels.
        gives: Scale of the output.
    """

    factor: np.ndarray
    summand: np.ndarray
    reads: Scale | None
    gives: Scale


@dataclass(frozen=True)
class Pool:
    """A max pool without padding."""

    size: int
    stride: int


@dataclass(frozen=True)
class Flatten:
    """`(N, C, H, W)` to `(N, C H W)`."""


Step = Product | Affine | Pool | Flatten


@torch.no_grad()
def quantized_network(twin: nn.Module, images: Tensor) -> list[Step]:
    """A whole network, from uint8 pixels to logits.

    Args:
        twin: The twin of plain modules, from `xnorlit.bench.subject.twin_of`.
        images: uint8 `(N, 3, S, S)` for calibrating the ranges of the activations.
    """
    if not isinstance(twin, nn.Sequential):
        raise UnsupportedError(f"no 8-bit form of {type(twin).__name__}, which is not a chain")
    steps: list[Step] = []
    values: Tensor = images
    reads: Scale | None = None
    modules = folded(list(twin))
    for i, module in enumerate(modules):
        values = module(values)
        if isinstance(module, nn.ReLU):
            continue  # part of the step before
        if isinstance(module, nn.MaxPool2d):
            if module.padding:
                raise UnsupportedError("no 8-bit form of a padded max pool")
            steps.append(Pool(int(module.kernel_size), int(module.stride)))
        elif isinstance(module, nn.Flatten):
            steps.append(Flatten())
        else:
            rectified = i + 1 < len(modules) and isinstance(modules[i + 1], nn.ReLU)
            gives = Scale.of(values.relu() if rectified else values)
            steps.append(_step(module, reads, gives))
            reads = gives
    return steps


@torch.no_grad()
def quantized_layer(x: Tensor, weight: Tensor, y: Tensor, window: dict[str, Any] | None) -> tuple[Scale, Product]:
    """One layer without bias, and the scale of its input.

    Args:
        x: Its input, for calibrating the range.
        weight: Its weights.
        y: Its output, likewise.
        window: See `Product`.
    """
    reads = Scale.of(x)
    return reads, _product(weight, torch.zeros(len(weight)), reads, Scale.of(y), window)


def folded(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """The same function with norms folded into the preceding layer, and ReLUs moved before pools and flattenings."""
    found: list[nn.Module] = []
    for module in copy.deepcopy(list(modules)):
        behind = len(found)  # index after the last module that computes instead of selecting or moving values
        while behind and isinstance(found[behind - 1], nn.MaxPool2d | nn.Flatten):
            behind -= 1
        before = found[behind - 1] if behind else None
        moved = found[behind:]
        if isinstance(module, nn.ReLU):
            found.insert(behind, module)
        elif _folds(module, before, moved):
            _fold(before, *norm_terms(module))
        else:
            found.append(module)
    return found


def _folds(norm: nn.Module, before: nn.Module | None, moved: Sequence[nn.Module]) -> bool:
    """Whether a norm can be folded into the layer before it; across a max pool only if its factors are positive."""
    if not isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d) or not isinstance(before, nn.Conv2d | nn.Linear):
        return False
    return len(norm.running_mean) == len(before.weight) and (not moved or bool((norm_terms(norm)[0] >= 0).all()))


def norm_terms(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and summand per channel of a batch norm in evaluation."""
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return factor, norm.bias - norm.running_mean * factor


def _fold(layer: Any, factor: Tensor, summand: Tensor) -> None:
    bias = layer.bias if layer.bias is not None else torch.zeros(len(layer.weight))
    layer.bias = nn.Parameter(bias * factor + summand)
    layer.weight = nn.Parameter(layer.weight * factor.view(-1, *(1,) * (layer.weight.ndim - 1)))


def _step(module: nn.Module, reads: Scale | None, gives: Scale) -> Step:
    if isinstance(module, Normalize):
        factor = 1 / module.std[0]
        return Affine(factor.numpy(), (-module.mean[0] * factor).numpy(), reads, gives)
    if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
        shape = (-1, 1, 1) if isinstance(module, nn.BatchNorm2d) else (-1,)
        factor, summand = (values.view(shape).numpy() for values in norm_terms(module))
        return Affine(factor, summand, reads, gives)
    if isinstance(module, nn.Conv2d | nn.Linear) and reads is not None:
        window = None
        if isinstance(module, nn.Conv2d):
            window = {name: getattr(module, name) for name in ("stride", "padding", "groups")}
        bias = module.bias if module.bias is not None else torch.zeros(len(module.weight))
        return _product(module.weight, bias, reads, gives, window)
    raise UnsupportedError(f"no 8-bit form of {type(module).__name__}")


def _product(weight: Tensor, bias: Tensor, reads: Scale, gives: Scale, window: dict[str, Any] | None) -> Product:
    most = weight.abs().flatten(1).amax(1).clamp_min(1e-20)
    step = most / LARGEST_WEIGHT
    levels = (weight / step.view(-1, *(1,) * (weight.ndim - 1))).round().to(torch.int8)
    in_units = (bias / (step * reads.step)).round().clamp(-(2**31), 2**31 - 1).to(torch.int32)
    return Product(levels.numpy(), step.numpy(), in_units.numpy(), reads, gives, window)
