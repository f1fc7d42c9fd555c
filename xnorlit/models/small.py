"""An AlexNet for images of 32 to 64 pixels: 3 x 3 kernels, pools of 2, narrow widths."""

from xnorlit.models.arrangement import activated, layer_first
from xnorlit.models.network import Block, Network

ALEXNET_SMALL = Network(
    name="alexnet-small",
    image_size=32,
    source="ours: AlexNet's five convolutions and three dense layers at a fortieth of the weights",
    # Smaller latent weights flip more easily at a given learning rate.
    init="torch",
    blocks=(
        Block("conv1", "conv norm relu pool", 48, kernel=3, padding=1, pool=(2, 2), binary=False),
        Block("conv2", "norm conv pool", 96, kernel=3, padding=1, pool=(2, 2), eps=1e-4),
        Block("conv3", "norm conv", 128, kernel=3, padding=1, eps=1e-4),
        Block("conv4", "norm conv", 128, kernel=3, padding=1, eps=1e-4),
        Block("conv5", "norm conv pool", 96, kernel=3, padding=1, pool=(2, 2), eps=1e-4),
        Block("fc6", "flatten norm linear", 512, eps=1e-4),
        Block("fc7", "norm linear", 512, eps=1e-4),
        Block("fc8", "norm relu linear", binary=False),
    ),
)

ALEXNET_SMALL_RELU = activated(ALEXNET_SMALL, "relu")
ALEXNET_SMALL_PRELU = activated(ALEXNET_SMALL, "prelu")
ALEXNET_SMALL_CBAP = layer_first(ALEXNET_SMALL)
ALEXNET_SMALL_CBAP_RELU = layer_first(ALEXNET_SMALL_RELU, "alexnet-small-cbap-relu")
ALEXNET_SMALL_CBAP_PRELU = layer_first(ALEXNET_SMALL_PRELU, "alexnet-small-cbap-prelu")
