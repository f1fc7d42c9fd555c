"""torch in fp32: the float twin of plain modules, and single layers in both memory formats."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xnorlit.bench.turns import Call
from xnorlit.layers import BinaryConv2d, BinaryLayer
from xnorlit.models import AlexNet
from xnorlit.packed.graph import Layer, Map

FORMATS = {"fp32": torch.contiguous_format, "fp32 channels_last": torch.channels_last}


@torch.no_grad()
def plain(twin: AlexNet) -> nn.Sequential:
    """The float twin without what training needs: torch's own modules, as one would write it for inference alone.

    Args:
        twin: A network built with `Float`.
    """
    modules: list[nn.Module] = []
    for block in twin.children():
        for module in block.children() if isinstance(block, nn.Sequential) else (block,):
            if isinstance(module, BinaryLayer):
                modules += [nn.ReLU()] if module.binarizer.rectify else []
                modules.append(_layer(module))
            elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                modules.append(_norm(module))
            elif not isinstance(module, nn.Dropout | nn.Dropout2d):
                modules.append(module)
    return nn.Sequential(*modules).eval()


def _layer(layer: BinaryLayer) -> nn.Conv2d | nn.Linear:
    outputs, biased = len(layer.weight), layer.bias is not None
    if isinstance(layer, BinaryConv2d):
        window, groups = layer.window, layer.groups
        assert window is not None
        found: Any = nn.Conv2d(layer.weight.shape[1] * groups, outputs, *window, groups=groups, bias=biased)
    else:
        found = nn.Linear(layer.weight.shape[1], outputs, biased)
    found.weight.copy_(layer.weight)
    if biased:
        found.bias.copy_(layer.bias)
    return found


def _norm(norm: Any) -> nn.BatchNorm2d | nn.BatchNorm1d:
    kind = nn.BatchNorm2d if isinstance(norm, nn.BatchNorm2d) else nn.BatchNorm1d
    found = kind(norm.num_features, eps=norm.eps)
    given = norm.state_dict()
    found.load_state_dict({name: given.get(name, value) for name, value in found.state_dict().items()})
    return found


def operands(layer: Layer, at: Map, batch: int) -> tuple[Tensor, Tensor]:
    """Random operands of a layer: `(N, C, H, W)` and `(O, C / groups, kh, kw)`, or `(N, I)` and `(O, I)`.

    The input is as behind a ReLU, where the twin has one.
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
    """The layer in each memory format; a linear layer has but one."""
    x, weight = operands(layer, at, batch)
    if layer.window is None:
        return {"fp32": lambda: apply(layer, x, weight)}
    pairs = {name: (x.to(memory_format=f), weight.to(memory_format=f)) for name, f in FORMATS.items()}
    return {name: lambda pair=pair: apply(layer, *pair) for name, pair in pairs.items()}


def fp32_networks(twin: nn.Sequential, images: Tensor) -> dict[str, Call]:
    """The whole twin in each memory format, from uint8 pixels to logits.

    Args:
        twin: As `plain` gives it.
        images: uint8 `(N, 3, S, S)`.
    """
    calls: dict[str, Call] = {}
    for name, memory_format in FORMATS.items():
        model = copy.deepcopy(twin).to(memory_format=memory_format)
        given = images.to(memory_format=memory_format)
        calls[name] = lambda model=model, given=given: model(given)
    return calls
