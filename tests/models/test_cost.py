"""The cost of a network by the measures of the literature: hand-computed values."""

import pytest
from torch import nn

import xnorlit as xl

# W H D_out FW FH D_in of each layer of CNV at 32 pixels, without padding, 10 classes.
CNV = {
    "conv1": 30 * 30 * 64 * 3 * 3 * 3,
    "conv2": 28 * 28 * 64 * 3 * 3 * 64,
    "conv3": 12 * 12 * 128 * 3 * 3 * 64,
    "conv4": 10 * 10 * 128 * 3 * 3 * 128,
    "conv5": 3 * 3 * 256 * 3 * 3 * 128,
    "conv6": 1 * 1 * 256 * 3 * 3 * 256,
    "fc7": 512 * 256,
    "fc8": 512 * 512,
    "fc9": 10 * 512,
}


@pytest.fixture(scope="module")
def cnv():
    return xl.summary(xl.create("cnv", binarizer="BNN", classes=10))


def test_bops_and_ace_of_cnv(cnv):
    assert {layer.name: layer.macs for layer in cnv.layers} == CNV
    assert cnv.bops == sum(CNV.values()) - CNV["conv1"] == 57_906_176
    assert cnv.ace == 57_906_176 + 32 * 1_555_200 == 107_672_576  # conv1: weights of 1 bit, pixels as reals
    assert cnv.weight_bits == 1_542_848


def test_the_largest_activation_is_that_of_the_most_bits(cnv):
    reads = {layer.name: layer.inputs for layer in cnv.layers}
    assert reads == {
        "conv1": 32 * 32 * 3, "conv2": 30 * 30 * 64, "conv3": 14 * 14 * 64, "conv4": 12 * 12 * 128,
        "conv5": 5 * 5 * 128, "conv6": 3 * 3 * 256, "fc7": 256, "fc8": 512, "fc9": 512,
    }  # fmt: skip
    assert (cnv.largest_activation.name, cnv.largest_activation.activation_bits) == ("conv1", 32 * 3072)
    assert "57,906,176 BOPs, 107,672,576 ACE; 1,542,848 bits of weights" in str(cnv)
    assert "98,304 bits (conv1 reads it)" in str(cnv)
    assert cnv.to_json()["total"]["largest_activation_bits"] == 98_304


def test_any_module_has_the_same_measures():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.MaxPool2d(2), xl.BinaryConv2d(8, 4, 3, binarizer="XNOR")
    )
    found = xl.summary(net, (3, 10, 10))
    assert [layer.inputs for layer in found.layers] == [300, 8 * 4 * 4]
    assert found.bops == 2 * 2 * 4 * 72
    assert found.ace == 1152 + 8 * 8 * 8 * 27 * 32 * 32


def test_codes_of_more_bits_are_no_bops():
    net = xl.create("alexnet-small", binarizer=xl.DoReFa(1, 2), classes=10)
    binary = xl.summary(xl.create("alexnet-small", binarizer="XNOR", classes=10))
    found = xl.summary(net)
    assert found.bops == 0
    assert found.ace == binary.ace + binary.bops  # two bits of input in place of one


def test_the_cycles_of_cnv(cnv):
    found = cnv.cycles(unfolding=576, copies=4, clock=100)
    assert {layer.name: layer.cycles for layer in found.layers} == {
        "conv1": 30 * 30 * 64 // 4,  # all 27 products of an output at once, 4 outputs
        "conv2": 28 * 28 * 64 // 4,
        "conv3": 12 * 12 * 128 // 4,
        "conv4": 10 * 10 * 128 * 2 // 4,  # 1,152 products in two turns
        "conv5": 3 * 3 * 256 * 2 // 4,
        "conv6": 256 * 4 // 4,
        "fc7": 128,
        "fc8": 128,
        "fc9": 3,  # 10 outputs, 4 at once
    }
    assert found.most == 14_400
    assert found.throughput == 100e6 / 14_400
    assert cnv.cycles().most == CNV["conv2"]
    assert cnv.cycles().throughput is None


def test_the_table_of_cycles_states_formula_and_source(cnv):
    text = str(cnv.cycles(unfolding=576, copies=4, clock=100))
    assert "14,400 cycles, 6,944 images per second at 100 MHz" in text
    assert "W H D_out FW FH D_in / (unfolding copies)" in text
    assert "arXiv 1702.06392" in text
