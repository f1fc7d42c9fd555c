"""Every turn of what follows a sum is found, however close two turns lie."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import xnorlit as xl
from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.export.bends import Bend, bends_of, growth, integers, reals, turning
from xnorlit.export.maps import Halves
from xnorlit.export.nodes import Affine, Clip, TwoSlope
from xnorlit.export.thresholds import real_steps
from xnorlit.packed import PackedNetwork

CHANNELS = 6
MOST = 300
ACTIVATIONS = [
    lambda: nn.ReLU(),
    lambda: nn.ReLU6(),
    lambda: nn.Hardtanh(-0.5, 0.25),
    lambda: nn.LeakyReLU(-0.5),
    lambda: nn.PReLU(CHANNELS, init=-0.25),
    lambda: drawn(RPReLU(CHANNELS)),
    lambda: drawn(Maxout(CHANNELS)),
    lambda: TwoSlope(torch.randn(CHANNELS), -0.5),
    lambda: Clip(-0.75, 0.5),
    lambda: Halves(drawn(RPReLU(CHANNELS // 2))),
]


def drawn(module):
    for values in module.parameters():
        values.data = torch.randn(values.shape)
    return module


def stack(seed):
    """Norms and activations in turn, as functions of integer sums, and the bends of each."""
    torch.manual_seed(seed)
    modules = [Affine(torch.randn(CHANNELS) / 100, torch.randn(CHANNELS))]
    for i in torch.randint(len(ACTIVATIONS), (4,)).tolist():
        modules += [ACTIVATIONS[i](), Affine(torch.randn(CHANNELS), torch.randn(CHANNELS))]
    through = [nn.Sequential(*modules[:i]) for i in range(len(modules) + 1)]
    bends = [
        Bend(lambda sums, to=through[i]: to(sums.float()), at)
        for i, module in enumerate(modules)
        for at in bends_of(module)
    ]
    return through[-1], bends


@torch.no_grad()
@pytest.mark.parametrize("seed", range(40))
def test_any_stack_only_rises_or_only_falls_between_the_places_that_are_found(seed):
    function, bends = stack(seed)
    sums = integers(MOST)
    places = turning(sums, CHANNELS, bends)
    grows = function(torch.arange(-MOST, MOST + 1.0)[:, None].expand(-1, CHANNELS)).diff(dim=0)
    for channel in range(CHANNELS):
        ends = places[:, channel].unique().tolist()
        assert (ends[0], ends[-1]) == (-MOST, MOST)
        for first, last in itertools.pairwise(ends):
            within = grows[first + MOST : last + MOST, channel]
            assert not ((within > 0).any() and (within < 0).any())
    found = growth(lambda sums: function(sums.float().expand(-1, CHANNELS)), sums, CHANNELS, bends)
    assert torch.equal((found < 0).any(dim=0), (grows < 0).any(dim=0))
    assert torch.equal((found > 0).any(dim=0), (grows > 0).any(dim=0))


def test_the_floats_on_both_sides_of_a_bend_are_found():
    place = np.float32(10.01)
    sums = reals()
    found = sums.value(turning(sums, 1, [Bend(lambda sums: sums - place, torch.zeros(()))])).flatten().tolist()
    assert found[1:-1] == [np.nextafter(place, np.float32(0)), place]


@pytest.mark.parametrize("depth", [1e-3, 1e-6])
def test_codes_that_dip_between_two_sums_of_a_grid_are_refused(depth):
    """The sign of `|sum - 10.01| - depth` is -1 in an interval of twice that width alone."""
    dips = lambda sums: ((sums - 10.01).abs() >= depth).long()  # noqa: E731
    bends = [Bend(lambda sums: sums - 10.01, torch.zeros(()))]
    with pytest.raises(UserError, match="fc1 cannot be packed: what follows it makes its codes rise and fall"):
        real_steps(dips, 1, "fc1", bends)
    steps = real_steps(lambda sums: (sums - 10.01 >= depth).long(), 1, "fc1", bends)
    assert steps.threshold[0, 0] == pytest.approx(10.01 + depth, rel=1e-7)


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.Conv2d, xl.Conv2d])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("shift", [2.3, -7.3, 15.9])
def test_signs_that_dip_far_from_zero_are_evaluations_or_refused(shift, pooled, kind):
    """The norm moves the PReLU's bend to a sum where the neighbours on a grid lie far apart."""
    torch.manual_seed(0)
    norms, prelu = [xl.BatchNorm2d(8), xl.BatchNorm2d(8)], nn.PReLU(8)
    norms[0].running_mean.fill_(shift)
    norms[1].bias.fill_(-0.01)
    prelu.weight[0] = -0.25
    between = [nn.Hardtanh(-0.1, 0.01), nn.MaxPool2d(2)] if pooled else []
    layers = [kind(3, 8, 3, bias=False), norms[0], prelu, *between]
    layers += [norms[1], xl.BinaryConv2d(8, 8, 3, padding=1, binarizer="XNOR"), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(72 if pooled else 288, 4)).eval()
    options = {"image_size": 8, "classes": list("abcd"), "mean": [0] * 3, "std": [255] * 3}
    if kind is nn.Conv2d:  # a chain, whose thresholds can only lie on sums
        with pytest.raises(UserError, match="PReLU with a negative slope"):
            xl.pack(net, **options)
        return
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    expected = net(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).numpy()
    np.testing.assert_allclose(PackedNetwork(*xl.pack(net, **options))(pixels), expected, rtol=1e-4, atol=1e-5)
