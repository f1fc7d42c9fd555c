"""The pair of the paper, as allenai released it in Torch 7: AlexNet-XNOR and its float AlexNet, 224 pixels."""

from xnorlit.models.network import Block, Network

# The release writes fc6, fc7 and fc8 as convolutions over a map of 6 x 6 and 1 x 1; a matrix product over the
# flattened map is the same function and a third faster on a CPU. Its initialiser misspells the class name of batch
# norm, so gamma keeps Torch 7's own start, U(0, 1).
ALEXNET_XNOR = Network(
    name="alexnet-xnor",
    image_size=224,
    source="allenai/XNOR-Net, models/alexnetxnor.lua",
    gamma="uniform",
    blocks=(
        Block("conv1", "conv norm relu pool", 96, kernel=11, stride=4, padding=2, binary=False),
        Block("conv2", "norm conv pool", 256, kernel=5, padding=2, eps=1e-4),
        Block("conv3", "norm conv", 384, kernel=3, padding=1, eps=1e-4),
        Block("conv4", "norm conv", 384, kernel=3, padding=1, eps=1e-4),
        Block("conv5", "norm conv pool", 256, kernel=3, padding=1, eps=1e-4),
        Block("fc6", "norm flatten linear", 4096, eps=1e-4),
        Block("fc7", "norm linear", 4096, eps=1e-4),
        Block("fc8", "norm relu linear", eps=1e-3, binary=False),
    ),
)

ALEXNET = Network(
    name="alexnet",
    image_size=224,
    source="allenai/XNOR-Net, models/alexnet.lua",
    gamma="uniform",
    blocks=(
        Block("conv1", "conv norm relu pool", 96, kernel=11, stride=4, padding=2, eps=1e-3, binary=False),
        Block("conv2", "conv norm relu pool", 256, kernel=5, padding=2, eps=1e-3),
        Block("conv3", "conv norm relu", 384, kernel=3, padding=1, eps=1e-3),
        Block("conv4", "conv norm relu", 384, kernel=3, padding=1, eps=1e-3),
        Block("conv5", "conv norm relu pool", 256, kernel=3, padding=1, eps=1e-3),
        Block("fc6", "dropout flatten linear norm relu", 4096, eps=1e-3),
        Block("fc7", "dropout linear norm relu", 4096, eps=1e-3),
        Block("fc8", "linear", binary=False),
    ),
)
