"""ReActNet: a shifted sign and RPReLU, each against autograd through its formula."""

import pytest
import torch
import torch.nn.functional as F

from xnorlit.binarize import latent
from xnorlit.binarize.bireal import BiReal
from xnorlit.binarize.reactnet import ReActNet, RPReLU, shifted_sign


def written_sign(x, shift):
    """The release: `x + b`, then the sign with the piecewise quadratic's derivative."""
    z = x + shift.view(1, -1, *(1,) * (x.ndim - 2))
    quadratic = torch.where(z < 0, z * z + 2 * z, 2 * z - z * z)
    approximate = torch.where(z.abs() < 1, quadratic, z.sign())
    return torch.where(z >= 0, 1.0, -1.0).to(x).detach() + approximate - approximate.detach()


def written_rprelu(x, module):
    before, after = (v.view(1, -1, *(1,) * (x.ndim - 2)) for v in (module.before, module.after))
    return F.prelu(x + before, module.slope) + after


def test_by_hand():
    x = torch.tensor([[0.25, -0.5], [-1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([0.5, 0.25], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=torch.float64)
    # z = 0.75, -0.25; -0.5, 2.25, and 2 - 2|z| = 0.5, 1.5; 1, 0
    signs = shifted_sign(x, shift)
    assert signs.tolist() == [[1, -1], [-1, 1]]
    of_x, of_shift = torch.autograd.grad(signs, (x, shift), g)
    assert of_x.tolist() == [[0.5, 3], [3, 0]]
    assert of_shift.tolist() == [3.5, 3]


def test_rprelu_by_hand():
    module = RPReLU(2).double()
    with torch.no_grad():
        module.before.copy_(torch.tensor([0.5, -1.0]))
        module.after.copy_(torch.tensor([1.0, 0.0]))
    x = torch.tensor([[0.5, 3.0], [-2.5, 0.0]], dtype=torch.float64, requires_grad=True)
    # z = 1, 2; -2, -1
    y = module(x)
    assert y.tolist() == [[2, 2], [0.5, -0.25]]
    g = torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=torch.float64)
    of_x, slope, before, after = torch.autograd.grad(y, (x, module.slope, module.before, module.after), g)
    assert of_x.tolist() == [[1, 2], [1, 2]]
    assert slope.tolist() == [4 * -2, 8 * -1]
    assert before.tolist() == [2, 4]
    assert after.tolist() == [5, 10]


@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 5, 5), (6, 3, 2)])
def test_gradients_are_autograds_through_the_written_formulas(shape, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(latent, "BLOCK", 2 * 75)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(3, dtype=torch.float64, requires_grad=True)
    module = RPReLU(3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    g = torch.randn(shape, dtype=torch.float64)
    for ours, reference, operands in (
        (shifted_sign(x, shift), written_sign(x, shift), (x, shift)),
        (module(x), written_rprelu(x, module), (x, *module.parameters())),
    ):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
        both = zip(torch.autograd.grad(ours, operands, g), torch.autograd.grad(reference, operands, g), strict=True)
        for gradient, expected in both:
            torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_a_fresh_one_is_bi_real_with_a_prelu():
    weight, x = torch.randn(4, 3, 3, 3), torch.randn(2, 3, 5, 5)
    ours, bireal = (cls().for_layer(weight, rectify=True) for cls in (ReActNet, BiReal))
    assert torch.equal(ours.input(x), bireal.input(x))
    assert torch.equal(ours.weight(weight), bireal.weight(weight))
    assert torch.equal(ours.post_layer(3)(x), F.prelu(x, torch.full((3,), 0.25)))
    assert ReActNet(rprelu=False).post_layer(3) is None


def test_a_flattened_map_has_a_shift_for_each_channel_and_groups_have_their_own():
    channels, positions = 3, 4
    bound = ReActNet().for_layer(torch.randn(2, channels * positions), rectify=True, channels=channels)
    with torch.no_grad():
        bound.shift.copy_(torch.tensor([1.0, -1.0, 0.0]))
    x = torch.full((1, channels * positions), -0.5)
    expected = [[1] * positions + [-1] * 2 * positions]
    assert bound.input(x).tolist() == bound.input_codes(x).values.tolist() == expected
    grouped = ReActNet().for_layer(torch.randn(4, 2, 3, 3), rectify=True, channels=4)
    assert grouped.input(torch.randn(1, 4, 3, 3)).shape == (1, 4, 3, 3)


def test_slopes_stay_positive_by_default():
    weight = torch.randn(2, 3)
    for keep in (True, False):
        bound = ReActNet(keep_slopes_positive=keep).for_layer(weight, rectify=True)
        module = bound.post_layer(2)
        with torch.no_grad():
            module.slope.copy_(torch.tensor([-1.0, 0.5]))
        assert bound.tends is keep
        module.after_step()
        assert module.slope.tolist() == ([0, 0.5] if keep else [-1, 0.5])
