"""HWGQ: four fixed levels for the positive half of a normal distribution, and a clipped ReLU's gradient."""

import itertools

import pytest
import torch

from xnorlit.binarize.hwgq import HWGQ, STEP, half_wave, levels

CENTRES = (0.538, 1.076, 1.614)


def written(x):
    """The released loop: the first centre whose threshold, the middle to the next, is not exceeded."""
    thresholds = [(a + b) / 2 for a, b in itertools.pairwise(CENTRES)] + [float("inf")]
    steps = list(zip(CENTRES, thresholds, strict=True))
    values = [0.0 if v <= 0 else next(centre for centre, top in steps if v <= top) for v in x.tolist()]
    return torch.tensor(values, dtype=x.dtype)


def test_by_hand():
    weight = torch.tensor([[0.5, -1.5], [0.25, 0.75]], requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    binary = HWGQ().weight(weight)
    assert binary.tolist() == [[1, -1], [0.5, 0.5]]
    assert torch.autograd.grad(binary, weight, g)[0].tolist() == g.tolist()
    x = torch.tensor([[-0.1, 0.1], [1.0, 2.0]], requires_grad=True)
    value = half_wave(x)
    assert value.flatten().tolist() == pytest.approx([0, 0.538, 1.076, 1.614])
    assert torch.autograd.grad(value, x, g)[0].tolist() == [[0, 2], [3, 0]]


def test_value_and_gradient_are_the_released_ones():
    x = torch.randn(1000, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1000, dtype=torch.float64)
    value = half_wave(x)
    torch.testing.assert_close(value, written(x))
    (ours,) = torch.autograd.grad(value, x, g)
    clipped = torch.minimum(x.relu(), torch.tensor(3 * STEP, dtype=torch.float64))
    (reference,) = torch.autograd.grad(clipped, x, g)
    assert torch.equal(ours, reference)


def test_no_other_step_fits_half_a_normal_distribution_better():
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).relu().double()

    def error(step):
        return (x - step * levels(x * STEP / step)).square().mean()

    assert error(STEP) < min(error(0.95 * STEP), error(1.05 * STEP))


def test_codes_are_levels():
    codes = HWGQ().input_codes(torch.tensor([-1.0, 0.0, 1e-6, 0.9, 9.0]))
    assert codes.values.tolist() == [0, 0, 1, 2, 3]
    assert codes.scale.item() == pytest.approx(STEP)
