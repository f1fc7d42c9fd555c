"""AlexNets as tables of blocks: published ones, and ours for small images."""

from typing import Literal

from xnorlit.models.arrangement import activated, layer_first
from xnorlit.models.decouple import decoupled
from xnorlit.models.network import Block, Network

# The AlexNet that won ImageNet in 2012: two towers as groups, local response normalisation, overlapping pools.
# The paper says 224 pixels, but its maps of 55 x 55 require 227. Each of its two GPUs computed one group of a
# convolution.
ALEXNET_2012 = Network(
    name="alexnet-2012",
    image_size=227,
    source="Krizhevsky, Sutskever, Hinton 2012, sections 3.5 and 5",
    init="fixed",
    blocks=(
        Block("conv1", "conv relu lrn pool", 96, kernel=11, stride=4, binary=False),
        Block("conv2", "conv relu lrn pool", 256, kernel=5, padding=2, groups=2, bias_start=1.0),
        Block("conv3", "conv relu", 384, kernel=3, padding=1),
        Block("conv4", "conv relu", 384, kernel=3, padding=1, groups=2, bias_start=1.0),
        Block("conv5", "conv relu pool", 256, kernel=3, padding=1, groups=2, bias_start=1.0),
        Block("fc6", "flatten linear relu", 4096, bias_start=1.0),
        Block("fc7", "dropout linear relu", 4096, bias_start=1.0),
        Block("fc8", "dropout linear", binary=False),
    ),
)

# Torchvision's one-tower AlexNet of 2014, and a variant with norms, which give the inputs both signs.
# At 224 pixels the average pool reads 6 x 6 and changes nothing; it reduces other sizes to 6 x 6.
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

# The layers are the same, so torchvision's trained weights fit. Inputs after a ReLU are never negative: without a norm
# every sign would be +1.
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

# The paper's pair, as allenai released it in Torch 7: AlexNet-XNOR and its float AlexNet, 224 pixels.
# The release writes fc6, fc7 and fc8 as convolutions over a map of 6 x 6 and 1 x 1; a matrix product over the
# flattened map is the same function and a third faster on a CPU. Its initialiser misspells the class name of batch
# norm, so gamma keeps Torch 7's initial values, U(0, 1).
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

# AlexNet-XNOR as jiecaoyu ported it to PyTorch: 227 pixels, a ReLU after every binary layer, dropout.
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

# XNOR-Net as larq's zoo trains it: no biases, no dropout, batch norms without a scale.
# TensorFlow's "same" padding puts 3 zeros before conv1's input and 4 after it; 4 on both sides give the same 56 x 56
# map, shifted by one pixel.
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

# Fully binary AlexNets: larq's, and the BNN authors' with its convolutions three times as wide.
# TensorFlow's "same" padding of conv1 is 3 before and 4 after; see ALEXNET_XNOR_LARQ.
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


# DoReFa-Net's AlexNet as tensorpack trains it: each layer's binarizer clips its input to [0, 1].
def _dorefa(bound: Literal["clip", "relu"]) -> tuple[Block, ...]:
    # TensorFlow's "same" pool pads conv2's 54 x 54 map by one column at the end; a border of 1 on each side gives the
    # same 27 x 27 windows, shifted by one pixel, and is what "same" does to 27 x 27.
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
    blocks=_dorefa("clip"),
)

# The published float arm differs: its last layer reads a ReLU, that of the few-bit arms a clip.
ALEXNET_DOREFA_RELU = Network(
    name="alexnet-dorefa-relu",
    image_size=224,
    source="tensorpack, examples/DoReFa-Net/alexnet-dorefa.py with --dorefa 32,32,32",
    blocks=_dorefa("relu"),
)

# BinaryDuo's AlexNets: narrower ones with coupled inputs, and their decoupled forms of the usual size.
# The release writes its dense layers as convolutions over 6 x 6 and 1 x 1, where dropping whole channels is plain
# dropout.
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
    source="ours: alexnet-small with widths divided by the square root of 2, so its decoupled form has the same size",
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

# An AlexNet for images of 32 to 64 pixels: 3 x 3 kernels, 2 x 2 pools, narrow widths.
ALEXNET_SMALL = Network(
    name="alexnet-small",
    image_size=32,
    source="ours: AlexNet's five convolutions and three dense layers with a fortieth of the weights",
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
