"""TWN: small weights of a filter become 0, the others plus or minus the mean magnitude of the remaining ones."""

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.twn import TWN, scaled_ternary, ternary, threshold_and_scale
from xnorlit.errors import UserError


def written(weight, scope, factor):
    """The formulas of section 2, filter by filter, with the gradient through a detached difference."""
    filters = [weight] if scope == "layer" else list(weight)
    values = []
    for part in filters:
        kept = part.abs() > factor * part.abs().mean()
        alpha = part[kept].abs().mean()
        values.append(torch.where(kept, alpha * part.sign(), torch.zeros_like(part)))
    value = values[0] if scope == "layer" else torch.stack(values)
    return value.detach() + weight - weight.detach()


def test_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.25, 0.75]], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    # D = 0.7 * 1 and 0.7 * 0.5, so one weight of each filter is kept and is its own scale.
    binary = scaled_ternary(weight)
    assert binary.tolist() == [[0.0, -1.5], [0.0, 0.75]]
    assert torch.autograd.grad(binary, weight, g)[0].tolist() == [[1, 2], [3, -1]]
    clipped = scaled_ternary(weight, gradient="clip")
    assert torch.autograd.grad(clipped, weight, g)[0].tolist() == [[1, 0], [3, -1]]
    # For the layer D = 0.7 * 0.75 = 0.525, and alpha = (1.5 + 0.75) / 2.
    assert scaled_ternary(weight, scope="layer").tolist() == [[0.0, -1.125], [0.0, 1.125]]


@pytest.mark.parametrize("scope", ["filter", "layer"])
@pytest.mark.parametrize("factor", [0.7, 0.75])
@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 3, 3), (5, 7), (4, 2, 1, 1)])
def test_value_and_gradient_are_the_written_formulas(shape, scope, factor):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64)
    ours, reference = scaled_ternary(weight, scope, factor=factor), written(weight, scope, factor)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    (ours,) = torch.autograd.grad(ours, weight, g)
    (reference,) = torch.autograd.grad(reference, weight, g)
    assert torch.equal(ours, reference)


def test_alpha_is_the_best_scale_for_these_codes():
    weight = torch.randn(3, 40, dtype=torch.float64)
    threshold, best = threshold_and_scale(weight)
    codes = ternary(weight, threshold)

    def error(scale):
        return (weight - scale * codes).square().sum(dim=1)

    assert (error(best) < error(best * 1.01)).all()
    assert (error(best) < error(best * 0.99)).all()


def test_a_weight_at_the_threshold_is_left_out_and_a_filter_of_zeros_stays_zero():
    assert ternary(torch.tensor([0.5, -0.5, 0.6, -0.6, 0.0]), torch.tensor(0.5)).tolist() == [0, 0, 1, -1, 0]
    assert scaled_ternary(torch.zeros(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("scope", ["filter", "layer"])
@pytest.mark.parametrize("gradient", ["identity", "clip"])
def test_blocks_of_filters_and_autocast_change_nothing_but_the_dtype(scope, gradient, monkeypatch):
    weight = torch.randn(7, 6, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    g = torch.randn(7, 6, 3, 3).bfloat16()

    def both():
        with torch.autocast("cpu", torch.bfloat16):
            binary = scaled_ternary(weight, scope, gradient)
        return binary, *torch.autograd.grad(binary, weight, g)

    whole = both()
    assert whole[0].dtype == torch.bfloat16
    assert torch.equal(whole[0], scaled_ternary(weight, scope, gradient).bfloat16())
    assert whole[1].dtype == torch.float32
    monkeypatch.setattr(latent, "BLOCK", 3 * weight[0].numel())
    monkeypatch.setattr("xnorlit.binarize.twn.BLOCK", 3 * weight[0].numel())
    for ours, expected in zip(both(), whole, strict=True):
        assert torch.equal(ours, expected)


def test_inputs_are_real_and_signs_on_request():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5], requires_grad=True)
    assert TWN().input(x) is x
    signs = TWN(inputs="sign")
    assert (signs.input_bits, signs.signed_input, signs.exact) == (1, True, True)
    binary = signs.input(x)
    binary.backward(torch.ones(4))
    assert binary.tolist() == signs.input_codes(x).values.tolist() == [-1, -1, 1, 1]
    assert x.grad.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "message"), [({"factor": -0.1}, "TWN's factor is -0.1"), ({"factor": float("nan")}, "factor is nan")]
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TWN(**settings)
