"""BinaryDuo's second stage starts with the function of the first, whichever layers are decoupled."""

import pytest
import torch
from torch import nn

from xnorlit.binarize.duo import BinaryDuo
from xnorlit.errors import UserError
from xnorlit.models import Block, Network, build, network_named, summarize
from xnorlit.models.decouple import decouple, decoupled

COUPLED = Network(
    "toy",
    12,
    "made up",
    (
        Block("conv1", "conv pool norm", 6, kernel=3, padding=1, pool=(2, 2), bias=False, binary=False),
        Block("conv2", "conv norm", 8, kernel=3, padding=1),
        Block("fc6", "flatten linear", 16, bias=False),
        Block("fc7", "norm linear relu", 16),
        Block("fc8", "linear", binary=False),
    ),
)


def network(table, stage):
    torch.manual_seed(0)
    return build(table, BinaryDuo(stage), classes=4, image_size=table.image_size).double()


def trained(table, steps=3):
    """A coupled network with trained norms, whose betas spread over all three levels."""
    net = network(table, "coupled")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0.5, 0.3)
    for _ in range(steps):
        net.train()(images(table))
    return net.eval()


def images(table, count=8):
    return torch.randint(256, (count, 3, table.image_size, table.image_size), dtype=torch.uint8)


@pytest.mark.parametrize("table", [COUPLED, network_named("alexnet-small-duo")], ids=lambda table: table.name)
def test_the_decoupled_network_computes_the_coupled_ones_function(table):
    first, second = trained(table), network(decoupled(table), "decoupled")
    second.load_state_dict(decouple(first.state_dict(), table))
    pixels = images(table)
    seen = set()
    hook = first.conv2.conv.register_forward_pre_hook(
        lambda layer, given: seen.update(layer.binarizer.input(given[0]).unique().tolist())
    )
    with torch.no_grad():
        torch.testing.assert_close(second.eval()(pixels), first(pixels), rtol=1e-10, atol=1e-10)
        # In training, too, where norms use the batch's own moments.
        torch.testing.assert_close(second.train()(pixels), first.train()(pixels), rtol=1e-8, atol=1e-8)
    hook.remove()
    assert seen == {0, 0.5, 1}


def test_the_table_doubles_ahead_of_the_norms_that_binary_layers_read():
    steps = {block.name: block.steps for block in decoupled(COUPLED).blocks}
    assert steps == {
        "conv1": "conv pool twice norm",
        "conv2": "conv twice norm",
        "fc6": "flatten linear",
        "fc7": "twice norm linear relu",
        "fc8": "linear",
    }
    assert decoupled(COUPLED).coupled is COUPLED


def test_the_two_halves_diverge_in_training():
    second = network(decoupled(COUPLED), "decoupled")
    second.load_state_dict(decouple(trained(COUPLED).state_dict(), COUPLED))
    halves = second.conv2.conv.weight.chunk(2, dim=1)
    assert torch.equal(*halves)
    optimizer = torch.optim.SGD(second.parameters(), 0.1)
    nn.functional.cross_entropy(second.train()(images(COUPLED)), torch.arange(8) % 4).backward()
    optimizer.step()
    assert not torch.equal(*second.conv2.conv.weight.chunk(2, dim=1))


def test_the_small_decoupled_network_weighs_what_alexnet_small_does():
    weights = {}
    for name in ("alexnet-small", "alexnet-small-duo-decoupled"):
        with torch.device("meta"):
            net = build(network_named(name), BinaryDuo("decoupled"), classes=10, image_size=32)
        weights[name] = summarize(net).binary_weights
    assert weights["alexnet-small-duo-decoupled"] == pytest.approx(weights["alexnet-small"], rel=0.01)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Block("conv2", "norm conv", 8, groups=2), "conv2 has groups"),
        (Block("conv2", "conv", 8), "conv2 has no norm between it and the layer before"),
    ],
)
def test_networks_without_a_decoupled_form_are_refused(block, why):
    first = Block("conv1", "conv relu", 6, kernel=3, binary=False)
    with pytest.raises(UserError, match=f"toy cannot be decoupled: {why}"):
        decoupled(Network("toy", 12, "made up", (first, block, Block("fc8", "flatten linear", binary=False))))


def test_the_state_of_another_network_is_refused():
    with pytest.raises(UserError, match=r"alexnet-duo cannot be decoupled: its state has no conv3\.conv\.weight"):
        decouple(trained(COUPLED).state_dict(), network_named("alexnet-duo"))
