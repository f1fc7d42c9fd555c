"""A packed network computes the integers of the evaluation forward in every binary layer, and its logits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.packed.layers import EVERY_ISA
from tests.packed.networks import NETWORKS, integers_of_engine, integers_of_module, settle, turns, unkind
from xnorlit.binarize import Codes
from xnorlit.binarize.straight_through import sign
from xnorlit.binarize.ttq import TTQ
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.export.pack import pack, write
from xnorlit.export.random_weights import random_network
from xnorlit.models import Block, Network, build, network_named
from xnorlit.packed import PackedNetwork, load


def names(count):
    return [f"class {i}" for i in range(count)]


def pixels_for(size, count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def to_torch(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("isa", EVERY_ISA)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_integers_of_every_binary_layer_are_the_modules(name, seed, isa, monkeypatch):
    monkeypatch.setenv("XNORLIT_KERNEL", isa)
    table = NETWORKS[name]
    model = unkind(table, seed=seed)
    pixels = pixels_for(table.image_size, seed=seed)
    settle(model, to_torch(pixels_for(table.image_size, 32, seed + 100)))
    graph, tensors = pack(model, image_size=table.image_size, classes=names(7))
    expected, logits = integers_of_module(model, to_torch(pixels))
    found = integers_of_engine(graph, tensors, pixels, threads=2)
    assert found.keys() == expected.keys()
    for layer, turn in turns(model, graph, tensors).items():
        assert name in ("norm-before-pool", "map-to-the-end") or (turn == 1).all()
        np.testing.assert_array_equal(found[layer] * turn, expected[layer], err_msg=layer)
    np.testing.assert_allclose(PackedNetwork(graph, tensors)(pixels), logits, rtol=1e-4, atol=1e-4)


def test_alexnet_small_after_some_training_steps(tmp_path):
    table = network_named("alexnet-small")
    torch.manual_seed(0)
    model = build(table, XNOR(), classes=4, image_size=32, mean=(120, 115, 104), std=(60, 60, 62))
    images, labels = to_torch(pixels_for(32, 64)), torch.arange(64) % 4
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(6):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    graph, tensors = pack(model, image_size=32, classes=names(4))
    assert model.training, "the mode is the caller's"
    pixels = pixels_for(32, 40, seed=1)
    expected, logits = integers_of_module(model.eval(), to_torch(pixels))
    found = integers_of_engine(graph, tensors, pixels)
    # conv1 sums in another order than torch, so a value on a threshold may fall on the other side.
    same = [(found["conv2"][i] == expected["conv2"][i]).all() for i in range(len(pixels))]
    assert sum(same) >= 30
    for layer in expected:
        np.testing.assert_array_equal(found[layer][same], expected[layer][same], err_msg=layer)
    write(tmp_path / "net.xnor", graph, tensors)
    network = load(tmp_path / "net.xnor")
    assert network.graph == graph
    np.testing.assert_allclose(network(pixels)[same], logits[same], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("isa", EVERY_ISA)
def test_ends_in_int8_stay_near_the_module_and_are_a_quarter_of_the_size(isa, tmp_path, monkeypatch):
    monkeypatch.setenv("XNORLIT_KERNEL", isa)
    table = NETWORKS["pool-before-norm"]
    model = unkind(table)
    pixels = pixels_for(table.image_size, 40)
    settle(model, to_torch(pixels))
    options = {"image_size": table.image_size, "classes": names(7)}
    exact, tensors = pack(model, **options)
    rounded, fewer = pack(model, **options, ends="int8", calibration=pixels)
    assert 4 * fewer["conv1.weight"].nbytes == tensors["conv1.weight"].nbytes
    assert 4 * fewer["fc8.weight"].nbytes == tensors["fc8.weight"].nbytes
    write(tmp_path / "int8.xnor", rounded, fewer)
    network = load(tmp_path / "int8.xnor")
    assert network.graph == rounded

    # The first layer's weights differ by at most half a step in 127, which changes few signs.
    sums = [integers_of_engine(*found, pixels)["conv2"].ravel() for found in ((exact, tensors), (rounded, fewer))]
    assert np.corrcoef(*sums)[0, 1] > 0.95

    # The last layer alone, behind the same first one, gives the module's logits up to 8-bit rounding.
    rounded = replace(exact, layers=(*exact.layers[:-1], rounded.layers[-1]))
    last = {name: values for name, values in fewer.items() if name.startswith("fc8.")}
    fewer = {name: values for name, values in tensors.items() if not name.startswith("fc8.")} | last
    logits, expected = PackedNetwork(rounded, fewer)(pixels), PackedNetwork(exact, tensors)(pixels)
    assert np.abs(logits - expected).max() < 0.03 * np.abs(expected).max()
    assert not np.array_equal(logits, expected)


def test_int8_needs_images_to_calibrate():
    with pytest.raises(UserError, match="fc8 needs calibration images"):
        pack(unkind(NETWORKS["pool-before-norm"]), image_size=20, classes=names(7), ends="int8")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_thresholds_hold_in_either_memory_format(layout):
    table = NETWORKS["pool-before-norm"]
    model = unkind(table).to(memory_format=layout)
    pixels = pixels_for(table.image_size)
    graph, tensors = pack(model, image_size=table.image_size, classes=names(7))
    expected, _ = integers_of_module(model, to_torch(pixels).contiguous(memory_format=layout))
    found = integers_of_engine(graph, tensors, pixels)
    for layer, integers in expected.items():
        np.testing.assert_array_equal(found[layer], integers, err_msg=layer)


def test_any_batch_and_memory_layout():
    table = NETWORKS["pool-before-norm"]
    graph, tensors = pack(unkind(table), image_size=table.image_size, classes=names(7))
    network = PackedNetwork(graph, tensors)
    pixels = pixels_for(table.image_size, 70)
    logits = network(pixels)
    for count in (0, 1, 2, 31, 32, 33, 65):
        np.testing.assert_array_equal(network(pixels[:count], threads=1), logits[:count])
    np.testing.assert_array_equal(network(np.asfortranarray(pixels)), logits)
    np.testing.assert_array_equal(network(pixels[::-3]), logits[::-3])
    read_only = pixels.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(network(read_only), logits)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 20, 20, 3), np.float32), TypeError, "uint8, found an array of float32"),
        ([[0]], TypeError, "found list"),
        (np.zeros((20, 20, 3), np.uint8), ValueError, r"\[N, 20, 20, 3\], found \[20, 20, 3\]"),
        (np.zeros((1, 3, 20, 20), np.uint8), ValueError, r"\[N, 20, 20, 3\]"),
    ],
)
def test_other_images_are_refused(images, error, message):
    table = NETWORKS["binary-to-the-end"]
    graph, tensors = pack(unkind(table), image_size=20, classes=names(7))
    with pytest.raises(error, match=message):
        PackedNetwork(graph, tensors)(images)


@pytest.mark.parametrize("threads", [0, -1, 10**6, 1.5, True])
def test_other_thread_counts_are_refused(threads):
    graph, tensors = pack(unkind(NETWORKS["binary-to-the-end"]), image_size=20, classes=names(7))
    with pytest.raises((TypeError, ValueError), match="threads"):
        PackedNetwork(graph, tensors)(pixels_for(20), threads=threads)


class _Odd(XNOR):
    def rescale(self, y, x, window):
        return y * x.square().mean()


class _Lying(XNOR):
    def input_codes(self, x):
        return Codes(torch.sign(x) * 2, x.new_ones(()))


class _Halves(XNOR):
    def weight_codes(self, weight):
        return Codes(sign(weight) / 2, weight.new_ones(()))


@pytest.mark.parametrize(
    ("binarizer", "layers", "message"),
    [
        (XNOR(), {"conv1": XNOR()}, "conv1 cannot be packed: XNOR would make 1-bit codes of pixels; .*WeightsOnly"),
        (TTQ(), {}, "conv2 cannot be packed: TTQ: its weights have two scales"),
        (
            XNOR(),
            {"fc7": _Odd()},
            "fc7 cannot be packed: _Odd multiplies its sums by a scale per position other than K",
        ),
        (
            XNOR(),
            {"conv3": _Lying()},
            "conv2 cannot be packed: the next layer does not turn its input into 1-bit signs",
        ),
        (XNOR(), {"conv3": _Halves()}, "conv3 cannot be packed: its weight codes are not integers"),
    ],
)
def test_layers_without_a_packed_form_are_refused_by_name(binarizer, layers, message):
    model = build(network_named("alexnet-small"), binarizer, classes=4, image_size=32, layers=layers)
    with pytest.raises(UserError, match=message):
        pack(model, image_size=32, classes=names(4))


def test_parameters_that_are_not_finite_are_refused_by_name():
    model = unkind(NETWORKS["pool-before-norm"])
    model.fc8.linear.weight.data[0, 0] = torch.nan
    with pytest.raises(UserError, match="fc8 cannot be packed: weight of its BinaryLinear is not finite"):
        pack(model, image_size=20, classes=names(7))
    model = unkind(NETWORKS["pool-before-norm"])
    model.conv3.norm.running_var[3] = torch.inf
    with pytest.raises(UserError, match="conv2 cannot be packed: running_var of its BatchNorm2d is not finite"):
        pack(model, image_size=20, classes=names(7))


@pytest.mark.parametrize("module", [nn.LocalResponseNorm(5), nn.Sigmoid()])
def test_modules_that_have_no_packed_form_are_refused_by_name(module):
    model = unkind(NETWORKS["pool-before-norm"])
    model.conv2.add_module("odd", module)
    with pytest.raises(UserError, match=f"conv2.odd cannot be packed: {type(module).__name__} has no packed form; use"):
        pack(model, image_size=20, classes=names(7))


def test_a_binarizer_whose_layer_is_fully_connected_to_a_map_of_several_positions():
    """fc6 reads a flattened map: its weights move from channel-by-channel to position-by-position order."""
    conv1 = Block("conv1", "conv norm", 5, kernel=3, binary=False)
    table = Network("two", 8, "made up", (conv1, Block("fc6", "norm flatten linear", 9)))
    model = unkind(table, classes=9)
    graph, tensors = pack(model, image_size=8, classes=names(9))
    pixels = pixels_for(8)
    expected, _ = integers_of_module(model, to_torch(pixels))
    np.testing.assert_array_equal(integers_of_engine(graph, tensors, pixels)["fc6"], expected["fc6"])


@pytest.mark.parametrize(("size", "crop"), [(64, 1.0), (65, 0.875)])
def test_random_weights_are_measured_on_the_crop_of_their_image_size(size, crop):
    packed = random_network("alexnet-small", "float", classes=3, image_size=size)
    assert (packed.graph.image_size, packed.graph.crop, packed.graph.source.weights) == (size, crop, "random")
    assert packed.graph.classes == ("class 0", "class 1", "class 2")
