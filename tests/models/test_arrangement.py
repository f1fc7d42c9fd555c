"""Reordered blocks, or blocks with a non-linearity, equal hand-written tables."""

import pytest
import torch

from xnorlit.binarize.float import Float
from xnorlit.binarize.straight_through import sign
from xnorlit.binarize.xnor import XNOR
from xnorlit.export.pack import pack
from xnorlit.models import build, network_named, summarize

SMALL = "alexnet-small"


def steps(name):
    return [block.steps for block in network_named(name).blocks]


def test_a_non_linearity_stands_behind_each_binary_layer_and_before_its_pool():
    assert steps(f"{SMALL}-relu") == [
        "conv norm relu pool", "norm conv relu pool", "norm conv relu", "norm conv relu", "norm conv relu pool",
        "flatten norm linear relu", "norm linear relu", "norm relu linear",
    ]  # fmt: skip


def test_with_the_layer_first_each_norm_stands_behind_the_layer_and_before_the_pool():
    assert steps(f"{SMALL}-cbap-prelu") == [
        "conv norm pool", "conv prelu norm pool", "conv prelu norm", "conv prelu norm", "conv prelu norm pool",
        "flatten linear prelu norm", "linear prelu norm", "relu linear",
    ]  # fmt: skip


def test_moved_and_unmoved_norms_keep_their_epsilon():
    before, after = ([block.eps for block in network_named(name).blocks] for name in (SMALL, f"{SMALL}-cbap"))
    assert before[1:] == [1e-4] * 6 + [1e-5]
    assert after[:7] == [1e-5] + [1e-4] * 5 + [1e-5], "conv1 had one of its own; fc8's went to fc7"


def test_the_largest_sign_is_the_sign_of_the_largest():
    """This is why a pool behind the sign needs no extra step."""
    x = torch.randn(4, 3, 8, 8)
    x[0, 0, :2, :2] = torch.tensor([[-0.0, -1.0], [-2.0, -3.0]])
    pool = torch.nn.MaxPool2d(2)
    assert torch.equal(pool(sign(x)), sign(pool(x)))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        # alexnet-small has 1,472,650. A PReLU has a slope per output of conv2 to fc7.
        ("relu", 0),
        ("prelu", 96 + 128 + 128 + 96 + 512 + 512),
        # Two numbers per channel: conv2's norm over 48 is gone beside conv1's; fc6's over 96 x 16 is conv5's over 96.
        ("cbap", -2 * 48 - 2 * (96 * 16 - 96)),
    ],
)
def test_parameters_by_hand(name, extra):
    with torch.device("meta"):
        model = build(network_named(f"{SMALL}-{name}"), Float(), classes=10, image_size=32)
    assert summarize(model).parameters == 1_472_650 + extra


@pytest.mark.parametrize("name", ["relu", "prelu", "cbap", "cbap-relu", "cbap-prelu"])
def test_every_arrangement_packs(name):
    model = build(network_named(f"{SMALL}-{name}"), XNOR(), classes=3, image_size=32).eval()
    graph, _ = pack(model, image_size=32, classes=("ant", "bee", "cat"))
    assert graph.network == f"{SMALL}-{name}"


def test_the_twin_has_one_non_linearity_between_two_layers():
    for name, rectified in ((f"{SMALL}-cbap", True), (f"{SMALL}-cbap-relu", False), (f"{SMALL}-prelu", False)):
        model = build(network_named(name), Float(), classes=3, image_size=32)
        assert {layer.binarizer.rectify for block, layer in model.layers() if block in ("conv3", "fc7")} == {rectified}
