"""A float network of torch's own modules computes what the network does, so its time is the network's."""

import pytest
import torch
from torch import nn

import xnorlit as xl
from tests.models.tables import DESIGNS, SMALL
from xnorlit.layers import BatchNorm2d, BinaryConv2d, BinaryLayer
from xnorlit.models.plain import plain


def float_network(name, size=None):
    """With weights and statistics as after some training."""
    torch.manual_seed(0)
    network = xl.create(name, binarizer="Float", classes=10, image_size=size or (64 if "quicknet" in name else 32))
    with torch.no_grad():
        for key, values in network.state_dict().items():
            if key.endswith("running_var"):
                values.uniform_(0.5, 2)
                values[1:2] = 1e-30  # a channel that is constant in training
            elif values.is_floating_point() and values.ndim == 1:
                values.add_(0.2 * torch.randn_like(values))
    return network.eval()


def same(found, expected):
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert not torch.allclose(expected[0], expected[1], rtol=1e-3)


@pytest.mark.parametrize("name", [*SMALL, *DESIGNS])
@torch.no_grad()
def test_it_computes_the_same_logits_with_zeros_as_padding(name):
    network = float_network(name)
    images = torch.randint(0, 256, (4, 3, network.image_size, network.image_size), dtype=torch.uint8)
    found = plain(network)(images)
    for _, layer in network.layers():
        if isinstance(layer, BinaryConv2d):
            assert (layer.padding_mode == "ones") == ("quicknet" in name)
            layer.padding_mode = "zeros"
    same(found, network(images))


@pytest.mark.parametrize("name", [*SMALL, *DESIGNS])
def test_its_layers_are_torchs(name):
    modules = list(plain(float_network(name)).modules())
    assert not [module for module in modules if type(module).__module__.startswith("xnorlit.layers")]
    assert not [module for module in modules if isinstance(module, nn.Dropout)]


def test_a_chain_stays_a_chain():
    for name in ("alexnet-small", "vgg-small"):
        assert not [module for module in plain(float_network(name))[1:] if list(module.children())]


class Own(nn.Module):
    """A user's module, whose second norm reads what something else reads too, and whose last layer is called twice."""

    def __init__(self, branches):
        super().__init__()
        self.branches = branches
        self.conv1 = BinaryConv2d(3, 8, 4, padding="same", binarizer="Float")
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = BinaryConv2d(8, 8, 3, padding=1, groups=2, bias=False, binarizer="Float", rectify=True)
        self.norm2 = BatchNorm2d(8)
        self.norm3 = nn.BatchNorm2d(8)
        self.norm4 = nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.norm1(self.conv1(x))
        if self.branches and x.sum() > 1e9:
            return x
        y = self.conv2(x)
        return (self.norm4(self.norm3(self.conv2(self.norm2(y) + y)))).mean((2, 3))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("branches", "folded"), [(False, ["norm1"]), (True, [])])
@torch.no_grad()
def test_only_norms_that_belong_to_one_layer_are_folded(branches, folded):
    torch.manual_seed(0)
    own = Own(branches).eval()
    for norm in (own.norm1, own.norm2, own.norm3, own.norm4):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    before = {key: values.clone() for key, values in own.state_dict().items()}
    images = torch.randn(3, 3, 9, 9)
    expected, found = own(images), plain(own)
    same(found(images), expected)
    assert [name for name, module in found[0].named_modules() if isinstance(module, nn.Identity)] == folded
    assert all(torch.equal(values, before[key]) for key, values in own.state_dict().items())
    assert not [module for module in found.modules() if isinstance(module, BinaryLayer)]
    assert isinstance(own.conv1, BinaryConv2d)
