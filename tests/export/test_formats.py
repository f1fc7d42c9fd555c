"""Exported networks compute the same as their module, for every format, network and binarizer, or are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.export.runtimes import RUNTIMES, same_top5
from tests.export.test_binarizers import ALL, CLASSES, EVERY, pixels_for, to_torch
from tests.packed.graphs import GRAPHS, graph, tensors_of
from tests.packed.networks import NETWORKS, integers_of_engine, integers_of_module, settle, turns, unkind
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.lsq import LSQ
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.export.pack import pack
from xnorlit.layers import AdaptiveAvgPool2d, BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLinear, Conv2d, Linear
from xnorlit.models import create, list_networks
from xnorlit.packed import PackedNetwork
from xnorlit.packed.layer import Layer

FORMATS = sorted(RUNTIMES)
KIND = NETWORKS["pool-before-norm"]


REMEDY = r"cannot be exported: .*(use|train|give|omit) "


def ends(format, table):
    """Binarizers of the first and the last layer, where a format wants them in few bits."""
    real = [block.name for block in table.blocks if block.binary is False] if format == "finn" else []
    return {name: LSQ(7, 32 if name == "conv1" else 8) for name in real}


def packed_of(table, binarizer=None, format=None, layers=None, **how):
    """A network and its packed form."""
    model = unkind(table, binarizer=binarizer, layers=(layers or {}) | ends(format, table), **how)
    settle(model, to_torch(pixels_for(table, 32, 100)), variances=True)
    return model, pack(model, image_size=table.image_size, classes=CLASSES)


def held(format, model, packed, pixels, *, exact=True, **how):
    """Run an exported network and compare all its results with the module in evaluation."""
    expected, logits = integers_of_module(model, to_torch(pixels))
    found, sums = RUNTIMES[format](*packed, pixels, sums=True, **how)
    same = np.ones(len(pixels), bool)
    for name, turn in turns(model, *packed).items():
        copies = len(turn) // expected[name].shape[-1]
        same &= (sums[name] * turn == np.tile(expected[name], copies)).all(axis=(1, 2, 3))
    assert same.all() if exact else same.mean() > 0.5
    np.testing.assert_allclose(found[same], logits[same], rtol=1e-3, atol=1e-3)
    if format not in ("qonnx", "finn"):  # whose executor fuses nothing
        found, before = RUNTIMES[format](*packed, pixels, **how), found  # outputs in between keep others from fusing
        np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-4)
    assert same_top5(logits[same], found[same], 1e-3)


def refused(format, packed, pixels, **how):
    """Check that a format's message names the layer and an alternative."""
    with pytest.raises(UserError, match=REMEDY):
        RUNTIMES[format](*packed, pixels, **how)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_computes_the_modules_integers_in_every_format(format, name):
    table = NETWORKS[name]
    model, packed = packed_of(table, format=format)
    if format == "finn" and name == "relu-behind-layer":  # two groups
        refused(format, packed, pixels_for(table, 1))
        return
    held(format, model, packed, pixels_for(table, 12))


def fits(format, layer, given):
    """Whether a format can express a layer with this binarizer."""
    binarizer = layer.binarizer
    if format in ("qonnx", "finn") and given.get("input_scale") == "K":
        return False
    if format != "finn":
        return True
    few = max(binarizer.weight_bits, binarizer.input_bits) < 32
    wide = given.get("weight_bits") == 8  # odd numbers up to 255
    bent = given.get("keep_slopes_positive") is False  # codes that rise and fall
    return few and not (binarizer.two_valued or layer.shortcut or wide or bent)


@pytest.mark.parametrize(("name", "given"), EVERY)
@pytest.mark.parametrize(("table", "formats"), [("pool-before-norm", FORMATS), ("norm-behind-flatten", ["onnx"])])
def test_every_binarizer_is_exported_in_every_format_or_refused_by_name(table, formats, name, given):
    """The second network, only in the cheapest format: each format has computed it above, with other codes."""
    table = NETWORKS[table]
    # A layer whose inputs have 8 bits has 255 thresholds a channel, each a node: only the first two layers have them.
    few = {"fc6": XNOR(), "fc7": XNOR()} if given.get("input_bits") == 8 and len(formats) > 1 else {}
    try:
        found = {form: packed_of(table, ALL[name](**given), form, few) for form in {None, "finn"} & {None, *formats}}
    except UserError as error:
        assert "cannot be packed" in str(error)  # noqa: PT017
        return
    for format in formats:
        model, packed = found.get(format) or found[None]
        layer = model.conv2.conv
        if not fits(format, layer, given):
            refused(format, packed, pixels_for(table, 1))
            continue
        exact = layer.binarizer.exact and "input_scale" not in given
        held(format, model, packed, pixels_for(table, 12), exact=exact)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_every_operation_of_a_graph_computes_what_the_engine_does(format, name):
    given = graph(GRAPHS[name])
    tensors, pixels = tensors_of(given), np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), np.uint8)
    if format == "finn":  # their first layers are real
        refused(format, (given, tensors), pixels)
        return
    expected = PackedNetwork(given, tensors)(pixels)
    np.testing.assert_allclose(
        RUNTIMES[format](given, tensors, pixels), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("width", [16, 12], ids=["whole bytes", "parts of bytes"])  # two ways of OpenVINO
@pytest.mark.parametrize("binarizer", ["BNN", "XNOR"])
def test_signs_padded_with_ones_give_the_engines_answers(format, width, binarizer):
    torch.manual_seed(0)
    ones = {"padding_mode": "ones", "binarizer": binarizer}
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        BinaryConv2d(width, width, 3, padding=1, **ones),
        nn.BatchNorm2d(width),
        BinaryConv2d(width, 24, (3, 5), stride=2, padding=(1, 2), **ones),
        nn.Flatten(),
        nn.Linear(24 * 2 * 2, 5),
    )
    packed = pack(model, image_size=8, classes=[*"abcde"], mean=(120,) * 3, std=(60,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    if format == "finn":  # whose first layer is real here, and which pads with zeros
        refused(format, packed, pixels)
        return
    expected = PackedNetwork(*packed)(pixels)
    assert np.ptp(expected, axis=0).min() > 0.01, "the images give different answers"
    np.testing.assert_allclose(RUNTIMES[format](*packed, pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_sums_beyond_fp32_are_refused_by_name(format):
    blocks = [replace(block, outputs=512) if block.name == "conv1" else block for block in KIND.blocks]
    blocks = [replace(block, kernel=5, padding=2) if block.name == "conv2" else block for block in blocks]
    table = replace(KIND, name="wide", blocks=tuple(blocks))
    model = unkind(table, binarizer=ALL["DoReFa"](8, 8), layers=ends(format, table))
    packed = pack(model, image_size=20, classes=CLASSES)
    with pytest.raises(UserError, match=r"conv2 cannot be exported: its sums reach .* train with fewer bits"):
        RUNTIMES[format](*packed, pixels_for(table))


@pytest.mark.parametrize("format", FORMATS)
def test_thresholds_hold_at_equality_and_in_both_directions(format):
    _, (graph, tensors) = packed_of(KIND, format=format)
    # Sums on the threshold, and next to it on either side, of every channel and both directions.
    pixels = pixels_for(KIND, 32)
    _, sums = RUNTIMES[format](graph, tensors, pixels, sums=True)
    for after in (0, 1):
        tensors = dict(tensors)
        for name in ("conv2", "conv3", "fc6"):
            found = sums[name].max(axis=(1, 2)) if name != "fc6" else sums[name][:, 0, 0]
            tensors[f"{name}.threshold"] = found[:1].astype(np.int32) + after
            tensors[f"{name}.flip"] = np.random.default_rng(0).integers(0, 256, tensors[f"{name}.flip"].shape, np.uint8)
        expected = PackedNetwork(graph, tensors)(pixels)
        np.testing.assert_allclose(RUNTIMES[format](graph, tensors, pixels), expected, rtol=1e-4, atol=1e-4)
        integers = integers_of_engine(graph, tensors, pixels)
        _, found = RUNTIMES[format](graph, tensors, pixels, sums=True)
        for name in ("conv3", "fc6", "fc7"):  # each behind such thresholds
            np.testing.assert_array_equal(found[name], integers[name])
            assert np.ptp(integers[name], axis=0).mean() > 1


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "finn"])  # which has no such signs
def test_signs_that_turn_twice_from_plus_one_keep_their_minus_one(format):
    """`|y| >= 2`: +1, then -1, then +1 as the sum grows, in every channel."""
    torch.manual_seed(0)
    magnitude, norm = nn.PReLU(), nn.BatchNorm2d(8)
    nn.init.constant_(magnitude.weight, -1)
    nn.init.constant_(norm.running_mean, 2)
    turning = BinaryConv2d(8, 8, 3, padding=1, bias=False, binarizer="BNN"), magnitude, norm
    last = BinaryConv2d(8, 8, 3, padding=1, binarizer="BNN"), nn.Flatten(), nn.Linear(8 * 6 * 6, 2)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), *turning, *last).eval()
    packed = pack(net, image_size=6, classes=["a", "b"], mean=[125] * 3, std=[60] * 3)
    assert [layer.ending.levels for layer in packed.graph.layers] == [1, 2, 1, 1]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
    with torch.no_grad():
        expected = net((to_torch(pixels).float() - 125) / 60).numpy()
    np.testing.assert_allclose(RUNTIMES[format](*packed, pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "finn"])  # which has no two values
@pytest.mark.parametrize("name", ["AdaBin", "XNOR"])
def test_a_linear_layer_reads_signs_with_a_threshold_of_each_position(format, name):
    torch.manual_seed(0)
    norm = BatchNorm1d(8 * 5 * 5)
    nn.init.normal_(norm.bias)
    signs = BinaryConv2d(8, 8, 3, padding=1, binarizer="XNOR"), nn.Flatten(), norm
    last = BinaryLinear(8 * 5 * 5, 16, binarizer=name), Linear(16, 2)
    net = nn.Sequential(Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), *signs, *last).eval()
    packed = pack(net, image_size=5, classes=["a", "b"], mean=[125] * 3, std=[60] * 3)
    assert any(node.op.ending.per_position for node in packed.graph.steps if isinstance(node.op, Layer))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    with torch.no_grad():
        expected = net((to_torch(pixels).float() - 125) / 60).numpy()
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(RUNTIMES[format](*packed, pixels), expected, rtol=1e-4, atol=1e-4)


class _Called(nn.Module):
    """A network whose modules are called like an exported model's input and output."""

    def __init__(self):
        super().__init__()
        self.conv, self.pixels = Conv2d(3, 8, 3), nn.ReLU()
        self.logits, self.logits_, self.last = nn.ReLU(), nn.AdaptiveAvgPool2d(1), Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.pixels(self.conv(x))
        return self.logits(self.logits_(self.last(x + x))).flatten(1)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "finn"])  # which builds no sums of reals
def test_nodes_may_be_called_like_the_input_and_the_output(format):
    torch.manual_seed(0)
    net = _Called().eval()
    packed = pack(net, image_size=6, classes=["a", "b"], mean=[125] * 3, std=[60] * 3)
    assert [node.name for node in packed.graph.steps[-2:]] == ["logits_", "logits"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
    with torch.no_grad():
        expected = net((to_torch(pixels).float() - 125) / 60).numpy()
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(RUNTIMES[format](*packed, pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("padding", [0, 2])
def test_ends_in_8_bits_compute_the_engines_integers(format, padding):
    blocks = [replace(block, padding=padding) if block.name == "conv1" else block for block in KIND.blocks]
    table = replace(KIND, name="bytes", blocks=tuple(blocks))
    model, pixels = unkind(table), pixels_for(table, 12)
    settle(model, to_torch(pixels_for(table, 32, 100)), variances=True)
    packed = pack(model, image_size=20, classes=CLASSES, ends="int8", calibration=pixels_for(table, 32, 5))
    expected = integers_of_engine(*packed, pixels)
    logits, sums = RUNTIMES[format](*packed, pixels, sums=True)
    for name, values in expected.items():
        np.testing.assert_array_equal(sums[name], values)
    np.testing.assert_allclose(logits, PackedNetwork(*packed)(pixels), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"conv1 cannot be exported: .*pixels"):
        RUNTIMES[format](*packed, pixels, normalized_input=True)


@pytest.mark.parametrize("format", FORMATS)
def test_the_input_may_be_normalised_already(format):
    _, packed = packed_of(KIND, format=format)
    pixels = pixels_for(KIND, 8)
    if format == "finn":
        refused(format, packed, pixels, normalized_input=True)
        return
    given = ((pixels - np.float32(128)) / np.float32(64)).transpose(0, 3, 1, 2)
    expected = RUNTIMES[format](*packed, pixels)
    found = RUNTIMES[format](*packed, np.ascontiguousarray(given, np.float32), normalized_input=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("layers", "name"), [({"conv3": XNOR(input_scale="K")}, "XNOR"), ({"conv2": BWN(), "fc7": XNOR()}, "BWN")]
)
def test_methods_mix_from_layer_to_layer(format, layers, name):
    model, packed = packed_of(KIND, ALL[name](), format, layers=layers)
    settings = {name: vars(one) for name, one in layers.items()}
    if not all(fits(format, dict(model.layers())[name], given) for name, given in settings.items()):
        refused(format, packed, pixels_for(KIND, 1))
        return
    held(format, model, packed, pixels_for(KIND, 12), exact=False)


class _Readers(nn.Module):
    """A sum of a binary convolution and its input, whose signs three layers read behind equal norms."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = Conv2d(3, 64, 3, padding=1), BatchNorm2d(64)
        self.first = BinaryConv2d(64, 64, 3, padding=1, bias=False, binarizer="XNOR")
        self.norms = nn.ModuleList([BatchNorm2d(64) for _ in range(3)])
        self.readers = nn.ModuleList([BinaryConv2d(64, 64, k, padding=k // 2, binarizer="XNOR") for k in (1, 3, 1)])
        self.pool, self.fc = AdaptiveAvgPool2d(1), Linear(64, 4)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = x + self.first(x)
        a, b, c = (read(norm(x)) for norm, read in zip(self.norms, self.readers, strict=True))
        return self.fc(self.pool(a + b + c).flatten(1))


@pytest.mark.parametrize("format", FORMATS)
@torch.no_grad()
def test_layers_that_read_the_same_signs_of_a_sum_get_them_all(format):
    """OpenVINO merges equal nodes, and then computed wrong bits."""
    torch.manual_seed(0)
    model, pixels = _Readers(), np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    model.train()(to_torch(pixels) / 255)
    packed = pack(model.eval(), image_size=16, classes=list("abcd"), mean=[0] * 3, std=[255] * 3)
    if format == "finn":
        refused(format, packed, pixels)
        return
    found, expected = RUNTIMES[format](*packed, pixels), PackedNetwork(*packed)(pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", list_networks())
def test_every_named_network_answers_as_the_engine_in_every_format(name):
    torch.manual_seed(0)
    # Without norms, a sign of a ReLU's output would always be +1.
    binarizer = "BWN" if name in ("alexnet", "alexnet-2012", "alexnet-torchvision") else "XNOR"
    model = create(name, binarizer=binarizer, classes=10)
    side = model.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    with torch.no_grad():
        model.train()(to_torch(pixels))
    try:
        packed = pack(model.eval(), image_size=side, classes=list("abcdefghij"))
    except UserError as error:
        assert "cannot be packed" in str(error)  # noqa: PT017
        return
    expected = PackedNetwork(*packed)(pixels)
    for format in FORMATS:
        if format == "finn" and name != "cnv":  # real ends, or shortcuts
            refused(format, packed, pixels)
            continue
        found = RUNTIMES[format](*packed, pixels)
        # Real values before a sign are summed in another order, so a sign may differ in one image of four.
        same = np.abs(found - expected).max(axis=1) < 1e-4 * np.abs(expected).max()
        assert same.sum() >= 3, format
        assert same_top5(expected[same], found[same]), format
