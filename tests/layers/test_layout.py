"""Channels-last maps have channels-last gradients, through shortcuts too: kernels that meet both formats are slow."""

import pytest
import torch
import torchvision
from torch import nn

import xnorlit as xl
from tests.models.tables import DESIGNS
from xnorlit.layers.layout import in_format
from xnorlit.models import network_named
from xnorlit.models.resnet import ZeroChannels

LAST = torch.channels_last


def in_other_format(net, images):
    """Names of the norms and convolutions whose output and its gradient differ in memory format."""
    found, handles = [], []

    def watch(name):
        def hook(module, inputs, output):
            form = LAST if output.is_contiguous(memory_format=LAST) else torch.contiguous_format

            def compare(gradient):
                if not gradient.is_contiguous(memory_format=form):
                    found.append(name)

            output.register_hook(compare)

        return hook

    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            handles.append(module.register_forward_hook(watch(name)))
    with torch.autocast("cpu", torch.bfloat16):
        net(images).float().square().sum().backward()
    assert len(handles) > 5
    return found


@pytest.mark.parametrize("binarizer", ["Float", "ReActNet"])
@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "vgg-small"])
def test_a_networks_gradients_are_in_the_format_of_its_maps(name, binarizer):
    size = 64 if network_named(name).image_size == 224 else 32
    net = xl.create(name, binarizer=binarizer, classes=3, image_size=size).to(memory_format=LAST)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8).contiguous(memory_format=LAST)
    assert in_other_format(net, images) == []


def test_so_are_those_of_a_converted_network():
    net = torchvision.models.resnet18(num_classes=3)
    xl.binarize_(net, "XNOR")
    net.to(memory_format=LAST)
    assert in_other_format(net, torch.randn(2, 3, 64, 64).contiguous(memory_format=LAST)) == []


@pytest.mark.parametrize("layer", [xl.AdaptiveAvgPool2d(1), ZeroChannels(2), ZeroChannels(1, 1)])
def test_the_gradient_is_torchs_in_either_format(layer):
    x = torch.randn(2, 4, 6, 6)
    weights = torch.randn_like(layer(x))
    gradients = []
    for each in (x, x.contiguous(memory_format=LAST)):
        leaf = each.clone().requires_grad_()
        (layer(leaf) * weights).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
    assert gradients[1].is_contiguous(memory_format=LAST)


def test_maps_in_torchs_default_format_pass_untouched():
    for x in (torch.randn(2, 3, 4, 4), torch.randn(2, 3, 1, 1), torch.randn(2, 3)):
        assert in_format(x) is x
