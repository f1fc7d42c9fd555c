"""TTQ: two learned scales, each with the summed gradient of its weights."""

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.ttq import SMALLEST, TTQ, trained_ternary
from xnorlit.errors import UserError


def written(weight, plus, minus, share=0.05):
    """Equations 6 to 8: the value, and a latent gradient scaled by the part that the weight is in."""
    limit = share * weight.detach().abs().max()
    positive, negative = (weight > limit).to(weight), (weight < -limit).to(weight)
    factor = (plus * positive + minus * negative + (1 - positive - negative)).detach()
    return plus * positive - minus * negative + factor * (weight - weight.detach())


def scales(plus, minus):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (plus, minus)]


def test_by_hand():
    weight = torch.tensor([[1.0, -0.04], [-0.5, 0.06]], dtype=torch.float64, requires_grad=True)
    plus, minus = scales(2.0, 3.0)
    g = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=torch.float64)
    # D = 0.05: 1.0 and 0.06 are above, -0.5 below, -0.04 between.
    value = trained_ternary(weight, plus, minus)
    assert value.tolist() == [[2, 0], [-3, 2]]
    of_weight, of_plus, of_minus = torch.autograd.grad(value, (weight, plus, minus), g)
    assert of_weight.tolist() == [[2, 2], [9, -8]]
    assert (of_plus.item(), of_minus.item()) == (1 - 4, -3)


@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 3, 3), (5, 70)])
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_value_and_gradients_are_the_written_formulas(shape, share):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    operands = (weight, *scales(0.7, 1.3))
    g = torch.randn(shape, dtype=torch.float64)
    ours, reference = trained_ternary(*operands, share), written(*operands, share)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    both = zip(torch.autograd.grad(ours, operands, g), torch.autograd.grad(reference, operands, g), strict=True)
    for gradient, expected in both:
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_blocks_of_filters_and_autocast_change_nothing_but_the_dtype(monkeypatch):
    weight = torch.randn(7, 6, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    plus, minus = (torch.tensor(value, requires_grad=True) for value in (0.7, 1.3))
    g = torch.randn(7, 6, 3, 3).bfloat16()

    def both():
        with torch.autocast("cpu", torch.bfloat16):
            value = trained_ternary(weight, plus, minus)
        return value, *torch.autograd.grad(value, (weight, plus, minus), g)

    whole = both()
    assert [tensor.dtype for tensor in whole] == [torch.bfloat16, *[torch.float32] * 3]
    monkeypatch.setattr(latent, "BLOCK", 3 * weight[0].numel())
    for ours, expected in zip(both(), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_step_leaves_the_scales_positive():
    weight = torch.randn(2, 3)
    binarizer = TTQ().for_layer(weight, rectify=True)
    with torch.no_grad():
        binarizer.plus.fill_(-0.3)
    binarizer.after_step(weight)
    assert binarizer.plus.item() == pytest.approx(SMALLEST)
    assert binarizer.minus.item() == 1


def test_a_layer_of_zeros_stays_zero():
    plus, minus = scales(1.0, 1.0)
    assert trained_ternary(torch.zeros(2, 3, dtype=torch.float64), plus, minus).tolist() == [[0] * 3] * 2


def test_two_scales_are_refused_with_a_message():
    assert "two scales" in TTQ().cannot_pack
    assert "TWN" in TTQ().cannot_pack
    assert not TTQ().exact


@pytest.mark.parametrize(
    ("settings", "message"), [({"share": 1.0}, "TTQ's share is 1.0"), ({"init": 0.0}, "TTQ's init is 0.0")]
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TTQ(**settings)
