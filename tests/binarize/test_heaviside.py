"""Heaviside: inputs 0 and 1, the clipped straight-through gradient, padding without a third value."""

import torch
from torch import nn

from xnorlit.binarize.heaviside import Heaviside, clipped_heaviside
from xnorlit.layers import BinaryConv2d


def test_by_hand():
    x = torch.tensor([[0.5, -0.5], [0.0, 2.0]], requires_grad=True)
    codes = clipped_heaviside(x)
    codes.backward(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert codes.tolist() == Heaviside().input_codes(x).values.tolist() == [[1, 0], [0, 1]]
    assert x.grad.tolist() == [[1, 2], [3, 0]]


def test_the_gradient_is_that_of_a_clip():
    x = (3 * torch.randn(500, dtype=torch.float64)).requires_grad_()
    g = torch.randn(500, dtype=torch.float64)
    (ours,) = torch.autograd.grad(clipped_heaviside(x), x, g)
    (reference,) = torch.autograd.grad(x.clamp(-1, 1), x, g)
    assert torch.equal(ours, reference)


def test_a_padded_tap_is_an_input_that_is_not_above_zero():
    layer = BinaryConv2d(2, 1, 3, padding=1, bias=False, binarizer=Heaviside)
    x = torch.randn(1, 2, 4, 4)
    bare = BinaryConv2d(2, 1, 3, bias=False, binarizer=Heaviside)
    bare.load_state_dict(layer.state_dict())
    padded = nn.functional.pad(x, (1, 1, 1, 1), value=-3.0)
    assert torch.equal(layer.eval()(x), bare.eval()(padded))
