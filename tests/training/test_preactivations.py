"""Preactivation histograms: hand-counted values, over several batches, only for layers with few-bit inputs."""

import pytest
import torch

from xnorlit.binarize.adabin import AdaBin
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.reactnet import ReActNet
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.models import Block, Network, build
from xnorlit.training.preactivations import preactivations

BLOCKS = (Block("conv1", "conv relu", 2, kernel=1, binary=False), Block("fc2", "flatten norm linear"))


@pytest.fixture
def network():
    """Hands pixels 0 and 1 of the red channel, minus a shift, to a binary layer of two inputs."""
    model = build(Network("tiny", 1, "ours", BLOCKS), XNOR(), classes=2, image_size=1, mean=(0,) * 3, std=(1,) * 3)
    with torch.no_grad():
        model.conv1.conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).view(2, 3, 1, 1))
        model.fc2.norm.running_mean.copy_(torch.tensor([2.0, 2.0]))
        model.fc2.norm.eps = 0.0
    return model


def images(*pixels):
    return torch.tensor(pixels, dtype=torch.uint8).view(-1, 3, 1, 1)


def test_values_by_hand(network):
    # Less 2: -2, 0, 1, 9 in the first feature, -1, -2, -1, -1.
    batches = [images((0, 1, 0), (2, 0, 0)), images((3, 1, 0), (11, 1, 0))]
    found = preactivations(network, batches, limit=2, bins=4)
    assert list(found) == ["fc2"]
    fc2 = found["fc2"]
    assert fc2.edges.tolist() == [-2, -1, 0, 1, 2]
    assert fc2.counts.tolist() == [[1, 0, 1, 2], [1, 3, 0, 0]], "the lower edge belongs to a bin, 9 to the last"
    assert fc2.positive.tolist() == [0.75, 0]
    assert fc2.beyond.tolist() == [0.5, 0.25], "1 itself lets the gradient pass"
    assert fc2.dead.tolist() == [False, True]
    assert (fc2.most_one_sided, fc2.most_even) == (1, 0)
    assert not network.fc2.linear._forward_pre_hooks


@pytest.mark.parametrize(
    ("binarizer", "threshold"), [(ReActNet(), "shift"), (AdaBin(), "centre")], ids=["ReActNet", "AdaBin"]
)
def test_a_learned_threshold_decides_the_sign(network, binarizer, threshold):
    # Less 2: -2, 0, 1, 9 in the first feature, -1, -2, -1, -1.
    pixels = images((0, 1, 0), (2, 0, 0), (3, 1, 0), (11, 1, 0))
    network.fc2.linear.bind(binarizer)
    values = getattr(network.fc2.linear.binarizer, threshold)
    with torch.no_grad():
        values.fill_(1.5 if threshold == "shift" else -1.5)  # ReActNet adds the shift, AdaBin subtracts the centre.
    found = preactivations(network, [pixels[:2], pixels[2:]])["fc2"]
    assert found.positive.tolist() == [0.75, 0.75]
    assert found.dead.tolist() == [False, False]
    assert (found.most_one_sided, found.most_even) == (0, 0)
    with torch.no_grad():
        values.mul_(100)
    found = preactivations(network, [pixels[:2], pixels[2:]])["fc2"]
    assert found.positive.tolist() == [1, 1]
    assert found.dead.tolist() == [True, True]


def test_codes_of_several_bits_may_be_dead_on_either_side_of_zero(network):
    # Less 2: -2 and 9 have the lowest and the highest of four codes, -1 and -2 both the lowest, 1 and 9 the highest.
    network.fc2.linear.bind(DoReFa(1, 2))
    found = preactivations(network, [images((0, 1, 0), (11, 0, 0))])["fc2"]
    assert (found.dead.tolist(), found.positive.tolist()) == ([False, True], [0.5, 0])
    found = preactivations(network, [images((3, 1, 0)), images((11, 4, 0))])["fc2"]
    assert (found.dead.tolist(), found.positive.tolist()) == ([True, False], [1, 0.5])


def test_no_gradients_are_kept_and_hooks_go_even_if_the_network_fails(network):
    seen = []
    handle = network.conv1.register_forward_hook(lambda *_: seen.append((torch.is_grad_enabled(), network.training)))
    preactivations(network.train(), [images((0, 0, 0))])
    assert seen == [(False, False)]
    handle.remove()
    with pytest.raises(RuntimeError):
        preactivations(network, [torch.zeros(1, 2, 1, 1, dtype=torch.uint8)])
    assert not network.fc2.linear._forward_pre_hooks


def test_a_network_without_few_bit_inputs_is_refused():
    model = build(Network("tiny", 1, "ours", BLOCKS), BWN(), classes=2, image_size=1)
    with pytest.raises(UserError, match="no layer of this network"):
        preactivations(model, [images((0, 0, 0))])


def test_no_image_and_odd_bins_are_refused(network):
    with pytest.raises(UserError, match="no images"):
        preactivations(network, [])
    with pytest.raises(UserError, match="bins is 3 and limit 1"):
        preactivations(network, [images((0, 0, 0))], limit=1, bins=3)
    for bins, limit in ((0, 1), (2, 0)):
        with pytest.raises(UserError, match=f"bins is {bins} and limit {limit}"):
            preactivations(network, [images((0, 0, 0))], limit=limit, bins=bins)
    assert preactivations(network, [images((0, 0, 0))], limit=1, bins=2)["fc2"].counts.tolist() == [[1, 0], [1, 0]]
