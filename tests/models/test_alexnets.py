"""Published AlexNets: their counts, their forward passes, their initial weights."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.float import Float
from xnorlit.binarize.weights_only import WeightsOnly
from xnorlit.binarize.xnor import XNOR
from xnorlit.models import build, network_named, summarize


def built(name, binarizer=None, classes=1000, image_size=None):
    network = network_named(name)
    return build(network, binarizer or Float(), classes=classes, image_size=image_size or network.image_size)


# Torch 7's and torchvision's counts are of trained numbers; Keras counts the norms' moving statistics too.
@pytest.mark.parametrize(
    ("name", "parameters", "source"),
    [
        ("alexnet-2012", 60_965_224, "bvlc_alexnet.caffemodel, whose layers are these"),
        ("alexnet-torchvision", 61_100_840, "torchvision, AlexNet_Weights.meta"),
        ("alexnet-dorefa", 60_985_416, "tensorpack prints it"),
        # 88*363 + 192*2200 + 256*1728 + 256*2304 + 192*2304 + 2400*6912 + 4096*2400 + 1000*4096, and the norms' 2 per
        # channel: 2 * (88 + 192 + 256 + 256 + 192 + 2400 + 4096).
        ("alexnet-duo", 32_444_104 + 14_960, "by hand"),
        # Weights by hand, a bias per output, norms of 2 per channel.
        ("alexnet-binary-wide", 77_160_512 + 12_136 + 2 * 12_136, "by hand"),
    ],
)
def test_parameters_are_those_that_were_published(name, parameters, source):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in built(name).parameters()) == parameters, source


def test_larqs_fully_binary_network_weighs_what_its_page_says():
    """61 859 192 parameters with the moving statistics, 7.49 MB with every weight in one bit."""
    with torch.device("meta"):
        model = built("alexnet-binary", XNOR())
    moving = sum(buffer.numel() for name, buffer in model.named_buffers() if "running" in name)
    weights = sum(layer.weight.numel() for _, layer in model.layers())
    rest = sum(parameter.numel() for parameter in model.parameters()) - weights + moving
    assert weights + rest == 61_859_192
    assert round((weights + 32 * rest) / 8 / 2**20, 2) == 7.49


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # 105,415,200 + 223,948,800 + 149,520,384 + 112,140,288 + 74,760,192 + 58,621,952: the 724 million that are
        # usually quoted.
        ("alexnet-2012", 724_406_816),
        ("alexnet-torchvision", 714_188_480),  # torchvision states 0.714 GFLOPS, which are multiply-adds
    ],
)
def test_multiply_adds_are_those_that_are_quoted(name, macs):
    with torch.device("meta"):
        model = built(name)
    assert sum(layer.macs for layer in summarize(model).layers) == macs


@pytest.mark.parametrize("image_size", [224, 288])
def test_torchvisions_weights_give_torchvisions_logits(image_size):
    """At 288 pixels conv5's pool leaves 8 x 8, which the average pool brings to 6 x 6."""
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(weights=None).eval()
    ours = built("alexnet-torchvision", image_size=image_size).eval()
    layers = [module for module in theirs.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for (_, layer), source in zip(ours.layers(), layers, strict=True):
        layer.weight.data.copy_(source.weight.data)
        layer.bias.data.copy_(source.bias.data)
    pixels = torch.randint(0, 256, (2, 3, image_size, image_size), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels), theirs((pixels - 127.5) / 127.5), rtol=1e-4, atol=1e-5)


def test_response_normalisation_is_the_papers():
    """`b_i = a_i / (2 + 1e-4 * sum of a_j^2 over five neighbouring channels) ** 0.75`, section 3.3."""
    lrn = built("alexnet-2012").conv1.lrn
    a = 100 * torch.rand(1, 8, 2, 2, dtype=torch.float64)
    squares = F.pad(a.square(), (0, 0, 0, 0, 2, 2))
    expected = a / (2 + 1e-4 * sum(squares[:, i : i + 8] for i in range(5))) ** 0.75
    torch.testing.assert_close(lrn(a), expected)


def test_krizhevskys_biases_start_at_one_behind_half_of_the_layers():
    biases = {name: layer.bias.unique().tolist() for name, layer in built("alexnet-2012").layers()}
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert biases == {name: [1.0] if name in ones else [0.0] for name in biases}


def test_a_fully_binary_network_reads_pixels_with_binary_weights():
    for name in ("alexnet-binary", "alexnet-binary-wide"):
        with torch.device("meta"):
            model = built(name, XNOR(), classes=10)
        bits = {name: (layer.binarizer.weight_bits, layer.binarizer.input_bits) for name, layer in model.layers()}
        assert bits.pop("conv1") == (1, 32)
        assert set(bits.values()) == {(1, 1)}


def test_first_and_last_layer_take_any_binarizer_by_name():
    layers = {"conv1": WeightsOnly(BWN()), "fc8": BWN()}
    network = network_named("alexnet-small")
    model = build(network, XNOR(), classes=10, image_size=32, layers=layers)
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    model.train()(pixels).square().sum().backward()
    for name in ("conv1", "fc8"):
        layer = dict(model.layers())[name]
        assert (layer.binarizer.weight_bits, layer.binarizer.input_bits) == (1, 32)
        assert layer.weight.grad.abs().max() > 0


def test_dorefas_last_layer_reads_values_between_zero_and_one():
    seen = []
    model = built("alexnet-dorefa", BWN(), classes=10).eval()
    model.fc8.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8))
    assert seen[0].min() >= 0
    assert seen[0].max() <= 1


def test_a_padded_pool_never_lets_its_border_win():
    model = built("alexnet-dorefa", classes=10)
    below = torch.full((1, 256, 27, 27), -3.0)
    assert (model.conv3.pool(below) == -3).all()
    assert model.conv3.pool(below).shape[-2:] == (14, 14)
