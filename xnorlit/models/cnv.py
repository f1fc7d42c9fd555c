"""CNV: a fully binary network for FPGAs, without padding."""

from xnorlit.models.network import Block, Network

# The original pools after the signs, which is equivalent: the maximum of signs is the sign of the maximum. A mean and
# a standard deviation of 127.5 bring pixels to [-1, 1].
CNV = Network(
    name="cnv",
    image_size=32,
    source="Xilinx/brevitas, src/brevitas_examples/bnn_pynq/models/CNV.py, 1W1A",
    init="unit",
    blocks=(
        Block("conv1", "conv norm", 64, kernel=3, eps=1e-4, bias=False, binary="weights"),
        Block("conv2", "conv norm pool", 64, kernel=3, pool=(2, 2), eps=1e-4, bias=False),
        Block("conv3", "conv norm", 128, kernel=3, eps=1e-4, bias=False),
        Block("conv4", "conv norm pool", 128, kernel=3, pool=(2, 2), eps=1e-4, bias=False),
        Block("conv5", "conv norm", 256, kernel=3, eps=1e-4, bias=False),
        Block("conv6", "conv norm", 256, kernel=3, eps=1e-4, bias=False),
        Block("fc7", "flatten linear norm", 512, eps=1e-4, bias=False),
        Block("fc8", "linear norm", 512, eps=1e-4, bias=False),
        Block("fc9", "linear whole-norm", eps=1e-4, bias=False),
    ),
)
