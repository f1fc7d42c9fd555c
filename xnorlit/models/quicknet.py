"""QuickNets: larq's networks for fast binary inference on CPUs."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from xnorlit.layers import BatchNorm2d, BinaryLayer, Conv2d
from xnorlit.models.design import Design, Parts, Stem, head


class Blur(Conv2d):
    """Blurs each channel with (1, 2, 1) in both directions and keeps every second pixel.

    Its weights are not parameters.

    Args:
        channels: C of the inputs `(N, C, H, W)`.

    Source: Zhang 2019, arXiv 1904.11486.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 2, 1, groups=channels, bias=False)
        line = torch.tensor([1.0, 2.0, 1.0])
        del self.weight
        self.register_buffer("weight", (line[:, None] * line / 16).expand(channels, 1, 3, 3).contiguous())


class QuickUnit(nn.Module):
    """`y = norm(activation(conv(x))) + x`: the activation precedes the norm, and nothing follows the sum.

    Args:
        conv: The binary convolution, padded with +1.
        activation: The activation after it.
        norm: The norm after the activation.
    """

    def __init__(self, conv: nn.Module, activation: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation, self.norm = conv, activation, norm

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)`, the shape of x."""
        return self.norm(self.activation(self.conv(x))) + x


# TensorFlow's "same" padding with stride 2 adds one zero at the end of an even side; one zero on each side gives maps
# of the same size, shifted by one pixel.
def _stem(channels: int) -> Stem:
    quarter = channels // 4
    return Stem(
        Conv2d(3, quarter, 3, 2, 1, bias=False),
        _keras_norm(quarter),
        relu=nn.ReLU(),
        depthwise=Conv2d(quarter, quarter, 3, 2, 1, groups=quarter, bias=False),
        depthwise_norm=_keras_norm(quarter, affine=False),
        point=Conv2d(quarter, channels, 1, bias=False),
        point_norm=_keras_norm(channels),
    )


def _keras_norm(channels: int, affine: bool = True) -> BatchNorm2d:
    return BatchNorm2d(channels, eps=1e-3, momentum=0.01, affine=affine)  # Keras' own settings


def _compose(parts: Parts, *, widths: tuple[int, ...], units: tuple[int, ...]) -> Mapping[str, nn.Module]:
    found: dict[str, nn.Module] = {"stem": _stem(widths[0])}
    before, number = widths[0], 0
    for stage, (width, count) in enumerate(zip(widths, units, strict=True)):
        if stage:
            transition = nn.Sequential()
            for name, module in {
                "relu": nn.ReLU(),
                "pool": nn.MaxPool2d(2, 1),
                "blur": Blur(before),
                "conv": Conv2d(before, width, 1, bias=False),
                "norm": BatchNorm2d(width),
            }.items():
                transition.add_module(name, module)
            found[f"transition{stage}"] = transition
        for _ in range(count):
            number += 1
            found[f"unit{number}"] = QuickUnit(
                parts.conv(width, width, activated=True, padding_mode="ones"),
                parts.activation(width, nn.ReLU),
                BatchNorm2d(width),
            )
        before = width
    return {**found, "relu": nn.ReLU(), **head(before, parts.classes)}


def _initialise(model: nn.Module) -> None:
    """Initialises as Keras does: Glorot normal; He for dense convolutions of the stem, uniform for depthwise ones."""
    for name, module in model.named_modules():
        if isinstance(module, Blur) or not isinstance(module, BinaryLayer | nn.Conv2d | nn.Linear):
            continue
        if name == "stem.depthwise":
            nn.init.xavier_uniform_(module.weight)
        elif name.startswith("stem."):
            nn.init.kaiming_normal_(module.weight)
        else:
            nn.init.xavier_normal_(module.weight)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _quicknet(size: str, widths: tuple[int, ...], units: tuple[int, ...]) -> Design:
    return Design(
        name=f"quicknet-{size}",
        image_size=224,
        source="larq/zoo, larq_zoo/sota/quicknet.py",
        compose=partial(_compose, widths=widths, units=units),
        initialise=_initialise,
    )


QUICKNET_SMALL = _quicknet("small", (32, 64, 256, 512), (4, 4, 4, 4))
QUICKNET_MEDIUM = _quicknet("medium", (64, 128, 256, 512), (4, 4, 4, 4))
QUICKNET_LARGE = _quicknet("large", (64, 128, 256, 512), (6, 8, 12, 6))
