"""Formulas over latent weights: autocast's dtype without casts, and blocks of filters that do not change the result."""

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.adabin import Maxout, adaptive_input
from xnorlit.binarize.bwn import scaled_sign
from xnorlit.binarize.latent import by_samples
from xnorlit.binarize.reactnet import RPReLU, shifted_sign
from xnorlit.binarize.recu import spread_sign
from xnorlit.binarize.swishsign import swish_sign

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
def test_the_incoming_gradient_is_not_changed(gradient):
    weight, g = weights_and_gradient()
    before = g.clone()
    torch.autograd.grad(scaled_sign(weight, gradient), weight, g)
    assert torch.equal(g, before)


# Numbers that bf16 represents exactly, so that rounding the inputs changes nothing.
SHIFTS = torch.arange(-3, 3) / 8
ON_INPUTS = {
    "swish_sign": swish_sign,
    "spread_sign": spread_sign,
    "shifted_sign": lambda x: shifted_sign(x, SHIFTS),
    "adaptive_input": lambda x: adaptive_input(x, torch.tensor(0.75), torch.tensor(0.125)),
    "RPReLU": RPReLU(6),
    "Maxout": Maxout(6),
}


@pytest.mark.parametrize("name", ON_INPUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_on_a_cpu_a_formula_over_inputs_is_rounded_once(name, dtype, monkeypatch):
    torch.manual_seed(0)
    x, g = (torch.randn(7, 6, 4, 4).to(dtype).to(memory_format=torch.channels_last) for _ in range(2))

    def both(x, g):
        x = x.clone().requires_grad_()
        y = ON_INPUTS[name](x)
        return y.detach(), *torch.autograd.grad(y, x, g)

    rounded, exact = both(x, g), both(x.float(), g.float())
    for ours, expected in zip(rounded, exact, strict=True):
        assert torch.equal(ours, expected.to(dtype))
    monkeypatch.setattr(latent, "BLOCK", 3 * x[0].numel())  # 7 samples in blocks of 3, 3 and 1
    for ours, expected in zip(both(x, g), rounded, strict=True):
        assert torch.equal(ours, expected)
        assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_formula_over_double_inputs_stays_double():
    x = torch.randn(3, 4, dtype=torch.float64)
    seen = []
    assert by_samples(lambda x: seen.append(x.dtype) or 2 * x, x).dtype == torch.float64
    assert seen == [torch.float64]
