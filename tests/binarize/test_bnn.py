"""BNN: plain signs, a clipped gradient for the inputs, and an unmasked gradient with a clamp for the weights."""

import pytest
import torch

from xnorlit.binarize.bnn import BNN
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLinear


def test_by_hand():
    layer = BinaryLinear(2, 2, bias=False, binarizer=BNN)
    layer.weight.data = torch.tensor([[0.5, -1.5], [0.0, 3.0]])
    x = torch.tensor([[-0.5, 2.0], [1.0, -0.0]], requires_grad=True)
    # signs of the weights (+ -), (+ +), of the inputs (- +), (+ +)
    for mode in (True, False):
        assert layer.train(mode)(x).tolist() == [[-2, 0], [0, 2]]
    layer.train()(x).backward(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    # g times the signs of the weights, (1 + 2, -1 + 2) and (3 + 4, -3 + 4), and 0 for the 2.0
    assert x.grad.tolist() == [[3, 0], [7, 1]]
    # g^T times the signs of the inputs, unmasked for -1.5 and 3
    assert layer.weight.grad.tolist() == [[2, 4], [2, 6]]
    layer.after_step()
    assert layer.weight.tolist() == [[0.5, -1], [0, 1]]


def test_the_gradients_are_autograds_through_the_written_formulas():
    torch.manual_seed(0)
    z = (1.5 * torch.randn(500, dtype=torch.float64)).requires_grad_()
    g = torch.randn(500, dtype=torch.float64)
    signs = torch.where(z >= 0, 1.0, -1.0).double()
    hard_tanh = 2 * ((z + 1) / 2).clamp(0, 1) - 1
    for rounding in ("deterministic", "stochastic"):
        binarizer = BNN(rounding, rounding)
        (of_input,) = torch.autograd.grad(binarizer.input(z), z, g)
        (written,) = torch.autograd.grad(hard_tanh + (signs - hard_tanh).detach(), z, g, retain_graph=True)
        torch.testing.assert_close(of_input, written, rtol=1e-12, atol=0)
        weight = z.detach().view(50, 10).requires_grad_()
        (of_weight,) = torch.autograd.grad(binarizer.weight(weight), weight, g.view(50, 10))
        assert torch.equal(of_weight, g.view(50, 10))


def test_stochastic_inputs_follow_the_hard_sigmoid_and_evaluation_is_deterministic():
    torch.manual_seed(0)
    x = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.8, 1.0, 2.0])
    binarizer = BNN(inputs="stochastic")
    drawn = torch.stack([binarizer.input(x) for _ in range(4000)])
    assert drawn.unique().tolist() == [-1, 1]
    expected = torch.tensor([0, 0, 0.25, 0.5, 0.9, 1, 1])
    torch.testing.assert_close((drawn > 0).float().mean(0), expected, atol=0.04, rtol=0)
    assert binarizer.input_codes(x).values.tolist() == [-1, -1, -1, 1, 1, 1, 1]


def test_there_is_no_scale():
    weight = torch.randn(3, 4)
    assert BNN().weight_codes(weight).scale == 1
    assert BNN().weight(weight).abs().unique().tolist() == [1]


def test_another_clip_bound_applies_to_inputs_and_weights():
    x = torch.tensor([-1.3, -1.25, -1.1, 0.0, 1.25, 1.26], requires_grad=True)
    BNN(clip=1.25).input(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]
    layer = BinaryLinear(2, 1, bias=False, binarizer=BNN(clip=1.25))
    layer.weight.data = torch.tensor([[-2.0, 1.1]])
    layer.after_step()
    assert layer.weight.tolist() == [[-1.25, torch.tensor(1.1).item()]]
    for wrong in ({"clip": 0.0}, {"clip": 2.0, "weights": "stochastic"}):
        with pytest.raises(UserError, match="Expected a number above 0, and 1"):
            BNN(**wrong)
