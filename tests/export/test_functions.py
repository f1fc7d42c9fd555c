"""Torch's functions as nodes: each computes what torch does, or is left out."""

import pytest
import torch
import torch.nn.functional as F

from xnorlit.export.functions import average_pool


@pytest.mark.parametrize(
    "how",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 3), "stride": [2, 2]},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": (), "padding": (1, 1)},
        {"kernel_size": 2, "count_include_pad": False},  # without padding, there is nothing to leave out
    ],
)
def test_a_square_average_pool_becomes_a_node_that_divides_as_torch_does(how):
    x = torch.randn(2, 3, 9, 9)
    node = average_pool(**how)
    assert node is not None
    torch.testing.assert_close(node(x), F.avg_pool2d(x, **how))


@pytest.mark.parametrize(
    "how",
    [
        {"kernel_size": (3, 1)},
        {"kernel_size": 3, "stride": (1, 2)},
        {"kernel_size": 3, "padding": (1, 0)},
        {"kernel_size": 3, "padding": 1, "count_include_pad": False},
        {"kernel_size": 3, "ceil_mode": True},
        {"kernel_size": 3, "divisor_override": 1},
    ],
)
def test_an_average_pool_that_is_not_square_or_divides_otherwise_becomes_none(how):
    assert average_pool(**how) is None
