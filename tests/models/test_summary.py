"""`summary` counts any module like a built-in network: bits, multiply-adds and parameters, each once."""

import pytest
import torch
import torchvision
from torch import nn

import xnorlit as xl
from xnorlit.errors import UserError


def test_a_binary_resnet_18_has_the_published_counts():
    """Bi-Real Net's 11,699,112 numbers less the 9,600 running statistics, and 16 slopes per channel in their place."""
    net = torchvision.models.resnet18()
    xl.binarize_(net, "XNOR", skip=["conv1", "fc", "*.downsample"])
    found = xl.summary(net, (3, 224, 224))
    assert sum(layer.few_bit_macs for layer in found.layers) == 1_676_279_808
    assert sum(layer.macs - layer.few_bit_macs for layer in found.layers) == 137_793_536
    assert found.binary_weights == 10_985_472
    assert found.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert found.packed_bits == 10_985_472 + 32 * (found.parameters - 10_985_472)
    assert net.training
    lines = str(found).splitlines()
    assert any(line.startswith("layer4.1.conv2  ") and "1 / 1" in line for line in lines)
    assert "in fp32" in lines[-1]


def test_the_tables_of_a_network_of_the_tables_are_the_packed_ones_and_need_no_shape():
    net = xl.create("alexnet-small", binarizer="XNOR", classes=10)
    assert xl.summary(net).folded
    assert "folded into" in str(xl.summary(net))


def test_a_layer_used_twice_counts_twice_for_operations_and_once_for_weights():
    shared = nn.Conv2d(4, 4, 1, bias=False)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(16, 3))
    conv, linear = xl.summary(net, (4, 2, 2)).layers
    assert (conv.macs, conv.parameters) == (2 * 16 * 4, 16)
    assert (linear.macs, linear.parameters) == (48, 51)


def test_parameters_outside_of_run_modules_are_counted_too():
    net = nn.Sequential(nn.Linear(4, 2))
    net.register_parameter("token", nn.Parameter(torch.zeros(5)))
    assert xl.summary(net, (4,)).parameters == 10 + 5


def test_without_a_shape_or_a_layer_the_error_says_what_is_missing():
    with pytest.raises(
        UserError, match=r"does not state the shape of its input. Give it, such as summary\(net, \(3, 224, 224\)\)"
    ):
        xl.summary(nn.Linear(2, 2))
    with pytest.raises(UserError, match="runs no convolution and no linear layer"):
        xl.summary(nn.Sequential(nn.ReLU()), (3,))


def test_a_shape_that_does_not_fit_is_refused_in_words_and_modes_stay():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for shape, message in (
        ((4, 8, 8), r"Sequential does not take an input of shape \(4, 8, 8\) \("),
        (8, r"input_shape is 8\. Expected whole numbers, such as \(3, 224, 224\)"),
        ("388", r"input_shape is '388'\. Expected whole numbers"),
    ):
        with pytest.raises(UserError, match=message):
            xl.summary(net, shape)
    assert all(module.training for module in net.modules())


def test_a_network_of_no_classes_is_refused_by_the_callers_name():
    for wrong in ({"classes": 0}, {"classes": "10"}, {"image_size": 0}):
        with pytest.raises(UserError, match=f"create: {next(iter(wrong))} is .*Expected a whole number of 1 or more"):
            xl.create("alexnet-xnor", binarizer="XNOR", **wrong)
