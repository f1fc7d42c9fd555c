"""Low-precision multiplications: hand-computed fixed point, moving ranges, rounded gradients and steps."""

import pytest
import torch
from torch import nn

from xnorlit.binarize.fixed_point import fixed_point, move, overflow, range_of
from xnorlit.binarize.low_precision import GROUPS, LowPrecision
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLinear


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def q(v, integer_bits, bits):
    """The formula as the release has it, with numbers in the place of tensors."""
    power, most = 2.0 ** (bits - integer_bits), 2**bits - 1
    return torch.clamp(torch.round(v * power), -most, most) / power


def bound_layer(weight, bias=None, **settings):
    layer = BinaryLinear(
        len(weight[0]), len(weight), bias is not None, dtype=torch.float64, binarizer=LowPrecision(**settings)
    )
    layer.weight.data = number(weight)
    if bias is not None:
        layer.bias.data = number(bias)
    return layer


def test_a_fixed_point_by_hand():
    x = number([0.3, -0.3, 0.0, 1.74, 5.0, -5.0, 0.125])
    # B = 3, I = 1: steps of 1/4 up to 7/4
    assert fixed_point(x, number(1.0), 3).tolist() == [0.25, -0.25, 0, 1.75, 1.75, -1.75, 0]
    # B = 3, I = 4: steps of 2 up to 14
    assert fixed_point(x, number(4.0), 3).tolist() == [0, 0, 0, 2, 4, -4, 0]  # 2.5 steps are a tie
    rates = overflow(number([0.0, 0.875, -1.0, 1.75]), number(1.0), 3)
    assert rates.tolist() == [0.25, 0.75]  # |x| >= 7/4, and >= 7/8 with one integer bit less


def test_ranges_move_up_for_overflow_and_down_where_half_would_do():
    rates = torch.tensor([[0.01, 0.0, 0.0], [0.5, 0.01, 0.0]])
    assert move(rates, 1e-3).tolist() == [1, 0, -1]
    assert [range_of(number([v, -v / 3])).item() for v in (0.3, 1.0, 5.0, 1e-3)] == [-1, 1, 3, -9]
    assert range_of(torch.zeros(3)) == 0


def test_a_layer_by_hand():
    # 4 bits are B = 3 and a sign; I = 1: steps of 1/4
    settings = {"format": "fixed", "propagation_bits": 4, "update_bits": 6, "integer_bits": 1}
    layer = bound_layer([[0.6, -0.3], [1.0, 9.0]], [0.1, 0.7], **settings)
    x = number([[0.9, 0.3]]).requires_grad_()
    # Q(W) = (0.5, -0.25), (1, 1.75), Q(b) = 0, 0.75 (2.8 steps), Q(x) = 1 (3.6 steps), 0.25
    # sums 0.4375 and 1.4375 + 0.75 = 2.1875: 1.75 steps are 2, and beyond the range 7
    for mode in (True, False):
        assert layer.train(mode)(x).tolist() == [[0.5, 1.75]]
    layer.train()(x).backward(number([[0.6, -0.2]]))
    # dz = 0.5, -0.25 (2.4 and -0.8 steps); db the same
    assert layer.bias.grad.tolist() == [0.5, -0.25]
    # dW = dz^T Q(x) = (0.5, 0.125), (-0.25, -0.0625), rounded to steps of 1/4: half a step is even
    assert layer.weight.grad.tolist() == [[0.5, 0], [-0.25, 0]]
    # dx = dz Q(W) = 0.25 - 0.25, -0.125 - 0.4375 = -2.25 steps
    assert x.grad.tolist() == [[0, -0.5]]


def test_the_gradients_are_the_written_formulas():
    torch.manual_seed(0)
    layer = bound_layer(torch.randn(4, 6).tolist(), torch.randn(4).tolist(), format="fixed", propagation_bits=8)
    x, g = torch.randn(5, 6, dtype=torch.float64).requires_grad_(), torch.randn(5, 4, dtype=torch.float64)
    layer(x).backward(g)
    ranges = dict(zip(GROUPS, layer.binarizer.ranges.tolist(), strict=True))
    dz = q(g, ranges["dz"], 7)
    assert torch.equal(layer.bias.grad, q(dz.sum(0), ranges["db"], 7))
    weight = q(layer.weight.detach(), ranges["W"], 7)
    assert torch.equal(x.grad, q(dz @ weight, ranges["dy"], 7))
    assert torch.equal(layer.weight.grad, q(dz.T @ q(x.detach(), ranges["y"], 7), ranges["dW"], 7))


def test_a_step_is_rounded_and_so_are_the_parameters_behind_it():
    settings = {"format": "fixed", "propagation_bits": 4, "update_bits": 6, "integer_bits": 1}
    layer = bound_layer([[0.5, 0.0625]], [0.125], **settings)
    layer(number([[1.0, 1.0]]))
    with torch.no_grad():
        layer.weight += number([[0.4, 0.1]])
        layer.bias += 0.3
    layer.after_step()
    # u = 0.4 and 0.1 in steps of 1/4: 0.5 and 0; kept in steps of 1/16; the bias's u is 0.25
    assert layer.weight.tolist() == [[1.0, 0.0625]]
    assert layer.bias.tolist() == [0.375]


def test_dynamic_ranges_follow_their_values():
    layer = bound_layer([[1.0, 1.0]], every=2, integer_bits=3)
    for step in range(8):
        layer(number([[100.0, -100.0]])).sum().backward()
        layer.after_step()
        if step == 0:
            assert layer.binarizer.ranges.tolist() == [3.0] * len(GROUPS), "not before two steps"
    ranges = dict(zip(GROUPS, layer.binarizer.ranges.tolist(), strict=True))
    assert ranges["y"] == 7, "up by one in each of four moves, to 2^7 > 100"
    assert ranges["dz"] == 1, "down by one where 1 fits the lower range, and no further"
    assert ranges["b"] == 3, "there is no bias"


def test_micro_batches_count_as_the_steps_they_are_part_of():
    layer = bound_layer([[1.0, 1.0]], every=2, integer_bits=7, overflow=0.4)
    for _ in range(2):
        for _ in range(4):
            layer(number([[100.0, 1.0, 1.0, 1.0][:2]])).sum().backward()
        layer.after_step()
    # a rate of 1/2 beyond the lower range holds it, however many forwards a step has
    assert dict(zip(GROUPS, layer.binarizer.ranges.tolist(), strict=True))["y"] == 7


def test_ranges_start_with_the_first_values_and_are_saved():
    layer = bound_layer([[0.3, -0.2]], [0.0])
    layer(number([[5.0, 1.0]])).sum().backward()
    found = dict(zip(GROUPS, layer.binarizer.ranges.tolist(), strict=True))
    assert (found["y"], found["W"], found["dz"]) == (3, -1, 1)
    assert not layer.binarizer.started[GROUPS.index("b")], "a bias of 0 says nothing"
    other = bound_layer([[9.0, 9.0]], [0.0])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.binarizer.ranges, layer.binarizer.ranges)
    x = number([[3.0, -1.0]])
    assert torch.equal(other.eval()(x), layer.eval()(x))


def test_half_floats():
    torch.manual_seed(0)
    layer = bound_layer(torch.randn(4, 6).tolist(), torch.randn(4).tolist(), format="half")
    x, g = torch.randn(5, 6, dtype=torch.float64).requires_grad_(), torch.randn(5, 4, dtype=torch.float64)

    def h(v):
        return v.detach().half().double()

    y = layer(x)
    assert torch.equal(y, h(h(x) @ h(layer.weight).T + h(layer.bias)))
    assert torch.equal(layer.eval()(x), y)
    y.backward(g)
    assert torch.equal(layer.weight.grad, h(h(g).T @ h(x)))
    assert torch.equal(x.grad, h(h(g) @ h(layer.weight)))


def test_24_bits_are_nearly_real_numbers():
    torch.manual_seed(0)
    layer = bound_layer(torch.randn(4, 6).tolist(), torch.randn(4).tolist(), propagation_bits=24, update_bits=24)
    x = torch.randn(5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)
    real = bound_layer(layer.weight.tolist(), layer.bias.tolist(), propagation_bits=32, update_bits=32)
    for mode in (True, False):
        torch.testing.assert_close(real.train(mode)(x), nn.functional.linear(x, real.weight, real.bias))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"propagation_bits": 1}, r"propagation_bits is 1\. Expected a whole number from 2 to 24, or 32"),
        ({"update_bits": 25}, r"update_bits is 25\. Expected a whole number from 2 to 24, or 32"),
        ({"every": 0}, r"every is 0 .* Expected every >= 1"),
        ({"overflow": -0.1}, r"overflow -0\.1\. Expected"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        LowPrecision(**settings)
