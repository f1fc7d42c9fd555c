"""ReActNet-A: MobileNet's widths, with dense binary convolutions and learned activations."""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise

from torch import nn

from xnorlit.binarize.reactnet import RPReLU
from xnorlit.layers import BatchNorm2d, Conv2d
from xnorlit.models.built import DuplicateChannels
from xnorlit.models.design import Design, Parts, Stem, Unit, head
from xnorlit.models.initial import he_binary

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDED = (2, 4, 6, 12)  # blocks with a stride, counted from 1


def _compose(parts: Parts) -> Mapping[str, nn.Module]:
    stem = Stem(Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False), BatchNorm2d(WIDTHS[0]))
    found: dict[str, nn.Module] = {"stem": stem}
    for number, (inputs, outputs) in enumerate(pairwise(WIDTHS), start=1):
        stride = 2 if number in STRIDED else 1
        block = nn.Sequential()
        block.add_module(
            "spatial",
            Unit(
                parts.conv(inputs, inputs, stride=stride, activated=number > 1),
                BatchNorm2d(inputs),
                nn.Identity() if stride == 1 else nn.AvgPool2d(2),
                parts.activation(inputs, partial(RPReLU, inputs)),
            ),
        )
        # Where the width doubles, the release concatenates two 1 x 1 convolutions of the same signs, each with its own
        # norm and sum. One convolution with twice the outputs has the same weights and results.
        block.add_module(
            "point",
            Unit(
                parts.conv(inputs, outputs, 1, activated=True),
                BatchNorm2d(outputs),
                nn.Identity() if inputs == outputs else DuplicateChannels(),
                parts.activation(outputs, partial(RPReLU, outputs)),
            ),
        )
        found[f"block{number}"] = block
    return found | head(WIDTHS[-1], parts.classes)


REACTNET_A = Design(
    name="reactnet-a",
    image_size=224,
    source="liuzechun/ReActNet, mobilenet/2_step2/reactnet.py",
    compose=_compose,
    initialise=he_binary,
)
