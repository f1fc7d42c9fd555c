"""Affine maps with kinks compute what the modules between a sum and a real number do."""

import pytest
import torch
from torch import nn

from tests.packed.networks import unsettle
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.export.maps import affine_maps
from xnorlit.packed._kernels import MOST_MAPS

CHANNELS = 6


def norm():
    found = nn.BatchNorm2d(CHANNELS)
    unsettle(found)
    return found


def prelu(count=CHANNELS):
    found = nn.PReLU(count)
    nn.init.uniform_(found.weight, -0.5, 1.5)
    return found


def of_maps(maps, n):
    for each in maps:
        y = n * each.scale + each.shift
        n = y.clamp(min=0) + each.slope * y.clamp(max=0)
    return n


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: [], 1),
        (lambda: [norm(), norm()], 1),  # one straight line
        (lambda: [nn.ReLU()], 1),
        (lambda: [norm(), nn.ReLU(), norm(), norm()], 2),
        (lambda: [prelu(), norm(), prelu(1), norm()], 3),
        (lambda: [nn.LeakyReLU(0.2), norm(), nn.ReLU()], 2),
        (lambda: [nn.Hardtanh(-1.5, 2.0)], 3),
        (lambda: [nn.ReLU6(), norm()], 3),
        (lambda: [RPReLU(CHANNELS), norm()], 2),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
@torch.no_grad()
def test_the_maps_of_modules_compute_their_values(make, count, biased):
    torch.manual_seed(0)
    modules = [module.eval().double() for module in make()]
    scale, bias = torch.rand(CHANNELS) + 0.1, torch.randn(CHANNELS) if biased else None
    maps = affine_maps(scale, bias, modules, flat=False, name="conv1")
    assert len(maps) == count
    sums = torch.linspace(-40, 40, 321).double()[:, None].expand(-1, CHANNELS)
    expected = (sums * scale.double() + (0 if bias is None else bias.double()))[:, :, None, None]
    expected = nn.Sequential(*(module.double() for module in modules))(expected)[:, :, 0, 0]
    torch.testing.assert_close(of_maps(maps, sums), expected, rtol=1e-5, atol=1e-5)


def test_more_maps_than_the_engine_has_are_refused():
    """Each PReLU has a kink, and what follows the last is one map more."""
    modules = [module.eval() for _ in range(MOST_MAPS) for module in (prelu(), norm())]
    assert len(affine_maps(torch.ones(CHANNELS), None, modules[2:], flat=False, name="conv1")) == MOST_MAPS
    with pytest.raises(UserError, match=f"conv1 cannot be packed: more than {MOST_MAPS} affine maps with kinks"):
        affine_maps(torch.ones(CHANNELS), None, modules, flat=False, name="conv1")


def test_what_is_not_two_straight_lines_is_refused():
    with pytest.raises(UserError, match="GELU follows it and is not two straight lines; use a PReLU"):
        affine_maps(torch.ones(CHANNELS), None, [nn.GELU()], flat=False, name="conv1")
