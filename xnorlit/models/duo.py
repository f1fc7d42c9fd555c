"""BinaryDuo's AlexNets: narrower ones with coupled inputs, and what they become, which weighs as much as others."""

from xnorlit.models.decouple import decoupled
from xnorlit.models.network import Block, Network

# The release writes its dense layers as convolutions over 6 x 6 and 1 x 1; dropout of whole channels is plain there.
ALEXNET_DUO = Network(
    name="alexnet-duo",
    image_size=224,
    source="Hyungjun-K1m/BinaryDuo, models/alexnet_coupled.lua",
    init="both-fans",
    blocks=(
        Block("conv1", "conv pool norm", 88, kernel=11, stride=4, padding=2, bias=False, binary=False),
        Block("conv2", "conv pool norm", 192, kernel=5, padding=2, bias=False),
        Block("conv3", "conv norm", 256, kernel=3, padding=1, bias=False),
        Block("conv4", "conv norm", 256, kernel=3, padding=1, bias=False),
        Block("conv5", "conv pool norm", 192, kernel=3, padding=1, bias=False),
        Block("fc6", "flatten linear norm", 2400, bias=False),
        Block("fc7", "linear norm relu", 4096, bias=False, input_dropout=0.1),
        Block("fc8", "dropout linear", dropout=0.1, bias=False, binary=False),
    ),
)

ALEXNET_DUO_DECOUPLED = decoupled(ALEXNET_DUO)

ALEXNET_SMALL_DUO = Network(
    name="alexnet-small-duo",
    image_size=32,
    source="ours: alexnet-small with widths divided by the square root of 2, so that its decoupled form weighs as much",
    init="torch",
    blocks=(
        Block("conv1", "conv norm relu pool", 34, kernel=3, padding=1, pool=(2, 2), binary=False),
        Block("conv2", "norm conv pool", 68, kernel=3, padding=1, pool=(2, 2), eps=1e-4),
        Block("conv3", "norm conv", 90, kernel=3, padding=1, eps=1e-4),
        Block("conv4", "norm conv", 90, kernel=3, padding=1, eps=1e-4),
        Block("conv5", "norm conv pool", 68, kernel=3, padding=1, pool=(2, 2), eps=1e-4),
        Block("fc6", "flatten norm linear", 362, eps=1e-4),
        Block("fc7", "norm linear", 362, eps=1e-4),
        Block("fc8", "norm relu linear", binary=False),
    ),
)

ALEXNET_SMALL_DUO_DECOUPLED = decoupled(ALEXNET_SMALL_DUO)
