"""ReCU: the clip of the standardised weights, inputs divided by their deviation, and tau by epoch."""

import math

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.recu import ReCU, rectified_sign, spread_sign
from xnorlit.errors import UserError


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def signs(z):
    return torch.where(z >= 0, 1.0, -1.0).to(z)


def written(weight, gain, tau):
    """The release's lines: standardise, clip by one Q of the layer, sign with the identity's gradient, scale."""
    dims = tuple(range(1, weight.ndim))
    w0 = weight - weight.mean(dim=dims, keepdim=True)
    w1 = w0 / (torch.sqrt(w0.var(dim=dims, keepdim=True) + 1e-5) / 2 / math.sqrt(2))
    q = (-w1.abs().mean() * math.log(2 - 2 * tau)).detach()
    w2 = w1.clamp(-q, q)
    return (w2 + (signs(w2) - w2).detach()) * gain.view(-1, *(1,) * (weight.ndim - 1))


def quadratic(a):
    inside = torch.where(a < 0, 2 * a + a * a, 2 * a - a * a)
    return torch.where(a.abs() < 1, inside, signs(a))


def test_by_hand():
    weight = number([[3.0, 1.0, 2.0], [0.0, 4.0, 2.0]]).requires_grad_()
    gain = number([0.5, 2.0]).requires_grad_()
    # v = (1, -1, 0) both times (deviations 1 and 2), mean|v| = 2/3; tau = 0.75: Q / 2 sqrt(2) = 2/3 ln 2 = 0.46,
    # so only the third weight's gradient passes
    binary = rectified_sign(weight, gain, number(0.75))
    assert binary.tolist() == [[0.5, -0.5, 0.5], [-2, 2, 2]]
    of_weight, of_gain = torch.autograd.grad(binary, (weight, gain), number([[1.0, 2.0, 3.0], [3.0, -1.0, 6.0]]))
    assert of_gain.tolist() == [1 - 2 + 3, -3 - 1 + 6]
    # h = 2 sqrt(2) gain g = (0, 0, 4.24) less its mean; v sum(h v) = 0; over the deviation
    first = 2 * math.sqrt(2) * 0.5 * 3
    second = 2 * math.sqrt(2) * 2 * 6 / 2
    by_hand = number([[-first / 3, -first / 3, 2 * first / 3], [-second / 3, -second / 3, 2 * second / 3]])
    torch.testing.assert_close(of_weight, by_hand, rtol=1e-4, atol=0)  # 1e-5 beside a variance of 1


@pytest.mark.parametrize("tau", [0.6, 0.85, 0.99])
@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 3, 3), (5, 7)])
def test_the_weights_gradient_is_autograds_through_the_written_formula(shape, tau):
    torch.manual_seed(0)
    weight = (0.1 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    gain = torch.rand(shape[0], dtype=torch.float64).requires_grad_()
    g = torch.randn(shape, dtype=torch.float64)
    ours, expected = rectified_sign(weight, gain, number(tau)), written(weight, gain, tau)
    torch.testing.assert_close(ours, expected)
    for our, theirs in zip(*(torch.autograd.grad(v, (weight, gain), g) for v in (ours, expected)), strict=True):
        torch.testing.assert_close(our, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 5)])
def test_the_inputs_gradient_is_autograds_through_the_written_formula(shape):
    torch.manual_seed(0)
    x = (0.2 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    g = torch.randn(shape, dtype=torch.float64)
    a = x / torch.sqrt(x.var(dim=tuple(range(1, x.ndim)), keepdim=True) + 1e-5)
    expected = torch.autograd.grad(quadratic(a), x, g)[0]
    assert torch.equal(spread_sign(x), signs(x))
    torch.testing.assert_close(torch.autograd.grad(spread_sign(x), x, g)[0], expected, rtol=1e-10, atol=1e-12)


def test_blocks_share_one_bound(monkeypatch):
    torch.manual_seed(0)
    weight = (0.1 * torch.randn(7, 4, 3, 3, dtype=torch.float64)).requires_grad_()
    gain, g = torch.rand(7, dtype=torch.float64), torch.randn(7, 4, 3, 3, dtype=torch.float64)
    monkeypatch.setattr(latent, "BLOCK", 2 * weight[0].numel())
    ours, expected = rectified_sign(weight, gain, number(0.9)), written(weight, gain, 0.9)
    grads = (torch.autograd.grad(values, weight, g)[0] for values in (ours, expected))
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_tau_follows_the_epoch_and_is_saved():
    weight = torch.randn(2, 3)
    binarizer = ReCU().for_layer(weight, rectify=True)
    assert binarizer.tau.item() == pytest.approx(0.85)
    binarizer.on_epoch(10, 20)
    # A exp(1/2) + B, A = 0.14 / (e - 1), B = 0.85 - A
    assert binarizer.tau.item() == pytest.approx(0.85 + 0.14 / (math.e - 1) * (math.exp(0.5) - 1))
    other = ReCU().for_layer(weight, rectify=True)
    other.load_state_dict(binarizer.state_dict())
    assert other.tau == binarizer.tau


def test_gains_start_between_zero_and_one_and_differ():
    gains = ReCU().for_layer(torch.randn(100, 3), rectify=True).gain
    assert 0 <= gains.min() < 0.2
    assert 0.8 < gains.max() <= 1


def test_impossible_taus_are_refused():
    for low, high in ((0.5, 0.9), (0.9, 1.0), (0.95, 0.9)):
        with pytest.raises(UserError, match=r"tau_min is .* Expected 0\.5 < tau_min <= tau_max < 1"):
            ReCU(low, high)
