"""AdaBin: two values per filter and per layer's inputs, with the derivative of each scale and centre."""

import math

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.adabin import SMALLEST, AdaBin, Maxout, adaptive_input, adaptive_weight
from xnorlit.errors import UserError

DOUBLE = torch.float64


def plain_sign(z):
    return torch.where(z >= 0, 1.0, -1.0).to(z)


def written_weight(weight, t):
    """The release's lines; `k tanh(t z)` in place of the sign has the gradient that its backward states."""
    dims = tuple(range(1, weight.ndim))
    centre = weight.mean(dims, keepdim=True)
    distance = (((weight - centre) ** 2).sum(dims, keepdim=True) / weight[0].numel()).sqrt()
    z = (weight - centre) / distance
    soft = max(1 / t, 1) * torch.tanh(t * z)
    return (soft + (plain_sign(z) - soft).detach()) * distance + centre


def written_input(x, distance, centre, form):
    z = (x - centre) / distance
    quadratic = torch.where(z < 0, z * z + 2 * z, 2 * z - z * z)
    soft = torch.where(z.abs() < 1, quadratic, plain_sign(z))
    signs = soft + (plain_sign(z) - soft).detach()
    return distance * signs + centre if form == "added" else distance * (signs + centre)


def test_weights_by_hand():
    weight = torch.tensor([[1.0, 3.0], [-2.0, 0.0]], dtype=DOUBLE, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=DOUBLE)
    # b = 2, -1 and a = 1, 1, so z = -1, 1 in both filters: two values are their own binarisation.
    value = adaptive_weight(weight, torch.tensor(1.0, dtype=DOUBLE))
    assert value.tolist() == [[1, 3], [-2, 0]]
    # With h = 1 - tanh(1)^2 a filter's hg and hgz of two values standardise to nothing; left are
    # mean(g) + z mean(gs): 1.5 + z 0.5 = 1, 2 and 1 - z 2 = 3, -1.
    (gradient,) = torch.autograd.grad(value, weight, g)
    torch.testing.assert_close(gradient, g, rtol=0, atol=1e-12)


def test_inputs_by_hand():
    x = torch.tensor([[0.5, -1.0], [2.0, 5.0]], dtype=DOUBLE, requires_grad=True)
    distance, centre = (torch.tensor(v, dtype=DOUBLE, requires_grad=True) for v in (2.0, 1.0))
    g = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=DOUBLE)
    # z = -0.25, -1, 0.5, 2; 2 - 2|z| = 1.5, 0, 1, 0
    of = {}
    for form, values in (("added", [[-1, -1], [3, 3]]), ("scaled", [[0, 0], [4, 4]])):
        value = adaptive_input(x, distance, centre, form)
        assert value.tolist() == values
        of[form] = [v.tolist() for v in torch.autograd.grad(value, (x, distance, centre), g)]
    inner, of_signs, of_z = [[1.5, 0], [3, 0]], -1 - 2 + 3 - 4, 1.5 * -0.25 + 3 * 0.5
    assert of["added"] == [inner, of_signs - of_z, 2 - 4.5]  # the sum of g is 2
    assert of["scaled"] == [inner, of_signs - of_z + 1 * 2, 2 * 2 - 4.5]


@pytest.mark.parametrize("t", [1e-3, 0.5, 10.0])
@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 3, 3), (5, 70)])
def test_the_weights_gradient_is_autograds_through_the_written_formula(shape, t, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(latent, "BLOCK", 40)
    weight = (torch.randn(shape, dtype=DOUBLE) + 0.3).requires_grad_()
    g = torch.randn(shape, dtype=DOUBLE)
    ours, reference = adaptive_weight(weight, torch.tensor(t, dtype=DOUBLE)), written_weight(weight, t)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    (ours,), (reference,) = torch.autograd.grad(ours, weight, g), torch.autograd.grad(reference, weight, g)
    torch.testing.assert_close(ours, reference, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("form", ["added", "scaled"])
def test_the_inputs_gradients_are_autograds_through_the_written_formula(form):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 5, dtype=DOUBLE, requires_grad=True)
    distance, centre = (torch.tensor(v, dtype=DOUBLE, requires_grad=True) for v in (0.7, -0.2))
    operands, g = (x, distance, centre), torch.randn(3, 4, 5, 5, dtype=DOUBLE)
    ours, reference = adaptive_input(*operands, form), written_input(*operands, form)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    both = zip(torch.autograd.grad(ours, operands, g), torch.autograd.grad(reference, operands, g), strict=True)
    for gradient, expected in both:
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_the_two_forms_differ_once_the_distance_is_not_one():
    x, centre = torch.tensor([1.0, -1.0]), torch.tensor(0.5)
    for distance, same in ((1.0, True), (2.0, False)):
        added, scaled = (adaptive_input(x, torch.tensor(distance), centre, form) for form in ("added", "scaled"))
        assert torch.equal(added, scaled) is same


@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 5, 5)])
def test_maxout_is_a_prelu_with_two_slopes(shape):
    module = Maxout(3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(shape, dtype=DOUBLE, requires_grad=True)
    column = (1, -1, *(1,) * (len(shape) - 2))
    reference = module.positive.view(column) * x.relu() - module.negative.view(column) * (-x).relu()
    ours, operands, g = module(x), (x, *module.parameters()), torch.randn(shape, dtype=DOUBLE)
    torch.testing.assert_close(ours, reference)
    both = zip(torch.autograd.grad(ours, operands, g), torch.autograd.grad(reference, operands, g), strict=True)
    for gradient, expected in both:
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_a_constant_filter_is_its_centre_and_has_a_finite_gradient():
    weight = torch.full((1, 4), 0.5, requires_grad=True)
    value = adaptive_weight(weight, torch.tensor(0.1))
    assert value.tolist() == [[0.5] * 4]
    assert torch.isfinite(torch.autograd.grad(value, weight, torch.randn(1, 4))[0]).all()


def test_the_temperature_rises_by_the_epoch_and_is_saved():
    bound = AdaBin().for_layer(torch.randn(2, 3), rectify=True)
    seen = []
    for epoch in (0, 10, 20):
        bound.on_epoch(epoch, 20)
        seen.append(bound.t.item())
    assert seen == pytest.approx([1e-3, math.sqrt(1e-3 * 10), 10])
    assert "t" in bound.state_dict()


def test_a_step_leaves_the_distance_positive():
    weight = torch.randn(2, 3)
    bound = AdaBin().for_layer(weight, rectify=True)
    with torch.no_grad():
        bound.distance.fill_(-2)
    bound.after_step(weight)
    assert bound.distance.item() == pytest.approx(SMALLEST)


def test_it_packs_as_two_values_and_bad_temperatures_are_refused_in_words():
    assert AdaBin().two_valued
    assert not AdaBin().cannot_pack
    assert not AdaBin().exact
    assert AdaBin(maxout=False).post_layer(3) is None
    for bad in ({"t_min": 0}, {"t_min": 2, "t_max": 1}):
        with pytest.raises(UserError, match="Expected 0 < t_min <= t_max"):
            AdaBin(**bad)
