"""DoReFa-Net's AlexNet as tensorpack trains it: what a layer reads is clipped to [0, 1] by its binarizer."""

from typing import Literal

from xnorlit.models.network import Block, Network


def _blocks(bound: Literal["clip", "relu"]) -> tuple[Block, ...]:
    # TensorFlow's "same" pool puts its one column too many behind the 54 x 54 map of conv1's reader; a border of 1 on
    # each side gives the same 27 x 27 windows, one pixel shifted, and is what "same" does to 27 x 27.
    return (
        Block("conv1", "conv", 96, kernel=12, stride=4, binary=False),
        Block("conv2", "conv norm pool", 256, kernel=5, padding=2, groups=2, pool_padding=1, eps=1e-4, bias=False),
        Block("conv3", "conv norm pool", 384, kernel=3, padding=1, pool_padding=1, eps=1e-4, bias=False),
        Block("conv4", "conv norm", 384, kernel=3, padding=1, groups=2, eps=1e-4, bias=False),
        Block("conv5", "conv norm pool", 256, kernel=3, padding=1, groups=2, eps=1e-4, bias=False),
        Block("fc6", "flatten linear norm", 4096, eps=1e-4),
        Block("fc7", "linear norm", 4096, eps=1e-4, bias=False),
        Block("fc8", f"{bound} linear", binary=False),
    )


ALEXNET_DOREFA = Network(
    name="alexnet-dorefa",
    image_size=224,
    source="tensorpack, examples/DoReFa-Net/alexnet-dorefa.py",
    blocks=_blocks("clip"),
)

# The published float arm differs in this: its last layer reads a ReLU, whereas the few-bit arms' reads a clip.
ALEXNET_DOREFA_RELU = Network(
    name="alexnet-dorefa-relu",
    image_size=224,
    source="tensorpack, examples/DoReFa-Net/alexnet-dorefa.py with --dorefa 32,32,32",
    blocks=_blocks("relu"),
)
