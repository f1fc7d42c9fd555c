"""Published networks as plain functions of a state dict, after the published code."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
Change = Callable[[State, str, Tensor], Tensor]  # a shortcut where the shape changes: state, name of its unit, input


def sign(x: Tensor) -> Tensor:
    """+1 and -1, +1 for 0."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    """A batch norm in evaluation."""
    mean, variance, gamma, beta = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    shape = (1, -1, *(1,) * (x.ndim - 2))
    return (x - mean.view(shape)) / (variance.view(shape) + eps).sqrt() * gamma.view(shape) + beta.view(shape)


def conv(state: State, name: str, x: Tensor, stride: int, kind: str) -> Tensor:
    """A convolution of signs with `alpha_o sign(W)`, absent taps around the map.

    Args:
        state: State dict.
        name: Name of the layer.
        x: Inputs.
        stride: Stride.
        kind: `bireal`; `reactnet` shifts the inputs; `adabin` has two values a bit for inputs and weights.
    """
    weight = state[f"{name}.weight"]
    dims, padding = (1, 2, 3), weight.shape[-1] // 2
    if kind == "adabin":
        distance, centre = (state[f"{name}.binarizer.{key}"] for key in ("distance", "centre"))
        mean, deviation = weight.mean(dims, keepdim=True), weight.std(dims, correction=0, keepdim=True)
        x, weight = distance * sign(x - centre) + centre, deviation * sign(weight - mean) + mean
        return F.conv2d(x, weight, None, stride, padding)
    if kind == "reactnet":
        x = x + state[f"{name}.binarizer.shift"].view(1, -1, 1, 1)
    return F.conv2d(sign(x), weight.abs().mean(dims, keepdim=True) * sign(weight), None, stride, padding)


def rprelu(state: State, name: str, x: Tensor) -> Tensor:
    """A PReLU between two shifts."""
    before, slope, after = (state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("before", "slope", "after"))
    z = x + before
    return torch.where(z > 0, z, slope * z) + after


def hardtanh(state: State, name: str, x: Tensor) -> Tensor:
    """The activation of networks for 32 pixels."""
    return x.clamp(-1, 1)


def maxout(state: State, name: str, x: Tensor) -> Tensor:
    """AdaBin's activation: a slope per channel above zero, and one below."""
    above, below = (state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("positive", "negative"))
    return torch.where(x > 0, above * x, below * x)


def pixels(state: State, images: Tensor) -> Tensor:
    """What the stem reads."""
    return (images - state["normalize.mean"]) / state["normalize.std"]


def between_zeros(x: Tensor) -> Tensor:
    """Zeros for half as many channels again on either side."""
    zeros = torch.zeros(len(x), x.shape[1] // 2, *x.shape[2:], dtype=x.dtype)
    return torch.cat([zeros, x, zeros], 1)


def option_a(state: State, unit: str, x: Tensor) -> Tensor:
    """Every second pixel, between zeros."""
    return between_zeros(x[:, :, ::2, ::2])


def pooled_a(state: State, unit: str, x: Tensor) -> Tensor:
    """ReCU's: averages of 2 x 2 instead of every second pixel."""
    return between_zeros((x[:, :, ::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, ::2] + x[:, :, 1::2, 1::2]) / 4)


def option_b(state: State, unit: str, x: Tensor) -> Tensor:
    """A float 1 x 1 convolution with stride 2, and a norm."""
    return norm(state, f"{unit}.shortcut.norm", F.conv2d(x, state[f"{unit}.shortcut.conv.weight"], None, 2))


def averaged_b(state: State, unit: str, x: Tensor) -> Tensor:
    """Bi-Real's: averages of 2 x 2 before a float 1 x 1 convolution and a norm."""
    return norm(state, f"{unit}.shortcut.norm", F.conv2d(F.avg_pool2d(x, 2), state[f"{unit}.shortcut.conv.weight"]))


def binary_b(state: State, unit: str, x: Tensor) -> Tensor:
    """A binary 1 x 1 convolution with stride 2, and a norm."""
    return norm(state, f"{unit}.shortcut.norm", conv(state, f"{unit}.shortcut.conv", x, 2, "bireal"))


def large_stem(state: State, images: Tensor) -> Tensor:
    """ResNet-18's for 224 pixels, without an activation."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 2, 3)
    return F.max_pool2d(norm(state, "stem.norm", x), 3, 2, 1)


def small_stem(state: State, images: Tensor) -> Tensor:
    """ResNets' for 32 pixels, without an activation."""
    return norm(state, "stem.norm", F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 1, 1))


def linear(state: State, x: Tensor) -> Tensor:
    """The classifier."""
    return F.linear(x, state["fc.weight"], state["fc.bias"])


def bireal(state: State, images: Tensor, kind: str = "bireal") -> Tensor:
    """birealnet.py: sixteen convolutions, a shortcut around each."""
    x = large_stem(state, images)
    for unit in range(1, 17):
        name, down = f"unit{unit}", unit in (5, 9, 13)
        y = norm(state, f"{name}.norm", conv(state, f"{name}.conv", x, 2 if down else 1, kind))
        x = y + (averaged_b(state, name, x) if down else x)
        if kind == "reactnet":
            x = rprelu(state, f"{name}.activation", x)
    return linear(state, x.mean((2, 3)))


def xnor(state: State, images: Tensor, change: Change) -> Tensor:
    """A third party's xnor_resnet18 without the ReLU behind its stem: a shortcut around two convolutions."""
    x = large_stem(state, images)
    for unit in range(1, 9):
        name, down = f"unit{unit}", unit in (3, 5, 7)
        y = norm(state, f"{name}.norm1", conv(state, f"{name}.conv1", x, 2 if down else 1, "bireal"))
        y = norm(state, f"{name}.norm2", conv(state, f"{name}.conv2", y, 1, "bireal"))
        x = y + (change(state, name, x) if down else x)
    return linear(state, x.relu().mean((2, 3)))


def each(
    state: State, images: Tensor, stages: tuple[int, ...], change: Change, kind: str = "bireal", bend: Change = hardtanh
) -> Tensor:
    """IR-Net's resnet20_1w1a, ReCU's and AdaBin's ResNet-18: a shortcut around each convolution, then an activation.

    Args:
        state: State dict.
        images: Pixels.
        stages: Number of convolutions in each stage.
        change: The shortcut where the shape changes.
        kind: See `conv`.
        bend: The activation, behind the stem too.
    """
    x = bend(state, "stem.activation", small_stem(state, images))
    firsts = [count + 1 for count in itertools.accumulate(stages[:-1])]
    for unit in range(1, sum(stages) + 1):
        name, down = f"unit{unit}", unit in firsts
        y = norm(state, f"{name}.norm", conv(state, f"{name}.conv", x, 2 if down else 1, kind))
        x = bend(state, f"{name}.activation", y + (change(state, name, x) if down else x))
    return linear(state, norm(state, "norm", x.mean((2, 3))))


def resnet18(state: State, images: Tensor) -> Tensor:
    """IR-Net's ResNet18 for CIFAR: a shortcut around two convolutions, no activation behind the stem."""
    x = small_stem(state, images)
    for unit in range(1, 9):
        name, down = f"unit{unit}", unit in (3, 5, 7)
        y = norm(state, f"{name}.norm1", conv(state, f"{name}.conv1", x, 2 if down else 1, "bireal")).clamp(-1, 1)
        y = norm(state, f"{name}.norm2", conv(state, f"{name}.conv2", y, 1, "bireal"))
        x = (y + (option_b(state, name, x) if down else x)).clamp(-1, 1)
    return linear(state, norm(state, "norm", x.mean((2, 3))))


def reactnet(state: State, images: Tensor) -> Tensor:
    """reactnet.py: where the width doubles, two 1 x 1 convolutions, their results one behind the other."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 2, 1)
    x = norm(state, "stem.norm", x)
    for number in range(1, 14):
        outputs, inputs = state[f"block{number}.point.conv.weight"].shape[:2]
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
    return linear(state, x.mean((2, 3)))


def vgg(state: State, images: Tensor) -> Tensor:
    """IR-Net's VGG-small: convolution, pool behind the second, fourth and sixth, norm, hardtanh."""
    x = small_stem(state, images).clamp(-1, 1)
    for number in range(2, 7):
        x = conv(state, f"conv{number}.conv", x, 1, "bireal")
        x = F.max_pool2d(x, 2) if number % 2 == 0 else x
        x = norm(state, f"conv{number}.norm", x).clamp(-1, 1)
    return linear(state, x.flatten(1))


def cnv(state: State, images: Tensor) -> Tensor:
    """CNV.py, 1W1A: convolutions without padding, norm, sign, pool of signs behind the second and the fourth."""
    x = pixels(state, images)
    for number in range(1, 7):
        x = F.conv2d(x, sign(state[f"conv{number}.conv.weight"]))
        x = sign(norm(state, f"conv{number}.norm", x, 1e-4))
        x = F.max_pool2d(x, 2) if number in (2, 4) else x
    x = x.flatten(1)
    for number in (7, 8):
        x = sign(norm(state, f"fc{number}.norm", F.linear(x, sign(state[f"fc{number}.linear.weight"])), 1e-4))
    x = F.linear(x, sign(state["fc9.linear.weight"]))
    return norm(state, "fc9.whole-norm", x, 1e-4)


def quicknet(state: State, images: Tensor, stages: tuple[int, ...] = (4, 4, 4, 4)) -> Tensor:
    """quicknet.py with the signs that BNN has, and +1 around each map."""
    x = F.conv2d(pixels(state, images), state["stem.conv.weight"], None, 2, 1)
    x = norm(state, "stem.norm", x, 1e-3).relu()
    x = F.conv2d(x, state["stem.depthwise.weight"], None, 2, 1, groups=x.shape[1])
    mean, variance = (state[f"stem.depthwise_norm.running_{key}"].view(1, -1, 1, 1) for key in ("mean", "var"))
    x = (x - mean) / (variance + 1e-3).sqrt()
    x = norm(state, "stem.point_norm", F.conv2d(x, state["stem.point.weight"]), 1e-3)
    firsts = [count + 1 for count in itertools.accumulate(stages[:-1])]
    for unit in range(1, sum(stages) + 1):
        if unit in firsts:
            name = f"transition{firsts.index(unit) + 1}"
            x = F.max_pool2d(x.relu(), 2, 1)
            line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
            blur = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
            x = F.conv2d(x, blur, None, 2, 1, groups=x.shape[1])
            x = norm(state, f"{name}.norm", F.conv2d(x, state[f"{name}.conv.weight"]))
        signs = F.pad(sign(x), (1, 1, 1, 1), value=1.0)
        y = F.conv2d(signs, sign(state[f"unit{unit}.conv.weight"])).relu()
        x = norm(state, f"unit{unit}.norm", y) + x
    return linear(state, x.relu().mean((2, 3)))


REFERENCES = {
    "cnv": ("BNN", cnv),
    "quicknet-small": ("BNN", quicknet),
    "quicknet-medium": ("BNN", quicknet),
    "quicknet-large": ("BNN", partial(quicknet, stages=(6, 8, 12, 6))),
    "vgg-small": ("BiReal", vgg),
    "reactnet-a": ("ReActNet", reactnet),
    "resnet18-bireal": ("BiReal", bireal),
    "resnet18-cifar": ("BiReal", resnet18),
    "resnet18-cifar-adabin": (
        "AdaBin",
        partial(each, stages=(4, 4, 4, 4), change=option_b, kind="adabin", bend=maxout),
    ),
    "resnet18-cifar-recu": ("BiReal", partial(each, stages=(4, 4, 4, 4), change=pooled_a)),
    "resnet18-reactnet": ("ReActNet", partial(bireal, kind="reactnet")),
    "resnet18-xnor": ("BiReal", partial(xnor, change=option_b)),
    "resnet18-xnor-binary": ("BiReal", partial(xnor, change=binary_b)),
    "resnet20": ("BiReal", partial(each, stages=(6, 6, 6), change=option_a)),
    "resnet20-recu": ("BiReal", partial(each, stages=(6, 6, 6), change=pooled_a)),
}
