"""RBNN: rotations towards the signs, the documented gradient, inputs centred image by image."""

import math

import pytest
import torch

from xnorlit.binarize.rbnn import RBNN, approximate_sign, sides, turn, turned
from xnorlit.errors import UserError
from xnorlit.layers import BinaryConv2d, attach


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def signs(z):
    return torch.where(z >= 0, 1.0, -1.0).to(z)


def test_factors_are_as_close_as_possible():
    assert [sides(n) for n in (144, 576, 4608, 27, 7)] == [(12, 12), (24, 24), (64, 72), (3, 9), (1, 7)]


def test_each_iteration_rotates_filters_towards_their_signs():
    torch.manual_seed(0)
    filters = torch.randn(8, 4, 6, dtype=torch.float64)
    left, right = torch.eye(4, dtype=torch.float64), torch.eye(6, dtype=torch.float64)

    def distance():
        moved = turned(filters, left, right)
        return (signs(moved) - moved).square().sum().item()

    found = [distance()]
    for _ in range(6):
        left, right = turn(filters, left, right, turns=1)
        found.append(distance())
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.9 * found[0]
    torch.testing.assert_close(left @ left.T, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(right @ right.T, torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize(("t", "at", "slope"), [(0.1, 0.0, 10 * math.sqrt(2) * 0.1), (10, 0.1, 10 * math.sqrt(2) - 10)])
def test_the_gradient_by_hand(t, at, slope):
    x = number([at, -at, 2 * math.sqrt(2) / t]).requires_grad_()
    approximate_sign(x, number(t)).sum().backward()
    torch.testing.assert_close(x.grad, number([slope, slope, 0.0]))


def written(weight, gain, angle, left, right, t):
    """The release's lines, with autograd through the function whose derivative its gradient is."""
    shape = (-1, 1, 1, 1)
    w1 = weight - weight.flatten(1).mean(-1).view(shape)
    w2 = w1 / w1.flatten(1).std(-1).view(shape)
    x = w2.view(len(weight), len(left), len(right))
    rotated = torch.stack([left.T @ each @ right for each in x]).view_as(weight).detach()
    w3 = w2 + angle.sin().abs().view(shape) * (rotated - w2)
    k = max(1 / t, 1)
    near = w3.clamp(-math.sqrt(2) / t, math.sqrt(2) / t)
    smooth = k * (math.sqrt(2) * t * near - signs(near) * t**2 * near**2 / 2)
    return (smooth + (signs(w3) - smooth).detach()) * gain.view(shape)


@pytest.mark.parametrize("t", [0.05, 2.0])
def test_weights_and_their_gradient_are_those_of_the_written_formula(t):
    torch.manual_seed(0)
    weight = (0.1 * torch.randn(5, 4, 3, 3, dtype=torch.float64)).requires_grad_()
    bound = RBNN().for_layer(weight.detach())
    bound.t.fill_(t)
    bound.fit(weight.detach())
    assert not torch.equal(bound.left, torch.eye(6, dtype=torch.float64))
    ours = bound.weight(weight)
    theirs = written(weight, bound.gain, bound.angle, bound.left, bound.right, t)
    torch.testing.assert_close(ours, theirs)
    g = torch.randn_like(weight)
    wanted = (weight, bound.gain, bound.angle)
    for found, expected in zip(
        torch.autograd.grad(ours, wanted, g), torch.autograd.grad(theirs, wanted, g), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("center", [True, False])
def test_inputs_are_compared_with_their_images_mean(center):
    bound = RBNN(center=center).for_layer(torch.randn(2, 3, 3, 3))
    x = torch.randn(4, 3, 5, 5) + torch.tensor([0.0, 1.0, -2.0, 30.0]).view(4, 1, 1, 1)
    mean = x.mean(dim=(1, 2, 3), keepdim=True) if center else 0.0
    assert torch.equal(bound.input_codes(x).values, signs(x - mean))
    assert bool(bound.cannot_pack) == center


def test_rotations_follow_the_weights_once_an_epoch():
    layer = BinaryConv2d(4, 6, 3, binarizer="RBNN")
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    attached = attach(optimizer, layer)
    moved = []
    for step in range(6):
        if step % 3 == 0:
            attached.on_epoch(step // 3, 2)
        before = layer.binarizer.left.clone()
        layer(torch.randn(2, 4, 6, 6)).square().sum().backward()
        optimizer.step()
        moved.append(not torch.equal(before, layer.binarizer.left))
    assert moved == [True, False, False, True, False, False]
    assert layer.binarizer.t.item() == pytest.approx(1e-2 * 10**1.5)


def test_a_layer_that_resumes_within_an_epoch_computes_what_an_uninterrupted_one_does():
    def steps(layer, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            layer(torch.linspace(-1, 2, 160).view(2, 5, 4, 4)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    whole, resumed = (BinaryConv2d(5, 6, 3, binarizer="RBNN") for _ in range(2))
    optimizers = [torch.optim.SGD(layer.parameters(), 0.01) for layer in (whole, resumed)]
    attached = [attach(optimizer, layer) for optimizer, layer in zip(optimizers, (whole, resumed), strict=True)]
    attached[0].on_epoch(0, 4)
    steps(whole, optimizers[0], 2)
    resumed.load_state_dict(whole.state_dict())
    steps(whole, optimizers[0], 2)
    steps(resumed, optimizers[1], 2)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_a_temperature_out_of_range_is_refused():
    with pytest.raises(UserError, match="Expected 0 < t_min <= t_max"):
        RBNN(t_min=0)
