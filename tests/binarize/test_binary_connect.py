"""BinaryConnect: +-H, deterministic or stochastic, an unmasked gradient, and a clamp after each step."""

import math

import pytest
import torch
from torch import nn

from xnorlit.binarize.binary_connect import BinaryConnect, bounded_sign, glorot_bound
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLinear

WEIGHT = [[0.5, -1.5], [0.0, -0.25]]


def bound_layer(weight=WEIGHT, **settings):
    layer = BinaryLinear(2, 2, bias=False, binarizer=BinaryConnect(**settings))
    layer.weight.data = torch.tensor(weight)
    return layer


def test_by_hand():
    weight = torch.tensor(WEIGHT, dtype=torch.float64, requires_grad=True)
    binary = bounded_sign(weight, 0.5)
    assert binary.tolist() == [[0.5, -0.5], [0.5, -0.5]]
    g = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    assert torch.equal(torch.autograd.grad(binary, weight, g)[0], g), "beyond H as well: the clamp follows the step"


def test_the_gradient_is_autograds_through_the_written_formula():
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    g = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    written = weight + (0.1 * torch.where(weight >= 0, 1.0, -1.0) - weight).detach()
    for rounding in ("deterministic", "stochastic"):
        ours = torch.autograd.grad(bounded_sign(weight, 0.1, rounding), weight, g)[0]
        assert torch.equal(ours, torch.autograd.grad(written, weight, g, retain_graph=True)[0])


def test_glorots_bound():
    assert glorot_bound(torch.empty(4, 2)) == math.sqrt(1.5 / 6)
    assert glorot_bound(torch.empty(4, 2, 3, 3)) == math.sqrt(1.5 / (9 * 6))
    assert bound_layer().binarizer.bound == math.sqrt(1.5 / 4)
    assert bound_layer(bound=1.0).binarizer.bound == 1.0


def test_a_stochastic_weight_is_plus_with_the_hard_sigmoids_probability():
    torch.manual_seed(0)
    weight = torch.tensor([[-2.0, -0.5, -0.25, 0.0, 0.4, 0.5, 3.0]])
    plus = torch.stack([bounded_sign(weight, 0.5, "stochastic") for _ in range(4000)])
    assert plus.abs().unique().tolist() == [0.5]
    expected = torch.tensor([0.0, 0.0, 0.25, 0.5, 0.9, 1.0, 1.0])
    torch.testing.assert_close((plus > 0).float().mean(0)[0], expected, atol=0.04, rtol=0)
    assert (plus[:, 0, [0, 1]] < 0).all()
    assert (plus[:, 0, [5, 6]] > 0).all()


def test_only_training_is_stochastic():
    layer, x = bound_layer([[0.01, 0.01], [0.01, 0.01]], weights="stochastic", bound=1.0), torch.ones(1, 2)
    torch.manual_seed(0)
    assert len({tuple(layer.train()(x)[0].tolist()) for _ in range(20)}) > 1
    assert layer.eval()(x).tolist() == [[2, 2]]


def test_inference_is_binary_or_with_the_real_weights():
    x = torch.ones(1, 2)
    assert bound_layer(bound=2.0).eval()(x).tolist() == [[0, 0]]
    real = bound_layer(bound=2.0, weights="stochastic", inference="real")
    assert real.eval()(x).tolist() == [[-1, -0.25]]
    assert "inference: binary" in real.binarizer.cannot_pack
    assert not bound_layer().binarizer.cannot_pack


def test_after_a_step_weights_are_clamped_to_the_bound():
    layer = bound_layer(bound=0.5)
    layer.after_step()
    assert layer.weight.tolist() == [[0.5, -0.5], [0.0, -0.25]]


def test_a_bound_below_zero_is_refused():
    for bound in (0, -1.0, math.inf):
        with pytest.raises(UserError, match=r"bound is .* Expected a number above 0, or glorot"):
            BinaryConnect(bound=bound)


def test_blocks_of_filters_draw_as_one_would():
    weight = nn.Parameter(torch.zeros(2100, 1000))
    plus = bounded_sign(weight, 1.0, "stochastic") > 0
    assert abs(plus.float().mean().item() - 0.5) < 0.005
    assert abs((plus[:1048] == plus[1048:2096]).float().mean().item() - 0.5) < 0.005
