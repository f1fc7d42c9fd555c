"""VGG-small: the network without shortcuts for images of 32 pixels that papers report beside ResNets."""

import math
from collections.abc import Mapping

from torch import nn

from xnorlit.layers import BatchNorm2d, BinaryLayer, Conv2d, Linear
from xnorlit.models.design import Design, Parts, Stem

WIDTHS = ((128, True), (256, False), (256, True), (512, False), (512, True))  # channels, whether a pool follows


def _compose(parts: Parts) -> Mapping[str, nn.Module]:
    before = WIDTHS[0][0]
    stem = Stem(
        Conv2d(3, before, 3, 1, 1, bias=False), BatchNorm2d(before), activation=parts.activation(before, nn.Hardtanh)
    )
    found: dict[str, nn.Module] = {"stem": stem}
    for number, (width, pooled) in enumerate(WIDTHS, start=2):
        block = nn.Sequential()
        block.add_module("conv", parts.conv(before, width, activated=True))
        if pooled:
            block.add_module("pool", nn.MaxPool2d(2))
        block.add_module("norm", BatchNorm2d(width))
        block.add_module("activation", parts.activation(width, nn.Hardtanh))
        found[f"conv{number}"] = block
        before = width
    return {**found, "flatten": nn.Flatten(), "fc": Linear(before * 16, parts.classes)}


def _initialise(model: nn.Module) -> None:
    """N(0, sqrt(2 / (k^2 outputs))) for convolutions, N(0, 0.01) for the linear layer, whose bias starts at 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, BinaryLayer | nn.Conv2d):
            nn.init.normal_(module.weight, std=math.sqrt(2 / (module.weight[0, 0].numel() * len(module.weight))))


VGG_SMALL = Design(
    name="vgg-small",
    image_size=32,
    source="htqin/IR-Net, CIFAR-10/VGG-Small/vgg.py",
    compose=_compose,
    initialise=_initialise,
)
