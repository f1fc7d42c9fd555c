"""How weights are initialised."""

import math

import torch
from torch import nn

from xnorlit.layers import BinaryConv2d, BinaryLayer
from xnorlit.models.network import Block, Network


@torch.no_grad()
def initialise(layer: BinaryLayer, block: Block, network: Network) -> None:
    """Initialises a layer's weights from torch's global generator and sets its bias.

    Normal, with a standard deviation of `sqrt(2 / fan_in)` (`he`), `2 / fan_in` (`narrow`), 0.01 (`fixed`) or
    `sqrt(4 / (fan_in + fan_out))` (`both-fans`); or uniform, with one of `sqrt(2 / (fan_in + fan_out))` (`glorot`) or
    `sqrt(1 / (3 fan_in))` (`torch`, the default of its layers), or in [-1, 1] (`unit`).

    Args:
        layer: A fresh layer.
        block: Its block.
        network: Its network, which says how.
    """
    fan_in = layer.weight[0].numel()
    if network.init == "he":
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
    elif network.init == "narrow":
        nn.init.normal_(layer.weight, std=2 / fan_in)
    elif network.init == "fixed":
        nn.init.normal_(layer.weight, std=0.01)
    elif network.init == "both-fans":
        nn.init.normal_(layer.weight, std=math.sqrt(4 / (fan_in + _outputs_of_an_input(layer))))
    elif network.init == "glorot":
        nn.init.xavier_uniform_(layer.weight)
    elif network.init == "unit":
        nn.init.uniform_(layer.weight, -1, 1)
    else:
        nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    if layer.bias is not None:
        layer.bias.fill_(block.bias_start)


@torch.no_grad()
def he_everywhere(model: nn.Module) -> None:
    """Convolutions and linear layers start normal, with a standard deviation of `sqrt(2 / fan_in)`.

    Args:
        model: A composed network; its biases keep torch's own start.
    """
    for module in model.modules():
        if isinstance(module, BinaryLayer | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)


@torch.no_grad()
def he_binary(model: nn.Module) -> None:
    """Binary layers start normal, with a standard deviation of `sqrt(2 / fan_in)`; real ones as torch starts them.

    Bi-Real's and ReActNet's releases start latent weights in U(0, 0.001), so that every sign is +1 at first; that is
    not copied.

    Args:
        model: A composed network.
    """
    for module in model.modules():
        if isinstance(module, BinaryLayer):
            nn.init.kaiming_normal_(module.weight)


def _outputs_of_an_input(layer: BinaryLayer) -> int:
    """How many outputs read one input, a stride counted."""
    if not isinstance(layer, BinaryConv2d) or layer.window is None:
        return len(layer.weight)
    kernel, stride = layer.window.kernel, layer.window.stride
    return len(layer.weight) * math.prod(math.ceil(side / step) for side, step in zip(kernel, stride, strict=True))
