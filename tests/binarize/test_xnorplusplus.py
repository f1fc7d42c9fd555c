"""XNOR-Net++: a learned gain per channel, folded into the weights, or also per row and column."""

import pytest
import torch
from torch import nn

from xnorlit.binarize.gain import gained_sign
from xnorlit.binarize.xnorplusplus import XNORPlusPlus
from xnorlit.errors import UserError
from xnorlit.layers import BinaryConv2d, BinaryLinear


def ste_sign(z):
    clip = z.clamp(-1, 1)
    return clip + (torch.where(z >= 0, 1.0, -1.0).to(z) - clip).detach()


def test_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.25, -0.75]], requires_grad=True)
    gain = torch.tensor([2.0, -3.0], requires_grad=True)
    binary = gained_sign(weight, gain)
    assert binary.tolist() == [[2, -2], [-3, 3]]
    binary.backward(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
    assert weight.grad.tolist() == [[2, 0], [-9, 3]]  # g gain 1[|W| <= 1]
    assert gain.grad.tolist() == [-1, 4]  # 1 - 2 and 3 + 1


@pytest.mark.parametrize("scale", ["channel", "rank-1"])
def test_the_gradients_are_autograds_through_the_written_formula(scale):
    torch.manual_seed(0)
    layer = BinaryConv2d(
        3, 4, 3, padding=1, bias=False, dtype=torch.float64, binarizer=XNORPlusPlus(scale), extent=(5, 6)
    )
    for parameter in layer.binarizer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    learned = dict(layer.binarizer.named_parameters())
    factor = learned["gain"].view(-1, 1, 1)
    if scale == "rank-1":
        factor = factor * learned["height"].view(1, -1, 1) * learned["width"].view(1, 1, -1)
    written = nn.functional.conv2d(ste_sign(x), ste_sign(layer.weight), padding=1) * factor
    wanted = [x, *layer.parameters()]
    torch.testing.assert_close(layer.train()(x), written)
    torch.testing.assert_close(layer.eval()(x), written)
    ours = torch.autograd.grad(layer.train()(x), wanted, g)
    for our, expected in zip(ours, torch.autograd.grad(written, wanted, g), strict=True):
        torch.testing.assert_close(our, expected, rtol=1e-10, atol=1e-10)


def test_scales_start_at_one_and_one_is_learned_per_channel_row_and_column():
    conv = BinaryConv2d(3, 4, 3, binarizer=XNORPlusPlus("rank-1"), extent=(5, 6))
    linear = BinaryLinear(3, 4, binarizer=XNORPlusPlus("rank-1"))
    assert {name: p.numel() for name, p in conv.binarizer.named_parameters()} == {"gain": 4, "height": 5, "width": 6}
    assert {name: p.numel() for name, p in linear.binarizer.named_parameters()} == {"gain": 4}
    assert all((p == 1).all() for p in conv.binarizer.parameters())
    assert "scale: channel" in conv.binarizer.cannot_pack
    assert not linear.binarizer.cannot_pack


def test_rows_and_columns_without_an_extent_are_refused():
    with pytest.raises(UserError, match="rank-1 needs the size"):
        XNORPlusPlus("rank-1").for_layer(torch.randn(4, 3, 3, 3), rectify=True)
