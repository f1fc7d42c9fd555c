"""LSQ: levels a learned step apart, the step's gradient of equation 3, and its start from the first batch."""

import copy
import math

import pytest
import torch

from xnorlit.binarize import latent
from xnorlit.binarize.lsq import LSQ, SMALLEST, learned_step
from xnorlit.errors import UserError


def written(x, step, low, high, share):
    """The paper's appendix: rounding passes its gradient, the step's is scaled, autograd does the rest."""
    scaled = step * share + (step - step * share).detach()
    v = (x / scaled).clamp(low, high)
    return (v + (v.round() - v).detach()) * scaled


def test_by_hand():
    x = torch.tensor([[0.6, -1.6], [0.8, 1.4]], dtype=torch.float64, requires_grad=True)
    step = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=torch.float64)
    # v = 1.2, -3.2, 1.6, 2.8; signed 2 bits: levels -2 .. 1, -3.2 at the bottom and the others at the top
    value = learned_step(x, step, -2, 1)
    assert value.tolist() == [[0.5, -1], [0.5, 0.5]]
    of_x, of_step = torch.autograd.grad(value, (x, step), g)
    assert of_x.tolist() == [[0, 0], [0, 0]]
    assert of_step.item() == 1 * 1 + 2 * -2 + 3 * 1 + -4 * 1
    # unsigned 2 bits: levels 0 .. 3; -3.2 at the bottom, the others inside with round(v) - v = -0.2, 0.4, 0.2
    value = learned_step(x, step, 0, 3)
    assert value.tolist() == [[0.5, 0], [1, 1.5]]
    of_x, of_step = torch.autograd.grad(value, (x, step), g)
    assert of_x.tolist() == [[1, 0], [3, -4]]
    assert of_step.item() == pytest.approx(1 * -0.2 + 3 * 0.4 - 4 * 0.2, abs=1e-12)


@pytest.mark.parametrize(("low", "high"), [(-2, 1), (-8, 7), (0, 1), (0, 3), (0, 255)])
@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 3, 3), (5, 70)])
@pytest.mark.parametrize("scope", ["layer", "filter"])
def test_value_and_gradients_are_autograds_through_the_written_formula(shape, low, high, scope):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    step = (torch.rand(shape[0] if scope == "filter" else (), dtype=torch.float64) + 0.2).requires_grad_()
    column = step.view(-1, *(1,) * (len(shape) - 1)) if scope == "filter" else step
    g = torch.randn(shape, dtype=torch.float64)
    ours, reference = learned_step(x, step, low, high, 0.3), written(x, column, low, high, 0.3)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    both = zip(torch.autograd.grad(ours, (x, step), g), torch.autograd.grad(reference, (x, step), g), strict=True)
    for gradient, expected in both:
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_the_ends_belong_to_the_outside():
    x = torch.tensor([[0.0, 1.5, 0.75]], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    of_x, of_step = torch.autograd.grad(learned_step(x, step, 0, 3), (x, step), torch.ones(1, 3))
    assert of_x.tolist() == [[0, 0, 1]]
    assert of_step.item() == 0 + 3 + 0.5  # round(1.5) is 2, to even


@pytest.mark.parametrize("scope", ["layer", "filter"])
def test_blocks_and_autocast_change_nothing_but_the_dtype(scope, monkeypatch):
    binarizer = LSQ(scope=scope, weight_bits=3)
    weight = torch.randn(7, 6, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    bound = binarizer.for_layer(weight, rectify=True)
    g = torch.randn(7, 6, 3, 3).bfloat16()

    def both():
        with torch.autocast("cpu", torch.bfloat16):
            value = bound.weight(weight)
        return value, *torch.autograd.grad(value, (weight, bound.weight_step), g)

    whole = both()
    assert [tensor.dtype for tensor in whole] == [torch.bfloat16, torch.float32, torch.float32]
    assert whole[2].shape == bound.weight_step.shape
    monkeypatch.setattr(latent, "BLOCK", 3 * weight[0].numel())
    for ours, expected in zip(both(), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", ["sample", "batch"])
def test_the_steps_gradient_is_scaled_by_count_and_largest_level(count):
    bound = LSQ(weight_bits=3, input_bits=2, count=count).for_layer(
        torch.randn(4, 5, dtype=torch.float64), rectify=True
    )
    x = torch.randn(6, 5, dtype=torch.float64)
    bound.input(x)
    weight, g = torch.randn(4, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    (ours,) = torch.autograd.grad(bound.weight(weight), bound.weight_step, torch.ones(4, 5, dtype=torch.float64))
    (plain,) = torch.autograd.grad(learned_step(weight, bound.weight_step, -4, 3).sum(), bound.weight_step)
    assert ours.item() == pytest.approx(plain.item() / math.sqrt(20 * 3), rel=1e-12)
    (ours,) = torch.autograd.grad(bound.input(x), bound.input_step, g)
    (plain,) = torch.autograd.grad(learned_step(x, bound.input_step, 0, 3), bound.input_step, g)
    assert ours.item() == pytest.approx(plain.item() / math.sqrt((5 if count == "sample" else 30) * 3), rel=1e-12)


def test_steps_start_from_the_weights_and_the_first_training_batch():
    weight = torch.tensor([[0.3, -0.1], [0.8, 0.4]])
    bound = LSQ(weight_bits=2, input_bits=2).for_layer(weight, rectify=True)
    assert bound.weight_step.item() == pytest.approx(2 * 0.4)  # sqrt of the largest level, 1
    filters = LSQ(weight_bits=3, scope="filter").for_layer(weight, rectify=True)
    assert filters.weight_step.tolist() == pytest.approx([2 * 0.2 / math.sqrt(3), 2 * 0.6 / math.sqrt(3)])
    x = torch.tensor([[-1.0, 3.0]])
    assert "train it first" in bound.cannot_pack
    bound.input(x)
    assert bound.input_step.item() == pytest.approx(2 * 1.5 / math.sqrt(3))
    bound.input(100 * x)
    assert bound.input_step.item() == pytest.approx(2 * 1.5 / math.sqrt(3))
    assert bound.cannot_pack == ""


def test_processes_that_share_a_batch_start_from_one_step(monkeypatch):
    def all_reduce(step, _):
        step.add_(0.5)  # what the other process has found

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    bound = LSQ(input_bits=1).for_layer(torch.randn(2, 2), rectify=True)
    bound.input(torch.tensor([[1.0, 2.0]]))
    assert bound.input_step.item() == (2 * 1.5 + 0.5) / 2


def test_a_resumed_layer_does_not_start_again():
    weight, x = torch.randn(3, 4), torch.randn(5, 4)
    first, resumed = (LSQ().for_layer(weight, rectify=True) for _ in range(2))
    first.input(x)
    with torch.no_grad():
        first.input_step.mul_(2)
    resumed.load_state_dict(first.state_dict())
    resumed.input(x)
    assert torch.equal(resumed.input_step, first.input_step)


def test_a_layer_that_goes_back_to_its_initial_state_starts_again():
    """As folds that begin alike, or weights that are rewound."""
    bound = LSQ(input_bits=2).for_layer(torch.randn(3, 2), rectify=True)
    initial = copy.deepcopy(bound.state_dict())
    bound.input(torch.tensor([[-1.0, 3.0]]))
    bound.load_state_dict(initial)
    assert "train it first" in bound.cannot_pack
    bound.input(torch.tensor([[2.0, 4.0]]))
    assert bound.input_step.item() == pytest.approx(2 * 3 / math.sqrt(3))
    assert bound.cannot_pack == ""


def test_a_step_of_the_optimizer_leaves_the_steps_positive():
    weight = torch.randn(3, 4)
    bound = LSQ().for_layer(weight, rectify=True)
    with torch.no_grad():
        bound.weight_step.fill_(-1)
        bound.input_step.fill_(0)
    bound.after_step(weight)
    assert (bound.weight_step.item(), bound.input_step.item()) == pytest.approx((SMALLEST, SMALLEST))


def test_one_signed_bit_is_refused():
    with pytest.raises(UserError, match=r"weight_bits is 1, .* use XNOR"):
        LSQ(weight_bits=1)
    for bits in (0, 33, 1.5, True):
        with pytest.raises(UserError, match="input_bits"):
            LSQ(input_bits=bits)


def test_either_operand_may_stay_real():
    weight, x = torch.randn(3, 4), torch.randn(5, 4)
    bound = LSQ(weight_bits=32, input_bits=32).for_layer(weight, rectify=True)
    assert bound.weight(weight) is weight
    assert torch.equal(bound.input(x), x.relu())
    assert not list(bound.parameters())
