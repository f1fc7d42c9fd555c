"""Every binarizer packs and matches its evaluation forward, or says why it has no packed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.export import executor
from tests.packed.networks import NETWORKS, integers_of_engine, integers_of_module, settle, turns, unkind
from xnorlit.binarize import binarizers
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.float import Float
from xnorlit.binarize.weights_only import WeightsOnly
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.export.pack import pack
from xnorlit.layers import BinaryConv2d, BinaryLinear
from xnorlit.models import Block
from xnorlit.models.decouple import decoupled
from xnorlit.packed import PackedNetwork

ALL = binarizers()
CLASSES = list("abcdefg")
KIND = NETWORKS["pool-before-norm"]
# Non-default settings that pack in another way.
SETTINGS = {
    "DoReFa": [(1, 1), (1, 4), (2, 2), (3, 3), (8, 8), (1, 32), (32, 2), (2, 32)],
    "LSQ": [(3, 3), (4, 2), (32, 2), (8, 32)],
}


def variants(name):
    yield {}
    for weight_bits, input_bits in SETTINGS.get(name, []):
        yield {"weight_bits": weight_bits, "input_bits": input_bits}
    if name == "XNOR":
        yield {"input_scale": "K"}
    if name == "TWN":
        yield {"inputs": "sign"}
    if name in ("BiReal", "ReActNet"):
        yield {"shortcut": False}
    if name == "ReActNet":
        yield {"shortcut": False, "keep_slopes_positive": False}
    if name == "BinaryDuo":
        yield {"stage": "decoupled"}


EVERY = [pytest.param(name, given, id=f"{name}-{given}") for name in ALL for given in variants(name)]


def pixels_for(table, count=6, seed=0):
    side = table.image_size
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def to_torch(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def held(model, table, *, exact):
    """Pack a model and compare all its results. Behind real values, a few signs may differ by rounding."""
    settle(model, to_torch(pixels_for(table, 32, 100)), variances=True)
    graph, tensors = pack(model, image_size=table.image_size, classes=CLASSES)
    pixels = pixels_for(table, 12)
    expected, logits = integers_of_module(model, to_torch(pixels))
    found = integers_of_engine(graph, tensors, pixels, threads=2)
    same = np.ones(len(pixels), bool)
    for name, turn in turns(model, graph, tensors).items():
        if name in found:
            copies = len(turn) // expected[name].shape[-1]
            equal = found[name] * turn == np.tile(expected[name], copies)
            same &= equal.all(axis=(1, 2, 3))
    assert same.all() if exact else same.mean() > 0.5
    assert np.ptp(logits, axis=0).mean() > 0.01, "the images tell nothing"
    np.testing.assert_allclose(PackedNetwork(graph, tensors)(pixels)[same], logits[same], rtol=1e-3, atol=1e-3)
    return graph


def held_as_nodes(model, table):
    """Pack a model that is not a chain, and compare every integer and every logit, bit for bit."""
    settle(model, to_torch(pixels_for(table, 32, 100)), variances=True)
    packed = pack(model, image_size=table.image_size, classes=CLASSES)
    pixels = pixels_for(table, 6)
    expected, logits = integers_of_module(model, to_torch(pixels))
    found, integers = executor.run(*packed, pixels)
    assert integers.keys() == expected.keys()
    for name, values in integers.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    np.testing.assert_array_equal(found, logits)


@pytest.mark.parametrize(("name", "given"), EVERY)
@pytest.mark.parametrize("table", ["pool-before-norm", "norm-behind-flatten"])
def test_every_binarizer_packs_or_says_why(name, given, table):
    table = NETWORKS[table]
    model = unkind(table, binarizer=ALL[name](**given))
    refusing = next(((n, layer) for n, layer in model.layers() if layer.binarizer.cannot_pack), None)
    if refusing:
        with pytest.raises(UserError, match=f"{refusing[0]} cannot be packed: "):
            pack(model, image_size=table.image_size, classes=CLASSES)
        return
    binarizer = model.conv2.conv.binarizer
    if binarizer.two_valued or any(layer.shortcut for _, layer in model.layers()):
        held_as_nodes(model, table)
        return
    graph = held(model, table, exact=binarizer.exact and given != {"input_scale": "K"})
    packed = graph.layers[1]
    assert packed.weights.form == ("planes" if binarizer.weight_bits < 32 else "float")
    assert packed.binary == binarizer.exact


class Everywhere(nn.Module):
    """A PReLU per channel, such as a method may add."""

    def __init__(self, outputs):
        super().__init__()
        self.slopes = nn.Parameter(torch.linspace(-0.6, 0.9, outputs))
        self.turn = nn.Parameter(torch.linspace(0.5, -0.5, outputs))

    def forward(self, x):
        columns = (v.view(-1, *(1,) * (x.ndim - 2)) for v in (self.slopes, self.turn))
        slopes, turn = columns
        return torch.where(x > turn, x - turn, slopes * (x - turn))


class _Turning(XNOR):
    """Adds non-monotonic modules, behind the pool if there is one."""

    def post_layer(self, outputs):
        return Everywhere(outputs)


class _TurningReals(BWN):
    def post_layer(self, outputs):
        return Everywhere(outputs)


@pytest.mark.parametrize(
    ("binarizer", "layers", "exact"),
    [
        (XNOR(), {"conv1": WeightsOnly()}, True),
        (XNOR(), {"conv3": Float()}, False),
        (XNOR(), {"conv2": BWN()}, False),
        (XNOR(), {"fc7": Float(), "fc6": BWN()}, False),
        (XNOR(), {"conv3": ALL["DoReFa"](2, 3)}, True),
        (ALL["DoReFa"](1, 2), {"fc6": XNOR()}, True),
        (XNOR(), {"conv3": XNOR(input_scale="K")}, False),
        (XNOR(), {"fc7": XNOR(input_scale="K"), "fc8": ALL["DoReFa"](1, 2)}, False),
        (BWN(), {"conv2": XNOR(), "fc7": XNOR()}, False),
        (_Turning(), {}, True),
        (_TurningReals(), {}, False),
        (Float(), {}, False),
    ],
)
def test_methods_mix_from_layer_to_layer(binarizer, layers, exact):
    held(unkind(KIND, binarizer=binarizer, layers=layers), KIND, exact=exact)


def test_the_first_and_the_last_layer_may_be_binary():
    table = NETWORKS["binary-to-the-end"]
    graph = held(unkind(table, layers={"conv1": WeightsOnly()}), table, exact=True)
    assert [layer.weights.form for layer in graph.layers] == ["planes"] * 3


@pytest.mark.parametrize("steps", ["norm conv clip", "conv norm pool clip", "norm clip conv"])
@pytest.mark.parametrize("name", ["DoReFa", "BWN"])
def test_a_clip_leads_to_codes_and_to_reals(name, steps):
    table = clipped(steps)
    held(unkind(table, binarizer=ALL[name]()), table, exact=name == "DoReFa")


def clipped(steps):
    blocks = [replace(block, steps=steps) if block.name == "conv3" else block for block in KIND.blocks]
    return replace(KIND, name="clipped", blocks=tuple(blocks))


def test_a_padded_pool_never_takes_its_padding():
    blocks = [replace(b, pool_padding=1, pool=(3, 2)) if b.name in ("conv1", "conv2") else b for b in KIND.blocks]
    for name in ("XNOR", "DoReFa", "BWN"):
        table = replace(KIND, name="padded", blocks=tuple(blocks))
        graph = held(unkind(table, binarizer=ALL[name]()), table, exact=name != "BWN")
        assert graph.layers[0].pool == (3, 2, 1)


@pytest.mark.parametrize(("side", "fits"), [(6, True), (20, False)])
def test_an_average_pool_that_finds_its_extents_does_nothing(side, fits):
    conv1 = Block("conv1", "conv norm", 24, kernel=3, padding=1, binary=False)
    blocks = conv1, Block("conv2", "norm conv", 20, kernel=3, padding=1), Block("fc8", "average flatten linear")
    table = replace(KIND, name="averaged", image_size=side, blocks=blocks)
    model = unkind(table)
    if fits:
        held(model, table, exact=True)
    else:
        with pytest.raises(UserError, match=r"fc8.average cannot be packed: an average pool of 20 x 20 to 6 x 6"):
            pack(model, image_size=side, classes=CLASSES)


def test_non_monotonic_functions_cannot_precede_a_max_pool():
    table = NETWORKS["norm-before-pool"]
    model = unkind(table)
    conv, norm, pool = model.conv2
    model.conv2 = nn.Sequential(conv, norm, nn.PReLU(init=-0.5), pool)
    with pytest.raises(UserError, match="conv2 cannot be packed: what precedes its max pool is not monotonic"):
        pack(model, image_size=table.image_size, classes=CLASSES)


def test_a_turn_between_two_whole_sums_of_reals_is_found():
    """The values are `min(|1000 s - 300|, 250)` of a sum s: 250 at every whole s, and less around 0.3."""
    table = NETWORKS["norm-before-pool"]
    model = unkind(table, binarizer=ALL["BWN"]())
    conv, norm, pool = model.conv2
    with torch.no_grad():
        scale = conv.binarizer.weight_codes(conv.weight).scale.flatten()
        norm.weight.copy_(1000 / scale * (norm.running_var + norm.eps).sqrt())
        norm.running_mean.zero_()
        norm.bias.fill_(-300)
        conv.bias.zero_()
    model.conv2 = nn.Sequential(conv, norm, nn.PReLU(init=-1.0), nn.Hardtanh(0.0, 250.0), pool)
    with pytest.raises(UserError, match="conv2 cannot be packed: what precedes its max pool is not monotonic"):
        pack(model, image_size=table.image_size, classes=CLASSES)


def test_codes_of_reals_that_fall_and_rise_are_refused_by_name():
    model = unkind(KIND, binarizer=ALL["DoReFa"](), layers={"conv3": _TurningReals()})
    with pytest.raises(UserError, match="conv3 cannot be packed: what follows it makes its codes rise and fall"):
        pack(model, image_size=KIND.image_size, classes=CLASSES)


@pytest.mark.parametrize("name", ["pool-before-norm", "norm-behind-flatten", "norm-before-pool"])
@pytest.mark.parametrize("binarizer", [ALL["BinaryDuo"]("decoupled"), ALL["ReActNet"](shortcut=False)], ids=repr)
def test_copied_channels_count_as_channels_of_the_layer(name, binarizer):
    table = decoupled(NETWORKS[name])
    model = unkind(table, binarizer=binarizer)
    graph = held(model, table, exact=True)
    assert graph.layers[0].outputs == 2 * len(model.conv1.conv.weight)


# --- hooks of a method of one's own -----------------------------------------------------------------------------------
def with_hooks(method, **hooks):
    """A method, some of whose hooks are replaced."""
    kind = type(method)
    return type(f"_{kind.__name__}", (kind,), {name: lambda _, x, hook=hook: hook(x) for name, hook in hooks.items()})()


def network_of(first, binarizer, last="Float"):
    """A first layer, two of one method, which end in codes and in reals, and a last one."""
    torch.manual_seed(0)
    net = nn.Sequential(
        BinaryConv2d(3, 8, 3, binarizer=first),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 8, 3, binarizer=binarizer),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 8, 1, binarizer=binarizer),
        nn.Flatten(),
        BinaryLinear(8 * 3 * 3, 2, binarizer=last),
    )
    for layer in net:
        if getattr(layer, "bias", None) is not None:
            nn.init.uniform_(layer.bias, -3, 3)
    return net.eval()


@pytest.mark.parametrize("name", ["BNN", "XNOR", "DoReFa", "AdaBin", "BiReal"])
@pytest.mark.parametrize("first", ["Float", "BWN"])
def test_the_bias_is_the_one_that_the_method_makes_of_it(first, name):
    first, binarizer = (with_hooks(ALL[each](), bias=torch.round) for each in (first, name))
    net = network_of(WeightsOnly(first), binarizer, with_hooks(Float(), bias=torch.round))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 7, 3), np.uint8)
    found = PackedNetwork(*pack(net, image_size=7, classes=["a", "b"], mean=[125] * 3, std=[60] * 3))(pixels)
    with torch.no_grad():
        expected = net((to_torch(pixels).float() - 125) / 60).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "output",
    [lambda y: y.clamp(-3, 3), lambda y: (2 * y).round() / 2, lambda y: y - y.mean(0), lambda y: y + 1e-3],
    ids=["clamp", "round", "centre", "shift"],
)
@pytest.mark.parametrize("name", ["BNN", "AdaBin"])
def test_a_method_that_changes_its_layers_result_is_refused_by_name(name, output):
    net = network_of(Float(), with_hooks(ALL[name](), output=output))
    said = f"^2 cannot be packed: _{name}.output changes the layer's result, .*_{name}.post_layer, such as"
    with pytest.raises(UserError, match=said):
        pack(net, image_size=7, classes=["a", "b"], mean=[125] * 3, std=[60] * 3)
    refused = network_of(WeightsOnly(with_hooks(ALL["BWN"](), output=output)), "BNN")
    with pytest.raises(UserError, match=r"^0 cannot be packed: WeightsOnly.output changes the layer's result"):
        pack(refused, image_size=7, classes=["a", "b"], mean=[125] * 3, std=[60] * 3)
