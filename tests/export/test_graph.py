"""A network with shortcuts packs to its own evaluation: every integer and every logit, bit for bit."""

import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import xnorlit as xl
from tests.export import executor
from tests.models.narrow import narrow
from tests.packed.networks import integers_of_module, settle, unsettle
from xnorlit.export.nodes import Add, Affine, Concat, Shift, TwoSlope
from xnorlit.export.pack import pack
from xnorlit.models import Design, networks
from xnorlit.packed import PackedNetwork
from xnorlit.packed.document import document, parse
from xnorlit.packed.graph import TwoSlope as TwoSlopeNode
from xnorlit.packed.layer import Weights

MEAN, STD = (125.0, 123.0, 114.0), (63.0, 62.0, 67.0)
CLASSES = ["ant", "bee", "cat", "dog", "elk"]


def pixels_for(count=8, side=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def normalised(pixels):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std


def unkind(model, side=20, seed=0):
    """Statistics, slopes and shifts as extreme as training can produce, with signs of both kinds everywhere."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            unsettle(module)
    kinds = ("RPReLU", "PReLU", "Maxout", "AdaBin", "ReActNet")
    for module in model.modules():
        if type(module).__name__ in kinds:
            for values in module.parameters(recurse=False):
                values.data.mul_(1 + 0.3 * torch.randn(values.shape)).add_(0.1 * torch.randn(values.shape))
    settle(model.eval(), normalised(pixels_for(24, side, 9)), variances=True)
    return model


def packed_of(model, side=20, classes=5, **options):
    names = [str(i) for i in range(classes)]
    return pack(model, image_size=side, classes=names, mean=MEAN, std=STD, **options)


@torch.no_grad()
def held(model, side=20, classes=5, count=8, *, exact=True, telling=True):
    """Pack a module and compare the whole file with its evaluation."""
    packed = packed_of(model, side, classes)
    assert packed.graph.nodes
    assert parse(document(packed.graph)) == packed.graph
    pixels = pixels_for(count, side)
    expected, logits = integers_of_module(model.eval(), normalised(pixels))
    found, integers = executor.run(*packed, pixels)
    for threads in (1, 2):
        np.testing.assert_array_equal(PackedNetwork(*packed)(pixels, threads=threads), found)
    assert integers.keys() <= expected.keys()
    pooled = {node.name for node in packed.graph.nodes if getattr(node.op, "pool", None)}
    for name, ours in integers.items():
        theirs = expected[name]
        if name in pooled:  # whose weights are turned where the largest value is that of the least sum
            ours = np.where((ours == theirs).all((0, 1, 2)), ours, -ours)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    if exact:
        np.testing.assert_array_equal(found, logits)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
    assert not telling or np.ptp(logits, axis=0).mean() > 0.01, "the images tell nothing"
    return packed


class Block(nn.Module):
    """Two layers and a shortcut, in one of the usual arrangements."""

    def __init__(self, inputs, outputs, stride=1, *, binarizer="XNOR", shortcut="conv", activation="prelu"):
        super().__init__()
        self.norm1, self.norm2 = xl.BatchNorm2d(outputs), xl.BatchNorm2d(outputs)
        self.conv1 = xl.BinaryConv2d(inputs, outputs, 3, stride, 1, bias=False, binarizer=binarizer)
        self.conv2 = xl.BinaryConv2d(outputs, outputs, 3, 1, 1, bias=False, binarizer=binarizer)
        self.stride, self.more, self.kind = stride, outputs - inputs, shortcut
        if shortcut in ("conv", "pool"):
            down = xl.Conv2d(inputs, outputs, 1, stride if shortcut == "conv" else 1, bias=False)
            pool = [nn.AvgPool2d(stride)] if shortcut == "pool" else []
            self.down = nn.Sequential(*pool, down, xl.BatchNorm2d(outputs))
        kinds = {"prelu": lambda: nn.PReLU(outputs), "hardtanh": nn.Hardtanh, "relu": nn.ReLU, "none": nn.Identity}
        self.act1, self.act2 = kinds[activation](), kinds[activation]()

    def forward(self, x):
        short = x
        if self.kind == "zeros":
            short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more // 2))
        elif self.more or self.stride > 1:
            short = self.down(x)
        y = self.act1(self.norm1(self.conv1(x)) + short)
        z = self.norm2(self.conv2(y))
        z += y
        return self.act2(z)


class Net(nn.Module):
    def __init__(self, *blocks, channels=8, end="module", classes=5):
        super().__init__()
        self.stem = nn.Sequential(xl.Conv2d(3, channels, 3, 1, 1, bias=False), xl.BatchNorm2d(channels))
        self.blocks = nn.Sequential(*blocks)
        outputs = next(m for m in reversed(list(self.blocks.modules())) if isinstance(m, xl.BatchNorm2d)).num_features
        self.pool, self.end = xl.AdaptiveAvgPool2d(1), end
        self.last = xl.BatchNorm1d(outputs)
        self.fc = xl.Linear(outputs, classes)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        if self.end == "module":
            x = self.pool(x).flatten(1)
        elif self.end == "mean":
            x = x.mean((2, 3))
        else:
            x = F.avg_pool2d(x, x.size()[3]).view(x.size(0), -1)
        return self.fc(self.last(x))


@torch.no_grad()
@pytest.mark.parametrize("shortcut", ["conv", "pool"])
@pytest.mark.parametrize("activation", ["relu", "none"])  # inputs of one sign, and of both
def test_with_8_bit_ends_the_stem_the_shortcuts_and_the_classifier_are_bytes_and_lose_little(shortcut, activation):
    options = {"shortcut": shortcut, "activation": activation, "binarizer": "BWN"}  # whose inputs stay real: no signs
    model = unkind(Net(Block(8, 8, **options), Block(8, 16, 2, **options)))
    exact, packed = packed_of(model), packed_of(model, ends="int8", calibration=pixels_for(32, seed=9))
    bytes_ = [node.name for node in packed.graph.nodes if getattr(node.op, "weights", Weights("float")).form == "int8"]
    down = "blocks.1.down.0" if shortcut == "conv" else "blocks.1.down.1"
    assert bytes_ == ["stem.0", down, "fc"]
    assert packed.bytes < exact.bytes
    pixels = pixels_for(16)
    found, _ = executor.run(*packed, pixels)
    for threads in (1, 2):
        np.testing.assert_array_equal(PackedNetwork(*packed)(pixels, threads=threads), found)
    expected = PackedNetwork(*exact)(pixels)
    error = np.abs(found - expected).mean() / np.abs(expected - expected.mean(0)).mean()
    assert 0 < error < 0.2


def test_8_bit_layers_of_reals_need_images_for_calibration():
    model = unkind(Net(Block(8, 16, 2)))
    with pytest.raises(xl.UserError, match=r"blocks\.0\.down\.0 needs calibration images"):
        packed_of(model, ends="int8")
    model.blocks[0].down[0].weight.data.zero_()
    black = np.zeros((2, 20, 20, 3), np.uint8)
    model.stem[1].weight.data.zero_()
    model.stem[1].bias.data.zero_()
    with pytest.raises(
        xl.UserError, match=r"blocks\.0\.down\.0 cannot be packed in int8: its inputs .* between 0 and 0"
    ):
        packed_of(model, ends="int8", calibration=black)


CODES = [xl.DoReFa(1, 1, 32), xl.DoReFa(1, 2, 32), xl.DoReFa(2, 3, 32), xl.PACT(), xl.LSQ(), xl.HWGQ()]


@pytest.mark.parametrize("binarizer", ["XNOR", "BiReal", "ReActNet", "AdaBin", "IRNet", "ReCU", "BWN"])
def test_methods_in_blocks_with_shortcuts(binarizer):
    method = {
        "BiReal": xl.BiReal(shortcut=False),
        "ReActNet": xl.ReActNet(shortcut=False, rprelu=False),
        "AdaBin": xl.AdaBin(maxout=False),
    }.get(binarizer, binarizer)
    model = Net(Block(8, 8, binarizer=method), Block(8, 16, 2, binarizer=method))
    if binarizer == "BWN":
        packed = packed_of(unkind(model))
        assert packed.weight.layers == 4
        return
    held(unkind(model))


@pytest.mark.parametrize("method", CODES, ids=lambda method: type(method).__name__)
def test_codes_of_a_stream_that_sums_read_too(method):
    """A stream has codes for each layer that reads it, and stays real for the sum."""
    model = Net(Block(8, 8, binarizer=method), Block(8, 16, 2, binarizer=method))
    model.train()(normalised(pixels_for()))  # LSQ's steps start by a first batch.
    packed = held(unkind(model))
    kinds = {node.name: node.op.operand for node in packed.graph.nodes if getattr(node.op, "binary", False)}
    assert {operand.form for operand in kinds.values()} == {"codes"}
    made = [node for node in packed.graph.nodes if node.name.endswith(".codes")]
    assert {node.op.ending.bits for node in made} == {method.input_bits}


def test_codes_of_a_flattened_map_have_steps_of_each_position():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = xl.Conv2d(3, 8, 3, 2, 1), xl.BatchNorm2d(8)
            self.pool, self.last = nn.AvgPool2d(5), xl.BatchNorm1d(32)
            self.fc1, self.fc2 = (xl.BinaryLinear(32, 16, binarizer=xl.DoReFa(2, 3, 32)) for _ in range(2))
            self.end = xl.Linear(16, 5)

        def forward(self, x):
            x = self.last(torch.flatten(self.pool(self.norm(self.stem(x))), 1))
            return self.end(self.fc1(x) + self.fc2(x))

    held(unkind(Flat()))


def test_a_scale_of_magnitudes_is_refused_by_name_in_a_network_with_shortcuts():
    method = xl.XNOR(input_scale="K")
    with pytest.raises(
        xl.UserError, match=r"blocks\.0\.conv1 cannot be packed: XNOR scales its sums .*\(K\).*without K"
    ):
        packed_of(Net(Block(8, 8, binarizer=method)))


@pytest.mark.parametrize("shortcut", ["conv", "pool", "zeros"])
@pytest.mark.parametrize("activation", ["hardtanh", "relu", "none"])
@pytest.mark.parametrize("end", ["mean", "pool"])
def test_shortcuts_activations_and_ends_as_scripts_have_them(shortcut, activation, end):
    method = xl.ReActNet(shortcut=False, rprelu=False)
    blocks = (Block(8, 16, 2, binarizer=method, shortcut=shortcut, activation=activation) for _ in range(1))
    held(unkind(Net(*blocks, end=end)), exact=end != "mean")  # torch sums a mean in an order of its own


@pytest.mark.parametrize("binarizer", [xl.BiReal(), xl.ReActNet(), xl.AdaBin("scaled"), xl.AdaBin()], ids=repr)
def test_shortcuts_and_activations_that_layers_have_themselves(binarizer):
    layers = [xl.BinaryConv2d(8, 8, 3, 1, 1, binarizer=binarizer), xl.BatchNorm2d(8)] * 1
    layers += [xl.BinaryConv2d(8, 12, 3, 2, 1, groups=2, binarizer=binarizer), xl.BatchNorm2d(12)]
    layers += [xl.BinaryConv2d(12, 12, 1, binarizer=binarizer), nn.MaxPool2d(2), xl.BatchNorm2d(12)]
    packed = held(unkind(Net(*layers)))
    kinds = [type(node.op).__name__ for node in packed.graph.nodes]
    assert kinds.count("Add") == (2 if binarizer.shortcut else 0)
    assert ("TwoSlope" in kinds) == (type(binarizer) is not xl.BiReal)


def test_torchvisions_resnet_packs_to_its_own_evaluation():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5)
    xl.binarize_(net, "XNOR", skip=["conv1", "fc", "*.downsample"])
    packed = held(unkind(net, 40), 40, count=3)
    assert packed.weight.layers == 16
    assert sum(type(node.op).__name__ == "Add" for node in packed.graph.nodes) == 8
    made = {node.name: node for node in packed.graph.nodes}
    # A value that only one layer reads is stored as bits. A value that a sum reads too is stored as reals and as bits.
    assert made["layer1.0.conv2"].inputs == ("layer1.0.conv1.layer",)
    assert made["layer1.1.conv1"].inputs == ("layer1.1.conv1.sign",)


class Dense(nn.Module):
    """Branches that are concatenated, constants, a flattened map, and a binary layer on it."""

    def __init__(self):
        super().__init__()
        self.stem = xl.Conv2d(3, 6, 3, 2, 1)
        self.conv = xl.BinaryConv2d(6, 10, 3, 1, 1, binarizer="XNOR")
        self.norm = xl.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.flat = xl.BatchNorm1d(16 * 25)
        self.fc1 = xl.BinaryLinear(16 * 25, 20, binarizer="XNOR")
        self.fc2 = xl.Linear(20, 5)
        self.register_buffer("scale", torch.linspace(-1, 2, 6).view(6, 1, 1))

    def forward(self, x):
        x = self.stem(x)
        x = 1.5 - F.prelu(x * self.scale - 0.25, torch.tensor([0.3]))
        x = self.pool(self.norm(torch.cat([x, self.conv(x)], dim=1)))
        x = self.flat(F.hardtanh(x).flatten(1))
        return self.fc2(F.relu(self.fc1(x)))


def test_branches_constants_and_flattened_maps():
    packed = held(unkind(Dense()))
    kinds = {type(node.op).__name__ for node in packed.graph.nodes}
    assert {"Concat", "Flatten", "MaxPool", "Clip", "Affine", "Shift"} <= kinds


class Flat(nn.Module):
    """Flattened maps that are joined, by a function of the test."""

    def __init__(self, join, features=4 * 25, pixels=False):
        super().__init__()
        self.stem, self.left, self.right = xl.Conv2d(3, 4, 4, 4), xl.Conv2d(4, 4, 1), xl.Conv2d(4, 4, 1)
        if pixels:  # the name of the image among the values of a graph
            self.pixels = xl.BatchNorm2d(4)
        self.norm, self.fc, self.join = xl.BatchNorm1d(4 * 25), xl.Linear(features, 5), join

    def forward(self, x):
        x = self.stem(x)
        x = self.pixels(x) if hasattr(self, "pixels") else x
        return self.join(self, self.left(x).flatten(1), self.right(x).flatten(1))


@pytest.mark.parametrize(
    "join",
    [
        lambda net, a, b: net.fc(a + b),
        lambda net, a, b: net.fc(F.relu(a + b)),
        lambda net, a, b: net.fc(net.norm(a) + b),  # one is flattened in the packed network, too
        lambda net, a, b: net.fc(a + net.norm(b)),
        lambda net, a, b: net.fc(net.norm(a) + net.norm(b)),
        lambda net, a, b: net.fc(net.norm(a + b) + b),
    ],
)
def test_sums_of_flattened_maps_are_evaluations(join):
    packed = held(unkind(Flat(join)))
    assert "Add" in {type(node.op).__name__ for node in packed.graph.nodes}


@st.composite
def heads(draw):
    """A network with a shortcut whose map is flattened into linear layers, with norms and activations between them."""
    torch.manual_seed(draw(st.integers(0, 9)))
    methods = st.sampled_from(["XNOR", "AdaBin", "DoReFa", "BNN", "IRNet"])

    def linear(given, made):
        kind = draw(st.sampled_from([xl.Linear, xl.BinaryLinear]))
        more = {"binarizer": draw(methods)} if kind is xl.BinaryLinear else {}
        return kind(given, made, bias=draw(st.booleans()), **more)

    def between(features):
        kinds = st.sampled_from([xl.BatchNorm1d, nn.PReLU, lambda _: nn.ReLU(), lambda _: nn.Hardtanh(-2, 3)])
        return [draw(kinds)(features) for _ in range(draw(st.integers(0, 2)))]

    first, second = linear(128, 12), linear(12, 10)
    head = [*between(128), first, *between(12), second, *between(10), xl.Linear(10, 5)]
    net = Net(Block(8, 8, binarizer=draw(methods), activation="none"))
    net.pool, net.last, net.fc = nn.AvgPool2d(5), nn.Identity(), nn.Sequential(*head)
    return net


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(heads())
def test_linear_layers_read_a_flattened_map_in_the_order_of_its_weights(model):
    held(unkind(model), exact=False, telling=False)


@pytest.mark.parametrize("norm", [xl.BatchNorm1d, nn.Identity])
@pytest.mark.parametrize("kind", ["torch", "real", "XNOR", "BWN"])
def test_a_layer_of_a_flattened_map_may_end_in_the_signs_of_the_next_layer(norm, kind):
    torch.manual_seed(0)
    first = {"torch": nn.Linear, "real": xl.Linear}.get(kind, partial(xl.BinaryLinear, binarizer=kind))
    model = Net(Block(8, 8, activation="none"))
    model.pool, model.last = nn.AvgPool2d(5), norm(128)
    model.fc = nn.Sequential(
        first(128, 32), xl.BatchNorm1d(32), xl.BinaryLinear(32, 16, binarizer="XNOR"), xl.Linear(16, 5)
    )
    packed = held(unkind(model))
    assert {node.name: node.op for node in packed.graph.nodes}["fc.0"].ending.form == "signs"


def test_a_module_may_be_called_as_the_image_is():
    packed = held(unkind(Flat(lambda net, a, b: net.fc(a + b), pixels=True)))
    assert "pixels_" in {node.name for node in packed.graph.nodes}


@pytest.mark.parametrize("ends", ["float", "int8"])
@pytest.mark.parametrize("shortcut", [True, False])  # a graph and a chain
@torch.no_grad()
def test_layers_may_be_called_as_the_image_is_and_as_a_function(shortcut, ends):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = xl.Conv2d(3, 4, 4, 4) if shortcut else nn.Conv2d(3, 4, 4, 4), xl.BatchNorm2d(4)
            self.pixels, self.add = (xl.BinaryConv2d(4, 4, 1, binarizer="XNOR") for _ in range(2))
            self.pixels_ = nn.Linear(100, 5)

        def forward(self, x):
            x = self.norm(self.stem(x))
            y = self.pixels(x)
            return self.pixels_(F.relu(self.add(x + y if shortcut else y)).flatten(1))

    model = unkind(Named())
    packed = packed_of(model, ends=ends, calibration=pixels_for(8, seed=9))
    assert {"pixels_", "pixels__", "add_1" if shortcut else "add"} <= {step.name for step in packed.graph.steps}
    if ends == "float":
        found = PackedNetwork(*packed)(pixels_for())
        np.testing.assert_allclose(found, model(normalised(pixels_for())), rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_called_as_the_image_is_has_one_call():
    model = Flat(lambda net, a, b: net.fc(a + b), pixels=True)
    model.left = model.right = model.pixels = xl.Conv2d(4, 4, 1)
    with pytest.raises(xl.UserError, match="it is called a second time"):
        packed_of(model)


@pytest.mark.parametrize(
    ("join", "classes", "message"),
    [
        (
            lambda net, a, b: net.fc(torch.cat([a, b], 1)),
            5,
            r"cat cannot be packed: it reads a flattened map",
        ),
        (lambda net, a, b: a + b, 100, "add cannot be packed: a flattened map gives the logits; put a linear layer"),
        (
            lambda net, a, b: net.norm(a + b),
            100,
            "norm cannot be packed: a flattened map gives the logits; put a",
        ),
    ],
)
def test_flattened_maps_that_are_joined_otherwise_are_refused(join, classes, message):
    with pytest.raises(xl.UserError, match=message):
        packed_of(unkind(Flat(join, 200)), classes=classes)


def test_a_real_layer_that_rectifies_its_inputs_does_so_in_a_graph():
    model = Net(Block(8, 8))
    model.blocks[0].conv2.bind(xl.Float())
    model.blocks[0].conv2.binarizer.rectify = True
    packed = held(unkind(model), exact=False, telling=False)
    made = {node.name: node.op for node in packed.graph.nodes}
    assert made["blocks.0.conv2.rectified"] == TwoSlopeNode(1.0, 0.0)


def test_a_max_pool_in_front_of_a_sign_is_one_of_bits():
    layers = (xl.BatchNorm2d(8), nn.MaxPool2d(2), xl.BinaryConv2d(8, 8, 3, binarizer="XNOR"), xl.BatchNorm2d(8))
    model = unkind(Net(Block(8, 8, activation="none"), *layers))
    packed = held(model)
    made = {node.name: node for node in packed.graph.nodes}
    pool = made["blocks.2"]
    assert made["blocks.3"].inputs == ("blocks.2",)
    assert type(made[pool.inputs[0]].op).__name__ == "Sign"


# --- any graph --------------------------------------------------------------------------------------------------------
METHODS = [xl.XNOR(), xl.BiReal(), xl.ReActNet(), xl.AdaBin(), xl.ReActNet(shortcut=False, rprelu=False), xl.BNN()]


class Drawn(nn.Module):
    """Layers, norms, activations, pools, sums and concatenations, each of earlier values."""

    def __init__(self, seed):
        super().__init__()
        draw = random.Random(seed)
        torch.manual_seed(seed)
        self.stem = nn.Sequential(xl.Conv2d(3, 8, 3, draw.choice([1, 2]), 1, bias=draw.random() < 0.5))
        self.parts, self.reads, channels = nn.ModuleList(), [], [8]
        for _ in range(draw.randint(4, 9)):
            first, second = draw.randrange(max(0, len(channels) - 3), len(channels)), draw.randrange(len(channels))
            made = given = channels[first]
            kind = draw.choice(["binary", "binary", "binary", "norm", "bend", "add", "cat", "pool", "real"])
            if kind == "binary":
                made = draw.choice([8, 8, 16, 33])
                settings = {"bias": draw.random() < 0.5, "binarizer": draw.choice(METHODS)}
                part = xl.BinaryConv2d(given, made, 3, 1, 1, **settings)
            elif kind == "real":
                part = xl.Conv2d(given, made, 1)
            elif kind == "bend":
                bends = [nn.ReLU(), nn.PReLU(given), nn.PReLU(given, init=-0.3), nn.PReLU(), nn.ReLU6(), nn.Hardtanh()]
                part = draw.choice([*bends, nn.LeakyReLU(0.1)])
            elif kind == "pool":
                part = nn.MaxPool2d(3, 1, 1)
            elif kind == "add" and given == channels[second]:
                part = Add()
            elif kind == "cat":
                part, made = Concat(), given + channels[second]
            else:
                part = xl.BatchNorm2d(given)
            self.parts.append(part)
            self.reads.append((first, second) if isinstance(part, Add | Concat) else (first,))
            channels.append(made)
        self.norm, self.end = xl.BatchNorm2d(channels[-1]), draw.choice(["average", "flat", "binary"])
        features = {"average": channels[-1], "flat": 9 * channels[-1], "binary": 12}[self.end]
        self.flat = xl.BatchNorm1d(9 * channels[-1]) if draw.random() < 0.5 else nn.Identity()
        self.signs = xl.BinaryLinear(9 * channels[-1], 12, binarizer=draw.choice(["XNOR", "AdaBin", "BNN"]))
        self.pool, self.fc = xl.AdaptiveAvgPool2d(1), xl.Linear(features, 5)

    def forward(self, x):
        values = [self.stem(x)]
        for part, reads in zip(self.parts, self.reads, strict=True):
            values.append(part(*(values[i] for i in reads)))
        y = self.norm(values[-1])
        if self.end == "average":
            return self.fc(self.pool(y).flatten(1))
        y = self.flat(F.max_pool2d(y, y.shape[2] // 3).flatten(1))
        return self.fc(self.signs(y) if self.end == "binary" else y)


@pytest.mark.parametrize("seeds", [range(6), pytest.param(range(6, 100), marks=pytest.mark.slow)])
def test_the_integers_and_the_logits_of_any_graph_are_its_evaluations(seeds):
    for seed in seeds:
        model = unkind(Drawn(seed), 12)
        if packed_of(model, 12).graph.nodes:
            held(model, 12, count=5, telling=False)


# --- the networks of the package --------------------------------------------------------------------------------------
NETWORKS = {
    "resnet18-xnor": (xl.XNOR(), 40),
    "resnet18-xnor-binary": (xl.XNOR(), 40),
    "resnet18-bireal": (xl.BiReal(shortcut=False), 64),
    "resnet18-reactnet": (xl.ReActNet(shortcut=False), 64),
    "reactnet-a": (xl.ReActNet(shortcut=False), 64),
    "resnet20": (xl.IRNet(), 32),
    "resnet20-recu": (xl.ReCU(), 32),
    "resnet18-cifar": (xl.IRNet(), 32),
    "resnet18-cifar-recu": (xl.ReCU(), 32),
    "resnet18-cifar-adabin": (xl.AdaBin(), 32),
    "quicknet-small": (xl.BNN(), 40),
    "quicknet-medium": (xl.BNN(), 40),
    "quicknet-large": (xl.BNN(), 40),
    "vgg-small": (xl.XNOR(), 32),
}


def test_every_network_written_as_a_module_is_packed_here():
    assert NETWORKS.keys() == {name for name, each in networks().items() if isinstance(each, Design)}


@pytest.mark.parametrize("by", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_a_network_of_the_package_packs_to_its_own_evaluation(name, by, monkeypatch):
    """Logits are equal only if each sign was."""
    if by > 1:
        narrow(monkeypatch, by)
    binarizer, side = NETWORKS[name]
    torch.manual_seed(0)
    model = xl.create(name, binarizer=binarizer, classes=5, image_size=side, mean=MEAN, std=STD)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            unsettle(module)
    settle(model.eval(), torch.from_numpy(pixels_for(16, side, 9)).permute(0, 3, 1, 2), variances=True)
    packed = pack(model, image_size=side, classes=CLASSES)
    assert packed.weight.layers == sum(layer.binarizer.weight_bits == 1 for _, layer in model.layers())
    pixels = pixels_for(40, side)
    logits = model(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    assert np.ptp(logits, axis=0).mean() > 0.01, "the images tell nothing"
    np.testing.assert_array_equal(PackedNetwork(*packed)(pixels), logits)


# --- trained ----------------------------------------------------------------------------------------------------------
class Shapes:
    """Noisy pictures of three kinds of stripes, which a network learns in seconds."""

    def __init__(self, count, side=24, seed=0):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, 5, count)
        across, down = np.meshgrid(np.arange(side), np.arange(side))
        angles = self.labels[:, None, None] * np.pi / 5
        waves = np.sin(np.cos(angles) * across + np.sin(angles) * down + rng.uniform(0, 6, (count, 1, 1)))
        light = 128 + 40 * waves[..., None] + 50 * rng.standard_normal((count, side, side, 3))
        self.pixels = light.clip(0, 255).astype(np.uint8)


def trained(model, steps=40):
    """The module after some steps on stripes, and its accuracy on other pictures."""
    learnt, optimizer = Shapes(1024), torch.optim.Adam(model.parameters(), 3e-3)
    tended = xl.attach(optimizer, model)
    images, labels = normalised(learnt.pixels), torch.from_numpy(learnt.labels)
    for step in range(steps):
        tended.on_epoch(step * 10 // steps, 10)
        batch = torch.randint(len(images), (64,))
        loss = F.cross_entropy(model.train()(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    others = Shapes(256, seed=1)
    with torch.no_grad():
        return (model.eval()(normalised(others.pixels)).argmax(1).numpy() == others.labels).mean()


@torch.no_grad()
def flips(model, count):
    """Images of `count` for which the packed network's logits are not those of evaluation, bit for bit."""
    packed = PackedNetwork(*packed_of(model, 24))
    pixels = Shapes(count, seed=2).pixels
    ours = packed(pixels)
    theirs = np.concatenate([model(normalised(pixels[i : i + 100])).numpy() for i in range(0, count, 100)])
    np.testing.assert_array_equal(np.argsort(-ours, 1)[:, :5], np.argsort(-theirs, 1)[:, :5])
    return int((ours != theirs).any(1).sum())


def residual(binarizer):
    torch.manual_seed(0)
    return Net(Block(8, 8, binarizer=binarizer), Block(8, 16, 2, binarizer=binarizer, shortcut="pool"))


@pytest.mark.parametrize(
    "binarizer",
    [
        xl.ReActNet(shortcut=False, rprelu=False),
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (xl.XNOR(), xl.BiReal(), xl.ReActNet(), xl.AdaBin(), xl.IRNet())
        ),
    ],
    ids=repr,
)
def test_a_trained_residual_network_flips_no_sign_in_a_thousand_images(binarizer):
    model = residual(binarizer)
    assert trained(model) > 0.5, "it has learned nothing"
    assert flips(model, 1000) == 0


@pytest.mark.slow
def test_torchvisions_resnet_trains_after_binarize_and_flips_no_sign():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    xl.binarize_(model, "XNOR", skip=["conv1", "fc", "*.downsample"])
    assert trained(model, 30) > 0.5, "it has learned nothing"
    assert flips(model, 1000) == 0


# --- layers of the user's own -----------------------------------------------------------------------------------------
class Bias(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.values = nn.Parameter(torch.linspace(-1, 1, channels).view(-1, 1, 1))

    def forward(self, x):
        return x.add(self.values) if x.requires_grad else x + self.values


class Bent(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, x, 0.5 * x) * 2 - 1


class Wrong(Bent):
    def forward(self, x):
        return x


def test_a_custom_layer_is_packed_by_registering_its_nodes():
    xl.register_node(Bias, lambda layer: Shift(layer.values.flatten()))
    xl.register_node(Bent, lambda _: (TwoSlope(1.0, 0.5), Affine(torch.full((8,), 2.0), torch.full((8,), -1.0))))
    model = unkind(Net(Block(8, 8), Bias(8), Bent(), Block(8, 8)))
    packed = held(model)
    assert {"blocks.1", "blocks.2.0", "blocks.2"} <= {node.name for node in packed.graph.nodes}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda _: Shift(torch.zeros(8)), "Wrong differs from the modules .*by up to"),
        (lambda _: nn.Sigmoid(), "Wrong is registered as Sigmoid. Expected one or more of Affine, Shift"),
        (lambda _: [], "Wrong is registered as nothing"),
    ],
)
def test_an_inconsistent_registration_is_refused(form, message):
    xl.register_node(Wrong, form)
    model = Net(Block(8, 8), Wrong())
    if "differs" in message:
        model.blocks[1].forward = lambda x: x * 2
    with pytest.raises(xl.UserError, match=f"blocks.1 cannot be packed: {message}"):
        packed_of(model)
    with pytest.raises(xl.UserError, match="is not a module class"):
        xl.register_node(Wrong(), form)
