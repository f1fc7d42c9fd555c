"""Affine maps with kinks compute what the modules between a sum and a real number do."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.packed.networks import unsettle
from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.export.dataflow import _parts
from xnorlit.export.maps import Halves, affine_maps
from xnorlit.export.pack import pack
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d
from xnorlit.layers.norms import scale_and_shift
from xnorlit.packed import PackedNetwork
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


@pytest.mark.parametrize(("kind", "found"), [(nn.BatchNorm2d, [4, 2, 40]), (BatchNorm2d, [4, 2, 0])])
@torch.no_grad()
def test_a_norm_folds_as_it_evaluates(kind, found):
    """By hand: `gamma / sqrt(var + eps)`; a steady norm takes the last channel for constant, torch's own does not."""
    module = kind(3, eps=1e-2).eval()
    module.running_var.copy_(torch.tensor([0.24, 0.99, 1e-20]))
    module.weight.copy_(torch.tensor([2.0, 2.0, 4.0]))
    module.running_mean.fill_(0.5)
    module.bias.fill_(1.0)
    scale, shift = scale_and_shift(module)
    torch.testing.assert_close(scale, torch.tensor(found).double(), rtol=1e-7, atol=0)
    torch.testing.assert_close(shift, 1 - 0.5 * scale, rtol=0, atol=0)
    (of_chain,) = affine_maps(torch.ones(3), None, [module], flat=False, name="conv1")
    (of_graph,) = _parts(module, "norm", "", (3, 1, 1))
    assert torch.equal(of_chain.scale.float(), of_graph.scale)
    assert torch.equal(of_chain.shift.float(), of_graph.shift)


@pytest.mark.parametrize("make", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_a_norm_without_eps_keeps_its_gamma(make):
    module = make(CHANNELS, eps=0.0).eval()
    (found,) = affine_maps(torch.ones(CHANNELS), None, [module], flat=make is nn.BatchNorm1d, name="conv1")
    assert found.scale.tolist() == [1] * CHANNELS


def test_more_maps_than_the_engine_has_are_refused():
    """Each PReLU has a kink, and what follows the last is one map more."""
    modules = [module.eval() for _ in range(MOST_MAPS) for module in (prelu(), norm())]
    assert len(affine_maps(torch.ones(CHANNELS), None, modules[2:], flat=False, name="conv1")) == MOST_MAPS
    with pytest.raises(UserError, match=f"conv1 cannot be packed: more than {MOST_MAPS} affine maps with kinks"):
        affine_maps(torch.ones(CHANNELS), None, modules, flat=False, name="conv1")


def test_what_is_not_two_straight_lines_is_refused():
    with pytest.raises(UserError, match="GELU follows it and is not two straight lines; use a PReLU"):
        affine_maps(torch.ones(CHANNELS), None, [nn.GELU()], flat=False, name="conv1")


class Bent(nn.Module):
    """Two straight lines that meet where their slopes change, at a height of its own in each channel."""

    def __init__(self, below, above):
        super().__init__()
        self.below, self.above = below, above
        self.at, self.height = (torch.linspace(*ends, CHANNELS).view(-1, 1, 1) for ends in ((-2, 3), (1, -1)))

    def forward(self, x):
        x = x - self.at
        return torch.where(x > 0, self.above * x, self.below * x) + self.height


@pytest.mark.parametrize(
    ("below", "above"),
    [(0.5, 2.0), (2.0, 0.5), (-1.0, 0.5), (0.5, -1.0), (-0.5, -2.0), (-2.0, -0.5), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0),
     (0.0, 0.0), (1.5, 1.5), (-1.0, -1.0), (-1.0, 1.0)],
)  # fmt: skip
@torch.no_grad()
def test_two_lines_of_any_slopes_are_found(below, above):
    maps = affine_maps(torch.ones(CHANNELS), None, [Bent(below, above)], flat=False, name="conv1")
    sums = torch.linspace(-40, 40, 321).double()[:, None].expand(-1, CHANNELS)
    expected = Bent(below, above)(sums[:, :, None, None])[:, :, 0, 0]
    torch.testing.assert_close(of_maps(maps, sums), expected.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [norm, prelu, lambda: nn.Hardtanh(-1.5, 2.0), lambda: Bent(0.25, 2.0)])
@torch.no_grad()
def test_a_module_of_copied_channels_serves_each_half(make):
    torch.manual_seed(0)
    module = make().eval().double()
    scale = torch.rand(2 * CHANNELS) + 0.1
    maps = affine_maps(scale, None, [Halves(module)], flat=False, name="conv1")
    sums = torch.linspace(-40, 40, 321).double()[:, None].expand(-1, 2 * CHANNELS)
    given = (sums * scale.double())[:, :, None, None]
    expected = torch.cat([module.double()(half) for half in given.chunk(2, 1)], 1)
    torch.testing.assert_close(of_maps(maps, sums), expected[:, :, 0, 0].double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_a_norm_of_features_and_of_constant_channels_is_that_of_evaluation(steady, affine):
    """A constant channel of a steady norm gives beta."""
    torch.manual_seed(0)
    made = (BatchNorm1d if steady else nn.BatchNorm1d)(CHANNELS, affine=affine).eval()
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2)
    made.running_var[2] = 0
    if affine:
        nn.init.normal_(made.weight)
        nn.init.normal_(made.bias)
    maps = affine_maps(torch.ones(CHANNELS), None, [made], flat=True, name="fc")
    sums = torch.linspace(-4, 4, 33)[:, None].expand(-1, CHANNELS)
    torch.testing.assert_close(of_maps(maps, sums.double()), made(sums).double(), rtol=1e-4, atol=1e-3)
    if steady:
        assert of_maps(maps, sums.double())[:, 2].unique().tolist() == [
            pytest.approx(made.bias[2].item() if affine else 0)
        ]


def test_features_of_several_positions_have_numbers_of_their_own():
    """Of 2 outputs and 3 positions."""
    made = nn.BatchNorm1d(6).eval()
    with torch.no_grad():
        made.running_mean.copy_(torch.arange(6.0))
    before, after = affine_maps(
        torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0]), [nn.ReLU(), made], flat=True, name="f"
    )
    assert before.scale.tolist() == [2, 3]
    assert before.slope == 0
    assert after.shift.shape == (2, 3)
    torch.testing.assert_close(after.shift, -torch.arange(6.0).view(2, 3).double(), rtol=1e-4, atol=1e-4)
    (merged,) = affine_maps(torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0]), [made], flat=True, name="f")
    expected = torch.tensor([[1.0, 0, -1], [-4, -5, -6]]).double()
    torch.testing.assert_close(merged.shift, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(merged.scale, torch.tensor([[2.0] * 3, [3.0] * 3]).double(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.PReLU, RPReLU, Maxout])
def test_an_activation_of_features_has_numbers_at_each_position(kind):
    """Of 2 outputs and 3 positions, which share a sum."""
    torch.manual_seed(0)
    made = kind(6)
    for values in made.parameters():
        nn.init.uniform_(values, -1, 1)
    scale, bias, sums = torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0]), torch.linspace(-4, 4, 33)
    maps = affine_maps(scale, bias, [made], flat=False, name="f")
    y = (sums[:, None] * scale + bias).repeat_interleave(3, dim=1)
    spread = [
        type(each)(*(v[:, None] if isinstance(v, torch.Tensor) and v.ndim == 1 else v for v in each)) for each in maps
    ]
    found = of_maps(spread, sums.double()[:, None, None].expand(-1, 2, 1)).flatten(1)
    torch.testing.assert_close(found, made(y).double(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.PReLU, RPReLU, Maxout])
def test_an_activation_of_features_before_a_real_layer_packs_to_its_evaluation(kind):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), BinaryConv2d(8, 8, 3, padding=1, binarizer="XNOR")]
    net = nn.Sequential(*layers, nn.Flatten(), kind(512), nn.Linear(512, 4)).eval()
    for values in net[4].parameters():
        nn.init.uniform_(values, -1, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    packed = pack(net, image_size=8, classes=list("abcd"), mean=[125] * 3, std=[63] * 3)
    expected = net((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 125) / 63).numpy()
    np.testing.assert_allclose(PackedNetwork(*packed)(pixels), expected, rtol=1e-4, atol=1e-4)
