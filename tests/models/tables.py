"""Hand-computed shapes of every layer of every network, and the counts that follow from them."""

import itertools

# name: (weight shape, output of one image); a MAC per weight and output position.
DENSE_224 = {
    "fc6": ((4096, 256 * 6 * 6), (4096,)),
    "fc7": ((4096, 4096), (4096,)),
    "fc8": ((1000, 4096), (1000,)),
}
ALEXNET_224 = {
    "conv1": ((96, 3, 11, 11), (96, 55, 55)),
    "conv2": ((256, 96, 5, 5), (256, 27, 27)),
    "conv3": ((384, 256, 3, 3), (384, 13, 13)),
    "conv4": ((384, 384, 3, 3), (384, 13, 13)),
    "conv5": ((256, 384, 3, 3), (256, 13, 13)),
    **DENSE_224,
}
SMALL_32 = {
    "conv1": ((48, 3, 3, 3), (48, 32, 32)),
    "conv2": ((96, 48, 3, 3), (96, 16, 16)),
    "conv3": ((128, 96, 3, 3), (128, 8, 8)),
    "conv4": ((128, 128, 3, 3), (128, 8, 8)),
    "conv5": ((96, 128, 3, 3), (96, 8, 8)),
    "fc6": ((512, 96 * 4 * 4), (512,)),
    "fc7": ((512, 512), (512,)),
    "fc8": ((10, 512), (10,)),
}
WEIGHTS_224 = 34_848 + 614_400 + 884_736 + 1_327_104 + 884_736 + 37_748_736 + 16_777_216 + 4_096_000
BIASES_224 = 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000
BINARY_224 = WEIGHTS_224 - 34_848 - 4_096_000
MACS_224 = 105_415_200 + 447_897_600 + 149_520_384 + 224_280_576 + 149_520_384 + 37_748_736 + 16_777_216 + 4_096_000
# A batch norm has two parameters per channel.
NORMS = {
    "alexnet": 2 * (96 + 256 + 384 + 384 + 256 + 4096 + 4096),  # behind every layer but the last
    "alexnet-xnor": 2 * (96 + 96 + 256 + 384 + 384 + 256 + 4096 + 4096),  # behind conv1, then before every layer
    "alexnet-xnor-relu": 2 * (96 + 96 + 256 + 384 + 384 + 9216 + 4096 + 4096),  # fc6's is behind the flattening
}
ARRANGED = [f"alexnet-small{order}{activation}" for order in ("", "-cbap") for activation in ("", "-relu", "-prelu")]
SMALL = ("cnv", *ARRANGED, "alexnet-small-duo", "alexnet-small-duo-decoupled")
TORCHVISION = {
    "conv1": ((64, 3, 11, 11), (64, 55, 55)),
    "conv2": ((192, 64, 5, 5), (192, 27, 27)),
    "conv3": ((384, 192, 3, 3), (384, 13, 13)),
    "conv4": ((256, 384, 3, 3), (256, 13, 13)),
    "conv5": ((256, 256, 3, 3), (256, 13, 13)),
    **DENSE_224,
}
# Groups of two see half of the channels.
GROUPED = {
    "conv2": ((256, 48, 5, 5), (256, 27, 27)),
    "conv4": ((384, 192, 3, 3), (384, 13, 13)),
    "conv5": ((256, 192, 3, 3), (256, 13, 13)),
}
DOREFA = {
    "conv1": ((96, 3, 12, 12), (96, 54, 54)),
    "conv2": ((256, 48, 5, 5), (256, 54, 54)),
    "conv3": ((384, 256, 3, 3), (384, 27, 27)),
    "conv4": ((384, 192, 3, 3), (384, 14, 14)),
    "conv5": ((256, 192, 3, 3), (256, 14, 14)),
    **DENSE_224,
}
BINARY = {
    "conv1": ((64, 3, 11, 11), (64, 56, 56)),
    "conv2": ((192, 64, 5, 5), (192, 27, 27)),
    "conv3": ((384, 192, 3, 3), (384, 13, 13)),
    "conv4": ((384, 384, 3, 3), (384, 13, 13)),
    "conv5": ((256, 384, 3, 3), (256, 13, 13)),
    **DENSE_224,
}
BINARY_WIDE = {
    "conv1": ((192, 3, 11, 11), (192, 55, 55)),
    "conv2": ((576, 192, 5, 5), (576, 27, 27)),
    "conv3": ((1152, 576, 3, 3), (1152, 13, 13)),
    "conv4": ((768, 1152, 3, 3), (768, 13, 13)),
    "conv5": ((256, 768, 3, 3), (256, 13, 13)),
    **DENSE_224,
}
DUO = {
    "conv1": ((88, 3, 11, 11), (88, 55, 55)),
    "conv2": ((192, 88, 5, 5), (192, 27, 27)),
    "conv3": ((256, 192, 3, 3), (256, 13, 13)),
    "conv4": ((256, 256, 3, 3), (256, 13, 13)),
    "conv5": ((192, 256, 3, 3), (192, 13, 13)),
    "fc6": ((2400, 192 * 6 * 6), (2400,)),
    "fc7": ((4096, 2400), (4096,)),
    "fc8": ((1000, 4096), (1000,)),
}
# The inputs of conv2 to fc7 are 176, 384, 512, 512, 384 and 4800 (alexnet_decoupled.lua).
DUO_DECOUPLED = {
    **DUO,
    "conv2": ((192, 176, 5, 5), (192, 27, 27)),
    "conv3": ((256, 384, 3, 3), (256, 13, 13)),
    "conv4": ((256, 512, 3, 3), (256, 13, 13)),
    "conv5": ((192, 512, 3, 3), (192, 13, 13)),
    "fc6": ((2400, 384 * 6 * 6), (2400,)),
    "fc7": ((4096, 4800), (4096,)),
}
SMALL_DUO = {
    "conv1": ((34, 3, 3, 3), (34, 32, 32)),
    "conv2": ((68, 34, 3, 3), (68, 16, 16)),
    "conv3": ((90, 68, 3, 3), (90, 8, 8)),
    "conv4": ((90, 90, 3, 3), (90, 8, 8)),
    "conv5": ((68, 90, 3, 3), (68, 8, 8)),
    "fc6": ((362, 68 * 4 * 4), (362,)),
    "fc7": ((362, 362), (362,)),
    "fc8": ((10, 362), (10,)),
}
SMALL_DUO_DECOUPLED = {
    **SMALL_DUO,
    "conv2": ((68, 68, 3, 3), (68, 16, 16)),
    "conv3": ((90, 136, 3, 3), (90, 8, 8)),
    "conv4": ((90, 180, 3, 3), (90, 8, 8)),
    "conv5": ((68, 180, 3, 3), (68, 8, 8)),
    "fc6": ((362, 136 * 4 * 4), (362,)),
    "fc7": ((362, 724), (362,)),
}
# Sides 32, 30, 28, 14, 12, 10, 5, 3, 1.
CNV = {
    "conv1": ((64, 3, 3, 3), (64, 30, 30)),
    "conv2": ((64, 64, 3, 3), (64, 28, 28)),
    "conv3": ((128, 64, 3, 3), (128, 12, 12)),
    "conv4": ((128, 128, 3, 3), (128, 10, 10)),
    "conv5": ((256, 128, 3, 3), (256, 3, 3)),
    "conv6": ((256, 256, 3, 3), (256, 1, 1)),
    "fc7": ((512, 256), (512,)),
    "fc8": ((512, 512), (512,)),
    "fc9": ((10, 512), (10,)),
}
SHAPES = {
    "cnv": CNV,
    "alexnet-2012": {**ALEXNET_224, **GROUPED},
    "alexnet-binary": BINARY,
    "alexnet-binary-wide": BINARY_WIDE,
    "alexnet-dorefa": DOREFA,
    "alexnet-dorefa-relu": DOREFA,
    "alexnet-duo": DUO,
    "alexnet-duo-decoupled": DUO_DECOUPLED,
    "alexnet-small-duo": SMALL_DUO,
    "alexnet-small-duo-decoupled": SMALL_DUO_DECOUPLED,
    "alexnet-torchvision": TORCHVISION,
    "alexnet-torchvision-norm": TORCHVISION,
    "alexnet": ALEXNET_224,
    "alexnet-xnor": ALEXNET_224,
    "alexnet-xnor-relu": ALEXNET_224,
    "alexnet-xnor-larq": {**ALEXNET_224, "conv1": ((96, 3, 11, 11), (96, 56, 56))},
    **dict.fromkeys(ARRANGED, SMALL_32),
}

# Networks written as modules: classes, parameters, binary weights, binary layers, MACs of codes, MACs of reals, and
# bytes with one bit for a binary weight and four bytes for any other number. By hand:
# - 18 layers, 224 pixels. Units of 64, 128, 256, 512 channels at 56, 28, 14, 7 pixels; a stage's first unit reads half
#   the channels. 3 x 3: 9 (4 64^2 + 64 128 + 3 128^2 + 128 256 + 3 256^2 + 256 512 + 3 512^2) = 10,985,472 weights;
#   their MACs are these at 3,136, 784, 196 and 49 positions. Stem 3 64 49 = 9,408 at 112^2; 1 x 1 shortcuts 8,192 at
#   784, 32,768 at 196, 131,072 at 49; classifier 512,000 and 1,000; norms 2 (64 + 4 960 + 896).
# - ReActNet adds a shift for each input channel of a unit, 3,392 in all, and three numbers for each of 3,840 outputs.
# - 20 layers, 32 pixels: units of 16, 32, 64 channels at 32, 16, 8 pixels.
RESNET18 = (10_985_472, 16, 1_676_279_808)
RESNET18_ENDS = 9_408 * 112**2 + 8_192 * 784 + 32_768 * 196 + 131_072 * 49 + 512_000
RESNET18_PARAMETERS = 10_985_472 + 9_408 + 172_032 + 513_000 + 2 * (64 + 4 * 960 + 896)
CIFAR18 = (10_985_472, 16, 547_356_672)
CIFAR18_PARAMETERS = 10_985_472 + 1_728 + 172_032 + 5_130 + 2 * (64 + 4 * 960 + 896 + 512)
CIFAR18_ENDS = 1_728 * 1024 + 8_192 * 256 + 32_768 * 64 + 131_072 * 16 + 5_120
RESNET20 = (10, 269_850, 267_264, 18, 40_108_032, 432 * 1024 + 640, 43_752)
# - VGG-small: 9 (128^2 + 128 256 + 256^2 + 256 512 + 512^2) weights at 1024, 256, 256, 64, 64 positions.
# - QuickNet: units of 9 n^2 at 3,136, 784, 196, 49 positions; stem 27 n/4 at 112^2, (9 + n) n/4 at 56^2; 1 x 1 between.
VGG = 147_456, 294_912, 589_824, 1_179_648, 2_359_296
VGG_PARAMETERS = sum(VGG) + 3_456 + 81_930 + 2 * 2 * (128 + 256 + 512)
VGG_MACS = 147_456 * 1024 + (294_912 + 589_824) * 256 + (1_179_648 + 2_359_296) * 64


def quicknet(widths: tuple[int, ...], units: tuple[int, ...]) -> tuple[int, ...]:
    """The row of a QuickNet: the fixed blurs compute 9 MACs a value, and their weights are no parameters."""
    places, quarter = (3_136, 784, 196, 49), widths[0] // 4
    binary = [9 * width**2 * count for width, count in zip(widths, units, strict=True)]
    steps = [(before, after) for before, after in itertools.pairwise(widths)]
    real = 27 * quarter + 9 * quarter + widths[0] * quarter + sum(a * b for a, b in steps) + 512_000
    norms = 2 * (quarter + widths[0] + sum(w * c for w, c in zip(widths, units, strict=True)) + sum(widths[1:]))
    macs = 27 * quarter * 112**2 + (9 + widths[0]) * quarter * 56**2 + 512_000
    macs += sum((9 * a + a * b) * place for (a, b), place in zip(steps, places[1:], strict=True))
    few = sum(weights * place for weights, place in zip(binary, places, strict=True))
    others = real + norms + 1_000
    return 1000, sum(binary) + others, sum(binary), sum(units), few, macs, sum(binary) // 8 + 4 * others


DESIGNS = {
    "quicknet-small": quicknet((32, 64, 256, 512), (4, 4, 4, 4)),
    "quicknet-medium": quicknet((64, 128, 256, 512), (4, 4, 4, 4)),
    "quicknet-large": quicknet((64, 128, 256, 512), (6, 8, 12, 6)),
    "vgg-small": (10, VGG_PARAMETERS, sum(VGG), 5, VGG_MACS, 3_456 * 1024 + 81_920, 927_272),
    "reactnet-a": (1000, 29_343_592, 28_253_184, 26, 4_816_896_000, 864 * 112**2 + 1_024_000, 7_893_280),
    "resnet18-bireal": (1000, RESNET18_PARAMETERS, *RESNET18, RESNET18_ENDS, 4_189_344),
    "resnet18-cifar": (10, CIFAR18_PARAMETERS, *CIFAR18, CIFAR18_ENDS, 2_131_240),
    "resnet18-cifar-adabin": (10, CIFAR18_PARAMETERS, *CIFAR18, CIFAR18_ENDS, 2_131_240),
    "resnet18-cifar-recu": (
        10,
        CIFAR18_PARAMETERS - 172_032 - 2 * 896,
        *CIFAR18,
        1_728 * 1024 + 5_120,
        2_131_240 - 4 * (172_032 + 2 * 896),
    ),
    "resnet18-reactnet": (1000, RESNET18_PARAMETERS + 3_392 + 3 * 3_840, *RESNET18, RESNET18_ENDS, 4_248_992),
    "resnet18-xnor": (1000, RESNET18_PARAMETERS, *RESNET18, RESNET18_ENDS, 4_189_344),
    "resnet18-xnor-binary": (
        1000,
        RESNET18_PARAMETERS,
        10_985_472 + 172_032,
        19,
        1_676_279_808 + 3 * 6_422_528,
        9_408 * 112**2 + 512_000,
        4_189_344 - 172_032 * 31 // 8,
    ),
    "resnet20": RESNET20,
    "resnet20-recu": RESNET20,
}
