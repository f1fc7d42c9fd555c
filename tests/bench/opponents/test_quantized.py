"""The 8-bit opponents compute the right function, within the error of 8 bits."""

import pytest
import torch
from torch import nn

from xnorlit.bench.opponents import onnx_int8, torch_int8
from xnorlit.bench.opponents.fp32 import apply, fp32_calls, fp32_networks, operands
from xnorlit.bench.opponents.quantized import Scale, folded, quantized_layer, quantized_network
from xnorlit.bench.subject import pixels
from xnorlit.binarize.float import Float
from xnorlit.models import build, network_named
from xnorlit.models.plain import plain
from xnorlit.packed.layer import Ending, Layer, Map, Operand, Weights, Window

SIGNS = {"operand": Operand("signs"), "weights": Weights("planes", (1,)), "ending": Ending("signs")}
LAYERS = {
    "conv": (Layer("conv", 24, window=Window((3, 3), (1, 1), (1, 1)), **SIGNS), Map(7, 6, 16)),
    "grouped, strided": (Layer("conv", 24, window=Window((5, 5), (2, 2), (2, 2)), groups=2, **SIGNS), Map(11, 11, 16)),
    "linear": (Layer("fc", 40, **SIGNS), Map(3, 3, 8)),
}
EIGHT_BITS = 0.03  # of the output's norm


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module", autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def twin():
    torch.manual_seed(0)
    model = build(network_named("alexnet-small"), Float(), classes=10, image_size=32).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.1, 0.4)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.3, 0.3)
    return model


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(pixels(3, 32)).permute(0, 3, 1, 2)


def test_the_fp32_opponent_is_the_float_twin(twin, images):
    """Up to rounding: the twin fixes the order of its sums, while the opponent is plain torch."""
    torch.testing.assert_close(plain(twin)(images), twin(images), atol=1e-5, rtol=1e-5)


def test_every_memory_format_computes_the_twin(twin, images):
    for call in fp32_networks(plain(twin), images).values():
        torch.testing.assert_close(call(), twin(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("layer", "at"), LAYERS.values(), ids=LAYERS)
def test_every_memory_format_computes_the_layer(layer, at):
    expected = apply(layer, *operands(layer, at, 2))
    for call in fp32_calls(layer, at, 2).values():
        torch.testing.assert_close(call(), expected, atol=1e-4, rtol=1e-4)


def layer_in_8_bits(layer, at):
    x, weight = operands(layer, at, 2)
    y = apply(layer, x, weight)
    window = layer.window and {"stride": layer.window.stride, "padding": layer.window.padding, "groups": layer.groups}
    return x, y, *quantized_layer(x, weight, y, window)


@pytest.mark.parametrize(("layer", "at"), LAYERS.values(), ids=LAYERS)
def test_onnxruntime_computes_the_layer(layer, at):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    x, y, reads, product = layer_in_8_bits(layer, at)
    levels = onnx_int8.layer_call(product, reads, x.numpy(), 1)()
    assert error(product.gives.step * (torch.from_numpy(levels).float() - product.gives.zero), y) < EIGHT_BITS


@pytest.mark.skipif(bool(torch_int8.missing()), reason=torch_int8.missing())
@pytest.mark.parametrize(("layer", "at"), LAYERS.values(), ids=LAYERS)
def test_torch_in_8_bits_computes_the_layer(layer, at):
    x, y, reads, product = layer_in_8_bits(layer, at)
    assert error(torch_int8.TorchInt8([product], reads, real=False)(x).dequantize(), y) < EIGHT_BITS


def test_folding_norms_into_layers_changes_nothing(twin, images):
    modules = folded(list(plain(twin)))
    torch.testing.assert_close(nn.Sequential(*modules)(images), twin(images), atol=1e-4, rtol=1e-4)
    # Those behind conv1's ReLU and before fc6's features stay.
    assert sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) for module in modules) == 2


def test_a_decreasing_norm_is_not_folded_past_a_maximum():
    norm = nn.BatchNorm2d(4).eval()
    norm.weight[1] = -1.0
    modules = [nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), norm, nn.ReLU()]
    assert isinstance(folded(modules)[2], nn.BatchNorm2d)
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(nn.Sequential(*folded(modules))(x), nn.Sequential(*modules)(x))


@pytest.mark.skipif(bool(torch_int8.missing()), reason=torch_int8.missing())
def test_torch_in_8_bits_computes_the_twin(twin, images):
    steps = quantized_network(plain(twin), images)
    assert error(torch_int8.TorchInt8(steps, None, real=True)(images), twin(images)) < 0.1


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0, 2.55], Scale(0.01, 0)),
        ([-1.28, 1.27], Scale(0.01, 128)),
        ([0.0], Scale(1.0, 0)),
        ([-2.55], Scale(0.01, 255)),
    ],
)
def test_levels_cover_all_values_and_zero(values, scale):
    found = Scale.of(torch.tensor(values))
    assert (found.step, found.zero) == (pytest.approx(scale.step), scale.zero)
