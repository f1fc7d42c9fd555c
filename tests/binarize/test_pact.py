"""PACT: the clipping value receives the gradient of the clipped inputs, and nothing else."""

import pytest
import torch

from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.pact import PACT, SMALLEST, clipped_levels
from xnorlit.errors import UserError


def written(x, top, bits):
    """`y = (|x| - |x - a| + a) / 2` of equation 1; the rounding of equation 2 passes its gradient."""
    y = (x.abs() - (x - top).abs() + top) / 2
    q = 2**bits - 1
    return y + ((y * q / top).round() * top / q - y).detach()


def test_by_hand():
    x = torch.tensor([[-1.0, 0.5], [1.0, 2.5]], dtype=torch.float64, requires_grad=True)
    top = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=torch.float64)
    # two bits: levels 0, 0.5, 1, 1.5
    value = clipped_levels(x, top, 2)
    assert value.tolist() == [[0, 0.5], [1, 1.5]]
    of_x, of_top = torch.autograd.grad(value, (x, top), g)
    assert of_x.tolist() == [[0, 2], [3, 0]]
    assert of_top.item() == -4


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_value_and_gradients_are_autograds_through_the_written_formula(bits):
    torch.manual_seed(0)
    x = (2 * torch.randn(3, 4, 5, 5, dtype=torch.float64)).requires_grad_()
    top = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    g = torch.randn_like(x)
    ours, reference = clipped_levels(x, top, bits), written(x, top, bits)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    both = zip(torch.autograd.grad(ours, (x, top), g), torch.autograd.grad(reference, (x, top), g), strict=True)
    for gradient, expected in both:
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_the_ends_keep_their_gradient_and_the_upper_one_moves_the_clipping_value():
    x = torch.tensor([0.0, 1.5], requires_grad=True)
    top = torch.tensor(1.5, requires_grad=True)
    of_x, of_top = torch.autograd.grad(clipped_levels(x, top, 2), (x, top), torch.tensor([2.0, 3.0]))
    assert of_x.tolist() == [2, 3]
    assert of_top.item() == 3


def test_weights_are_dorefas():
    weight = torch.randn(3, 4)
    for bits in (1, 2, 32):
        ours, theirs = (cls(weight_bits=bits).for_layer(weight, rectify=True) for cls in (PACT, DoReFa))
        assert torch.equal(ours.weight(weight), theirs.weight(weight))


def test_codes_are_levels_times_a_share_of_the_clipping_value():
    bound = PACT(input_bits=2).for_layer(torch.randn(2, 3), rectify=True)
    codes = bound.input_codes(torch.tensor([-1.0, 0.4, 1.2, 9.0]))
    assert codes.values.tolist() == [0, 1, 2, 3]
    assert codes.scale.item() == pytest.approx(2 / 3)
    assert not codes.scale.requires_grad


def test_a_step_leaves_the_clipping_value_positive():
    weight = torch.randn(2, 3)
    bound = PACT().for_layer(weight, rectify=True)
    with torch.no_grad():
        bound.top.fill_(-1)
    bound.after_step(weight)
    assert bound.top.item() == pytest.approx(SMALLEST)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_bits": 32}, "input_bits is 32, but PACT quantises inputs"),
        ({"input_bits": 0}, "input_bits is 0"),
        ({"weight_bits": 1.5}, "weight_bits is 1.5"),
        ({"init": 0}, "init is 0. Expected a clipping value"),
        ({"init": float("nan")}, "init is nan"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        PACT(**settings)
