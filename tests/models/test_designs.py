"""Networks written as modules: hand-computed counts, the forward of the published code, and float twins."""

import copy
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import xnorlit as xl
from tests.models.narrow import narrow
from tests.models.references import REFERENCES
from tests.models.tables import DESIGNS
from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLayer
from xnorlit.models import Design, build, network_named, networks, summarize
from xnorlit.models.quicknet import QuickUnit

# The smallest that leave something to pool.
SIZES = {name: 64 if "quicknet" in name else 32 for name in DESIGNS}


def stirred(net):
    """Randomise all weights, norms and other numbers."""
    torch.manual_seed(1)
    with torch.no_grad():
        for key, values in net.state_dict().items():
            if key.endswith("running_var"):
                values.uniform_(0.5, 2)
            elif values.is_floating_point() and values.ndim <= 1:
                values.add_(0.2 * torch.randn_like(values))
                if key.endswith("weight"):  # a norm that turns some channels around does not commute with a max pool
                    values[torch.rand(values.shape) < 0.25] *= -1
    return net


def on_meta(name, binarizer, classes=10, size=None):
    network = network_named(name)
    with torch.device("meta"):
        return build(network, binarizer, classes=classes, image_size=size or network.image_size)


@pytest.mark.parametrize("name", DESIGNS)
def test_counts_by_hand(name):
    classes, *expected = DESIGNS[name]
    summary = summarize(on_meta(name, xl.ReActNet() if "react" in name else xl.BiReal(), classes))
    few = sum(layer.few_bit_macs for layer in summary.layers)
    assert [
        summary.parameters,
        summary.binary_weights,
        sum(layer.weight_bits == 1 for layer in summary.layers),
        few,
        sum(layer.macs for layer in summary.layers) - few,
        summary.packed_bits // 8,
    ] == expected


@pytest.mark.parametrize(("size", "published"), [("small", 12_655_688), ("medium", 13_234_088), ("large", 23_342_248)])
def test_larqs_published_counts_of_quicknets(size, published):
    """larq counts the fixed blurs, and the moving statistics of the one norm without parameters."""
    net = on_meta(f"quicknet-{size}", xl.BNN(), 1000)
    fixed = {key: each.numel() for key, each in net.named_buffers() if "blur" in key or "depthwise_norm.r" in key}
    assert summarize(net).parameters + sum(fixed.values()) == published
    megabytes = {"small": 4.00, "medium": 4.17, "large": 5.40}[size]
    assert round((summarize(net).packed_bits / 8 + 4 * sum(fixed.values())) / 2**20, 2) == megabytes


def test_every_network_written_as_a_module_has_a_published_forward():
    assert REFERENCES.keys() >= {name for name, each in networks().items() if isinstance(each, Design)}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_forward_is_that_of_the_published_code(name, monkeypatch):
    narrow(monkeypatch)
    binarizer, reference = REFERENCES[name]
    size = SIZES.get(name, 32)
    net = stirred(xl.create(name, binarizer=binarizer, classes=7, image_size=size)).double().eval()
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        logits = reference(net.state_dict(), images)
        assert logits.std(0).mean() > 0.01, "the images tell nothing"
        assert torch.allclose(net(images), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_twin_starts_alike_and_no_two_of_its_layers_are_linear(name):
    def made(binarizer):
        torch.manual_seed(3)
        return xl.create(name, binarizer=binarizer, classes=4, image_size=SIZES[name])

    float_twin, binary = made("Float").state_dict(), made("BiReal").state_dict()
    assert float_twin.keys() == binary.keys()
    assert all(torch.equal(values, binary[key]) for key, values in float_twin.items())
    twin = made("Float")
    bent = [part for part in twin.modules() if isinstance(part, torch.nn.Hardtanh | RPReLU | QuickUnit)]
    rectified = [layer for _, layer in twin.layers() if layer.binarizer.rectify]
    # The layer behind the stem reads linear values, unless the stem ends in an activation.
    assert len(rectified) in ((0, 1) if bent else (len(list(twin.layers())),))


@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "quicknet-large"])
def test_a_step_trains_every_parameter(name):
    size = SIZES[name]
    net = xl.create(name, binarizer="ReActNet" if "react" in name else "XNOR", classes=4, image_size=size).train()
    net(torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)).square().sum().backward()
    assert [key for key, each in net.named_parameters() if each.grad is None] == []


def test_no_sign_is_dead():
    """Both signs occur in the input of each layer whose input is signs."""
    for name in ("resnet18-xnor", "resnet18-bireal", "resnet20", "resnet18-cifar"):
        net = xl.create(name, binarizer="XNOR", classes=4, image_size=64).train()
        seen = {}
        for layer_name, layer in net.layers():
            layer.register_forward_pre_hook(
                lambda _, x, name=layer_name, seen=seen: seen.update({name: (x[0] >= 0).float().mean()})
            )
        net(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
        assert all(0 < share < 1 for share in seen.values()), (name, seen)


@pytest.mark.parametrize(("binarizer", "kind", "count"), [("ReActNet", RPReLU, 19), ("AdaBin", Maxout, 19)])
def test_the_module_that_a_binarizer_adds_replaces_the_activation(binarizer, kind, count):
    net = xl.create("resnet20", binarizer=binarizer, classes=4)
    found = [part for part in net.modules() if isinstance(part, kind)]
    assert len(found) == len(set(found)) == count  # one behind the stem
    assert not any(isinstance(part, torch.nn.Hardtanh) for part in net.modules())
    assert not any(layer.shortcut or layer.post_layer for _, layer in net.layers())


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(
    ("name", "binarizer", "kept"),
    [
        ("alexnet-small", xl.ReActNet(), 0.0),  # a table
        ("vgg-small", xl.ReActNet(), 0.0),
        ("resnet20", xl.ReActNet(), 0.0),
        ("resnet18-reactnet", xl.ReActNet(), 0.0),
        ("resnet18-reactnet", xl.XNOR(), -0.5),  # the network's own
        ("vgg-small", xl.ReActNet(keep_slopes_positive=False), -0.5),
    ],
)
def test_a_step_keeps_all_slopes_of_a_binarizer_positive_wherever_they_stand(name, binarizer, kept, copied):
    net = xl.create(name, binarizer=binarizer, classes=4, image_size=32)
    net = copy.deepcopy(net) if copied else net
    slopes = [part.slope for part in net.modules() if isinstance(part, RPReLU)]
    for slope in slopes:
        torch.nn.init.constant_(slope, -0.5)
        slope.grad = torch.zeros_like(slope)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    xl.attach(optimizer, net)
    optimizer.step()
    assert {number for slope in slopes for number in slope.unique().tolist()} == {kept}


def test_layers_are_named_and_overridden_by_pattern():
    net = xl.create("resnet20", binarizer="BiReal", classes=4, layers={"unit1.*": "Float", "unit18.conv": "BWN"})
    kinds = {name: type(layer.binarizer).__name__ for name, layer in net.layers()}
    assert list(kinds) == [f"unit{number}.conv" for number in range(1, 19)]
    assert kinds == dict.fromkeys(kinds, "BiReal") | {"unit1.conv": "Float", "unit18.conv": "BWN"}
    with pytest.raises(UserError, match=r"no layer of resnet20 matches 'unit19\.conv'\. Did you mean unit1"):
        xl.create("resnet20", binarizer="BiReal", classes=4, layers={"unit19.conv": "Float"})


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet20-recu", 33, r"through unit7 \(.*\)\. Give images of 32 or 36 pixels \(.*designed for 32\."),
        ("resnet18-bireal", 33, r"through unit5 \(.*\)\. Give images of 32 or 45 pixels \(.*designed for 224\."),
        ("vgg-small", 200, r"through fc \(.*\)\. Give images of 32 pixels"),
        ("quicknet-small", 1, r"through transition1\.pool \(.*too small\)\. Give images of 29 pixels"),
    ],
)
def test_images_that_do_not_fit_are_refused_by_the_module_and_the_nearest_sizes_that_do(name, size, message):
    with pytest.raises(UserError, match=f"^{name} does not take images of {size} pixels: .* {message}"):
        xl.create(name, binarizer="BiReal", classes=4, image_size=size)
    for fits in map(int, message.partition("images of ")[2].partition(" pixels")[0].split(" or ")):
        on_meta(name, xl.BiReal(), size=fits)


def test_a_rank_one_scale_knows_its_layers_extent():
    net = xl.create("resnet20", binarizer=xl.XNORPlusPlus(scale="rank-1"), classes=4)
    assert {layer.binarizer.extent for _, layer in net.layers()} == {(32, 32), (16, 16), (8, 8)}


def test_every_layer_is_one_of_ours_or_real():
    for name in DESIGNS:
        net = on_meta(name, xl.BiReal())
        held = [part for part in net.modules() if isinstance(part, BinaryLayer)]
        assert [layer for _, layer in net.layers()] == held
        assert all(layer.binarizer.weight_bits == 1 for layer in held)


class Precisions(TorchDispatchMode):
    """Count convolutions by the dtype of their input."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "convolution" in str(func):
            self.found[args[0].dtype] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("binarizer", "expected"),
    [("Float", {torch.float32: 18, torch.float64: 1}), ("BWN", {torch.float64: 19})],
)
def test_only_a_network_with_few_bits_evaluates_its_layers_in_fp64(binarizer, expected):
    net = xl.create("resnet20", binarizer=binarizer, classes=3).eval()
    with torch.no_grad(), Precisions() as precisions:
        net(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    assert precisions.found == expected
