"""The nodes that stand for a module compute what it does."""

import pytest
import torch
from torch import nn

from tests.export.test_maps import CHANNELS, norm, prelu
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.export.dataflow import _parts


def shifted():
    found = RPReLU(CHANNELS)
    for values in found.parameters():
        nn.init.uniform_(values, -1, 1)
    return found


@pytest.mark.parametrize(
    "make",
    [
        nn.ReLU,
        prelu,
        lambda: prelu(1),
        lambda: nn.LeakyReLU(0.2),
        lambda: nn.Hardtanh(-0.5, 2.0),
        nn.ReLU6,
        shifted,
        norm,
        lambda: nn.Sequential(prelu(), norm(), nn.LeakyReLU(0.1)),
        lambda: nn.AdaptiveAvgPool2d(1),
        lambda: nn.MaxPool2d(3, 2),
    ],
)
@torch.no_grad()
def test_nodes_compute_the_values_of_their_module(make):
    torch.manual_seed(0)
    module, x = make().eval(), 3 * torch.randn(4, CHANNELS, 7, 7)
    found = x
    for part in _parts(module, "m", "", tuple(x.shape[1:])):
        found = part.eval()(found)
    torch.testing.assert_close(found.reshape(-1), module(x).reshape(-1), rtol=1e-5, atol=1e-5)
