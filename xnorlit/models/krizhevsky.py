"""AlexNet as it won ImageNet in 2012: two towers as groups, local response normalisation, overlapping pools."""

from xnorlit.models.network import Block, Network

# The paper says 224 pixels, which its own maps of 55 x 55 do not follow from; with 227 they do. A group of a
# convolution is what one of its two GPUs computed.
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
