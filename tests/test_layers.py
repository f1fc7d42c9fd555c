"""Layers pad with nothing, centre fc6 as the convolution that it is, and hold constant channels steady."""

import pytest
import torch
from torch import nn

from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.float import Float
from xnorlit.binarize.sign import sign
from xnorlit.binarize.xnor import XNOR
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLinear


def test_a_padded_tap_adds_nothing():
    layer = BinaryConv2d(2, 1, 3, padding=1, bias=False, binarizer=XNOR)
    nn.init.ones_(layer.weight)
    x = torch.ones(1, 2, 3, 3)
    corner, centre = 2 * 4, 2 * 9  # taps inside the image, of two channels
    for mode in (True, False):
        y = layer.train(mode)(x)[0, 0]
        assert y[0, 0] == corner
        assert y[1, 1] == centre


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_float_layer_is_torchs_convolution_behind_a_relu(stride, groups):
    layer = BinaryConv2d(4, 6, 3, stride, 1, groups=groups, binarizer=Float)
    reference = nn.Conv2d(4, 6, 3, stride, 1, groups=groups)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 9)
    for mode in (True, False):
        layer.bind(Float(), rectify=True)
        torch.testing.assert_close(layer.train(mode)(x), reference(x.relu()))
        layer.bind(Float(), rectify=False)
        torch.testing.assert_close(layer.train(mode)(x), reference(x))


def test_the_bias_is_added_after_every_scale():
    layer = BinaryLinear(2, 1, binarizer=XNOR(input_scale="K"))
    layer.weight.data = torch.tensor([[0.5, 0.5]])
    layer.bias.data = torch.tensor([10.0])
    x = torch.tensor([[3.0, 1.0]])  # signs sum to 2, alpha 0.5, K 2
    for mode in (True, False):
        assert layer.train(mode)(x).item() == 2 * 0.5 * 2 + 10


def test_fc6_is_centred_per_output_and_position():
    channels, positions = 3, 4
    layer = BinaryLinear(channels * positions, 2, binarizer=BWN, positions=positions)
    as_convolution = layer.weight.detach().clone().view(2, channels, 2, 2)
    layer.after_step()
    as_convolution -= as_convolution.mean(dim=1, keepdim=True)
    torch.testing.assert_close(layer.weight.data, as_convolution.view(2, -1))


def test_dropout_acts_on_the_quantised_input_in_training_alone():
    layer = BinaryLinear(1000, 1, bias=False, binarizer=XNOR, dropout=0.5)
    nn.init.ones_(layer.weight)
    x = torch.full((1, 1000), 0.1)
    assert layer.eval()(x).item() == 1000
    kept = layer.train()(x).item() / 2  # what is kept is doubled
    assert 400 < kept < 600
    assert kept == round(kept)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("norm", "shape"), [(BatchNorm2d, (8, 2, 3, 3)), (BatchNorm1d, (8, 2))])
def test_a_dead_channel_keeps_its_sign_between_training_and_evaluation(norm, shape, affine):
    """The channel lived once, then a ReLU died in front of it; a plain batch norm flips the sign here."""
    batch_norm = norm(2, eps=1e-4, affine=affine)
    plain = type(batch_norm).__mro__[2](2, eps=1e-4, affine=affine)
    for layer in (batch_norm, plain):
        torch.manual_seed(0)
        layer(torch.randn(shape).relu() + 1)
        alive = torch.randn(shape)
        alive[:, 0] = 0
        for _ in range(800):
            layer.train()(alive)
    trained = sign(batch_norm.train()(alive))[:, 0]
    assert (trained == 1).all()
    assert torch.equal(sign(batch_norm.eval()(alive))[:, 0], trained)
    assert (sign(plain.eval()(alive))[:, 0] == -1).all(), "the trap that this norm is for has gone; so may the norm"


def test_a_constant_channel_gives_beta_in_evaluation():
    batch_norm = BatchNorm2d(2, eps=1e-4)
    nn.init.constant_(batch_norm.bias, 0.25)
    x = torch.randn(4, 2, 5, 5)
    x[:, 0] = 3.7
    for _ in range(2000):
        batch_norm.train()(x)
    assert (batch_norm.eval()(x)[:, 0] == 0.25).all()


def test_a_varying_channel_is_normalised_as_by_torch():
    ours, theirs = BatchNorm2d(3), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))
