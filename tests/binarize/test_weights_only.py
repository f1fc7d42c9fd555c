"""`WeightsOnly`: everything of a method but what it does to its inputs."""

import pytest
import torch
from torch import nn

from xnorlit.binarize import Binarizer, binarizers
from xnorlit.binarize.base import Codes
from xnorlit.binarize.latent_free import LatentFree
from xnorlit.binarize.weights_only import WeightsOnly
from xnorlit.errors import UserError
from xnorlit.layers import BinaryConv2d, BinaryLinear, attach
from xnorlit.models import Block, Network, build
from xnorlit.training.bop import Bop
from xnorlit.training.groups import grouped

METHODS = {name: kind for name, kind in binarizers().items() if name != "WeightsOnly"}
OWN_GROUPS = {"latent": {"eps": None, "weight_decay": None}, "learned": {"lr": None, "weight_decay": None}}
UNUSED = {
    "AdaBin": {"distance", "centre"},
    "LSQ": {"input_step"},
    "PACT": {"top"},
    "ReActNet": {"shift"},
}
"""What a method learns for its inputs."""

THE_METHODS = {"weight_bits", "gradient_bits", "flips", "cannot_pack_weights", "tends"} | {
    *("weight", "weight_codes", "bias", "output", "post_layer"),
    *("fit", "after_step", "after_bias_step", "on_epoch"),
}
OF_INPUTS = {"input_bits", "signed_input", "two_valued", "shortcut", "input", "input_codes", "rescale"} | {
    *("weight_values", "input_values"),  # of a method whose operands both have two values
}
OWN = {
    *("rectify", "extent", "channels", "for_layer", "setup"),  # The layer says; the method is told, too.
    *("cannot_pack", "exact", "real", "extra_repr"),  # They follow from the others.
}


class _Unlike(Binarizer):
    """Differs from the base in every attribute and every hook."""

    weight_bits, input_bits, gradient_bits = 3, 5, 7
    signed_input = flips = two_valued = shortcut = tends = True
    cannot_pack, cannot_pack_weights = "both", "weights"

    def __init__(self):
        super().__init__()
        self.called = []

    def post_layer(self, outputs):
        return nn.Threshold(outputs, 2)

    def weight(self, weight):
        return weight + 1

    def input(self, x):
        return x + 2

    def rescale(self, y, x, window):
        return y + 3

    def bias(self, bias):
        return bias + 4

    def output(self, y):
        return y + 5

    def weight_codes(self, weight):
        return Codes(weight + 6, weight.new_ones(()))

    def input_codes(self, x):
        return Codes(x + 7, x.new_ones(()))

    def fit(self, weight):
        self.called.append("fit")

    def after_step(self, weight):
        self.called.append("after_step")

    def after_bias_step(self, bias):
        self.called.append("after_bias_step")

    def on_epoch(self, epoch, epochs):
        self.called.append(("on_epoch", epoch, epochs))


def test_each_attribute_and_hook_of_a_binarizer_is_the_methods_or_is_not():
    """A new one belongs into one of the three sets, and into the next test."""
    everything = {name for name in {*vars(Binarizer), *Binarizer.__annotations__} if not name.startswith("_")}
    assert everything == THE_METHODS | OF_INPUTS | OWN
    assert len(everything) == len(THE_METHODS) + len(OF_INPUTS) + len(OWN)


def test_what_a_method_does_to_anything_but_its_inputs_is_forwarded():
    weight, base = torch.zeros(2, 3), Binarizer()
    method = _Unlike().for_layer(weight)
    bound = WeightsOnly(_Unlike()).for_layer(weight, rectify=True, extent=(4, 5), channels=6)
    for name in ("weight_bits", "gradient_bits", "flips", "tends"):
        assert getattr(bound, name) == getattr(method, name) != getattr(base, name), name
    assert bound.cannot_pack == method.cannot_pack_weights == "weights"
    for name in ("weight", "bias", "output"):
        assert torch.equal(getattr(bound, name)(weight), getattr(method, name)(weight)), name
    assert torch.equal(bound.weight_codes(weight).values, weight + 6)
    assert bound.post_layer(8).threshold == 8
    for hook in ("fit", "after_step", "after_bias_step"):
        getattr(bound, hook)(weight)
    bound.on_epoch(1, 9)
    assert bound.method.called == ["fit", "after_step", "after_bias_step", ("on_epoch", 1, 9)]
    assert (bound.method.rectify, bound.method.extent, bound.method.channels) == (True, (4, 5), 6)

    for name in ("input_bits", "signed_input", "two_valued", "shortcut"):
        assert getattr(bound, name) == getattr(base, name) != getattr(method, name), name
    x = torch.tensor([[-1.0, 2.0]])
    assert bound.input(x).tolist() == bound.input_codes(x).values.tolist() == [[0.0, 2.0]]
    assert bound.rescale(x, x, None) is x


@pytest.mark.parametrize("name", METHODS)
def test_only_what_the_weights_use_is_trained(name):
    torch.manual_seed(0)
    layer = BinaryConv2d(4, 6, 3, padding=1, binarizer=WeightsOnly(METHODS[name]()), rectify=True)
    layer(torch.randn(2, 4, 5, 5)).square().sum().backward()
    learned = dict(layer.binarizer.method.named_parameters())
    assert {key for key, value in learned.items() if not value.requires_grad} == UNUSED.get(name, set())
    assert all(value.grad is not None for value in layer.parameters() if value.requires_grad)
    assert learned.keys() == dict(METHODS[name]().for_layer(layer.weight).named_parameters()).keys()


def test_a_layer_may_be_made_without_gradients():
    with torch.no_grad():
        layer = BinaryLinear(4, 3, binarizer=WeightsOnly(METHODS["LSQ"]()))
    assert layer.binarizer.method.weight_step.requires_grad
    assert not layer.binarizer.method.input_step.requires_grad
    with torch.inference_mode():
        made = BinaryLinear(4, 3, binarizer=WeightsOnly(METHODS["LSQ"]()))
        assert made(torch.randn(2, 4)).shape == (2, 3)


PIXELS = Network(
    "pixels",
    12,
    "made up",
    (
        Block("conv1", "conv norm", 8, kernel=3, padding=1, bias=False, binary="weights"),
        Block("conv2", "conv norm pool", 12, kernel=3, padding=1, pool=(2, 2), bias=False),
        Block("fc6", "flatten norm linear", 24),
        Block("fc8", "norm relu linear", binary=False),
    ),
)


def images():
    return torch.randint(0, 256, (16, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def trained(binarizer, make, layers=None):
    """A network whose first layer takes only the weights, after some steps with the groups of training."""
    torch.manual_seed(0)
    net = build(PIXELS, binarizer, layers=layers, classes=4, image_size=12)
    found = [layer for _, layer in net.layers()]
    optimizer = grouped(make, net.parameters(), found, OWN_GROUPS)
    attach(optimizer, net)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images()), torch.arange(16) % 4).backward()
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in METHODS if name != "LatentFree"),
        ("BinaryConnect", {"inference": "real"}),
        ("LowPrecision", {"propagation_bits": 3}),
    ],
)
def test_the_packed_weights_compute_the_evaluation_or_the_layer_says_why_not(name, settings):
    pytest.importorskip("xnorlit.packed._kernels")
    from xnorlit.export.pack import pack
    from xnorlit.packed import PackedNetwork

    layers = {"conv1": WeightsOnly(METHODS[name](**settings))}
    net, _ = trained(METHODS["BNN"](), lambda groups: torch.optim.Adam(groups, 1e-2), layers)
    (why,) = {layer.binarizer.cannot_pack for key, layer in net.layers() if key == "conv1"}
    if why:
        with pytest.raises(UserError, match="conv1 cannot be packed: WeightsOnly: it"):
            pack(net, image_size=12, classes=list("abcd"))
        return
    logits = PackedNetwork(*pack(net, image_size=12, classes=list("abcd")))(images().permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), net.eval()(images()), rtol=1e-4, atol=1e-4)


def test_signs_without_latent_weights_are_flipped_in_the_first_layer_too():
    net, optimizer = trained(LatentFree(), lambda groups: Bop(groups, 1e-3, gamma=0.1, threshold=1e-6))
    torch.manual_seed(0)
    start = build(PIXELS, LatentFree(), classes=4, image_size=12).conv1.conv.weight
    assert (net.conv1.conv.weight.abs() == 1).all()
    assert not torch.equal(net.conv1.conv.weight, start)
    (flipped,) = [group["params"] for group in optimizer.param_groups if group.get("flips")]
    assert any(weight is net.conv1.conv.weight for weight in flipped)
    with torch.no_grad():
        layer, x = net.conv1.conv, torch.randn(2, 3, 12, 12)
        torch.testing.assert_close(layer.train()(x), layer.eval()(x))


def test_a_checkpoint_that_flipped_other_layers_is_refused_in_words():
    _, optimizer = trained(LatentFree(), lambda groups: Bop(groups, gamma=0.1))
    former = optimizer.state_dict()
    *others, flipped = former["param_groups"]
    first, *rest = flipped["params"]
    former["param_groups"] = [*others, {**others[0], "params": [first]}, {**flipped, "params": rest}]
    with pytest.raises(UserError, match="weights of 3 layers of this network, but of 2 in the checkpoint"):
        optimizer.load_state_dict(former)
