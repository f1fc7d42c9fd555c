"""SiMaN: the larger half of each filter, the gradient of magnitudes, inputs standardised image by image."""

import pytest
import torch

from xnorlit.binarize.siman import SiMaN, large_half


def signs(z):
    return torch.where(z >= 0, 1.0, -1.0).to(z)


def written(weight, gain):
    """The release's lines, sorting each filter."""
    dims, shape = tuple(range(1, weight.ndim)), (-1, *(1,) * (weight.ndim - 1))
    w1 = weight - weight.mean(dims, keepdim=True)
    w2 = w1 / torch.sqrt(w1.var(dims, keepdim=True) + 1e-5)
    x = w2.abs()
    bits = torch.zeros_like(x).flatten(1)
    for row, magnitudes in zip(bits, x.detach().flatten(1), strict=True):
        order = magnitudes.argsort(descending=True)
        row[order[: len(order) // 2]] = 1
    return (x - x.detach() + bits.mul(2).sub(1).view_as(weight)) * gain.view(shape)


def quadratic(a):
    inside = torch.where(a < 0, 2 * a + a * a, 2 * a - a * a)
    return torch.where(a.abs() < 1, inside, signs(a))


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 8), (2, 7)])
def test_weights_and_their_gradient_are_those_of_the_written_formula(shape):
    torch.manual_seed(0)
    weight = (0.1 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    bound = SiMaN().for_layer(weight.detach())
    ours, theirs = bound.weight(weight), written(weight, bound.gain)
    torch.testing.assert_close(ours, theirs)
    assert (large_half(weight.detach()) > 0).flatten(1).sum(1).tolist() == [weight[0].numel() // 2] * len(weight)
    g, wanted = torch.randn_like(weight), (weight, bound.gain)
    pairs = zip(torch.autograd.grad(ours, wanted, g), torch.autograd.grad(theirs, wanted, g), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)


def test_the_bits_do_not_depend_on_the_signs_of_weights():
    weight = torch.randn(3, 20)
    weight -= weight.mean(1, keepdim=True)
    assert torch.equal(large_half(weight), large_half(-weight))


def test_inputs_and_their_gradient_are_those_of_the_written_formula():
    torch.manual_seed(0)
    bound = SiMaN().for_layer(torch.randn(2, 3, 3, 3))
    x = (torch.randn(4, 3, 5, 5, dtype=torch.float64) + 2).requires_grad_()
    a0 = x - x.mean([1, 2, 3], keepdim=True)
    a1 = a0 / torch.sqrt(a0.var([1, 2, 3], keepdim=True) + 1e-5)
    theirs = quadratic(a1) + (signs(a1) - quadratic(a1)).detach()
    ours, g = bound.input(x), torch.randn_like(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(each, x, g)[0] for each in (ours, theirs)))
    assert torch.equal(bound.input_codes(x.detach()).values, ours.detach())


def test_it_says_why_it_does_not_pack():
    assert "mean over the whole map" in SiMaN().cannot_pack
