"""Fully binary AlexNets: larq's, and the BNN authors' with its convolutions three times as wide."""

from xnorlit.models.network import Block, Network

# TensorFlow's "same" padding of conv1 is 3 before and 4 behind; see larq.py.
ALEXNET_BINARY = Network(
    name="alexnet-binary",
    image_size=224,
    source="larq/zoo, larq_zoo/literature/binary_alex_net.py",
    init="glorot",
    gamma="none",
    blocks=(
        Block("conv1", "conv pool norm", 64, kernel=11, stride=4, padding=4, eps=1e-3, bias=False, binary="weights"),
        Block("conv2", "conv pool norm", 192, kernel=5, padding=2, eps=1e-3, bias=False),
        Block("conv3", "conv norm", 384, kernel=3, padding=1, eps=1e-3, bias=False),
        Block("conv4", "conv norm", 384, kernel=3, padding=1, eps=1e-3, bias=False),
        Block("conv5", "conv pool norm", 256, kernel=3, padding=1, eps=1e-3, bias=False),
        Block("fc6", "flatten linear norm", 4096, eps=1e-3, bias=False),
        Block("fc7", "linear norm", 4096, eps=1e-3, bias=False),
        Block("fc8", "linear norm", eps=1e-3, bias=False),
    ),
)

ALEXNET_BINARY_WIDE = Network(
    name="alexnet-binary-wide",
    image_size=224,
    source="itayhubara/BinaryNet.pytorch, models/alexnet_binary.py",
    init="torch",
    blocks=(
        Block("conv1", "conv pool norm", 192, kernel=11, stride=4, padding=2, binary="weights"),
        Block("conv2", "conv pool norm", 576, kernel=5, padding=2),
        Block("conv3", "conv norm", 1152, kernel=3, padding=1),
        Block("conv4", "conv norm", 768, kernel=3, padding=1),
        Block("conv5", "conv pool norm", 256, kernel=3, padding=1),
        Block("fc6", "flatten linear norm", 4096),
        Block("fc7", "linear norm", 4096),
        Block("fc8", "linear norm"),
    ),
)
