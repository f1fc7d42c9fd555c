"""Residual networks as plain functions of a state dict, after the published code."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
Unary = Callable[[Tensor], Tensor]


def sign(x: Tensor) -> Tensor:
    """+1 and -1, +1 for 0."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    """A batch norm in evaluation."""
    mean, variance, gamma, beta = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    shape = (1, -1, *(1,) * (x.ndim - 2))
    return (x - mean.view(shape)) / (variance.view(shape) + eps).sqrt() * gamma.view(shape) + beta.view(shape)


def conv(state: State, name: str, x: Tensor, stride: int, kind: str) -> Tensor:
    """A convolution of signs with `alpha_o sign(W)` (`bireal`), with shifted signs (`reactnet`), or of `relu(x)`."""
    weight = state[f"{name}.weight"]
    if kind == "reactnet":
        x = x + state[f"{name}.binarizer.shift"].view(1, -1, 1, 1)
    alpha = weight.abs().mean(dim=(1, 2, 3), keepdim=True)
    padding = weight.shape[-1] // 2
    return F.conv2d(sign(x), alpha * sign(weight), None, stride, padding)


def rprelu(state: State, name: str, x: Tensor) -> Tensor:
    """A PReLU between two shifts."""
    before, slope, after = (state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("before", "slope", "after"))
    z = x + before
    return torch.where(z > 0, z, slope * z) + after


def pixels(state: State, images: Tensor) -> Tensor:
    """What the stem reads."""
    return (images - state["normalize.mean"]) / state["normalize.std"]


def option_a(x: Tensor) -> Tensor:
    """Every second pixel, between zeros for half as many channels again on either side."""
    x = x[:, :, ::2, ::2]
    zeros = torch.zeros(len(x), x.shape[1] // 2, *x.shape[2:], dtype=x.dtype)
    return torch.cat([zeros, x, zeros], 1)


def bireal(state: State, images: Tensor, kind: str = "bireal") -> Tensor:
    """birealnet.py: sixteen convolutions, a shortcut around each."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 2, 3)
    x = F.max_pool2d(norm(state, "stem.norm", x), 3, 2, 1)
    for unit in range(1, 17):
        name = f"unit{unit}"
        down = unit in (5, 9, 13)
        y = norm(state, f"{name}.norm", conv(state, f"{name}.conv", x, 2 if down else 1, kind))
        if down:
            x = F.conv2d(F.avg_pool2d(x, 2), state[f"{name}.shortcut.conv.weight"])
            x = norm(state, f"{name}.shortcut.norm", x)
        x = y + x
        if kind == "reactnet":
            x = rprelu(state, f"{name}.activation", x)
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def resnet20(state: State, images: Tensor, shortcut: Unary = option_a) -> Tensor:
    """IR-Net's resnet20_1w1a, with a hardtanh behind each sum."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 1, 1)
    x = norm(state, "stem.norm", x).clamp(-1, 1)
    for unit in range(1, 19):
        down = unit in (7, 13)
        y = norm(state, f"unit{unit}.norm", conv(state, f"unit{unit}.conv", x, 2 if down else 1, "bireal"))
        x = (y + (shortcut(x) if down else x)).clamp(-1, 1)
    x = norm(state, "norm", x.mean((2, 3)))
    return F.linear(x, state["fc.weight"], state["fc.bias"])


def pooled_a(x: Tensor) -> Tensor:
    """ReCU's: averages of 2 x 2 instead of every second pixel."""
    means = (x[:, :, ::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, ::2] + x[:, :, 1::2, 1::2]) / 4
    zeros = torch.zeros(len(x), x.shape[1] // 2, *means.shape[2:], dtype=x.dtype)
    return torch.cat([zeros, means, zeros], 1)


def resnet18(state: State, images: Tensor) -> Tensor:
    """IR-Net's ResNet18 for CIFAR: a shortcut around two convolutions, no activation behind the stem."""
    x = norm(state, "stem.norm", F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 1, 1))
    for unit in range(1, 9):
        name, down = f"unit{unit}", unit in (3, 5, 7)
        y = norm(state, f"{name}.norm1", conv(state, f"{name}.conv1", x, 2 if down else 1, "bireal")).clamp(-1, 1)
        y = norm(state, f"{name}.norm2", conv(state, f"{name}.conv2", y, 1, "bireal"))
        if down:
            x = F.conv2d(x, state[f"{name}.shortcut.conv.weight"], None, 2)
            x = norm(state, f"{name}.shortcut.norm", x)
        x = (y + x).clamp(-1, 1)
    x = norm(state, "norm", x.mean((2, 3)))
    return F.linear(x, state["fc.weight"], state["fc.bias"])


def reactnet(state: State, images: Tensor) -> Tensor:
    """reactnet.py: where the width doubles, two 1 x 1 convolutions, their results one behind the other."""
    widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 2, 1)
    x = norm(state, "stem.norm", x)
    for number in range(1, 14):
        inputs, outputs = widths[number - 1], widths[number]
        down = number in (2, 4, 6, 12)
        name = f"block{number}.spatial"
        y = norm(state, f"{name}.norm", conv(state, f"{name}.conv", x, 2 if down else 1, "reactnet"))
        x = rprelu(state, f"{name}.activation", y + (F.avg_pool2d(x, 2) if down else x))
        name = f"block{number}.point"
        if inputs == outputs:
            y = norm(state, f"{name}.norm", conv(state, f"{name}.conv", x, 1, "reactnet")) + x
        else:
            halves = []
            for half in range(2):
                part = {
                    key: value[half * inputs : (half + 1) * inputs] if value.ndim and len(value) == outputs else value
                    for key, value in state.items()
                    if key.startswith(name)
                }
                halves.append(norm(part, f"{name}.norm", conv(part, f"{name}.conv", x, 1, "reactnet")) + x)
            y = torch.cat(halves, 1)
        x = rprelu(state, f"{name}.activation", y)
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def vgg(state: State, images: Tensor) -> Tensor:
    """IR-Net's VGG-small: convolution, pool behind the second, fourth and sixth, norm, hardtanh."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 1, 1)
    x = norm(state, "stem.norm", x).clamp(-1, 1)
    for number in range(2, 7):
        x = conv(state, f"conv{number}.conv", x, 1, "bireal")
        x = F.max_pool2d(x, 2) if number % 2 == 0 else x
        x = norm(state, f"conv{number}.norm", x).clamp(-1, 1)
    return F.linear(x.flatten(1), state["fc.weight"], state["fc.bias"])


def quicknet(state: State, images: Tensor) -> Tensor:
    """quicknet.py with the signs that BNN has, and +1 around each map."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 2, 1)
    x = norm(state, "stem.norm", x, 1e-3).relu()
    x = F.conv2d(x, state["stem.depthwise.weight"], None, 2, 1, groups=x.shape[1])
    mean, variance = (state[f"stem.depthwise_norm.running_{key}"].view(1, -1, 1, 1) for key in ("mean", "var"))
    x = (x - mean) / (variance + 1e-3).sqrt()
    x = norm(state, "stem.point_norm", F.conv2d(x, state["stem.point.weight"]), 1e-3)
    for unit in range(1, 17):
        if unit in (5, 9, 13):
            name = f"transition{unit // 4}"
            x = F.max_pool2d(x.relu(), 2, 1)
            line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
            blur = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
            x = F.conv2d(x, blur, None, 2, 1, groups=x.shape[1])
            x = norm(state, f"{name}.norm", F.conv2d(x, state[f"{name}.conv.weight"]))
        signs = F.pad(sign(x), (1, 1, 1, 1), value=1.0)
        y = F.conv2d(signs, sign(state[f"unit{unit}.conv.weight"])).relu()
        x = norm(state, f"unit{unit}.norm", y) + x
    return F.linear(x.relu().mean((2, 3)), state["fc.weight"], state["fc.bias"])


REFERENCES = {
    "quicknet-small": ("BNN", quicknet),
    "vgg-small": ("BiReal", vgg),
    "reactnet-a": ("ReActNet", reactnet),
    "resnet18-bireal": ("BiReal", bireal),
    "resnet18-cifar": ("BiReal", resnet18),
    "resnet18-reactnet": ("ReActNet", lambda state, images: bireal(state, images, "reactnet")),
    "resnet20": ("BiReal", resnet20),
    "resnet20-recu": ("BiReal", lambda state, images: resnet20(state, images, pooled_a)),
}
