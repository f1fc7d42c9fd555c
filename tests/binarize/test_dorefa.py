"""DoReFa: k-bit weights, inputs and gradients, each against the paper's formula."""

import math

import pytest
import torch

from xnorlit.binarize.dorefa import DoReFa, clipped_levels, quantised_gradient, quantised_weights, weight_codes
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLinear


def rounded(r, bits):
    """quantize_k with an identity gradient."""
    q = 2**bits - 1
    return r + (torch.round(q * r) / q - r).detach()


WRITTEN = {
    "tanh": lambda w, bits: 2 * rounded(w.tanh() / (2 * w.tanh().abs().max().detach()) + 0.5, bits) - 1,
    "maximum": lambda w, bits: 2 * rounded(w.tanh() / (2 * w.tanh().abs().max()) + 0.5, bits) - 1,
    "identity": lambda w, bits: w + (2 * rounded(w.tanh() / (2 * w.tanh().abs().max()) + 0.5, bits) - 1 - w).detach(),
}


def test_two_bit_weights_by_hand():
    tanh = torch.tensor([[0.5, -0.25], [0.125, 0.0]], dtype=torch.float64)
    weight = tanh.atanh().requires_grad_()
    # tanh / (2 * 0.5) + 0.5 = 1, .25, .625, .5; times 3: 3, .75, 1.875, 1.5, rounded to even: 3, 1, 2, 2
    values, scale = weight_codes(weight.detach(), 2)
    assert values.tolist() == [[3, -1], [1, 1]]
    assert scale.item() == pytest.approx(1 / 3)
    binary = quantised_weights(weight, 2)
    torch.testing.assert_close(binary.detach(), values / 3)
    # g (1 - tanh^2) / max
    (grad,) = torch.autograd.grad(binary, weight, torch.tensor([[1.0, 2.0], [4.0, -1.0]], dtype=torch.float64))
    torch.testing.assert_close(grad, torch.tensor([[1.5, 3.75], [7.875, -2.0]], dtype=torch.float64))


def test_one_bit_weights_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.0, -2.0]], requires_grad=True)
    binary = quantised_weights(weight, 1)
    assert binary.tolist() == [[1, -1], [1, -1]]  # E = (0.5 + 1.5 + 0 + 2) / 4, one for both filters
    g = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(torch.autograd.grad(binary, weight, g)[0], g), "no scale and no clip"


def test_inputs_by_hand():
    x = torch.tensor([-0.5, 0.0, 0.4, 0.5, 0.6, 1.0, 1.5], requires_grad=True)
    one, two = clipped_levels(x, 1), clipped_levels(x, 2)
    assert one.tolist() == [0, 0, 0, 0, 1, 1, 1], "0.5 is a tie and rounds to the even code"
    assert (3 * two).round().tolist() == [0, 0, 1, 2, 2, 3, 3]  # 3 x = 1.2, 1.5, 1.8
    two.backward(torch.ones(7))
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("gradient", WRITTEN)
@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 3, 3), (5, 7)])
def test_the_weights_and_their_gradient_are_autograds_through_the_written_formula(shape, gradient, bits):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64)
    ours, written = quantised_weights(weight, bits, gradient), WRITTEN[gradient](weight, bits)
    torch.testing.assert_close(ours, written, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(written, weight, g)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, weight, g)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_inputs_and_their_gradient_are_autograds_through_the_written_formula(bits):
    x = torch.randn(1000, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1000, dtype=torch.float64)
    ours, written = clipped_levels(x, bits), rounded(x.clamp(0, 1), bits)
    torch.testing.assert_close(ours, written)
    assert torch.equal(torch.autograd.grad(ours, x, g)[0], torch.autograd.grad(written, x, g)[0])


def test_weights_of_zeros_stay_finite():
    for bits in (1, 2):
        weight = torch.zeros(2, 3, requires_grad=True)
        binary = quantised_weights(weight, bits)
        binary.sum().backward()
        assert torch.isfinite(binary).all()
        assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("bits", [1, 2, 6, 8])
def test_a_gradient_on_the_levels_stays_unchanged(bits):
    q = 2**bits - 1
    m = torch.tensor([[4.0], [0.5], [1e-20], [0.0]])  # each sample's largest
    g = m * torch.linspace(-1, 1, q + 1)  # 2 m (c / q - 1/2)
    for _ in range(10):
        torch.testing.assert_close(quantised_gradient(g, bits), g)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quantised_gradient_is_on_the_levels_and_right_on_average(dtype):
    torch.manual_seed(0)
    g = torch.randn(3, 4, 2, 2).to(dtype)
    m = g.abs().amax(dim=(1, 2, 3), keepdim=True).float()
    draws = torch.stack([quantised_gradient(g, 2) for _ in range(4000)])
    assert draws.dtype == dtype
    codes = 3 * (draws.float() / (2 * m) + 0.5)
    torch.testing.assert_close(codes, codes.round(), atol=0.02, rtol=0)
    assert codes.round().unique().tolist() == [0, 1, 2, 3]
    deviation = 2 * m / 3 / 2 / math.sqrt(4000)  # at most: half a level's distance
    assert ((draws.float().mean(0) - g.float()).abs() < 5 * deviation + 0.01 * m).all()


def test_the_layers_output_gradient_is_quantised_before_it_reaches_the_weights():
    torch.manual_seed(0)
    layer = BinaryLinear(4, 6, binarizer=DoReFa(gradient_bits=1))
    x, g = torch.rand(1, 4), torch.randn(1, 6)
    layer(x).backward(g)
    assert layer.bias.grad.abs().unique().tolist() == [pytest.approx(g.abs().max().item())]
    exact = BinaryLinear(4, 6, binarizer=DoReFa(gradient_bits=32))
    exact(x).backward(g)
    assert torch.equal(exact.bias.grad, g[0])


def test_32_bits_are_real_numbers():
    layer = BinaryLinear(3, 2, bias=False, binarizer=DoReFa(32, 32, 32), rectify=True)
    x = torch.randn(5, 3)
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(x), x.relu() @ layer.weight.T)


@pytest.mark.parametrize("setting", ["weight_bits", "input_bits", "gradient_bits"])
@pytest.mark.parametrize("bits", [0, 9, 33, -1, 1.5, True])
def test_an_impossible_number_of_bits_is_refused(setting, bits):
    with pytest.raises(UserError, match=f"{setting} is {bits}\\. Expected a whole number from 1 to 8, or 32"):
        DoReFa(**{setting: bits})


def test_long_sums_of_wide_codes_are_exact():
    """8 by 8 bits over 4,096 inputs: sums beyond 2^24, where fp32 would lose the last bits."""
    torch.manual_seed(0)
    layer = BinaryLinear(4096, 4, bias=False, binarizer=DoReFa(8, 8, 32))
    layer.weight.data.uniform_(0.9, 1)
    x = torch.rand(3, 4096)
    weights, inputs = layer.binarizer.weight_codes(layer.weight), layer.binarizer.input_codes(x)
    sums = inputs.values.double() @ weights.values.double().T
    assert sums.abs().max() > 2**24
    expected = sums.float() * (weights.scale * inputs.scale)
    assert torch.equal(layer.eval()(x), expected)
