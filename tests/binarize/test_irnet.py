"""IR-Net: standardised weights times a power of two, and an estimator whose temperature is saved."""

import math

import pytest
import torch

from xnorlit.binarize.ede import ede_sign, temperature
from xnorlit.binarize.irnet import IRNet, libra
from xnorlit.errors import UserError


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def written(weight, t):
    """The release's lines, with the sign's derivative in the place of the sign."""
    dims = tuple(range(1, weight.ndim))
    w = weight - weight.mean(dim=dims, keepdim=True)
    w = w / w.std(dim=dims, keepdim=True)
    scale = 2 ** (w.abs().mean(dim=dims, keepdim=True).log() / math.log(2)).round().detach()
    k = max(1 / t, 1)
    curve = k * torch.tanh(t * w)
    return scale * (curve + (torch.where(w >= 0, 1.0, -1.0) - curve).detach())


def test_weights_by_hand():
    # Three weights a filter, for two that are standardised are +-1/sqrt(2) whatever they were.
    weight = number([[3.0, 1.0, 2.0], [0.0, 4.0, 2.0]]).requires_grad_()
    # means 2, deviations 1 and 2: v = (1, -1, 0) and (-1, 1, 0), mean|v| = 2/3, log2 = -0.58, rounded -1
    binary = libra(weight, number(1e-6))
    assert binary.tolist() == [[0.5, -0.5, 0.5], [-0.5, 0.5, 0.5]]
    (grad,) = torch.autograd.grad(binary, weight, number([[1.0, 2.0, 3.0], [3.0, -1.0, 6.0]]))
    # h = g / 2 for so small a t; less its mean (1 and 4/3), less v sum(h v) / 2 (-1/4 v and -v), over the deviation
    by_hand = number([[-1 / 4, -1 / 4, 1 / 2], [-5 / 12, -5 / 12, 5 / 6]])
    torch.testing.assert_close(grad, by_hand)


def test_inputs_by_hand():
    x = number([-0.5, 0.0, 0.25]).requires_grad_()
    ede_sign(x, number(2.0)).backward(number([1.0, 3.0, 2.0]))
    # k = 1, t = 2: g * 2 * (1 - tanh^2(2 x))
    expected = [2 * (1 - math.tanh(1) ** 2), 6.0, 4 * (1 - math.tanh(0.5) ** 2)]
    torch.testing.assert_close(x.grad, number(expected))
    x.grad = None
    ede_sign(x, number(0.5)).backward(number([1.0, 3.0, 2.0]))  # k = 2, so that k t = 1
    torch.testing.assert_close(x.grad, number([1 - math.tanh(0.25) ** 2, 3.0, 2 * (1 - math.tanh(0.125) ** 2)]))


@pytest.mark.parametrize("t", [1e-3, 0.3, 1.0, 7.0])
@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 3, 3), (5, 7)])
def test_the_gradient_is_autograds_through_the_written_formula(shape, t):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64)
    ours, expected = libra(weight, number(t)), written(weight, t)
    torch.testing.assert_close(ours, expected)
    grads = (torch.autograd.grad(values, weight, g)[0] for values in (ours, expected))
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)
    x = weight.detach().requires_grad_()
    curve = max(1 / t, 1) * torch.tanh(t * x)
    grads = (torch.autograd.grad(values, x, g)[0] for values in (ede_sign(x, number(t)), curve))
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_the_scale_is_a_power_of_two_and_codes_are_balanced():
    torch.manual_seed(0)
    heavy = torch.zeros(2, 400)  # a few large weights: mean|v| is small
    heavy[:, :4] = torch.tensor([10.0, -10, 10, -10])
    codes = IRNet().for_layer(heavy, rectify=True).weight_codes(heavy + 1e-3 * torch.randn(2, 400))
    assert codes.scale.tolist() == [0.125, 0.125]  # mean|v| is about sqrt(4 / 400) = 0.1
    shifted = torch.randn(8, 1000) + 5
    values = IRNet().for_layer(shifted, rectify=True).weight_codes(shifted).values
    assert (values.mean(dim=1).abs() < 0.15).all(), "the mean of 5 is taken off"


def test_a_filter_of_equal_weights_stays_finite():
    weight = torch.full((2, 5), 0.3, requires_grad=True)
    binary = libra(weight, torch.tensor(1.0))
    binary.sum().backward()
    assert torch.isfinite(binary).all()
    assert torch.isfinite(weight.grad).all()


def test_the_temperature_rises_evenly_through_the_powers_of_ten():
    assert [temperature(e, 4) for e in range(5)] == pytest.approx([1e-3, 1e-2, 1e-1, 1.0, 10.0])
    assert temperature(5, 10, 1e-1, 1e1) == pytest.approx(1.0)


def test_the_temperature_follows_the_epoch_and_is_saved():
    weight = torch.randn(2, 3)
    binarizer = IRNet().for_layer(weight, rectify=True)
    assert binarizer.t.item() == pytest.approx(1e-3)
    binarizer.on_epoch(15, 20)
    assert binarizer.t.item() == pytest.approx(1.0)
    other = IRNet().for_layer(weight, rectify=True)
    other.load_state_dict(binarizer.state_dict())
    assert other.t == binarizer.t


def test_impossible_temperatures_are_refused():
    for low, high in ((0, 10), (10, 1), (-1, 1)):
        with pytest.raises(UserError, match=r"t_min is .* Expected 0 < t_min <= t_max"):
            IRNet(low, high)
