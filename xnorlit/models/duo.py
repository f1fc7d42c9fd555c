"""BinaryDuo's AlexNet before its activations are decoupled: narrower, so that the decoupled one weighs as much."""

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
