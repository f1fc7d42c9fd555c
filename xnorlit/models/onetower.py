"""The one-tower AlexNet of 2014 as torchvision has it, and a variant whose norms leave something to take a sign of."""

from xnorlit.models.network import Block, Network

# At 224 pixels the average pool reads 6 x 6 and changes nothing; other sizes are brought to 6 x 6 by it.
ALEXNET_TORCHVISION = Network(
    name="alexnet-torchvision",
    image_size=224,
    source="torchvision.models.alexnet, after Krizhevsky 2014, arXiv 1404.5997",
    init="torch",
    blocks=(
        Block("conv1", "conv relu pool", 64, kernel=11, stride=4, padding=2, binary=False),
        Block("conv2", "conv relu pool", 192, kernel=5, padding=2),
        Block("conv3", "conv relu", 384, kernel=3, padding=1),
        Block("conv4", "conv relu", 256, kernel=3, padding=1),
        Block("conv5", "conv relu pool", 256, kernel=3, padding=1),
        Block("fc6", "average flatten dropout linear relu", 4096),
        Block("fc7", "dropout linear relu", 4096),
        Block("fc8", "linear", binary=False),
    ),
)

# The same layers, so that torchvision's trained weights fit. Its inputs are never negative: without a norm every sign
# would be +1.
ALEXNET_TORCHVISION_NORM = Network(
    name="alexnet-torchvision-norm",
    image_size=224,
    source="ours: torchvision.models.alexnet with a batch norm before each layer but the first",
    init="torch",
    blocks=(
        Block("conv1", "conv relu pool", 64, kernel=11, stride=4, padding=2, binary=False),
        Block("conv2", "norm conv relu pool", 192, kernel=5, padding=2, eps=1e-4),
        Block("conv3", "norm conv relu", 384, kernel=3, padding=1, eps=1e-4),
        Block("conv4", "norm conv relu", 256, kernel=3, padding=1, eps=1e-4),
        Block("conv5", "norm conv relu pool", 256, kernel=3, padding=1, eps=1e-4),
        Block("fc6", "average norm flatten linear relu", 4096, eps=1e-4),
        Block("fc7", "norm linear relu", 4096, eps=1e-4),
        Block("fc8", "norm linear", eps=1e-4, binary=False),
    ),
)
