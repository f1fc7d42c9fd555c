"""BinaryDuo's two stages: three-level and two-level inputs; weights as signs times the layer's mean magnitude."""

import pytest
import torch

from xnorlit.binarize.duo import BinaryDuo, steps
from xnorlit.errors import UserError


def written(x, stage):
    """Rounding of the clipped value to halves, or to whole numbers; rounding passes its gradient."""
    parts = 2 if stage == "coupled" else 1
    clipped = x.clamp(0, 1)
    return (clipped * parts).round().detach() / parts + clipped - clipped.detach()


def test_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    binary = BinaryDuo().weight(weight)
    assert binary.tolist() == [[0.75, -0.75], [0.75, 0.75]]  # (0.5 + 1.5 + 0 + 1) / 4
    assert torch.autograd.grad(binary, weight, g)[0].tolist() == g.tolist()
    x = torch.tensor([[0.3, 0.8], [-0.1, 0.2]], dtype=torch.float64, requires_grad=True)
    for stage, expected in (("coupled", [[0.5, 1], [0, 0]]), ("decoupled", [[0, 1], [0, 0]])):
        levels = BinaryDuo(stage).input(x)
        assert levels.tolist() == expected
        assert torch.autograd.grad(levels, x, g)[0].tolist() == [[1, 2], [0, -1]]


@pytest.mark.parametrize("stage", ["coupled", "decoupled"])
def test_value_and_gradient_are_those_of_rounding_the_clipped_value(stage):
    torch.manual_seed(0)
    x = torch.randn(500, dtype=torch.float64, requires_grad=True)
    g = torch.randn(500, dtype=torch.float64)
    ours, reference = steps(x, stage), written(x, stage)
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-12)
    assert torch.equal(torch.autograd.grad(ours, x, g)[0], torch.autograd.grad(reference, x, g)[0])


def test_the_gradient_reaches_the_ends_and_a_threshold_is_not_exceeded_by_itself():
    x = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], requires_grad=True)
    coupled = steps(x, "coupled")
    coupled.backward(torch.ones(5))
    assert coupled.tolist() == [0, 0, 0.5, 0.5, 1]
    assert x.grad.tolist() == [1] * 5
    assert steps(x, "decoupled").tolist() == [0, 0, 0, 1, 1]


def test_three_levels_are_the_mean_of_two_bits_whose_values_are_a_quarter_less_and_more():
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    halves = steps(x - 0.25, "decoupled") + steps(x + 0.25, "decoupled")
    assert torch.equal(steps(x, "coupled"), halves / 2)


def test_codes_have_a_bit_more_while_they_are_coupled():
    x = torch.tensor([0.0, 0.4, 0.9])
    for stage, bits, values, scale in (("coupled", 2, [0, 1, 2], 0.5), ("decoupled", 1, [0, 0, 1], 1)):
        codes = BinaryDuo(stage).input_codes(x)
        assert BinaryDuo(stage).input_bits == bits
        assert (codes.values.tolist(), codes.scale.item()) == (values, scale)


def test_latent_weights_are_clamped_on_request():
    weight = torch.tensor([[3.0, -0.5]])
    BinaryDuo().after_step(weight)
    assert weight.tolist() == [[3, -0.5]]
    BinaryDuo(clip=1).after_step(weight)
    assert weight.tolist() == [[1, -0.5]]


@pytest.mark.parametrize(
    ("settings", "message"), [({"clip": -1.0}, "BinaryDuo's clip is -1.0"), ({"clip": float("inf")}, "clip is inf")]
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        BinaryDuo(**settings)
