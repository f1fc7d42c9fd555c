"""Bi-Real: the quadratic gradient, the weights' gradient with or without alpha, and a shortcut if shapes agree."""

import pytest
import torch

from xnorlit.binarize.bireal import BiReal, plain_scaled_sign
from xnorlit.binarize.straight_through import quadratic_sign
from xnorlit.layers import BinaryConv2d, BinaryLinear


def quadratic(x):
    """The approximation of the sign as the paper writes it, piece by piece."""
    inside = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
    return torch.where(x < -1, -torch.ones_like(x), torch.where(x < 1, inside, torch.ones_like(x)))


def test_inputs_by_hand():
    x = torch.tensor([-2.0, -1.0, -0.75, 0.0, 0.25, 1.0, 3.0], requires_grad=True)
    binary = quadratic_sign(x)
    assert binary.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    binary.backward(torch.tensor([1.0, 1.0, 4.0, 3.0, 2.0, 1.0, 1.0]))
    assert x.grad.tolist() == [0, 0, 2, 6, 3, 0, 0]  # g (2 - 2|x|)


def test_weights_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.25, 0.75]], requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    by_hand = {"plain": [[1.0, 0.0], [3.0, -1.0]], "magnitude": [[1.0, 0.0], [1.5, -0.5]]}  # alpha is 1 and 0.5
    for gradient, expected in by_hand.items():
        binary = BiReal(gradient).weight(weight)
        assert binary.tolist() == [[1.0, -1.0], [0.5, 0.5]]
        assert torch.autograd.grad(binary, weight, g)[0].tolist() == expected


def test_the_gradients_are_autograds_through_the_written_formulas():
    torch.manual_seed(0)
    x = (1.5 * torch.randn(1000, dtype=torch.float64)).requires_grad_()
    g = torch.randn(1000, dtype=torch.float64)
    (ours,) = torch.autograd.grad(quadratic_sign(x), x, g)
    (written,) = torch.autograd.grad(quadratic(x), x, g)
    torch.testing.assert_close(ours, written, rtol=1e-12, atol=1e-15)
    weight = x.detach().view(4, 10, 5, 5).requires_grad_()
    g = g.view(4, 10, 5, 5)
    alpha = weight.abs().mean(dim=(1, 2, 3), keepdim=True).detach()
    clipped = weight.clamp(-1, 1)
    for gradient, scale in (("plain", 1), ("magnitude", alpha)):
        ours = torch.autograd.grad(BiReal(gradient).weight(weight), weight, g)[0]
        written = torch.autograd.grad(scale * clipped, weight, g, retain_graph=True)[0]
        torch.testing.assert_close(ours, written, rtol=1e-12, atol=1e-15)


def test_under_autocast_the_plain_weights_come_in_its_dtype():
    weight = torch.randn(4, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        binary = plain_scaled_sign(weight)
    assert binary.dtype == torch.bfloat16
    binary.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (lambda **given: BinaryConv2d(4, 4, 3, padding=1, **given), True),
        (lambda **given: BinaryConv2d(4, 4, 3, padding=1, groups=2, **given), True),
        (lambda **given: BinaryConv2d(4, 4, 3, **given), False),
        (lambda **given: BinaryConv2d(4, 4, 3, stride=2, padding=1, **given), False),
        (lambda **given: BinaryConv2d(4, 6, 3, padding=1, **given), False),
        (lambda **given: BinaryLinear(4, 4, **given), True),
        (lambda **given: BinaryLinear(4, 6, **given), False),
    ],
)
def test_the_real_input_is_added_where_the_layer_keeps_its_shape(layer, fits):
    torch.manual_seed(0)
    real, plain = layer(binarizer=BiReal), layer(binarizer=BiReal(shortcut=False))
    plain.load_state_dict(real.state_dict())
    x = torch.randn(2, 4, 5, 5) if isinstance(real, BinaryConv2d) else torch.randn(2, 4)
    for mode in (True, False):
        expected = plain.train(mode)(x) + x if fits else plain.train(mode)(x)
        assert torch.equal(real.train(mode)(x), expected)
    assert real.shortcut == fits
    assert not plain.shortcut
