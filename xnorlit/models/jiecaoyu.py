"""AlexNet-XNOR as jiecaoyu ported it to PyTorch: 227 pixels, a ReLU behind every binary layer, dropout."""

from xnorlit.models.network import Block, Network

ALEXNET_XNOR_RELU = Network(
    name="alexnet-xnor-relu",
    image_size=227,
    source="jiecaoyu/XNOR-Net-PyTorch, ImageNet/networks/model_list/alexnet.py",
    init="narrow",
    blocks=(
        Block("conv1", "conv norm relu pool", 96, kernel=11, stride=4, eps=1e-4, binary=False),
        Block("conv2", "norm conv relu pool", 256, kernel=5, padding=2, eps=1e-4),
        Block("conv3", "norm conv relu", 384, kernel=3, padding=1, eps=1e-4),
        Block("conv4", "norm conv relu", 384, kernel=3, padding=1, eps=1e-4),
        Block("conv5", "norm conv relu pool", 256, kernel=3, padding=1, eps=1e-4),
        Block("fc6", "flatten norm linear relu", 4096, eps=1e-4),
        Block("fc7", "norm linear relu", 4096, eps=1e-4, input_dropout=0.5),
        Block("fc8", "norm dropout linear", eps=1e-3, binary=False),
    ),
)
