"""Initialisation of weights."""

import math

import torch
from torch import nn

from xnorlit.layers import BinaryConv2d, BinaryLayer
from xnorlit.models.network import Block, Network


@torch.no_grad()
def initialise(layer: BinaryLayer, block: Block, network: Network) -> None:
    """Initialises a layer's weights from torch's global generator and sets its bias.

    Normal with a standard deviation of `sqrt(2 / fan_in)` (`he`), `2 / fan_in` (`narrow`), 0.01 (`fixed`) or
    `sqrt(4 / (fan_in + fan_out))` (`both-fans`); or uniform with a standard deviation of
    `sqrt(2 / (fan_in + fan_out))` (`glorot`) or `sqrt(1 / (3 fan_in))` (`torch`, its default), or uniform in [-1, 1]
    (`unit`).

    Args:
        layer: A fresh layer.
        block: Its block.
        network: Its network, whose `init` names the method.
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
    """Initialises convolutions and linear layers from a normal distribution of standard deviation `sqrt(2 / fan_in)`.

    Args:
        model: A composed network; its biases keep torch's own initialisation.
    """
    for module in model.modules():
        if isinstance(module, BinaryLayer | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)


@torch.no_grad()
def he_binary(model: nn.Module) -> None:
    """Initialises binary layers from a normal distribution of standard deviation `sqrt(2 / fan_in)`.

    Real layers keep torch's own initialisation. The releases of Bi-Real and ReActNet draw latent weights from U(0,
    0.001), so that every sign is +1 at first; we do not copy that.

    Args:
        model: A composed network.
    """
    for module in model.modules():
        if isinstance(module, BinaryLayer):
            nn.init.kaiming_normal_(module.weight)


def _outputs_of_an_input(layer: BinaryLayer) -> int:
    """How many outputs read one input, taking the stride into account."""
    if not isinstance(layer, BinaryConv2d) or layer.window is None:
        return len(layer.weight)
    kernel, stride = layer.window.kernel, layer.window.stride
    return len(layer.weight) * math.prod(math.ceil(side / step) for side, step in zip(kernel, stride, strict=True))
