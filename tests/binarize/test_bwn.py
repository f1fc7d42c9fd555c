"""BWN: alpha * sign(W), and each of its three gradients against the published formula."""

import pytest
import torch

from xnorlit.binarize.bwn import BWN, alpha, scaled_sign

SHAPES = [(2, 2), (3, 4, 3, 3), (5, 7), (4, 2, 1, 1), (1, 3, 5, 5)]


def ste_sign(weight):
    """The textbook straight-through estimator: the sign's value, the clip's derivative."""
    clip = weight.clamp(-1, 1)
    return torch.where(weight >= 0, 1.0, -1.0).to(weight) + clip - clip.detach()


def mean_magnitude(weight):
    return weight.abs().mean(dim=tuple(range(1, weight.ndim)), keepdim=True)


WRITTEN = {
    "corrected": lambda w: mean_magnitude(w) * ste_sign(w),
    # g_i * (1/n + alpha * 1[|W_i| <= 1]), equations 11 and 12
    "paper": lambda w: w / w[0].numel() + mean_magnitude(w).detach() * ste_sign(w),
    "ste": lambda w: mean_magnitude(w).detach() * ste_sign(w),
}


def test_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.25, 0.75]], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    # alpha = (0.5 + 1.5) / 2 = 1 and (0.25 + 0.75) / 2 = 0.5
    assert alpha(weight).tolist() == [1.0, 0.5]
    by_hand = {
        # first filter: sum g sign(W) = 1 - 2 = -1, so sign(W)/2 * -1 = (-.5, +.5); alpha g 1[.] = (1, 0), |-1.5| > 1
        # second: sum = 3 - 1 = 2, so (1, 1); alpha g = (1.5, -.5)
        "corrected": [[0.5, 0.5], [2.5, 0.5]],
        # g / 2 + alpha g 1[.]
        "paper": [[1.5, 1.0], [3.0, -1.0]],
        "ste": [[1.0, 0.0], [1.5, -0.5]],
    }
    for gradient, expected in by_hand.items():
        binary = scaled_sign(weight, gradient)
        assert binary.tolist() == [[1.0, -1.0], [0.5, 0.5]]
        assert torch.autograd.grad(binary, weight, g)[0].tolist() == expected, gradient


def test_the_values_are_plus_or_minus_alpha_to_the_bit_and_minus_zero_is_plus():
    weight = torch.randn(5, 40)
    weight[0, :4] = torch.tensor([0.0, -0.0, 1e-40, -1e-40])
    scale = alpha(weight)[:, None]
    assert torch.equal(scaled_sign(weight), torch.where(weight >= 0, scale, -scale))
    assert (scaled_sign(weight)[0, :4] > 0).tolist() == [True, True, True, False]


@pytest.mark.parametrize("gradient", WRITTEN)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_autograds_through_the_written_formula(shape, gradient):
    torch.manual_seed(0)
    weight = (1.2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    g = torch.randn(shape, dtype=torch.float64)
    (ours,) = torch.autograd.grad(scaled_sign(weight, gradient), weight, g)
    (written,) = torch.autograd.grad(WRITTEN[gradient](weight), weight, g)
    torch.testing.assert_close(ours, written, rtol=1e-10, atol=1e-12)


def test_the_three_gradients_differ():
    weight = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    g = torch.randn(4, 9, dtype=torch.float64)
    grads = [torch.autograd.grad(scaled_sign(weight, gradient), weight, g)[0] for gradient in WRITTEN]
    assert not torch.allclose(grads[0], grads[1])
    assert not torch.allclose(grads[0], grads[2])
    assert not torch.allclose(grads[1], grads[2])


@pytest.mark.parametrize("gradient", WRITTEN)
def test_channels_last_weights_have_the_same_gradient(gradient):
    plain = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    last = plain.detach().to(memory_format=torch.channels_last).requires_grad_()
    g = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    (ours,) = torch.autograd.grad(scaled_sign(last, gradient), last, g)
    (reference,) = torch.autograd.grad(scaled_sign(plain, gradient), plain, g)
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("gradient", WRITTEN)
def test_a_filter_of_zeros_has_a_finite_gradient(gradient):
    weight = torch.zeros(2, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(scaled_sign(weight, gradient), weight, torch.ones(2, 3))
    assert torch.isfinite(grad).all()


def test_alpha_is_the_best_scale():
    weight = torch.randn(3, 8, dtype=torch.float64)
    best = alpha(weight)[:, None]

    def error(scale):
        return (weight - scale * weight.sign()).square().sum(dim=1)

    assert (error(best) < error(best * 1.01)).all()
    assert (error(best) < error(best * 0.99)).all()


def test_after_a_step_weights_are_centred_per_position_then_clamped():
    weight = torch.tensor([[[[2.0, 0.0]], [[0.0, 4.0]]]])
    BWN().after_step(weight)
    assert weight.tolist() == [[[[1.0, -1.0]], [[-1.0, 1.0]]]]
    untouched = torch.tensor([[3.0, -5.0]])
    BWN(center=False, clip=False).after_step(untouched)
    assert untouched.tolist() == [[3.0, -5.0]]
    BWN(center=False).after_step(untouched)
    assert untouched.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("gradient", WRITTEN)
def test_without_a_scale_it_is_the_plain_sign_with_equal_gradients(gradient):
    weight = torch.tensor([[0.5, -1.5], [-0.0, 1.0]], requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    binary = scaled_sign(weight, gradient, "none")
    assert binary.tolist() == [[1.0, -1.0], [1.0, 1.0]]
    assert torch.autograd.grad(binary, weight, g)[0].tolist() == [[1.0, 0.0], [3.0, -1.0]]
    codes = BWN(gradient, scale="none").weight_codes(weight.detach())
    assert codes.values.tolist() == binary.tolist()
    assert codes.scale.tolist() == [1.0, 1.0]
