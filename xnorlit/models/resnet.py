"""Published binary ResNets: 18 layers for ImageNet, 18 and 20 layers for images of 32 pixels."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from xnorlit.binarize.reactnet import RPReLU
from xnorlit.layers import BatchNorm1d, BatchNorm2d, Conv2d
from xnorlit.layers.layout import in_format
from xnorlit.models.design import Design, Parts, Stem, Unit, head
from xnorlit.models.initial import he_binary, he_everywhere

Activation = Callable[[int], nn.Module]  # takes the number of channels
Change = Callable[[int, int, int], nn.Module]  # takes input channels, output channels and stride

STAGES_18 = (64, 128, 256, 512)


class ZeroChannels(nn.Module):
    """Every `stride`-th pixel, with zero channels before and after: the shortcut without parameters, option A.

    Args:
        side: Number of zero channels before the others, and after them.
        stride: Distance between kept pixels in both directions.

    Source: He et al. 2016, arXiv 1512.03385, section 3.3.
    """

    def __init__(self, side: int, stride: int = 2) -> None:
        super().__init__()
        self.side, self.stride = side, stride

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C + 2 side, H / stride, W / stride)`."""
        x = in_format(x) if self.training else x  # A trace for packing cannot ask for a format.
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.side, self.side))


class Pair(nn.Module):
    """`y = a(norm(conv(a(norm(conv(x))))) + shortcut(x))`: a shortcut around two convolutions.

    Args:
        parts: Parts of the network.
        channels: Input and output channels.
        stride: Stride of the first convolution.
        shortcut: Maps x to the shape of the sum.
        between: Activation between the two convolutions.
        behind: Activation after the sum.
        activated: Whether there is an activation before the first convolution.
    """

    def __init__(
        self,
        parts: Parts,
        channels: tuple[int, int],
        stride: int,
        shortcut: nn.Module,
        between: nn.Module,
        behind: nn.Module,
        *,
        activated: bool,
    ) -> None:
        super().__init__()
        inputs, outputs = channels
        self.conv1 = parts.conv(inputs, outputs, stride=stride, activated=activated)
        self.norm1 = BatchNorm2d(outputs)
        self.activation1 = between
        self.conv2 = parts.conv(outputs, outputs, activated=not isinstance(between, nn.Identity))
        self.norm2 = BatchNorm2d(outputs)
        self.shortcut = shortcut
        self.activation2 = behind

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, O, H', W')`."""
        y = self.activation1(self.norm1(self.conv1(x)))
        return self.activation2(self.norm2(self.conv2(y)) + self.shortcut(x))


# --- shortcuts where the shape changes --------------------------------------------------------------------------------
def averaged(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Average pool, real 1 x 1 convolution, norm: Bi-Real's."""
    parts = {"average": nn.AvgPool2d(stride), "conv": Conv2d(inputs, outputs, 1, bias=False)}
    return _named(**parts, norm=BatchNorm2d(outputs))


def strided(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Real 1 x 1 convolution with a stride, norm: option B."""
    return _named(conv=Conv2d(inputs, outputs, 1, stride, bias=False), norm=BatchNorm2d(outputs))


def sampled(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Every second pixel, with zero channels: option A."""
    return ZeroChannels((outputs - inputs) // 2, stride)


def pooled(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Average pool, with zero channels: ReCU's."""
    return _named(average=nn.AvgPool2d(stride), zeros=ZeroChannels((outputs - inputs) // 2, 1))


def _named(**modules: nn.Module) -> nn.Sequential:
    found = nn.Sequential()
    for name, module in modules.items():
        found.add_module(name, module)
    return found


def _steps(widths: tuple[int, ...], each: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, input channels, output channels and stride of each unit; a stage has `each` units."""
    before = widths[0]
    for stage, width in enumerate(widths):
        for unit in range(each):
            yield f"unit{stage * each + unit + 1}", before, width, 2 if stage and not unit else 1
            before = width


def _stem(
    activation: nn.Module | None = None, *, pool: bool = False, outputs: int | None = None, large: bool = True
) -> Stem:
    """7 x 7 with stride 2, or 3 x 3 for small images; norm; activation; pool. By default as wide as stage 1 of 18."""
    outputs = outputs or STAGES_18[0]
    window = (7, 2, 3) if large else (3, 1, 1)
    others: dict[str, nn.Module] = {} if activation is None else {"activation": activation}
    if pool:
        others["pool"] = nn.MaxPool2d(3, 2, 1)
    return Stem(Conv2d(3, outputs, *window, bias=False), BatchNorm2d(outputs), **others)


# --- networks ---------------------------------------------------------------------------------------------------------
def _each(
    parts: Parts,
    widths: tuple[int, ...],
    each: int,
    own: Activation | None,
    change: Change,
    stem: Stem,
    *,
    norm: bool,
    activated: bool,
) -> Mapping[str, nn.Module]:
    """A network with a shortcut around each convolution.

    Args:
        parts: Parts of the network.
        widths: Channels of each stage.
        each: Convolutions per stage.
        own: The network's own activation after each sum.
        change: The shortcut where the shape changes.
        stem: The real layers before the stages.
        norm: Whether a norm precedes the classifier.
        activated: Whether the stem ends in an activation.
    """
    found: dict[str, nn.Module] = {"stem": stem}
    for name, inputs, outputs, stride in _steps(widths, each):
        found[name] = Unit(
            parts.conv(inputs, outputs, stride=stride, activated=activated),
            BatchNorm2d(outputs),
            nn.Identity() if (inputs, stride) == (outputs, 1) else change(inputs, outputs, stride),
            parts.activation(outputs, partial(own, outputs) if own else nn.Identity),
        )
        activated = own is not None
    return found | head(widths[-1], parts.classes, norm=BatchNorm1d(widths[-1]) if norm else None)


def _large(parts: Parts, *, own: Activation | None = None) -> Mapping[str, nn.Module]:
    stem = _stem(pool=True)
    return _each(parts, STAGES_18, 4, own, averaged, stem, norm=False, activated=False)


def _hardtanh(channels: int) -> nn.Module:
    return nn.Hardtanh()


def _of_20(parts: Parts, *, change: Change = sampled) -> Mapping[str, nn.Module]:
    stem = _stem(parts.activation(16, nn.Hardtanh), outputs=16, large=False)
    return _each(parts, (16, 32, 64), 6, _hardtanh, change, stem, norm=True, activated=True)


def _of_18(parts: Parts, *, change: Change) -> Mapping[str, nn.Module]:
    stem = _stem(parts.activation(STAGES_18[0], nn.Hardtanh), large=False)
    return _each(parts, STAGES_18, 4, _hardtanh, change, stem, norm=True, activated=True)


def _pairs(parts: Parts, stem: Stem, own: Activation | None, change: Change) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {"stem": stem}
    activated = False
    for name, inputs, outputs, stride in _steps(STAGES_18, 2):
        make = partial(own, outputs) if own else nn.Identity
        found[name] = Pair(
            parts,
            (inputs, outputs),
            stride,
            nn.Identity() if (inputs, stride) == (outputs, 1) else change(inputs, outputs, stride),
            parts.activation(outputs, make),
            parts.activation(outputs, make),
            activated=activated,
        )
        activated = own is not None
    return found


def _irnet_18(parts: Parts) -> Mapping[str, nn.Module]:
    found = _pairs(parts, _stem(large=False), _hardtanh, strided)
    return found | head(STAGES_18[-1], parts.classes, norm=BatchNorm1d(STAGES_18[-1]))


def _xnor_18(parts: Parts, *, shortcut: Literal["real", "binary"] = "real") -> Mapping[str, nn.Module]:
    def binary(inputs: int, outputs: int, stride: int) -> nn.Module:
        conv = parts.conv(inputs, outputs, 1, stride=stride, activated=False)
        return _named(conv=conv, norm=BatchNorm2d(outputs))

    found = _pairs(parts, _stem(pool=True), None, strided if shortcut == "real" else binary)
    return {**found, "relu": nn.ReLU(), **head(STAGES_18[-1], parts.classes)}


# XNOR-Net's authors released no ResNet. Others put sign, convolution and norm twice into torchvision's block. We omit
# their ReLU after the stem, which would make every sign of the first convolution +1.
RESNET18_XNOR = Design(
    name="resnet18-xnor",
    image_size=224,
    source="after Rastegari et al. 2016, arXiv 1603.05279, table 2, as third parties implemented it",
    compose=_xnor_18,
    initialise=he_binary,
)
RESNET18_XNOR_BINARY = Design(
    name="resnet18-xnor-binary",
    image_size=224,
    source="resnet18-xnor with binary convolutions in its shortcuts",
    compose=partial(_xnor_18, shortcut="binary"),
    initialise=he_binary,
)

# A shortcut around each convolution, after its norm. The sign is the only non-linearity of the binary network.
RESNET18_BIREAL = Design(
    name="resnet18-bireal",
    image_size=224,
    source="liuzechun/Bi-Real-net, pytorch_implementation/BiReal18_34/birealnet.py",
    compose=_large,
    initialise=he_binary,
)

RESNET18_REACTNET = Design(
    name="resnet18-reactnet",
    image_size=224,
    source="liuzechun/ReActNet, resnet/2_step2/birealnet.py",
    compose=partial(_large, own=RPReLU),
    initialise=he_binary,
)

# For images of 32 pixels, as in IR-Net: ResNet-20 has a shortcut around each convolution, ResNet-18 one around two.
RESNET20 = Design(
    name="resnet20",
    image_size=32,
    source="htqin/IR-Net, CIFAR-10/ResNet20/1w1a/resnet.py",
    compose=_of_20,
    initialise=he_everywhere,
)
RESNET20_RECU = Design(
    name="resnet20-recu",
    image_size=32,
    source="z-hXu/ReCU, cifar/models_cifar/resnet.py",
    compose=partial(_of_20, change=pooled),
    initialise=he_everywhere,
)
RESNET18_CIFAR = Design(
    name="resnet18-cifar", image_size=32, source="htqin/IR-Net, CIFAR-10/ResNet18/resnet.py", compose=_irnet_18
)
RESNET18_CIFAR_RECU = Design(
    name="resnet18-cifar-recu",
    image_size=32,
    source="z-hXu/ReCU, cifar/models_cifar/resnet2.py",
    compose=partial(_of_18, change=pooled),
    initialise=he_everywhere,
)
RESNET18_CIFAR_ADABIN = Design(
    name="resnet18-cifar-adabin",
    image_size=32,
    source="huawei-noah/Efficient-Computing, BinaryNetworks/AdaBin/cifar10/nets/resnet18.py",
    compose=partial(_of_18, change=strided),
)
