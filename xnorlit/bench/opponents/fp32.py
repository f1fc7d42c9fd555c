"""torch in fp32: the float twin of plain modules and single layers, in both memory formats."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xnorlit.bench.turns import Call
from xnorlit.packed.layer import Layer, Map

FORMATS = {"fp32": torch.contiguous_format, "fp32 channels_last": torch.channels_last}


def operands(layer: Layer, at: Map, batch: int) -> tuple[Tensor, Tensor]:
    """Random operands of a layer: `(N, C, H, W)` and `(O, C / groups, kh, kw)`, or `(N, I)` and `(O, I)`.

    The input is non-negative, as after the twin's ReLU.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = at.height * at.width * at.channels
    if layer.window is None:
        shape, weight = (batch, inputs), (layer.outputs, inputs)
    else:
        shape = (batch, at.channels, at.height, at.width)
        weight = (layer.outputs, at.channels // layer.groups, *layer.window.kernel)
    return torch.randn(shape, generator=generator).relu_(), torch.randn(weight, generator=generator) / 16


def apply(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """The layer in fp32: the bare convolution or product."""
    if layer.window is None:
        return F.linear(x, weight)
    return F.conv2d(x, weight, None, layer.window.stride, layer.window.padding, 1, layer.groups)


def fp32_calls(layer: Layer, at: Map, batch: int) -> dict[str, Call]:
    """The layer in each memory format; a linear layer has only one."""
    x, weight = operands(layer, at, batch)
    if layer.window is None:
        return {"fp32": lambda: apply(layer, x, weight)}
    pairs = {name: (x.to(memory_format=f), weight.to(memory_format=f)) for name, f in FORMATS.items()}
    return {name: lambda pair=pair: apply(layer, *pair) for name, pair in pairs.items()}


def fp32_networks(twin: nn.Module, images: Tensor) -> dict[str, Call]:
    """The whole twin in each memory format, from uint8 pixels to logits.

    Args:
        twin: As `plain` returns it.
        images: uint8 `(N, 3, S, S)`.
    """
    calls: dict[str, Call] = {}
    for name, memory_format in FORMATS.items():
        model = copy.deepcopy(twin).to(memory_format=memory_format)
        given = images.to(memory_format=memory_format)
        calls[name] = lambda model=model, given=given: model(given)
    return calls
