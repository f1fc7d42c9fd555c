"""XNOR-Net as larq's zoo trains it: no biases, no dropout, batch norms without a scale."""

from xnorlit.models.network import Block, Network

# TensorFlow's "same" padding puts 3 zeros before conv1's input and 4 behind it; 4 on both sides give the same 56 x 56
# map, one pixel shifted.
ALEXNET_XNOR_LARQ = Network(
    name="alexnet-xnor-larq",
    image_size=224,
    source="larq/zoo, larq_zoo/literature/xnornet.py",
    init="glorot",
    gamma="none",
    blocks=(
        Block("conv1", "conv norm relu pool", 96, kernel=11, stride=4, padding=4, bias=False, binary=False),
        Block("conv2", "norm conv pool", 256, kernel=5, padding=2, eps=1e-4, bias=False),
        Block("conv3", "norm conv", 384, kernel=3, padding=1, eps=1e-4, bias=False),
        Block("conv4", "norm conv", 384, kernel=3, padding=1, eps=1e-4, bias=False),
        Block("conv5", "norm conv pool", 256, kernel=3, padding=1, eps=1e-4, bias=False),
        Block("fc6", "norm flatten linear", 4096, eps=1e-4, bias=False),
        Block("fc7", "norm linear", 4096, eps=1e-4, bias=False),
        Block("fc8", "norm relu linear", eps=1e-3, bias=False, binary=False),
    ),
)
