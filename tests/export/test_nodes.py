"""The small operations of a packed graph, by hand."""

import pytest
import torch

from xnorlit.errors import UserError
from xnorlit.export.nodes import Affine, AveragePool, Clip, Concat, GlobalAverage, Shift, Subsample, TwoSlope


def column(*values):
    """One image of as many channels and one position."""
    return torch.tensor(values).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("node", "given", "found"),
    [
        (Affine(torch.tensor([2.0, -1.0])), (3.0, 4.0), (6, -4)),
        (Affine(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.5])), (3.0, 4.0), (7, -3.5)),
        (Shift(torch.tensor([1.0, -1.0])), (3.0, 4.0), (4, 3)),
        (Shift(torch.tensor(2.0)), (3.0, 4.0), (5, 6)),
        (TwoSlope(2.0, 0.5), (3.0, -4.0), (6, -2)),
        (TwoSlope(torch.tensor([1.0, 2.0, 3.0]), -1.0), (1.0, 0.0, -2.0), (1, 0, 2)),
        (Clip(-1, 2), (-3.0, 0.5, 4.0), (-1, 0.5, 2)),
    ],
)
def test_elementwise_nodes_by_hand(node, given, found):
    assert node(column(*given)).flatten().tolist() == list(found)
    assert node(torch.tensor([given])).tolist() == [list(found)], "of features, too"


def test_a_slope_of_zero_belongs_to_what_is_not_positive():
    assert TwoSlope(float("inf"), 1.0)(column(0.0)).item() == 0


def test_nodes_that_move_pixels_by_hand():
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert Concat()(x, -x).shape == (1, 4, 3, 4)
    small = Subsample(2, 1, 2)(x)
    assert small.shape == (1, 5, 2, 2)
    assert small[0, 1].tolist() == [[0, 2], [8, 10]]
    assert small[0, [0, 3, 4]].abs().max() == 0
    assert torch.equal(Subsample()(x), x)
    assert AveragePool(2, 1)(x)[0, 0].tolist() == [[2.5, 3.5, 4.5], [6.5, 7.5, 8.5]]
    assert AveragePool(2, 2, 1)(x)[0, 0, 0].tolist() == [0, 0.75, 0.75], "padding counts as pixels"
    assert GlobalAverage()(x).tolist() == [[[[5.5]], [[17.5]]]]
    assert GlobalAverage(keepdim=False)(x).tolist() == [[5.5, 17.5]]


def test_a_global_average_is_rounded_once():
    x = torch.full((1, 1, 64, 64), 0.1)
    x[0, 0, 0, 0] = 1e8
    assert GlobalAverage()(x).item() == x.double().mean().float().item()


@pytest.mark.parametrize("make", [Affine, Shift, lambda values: TwoSlope(values, 1.0)])
def test_numbers_are_one_per_channel(make):
    with pytest.raises(UserError, match=r"the shape is \(2, 1\)\. Expected one number per channel, \(C,\)"):
        make(torch.ones(2, 1))


def test_a_node_has_numbers_of_its_own():
    values = torch.ones(2, dtype=torch.float64, requires_grad=True)
    node = Affine(values, values)
    with torch.no_grad():
        values += 1
    assert node.scale.tolist() == node.shift.tolist() == [1, 1]
    assert node.scale.dtype == torch.float32
    assert not node.scale.requires_grad
