"""Float twins made of torch's own modules only."""

from typing import Any

import torch
from torch import nn

from xnorlit.layers import BinaryConv2d, BinaryLayer
from xnorlit.models.builder import AlexNet
from xnorlit.models.built import WholeNorm


@torch.no_grad()
def plain(twin: AlexNet) -> nn.Sequential:
    """The float twin as torch's own modules, without those that only training needs.

    Args:
        twin: A network built with `Float`.
    """
    modules: list[nn.Module] = []
    for block in twin.children():
        for module in block.children() if isinstance(block, nn.Sequential) else (block,):
            if isinstance(module, BinaryLayer):
                modules += [nn.ReLU()] if module.binarizer.rectify else []
                modules.append(_layer(module))
            elif isinstance(module, WholeNorm):
                modules += [nn.Unflatten(1, (1, -1)), _norm(module), nn.Flatten()]  # (N, F) as one channel
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
