"""Formulas over latent weights: autocast's dtype without its casts, and blocks of filters that change nothing."""

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.bwn import scaled_sign

GRADIENTS = ["corrected", "paper", "ste"]


def weights_and_gradient(shape=(7, 6, 3, 3)):
    torch.manual_seed(0)
    weight, g = torch.randn(shape), torch.randn(shape)
    return weight.to(memory_format=torch.channels_last).requires_grad_(), g


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_weights_come_in_its_dtype_and_equal_the_full_ones_rounded(dtype):
    weight, _ = weights_and_gradient()
    with torch.autocast("cpu", dtype):
        binary = scaled_sign(weight)
    assert binary.dtype == dtype
    assert torch.equal(binary, scaled_sign(weight).to(dtype))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_under_autocast_the_gradient_is_that_of_autocasts_own_cast(gradient):
    weight, g = weights_and_gradient()
    g = g.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        direct = scaled_sign(weight, gradient)
    (ours,) = torch.autograd.grad(direct, weight, g)
    (cast,) = torch.autograd.grad(scaled_sign(weight, gradient).bfloat16(), weight, g)
    assert ours.dtype == weight.dtype
    assert torch.equal(ours, cast)


def test_double_weights_stay_double_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert scaled_sign(torch.randn(2, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("precise", [True, False])
def test_blocks_of_filters_change_nothing(gradient, precise, monkeypatch):
    weight, g = weights_and_gradient()

    def both():
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            binary = scaled_sign(weight, gradient)
        return binary, *torch.autograd.grad(binary, weight, g.to(binary.dtype))

    whole = both()
    monkeypatch.setattr(latent, "BLOCK", 3 * weight[0].numel())  # 7 filters in blocks of 3, 3 and 1
    for ours, expected in zip(both(), whole, strict=True):
        assert torch.equal(ours, expected)
        assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_incoming_gradient_is_left_as_it_was(gradient):
    weight, g = weights_and_gradient()
    before = g.clone()
    torch.autograd.grad(scaled_sign(weight, gradient), weight, g)
    assert torch.equal(g, before)
