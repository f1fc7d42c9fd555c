"""A layer class of one's own packs as what it is registered as, if that computes the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xnorlit as xl
from xnorlit.errors import UserError
from xnorlit.export import registry
from xnorlit.export.nodes import Affine, AveragePool, Concat, GlobalAverage, Shift, Subsample
from xnorlit.export.pack import pack
from xnorlit.export.registry import parts_of, register_node, registered
from xnorlit.packed import PackedNetwork
from xnorlit.packed import graph as packed
from xnorlit.packed.layer import Layer, Window

OPTIONS = {"image_size": 8, "classes": ["a", "b"], "mean": (128,) * 3, "std": (64,) * 3}
SHAPE = (2, 4, 8, 8)


@pytest.fixture(autouse=True)
def free(monkeypatch):
    """What a test registers is forgotten."""
    monkeypatch.setattr(registry, "_REGISTERED", {})


class Own(nn.Module):
    """A layer of one's own with this forward."""

    def __init__(self, forward, *layers):
        super().__init__()
        self.layers, self.given = nn.ModuleList(layers), forward

    def forward(self, x):
        return self.given(self, x)


class Twice(nn.Module):
    def forward(self, x):
        return x * 2


def around(layer, *, shortcut=True):
    """A network whose map, `(4, 8, 8)`, passes through a layer; a graph if it has a shortcut, else a chain."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = xl.Conv2d(3, 4, 1) if shortcut else nn.Conv2d(3, 4, 1)
            # Multiples of 1/64, which any order sums exactly.
            self.stem.weight.data = torch.randint(-8, 9, self.stem.weight.shape) / 16
            self.norm, self.layer = xl.BatchNorm2d(4), layer
            with torch.no_grad():
                features = layer.eval()(torch.zeros(1, *SHAPE[1:])).numel()
            self.last = (xl.Linear if shortcut else nn.Linear)(features, 2)
            self.side = xl.Linear(256, 2)

        def forward(self, x):
            x = self.norm(self.stem(x))
            y = self.last(torch.flatten(self.layer(x), 1))
            return y + self.side(torch.flatten(x, 1)) if shortcut else y

    torch.manual_seed(0)
    return Net().eval()


def held(network, **equal):
    """Pack a network and compare its logits with its evaluation."""
    made = pack(network, **OPTIONS)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    with torch.no_grad():
        expected = network((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 128) / 64).numpy()
    assert np.ptp(expected, axis=0).min() > 0.01, "the images tell nothing"
    np.testing.assert_allclose(PackedNetwork(*made)(pixels), expected, **(equal or {"rtol": 0, "atol": 0}))
    return made


class SignConv(nn.Conv2d):
    """A convolution of signs, with a forward of its own."""

    def forward(self, x):
        signs, weight = (torch.where(values >= 0, 1.0, -1.0) for values in (x, self.weight))
        return F.conv2d(signs, weight, None, self.stride, self.padding)


def as_binary(layer):
    sizes = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
    same = xl.BinaryConv2d(*sizes, bias=False, binarizer="BNN")
    same.weight = layer.weight
    return same


class Doubled(xl.BinaryConv2d):
    def forward(self, x):
        return super().forward(x) * 2


def as_doubled(layer):
    same = xl.BinaryConv2d(4, 4, 3, padding=1, bias=False, binarizer="BNN")
    same.load_state_dict(layer.state_dict())
    return [same, Affine(torch.full((4,), 2.0))]


@pytest.mark.parametrize("shortcut", [True, False], ids=["graph", "chain"])
def test_a_convolution_of_ones_own_packs_as_ours(shortcut):
    network = around(nn.Sequential(SignConv(4, 6, 3, 2, 1, bias=False), xl.BatchNorm2d(6)), shortcut=shortcut)
    with pytest.raises(
        UserError, match=r"^layer\.0\S* cannot be packed: .*; for a layer of your own, register its class "
    ):
        pack(network, **OPTIONS)
    register_node(SignConv, as_binary)
    made = held(network, **({} if shortcut else {"rtol": 1e-5, "atol": 1e-5}))
    assert bool(made.graph.nodes) == shortcut
    found = next(step.op for step in made.graph.steps if step.name == "layer.0")
    assert isinstance(found, Layer)
    assert found.binary, "it counts bits"
    assert found.window == Window((3, 3), (2, 2), (1, 1))
    assert made.weight.layers == 1


def test_a_subclass_of_ours_with_a_forward_of_its_own_packs_as_several_parts():
    network = around(Doubled(4, 4, 3, padding=1, bias=False, binarizer="BNN"))
    with pytest.raises(UserError, match=r"Doubled .* has its own forward, .* its class with xl\.register_node"):
        pack(network, **OPTIONS)
    register_node(Doubled, as_doubled)
    names = [node.name for node in held(network).graph.nodes]
    assert names.index("layer.0") < names.index("layer")


@pytest.mark.parametrize(
    ("layer", "form", "kind"),
    [
        (Own(lambda m, x: x[:, :, ::2, ::2]), lambda _: Subsample(2), packed.Subsample),
        (Own(lambda m, x: F.pad(x, (0, 0, 0, 0, 1, 2))), lambda _: Subsample(1, 1, 2), packed.Subsample),
        (Own(lambda m, x: F.avg_pool2d(x, 2)), lambda _: AveragePool(2, 2), packed.AveragePool),
        (Own(lambda m, x: F.avg_pool2d(x, 2)), lambda _: nn.AvgPool2d(2), packed.AveragePool),
        (Own(lambda m, x: F.max_pool2d(x, 3, 2)), lambda _: nn.MaxPool2d(3, 2), packed.MaxPool),
        (Own(lambda m, x: x.double().mean((2, 3)).float()), lambda _: GlobalAverage(False), packed.GlobalAverage),
        (Own(lambda m, x: x.relu().minimum(torch.tensor(2.0))), lambda _: nn.Hardtanh(0.0, 2.0), packed.Clip),
        (Own(lambda m, x: m.layers[0](x), xl.BatchNorm2d(4)), lambda m: m.layers[0], packed.Affine),
        (Own(lambda m, x: m.layers[0](x), xl.Conv2d(4, 5, 3)), lambda m: nn.Sequential(*m.layers), Layer),
        (
            Own(lambda m, x: m.layers[0](x.flatten(1)), xl.Linear(256, 5)),
            lambda m: [nn.Flatten(), nn.Dropout(), m.layers[0]],
            Layer,
        ),
    ],
)
def test_a_layer_may_be_any_module_that_reads_one_value(layer, form, kind):
    register_node(Own, form)
    made = held(around(layer))
    assert type(next(node.op for node in made.graph.nodes if node.name == "layer")) is kind


def test_a_layer_without_effect_disappears():
    register_node(Own, lambda _: nn.Identity())
    assert not any(node.name.startswith("layer") for node in held(around(Own(lambda m, x: x))).graph.nodes)


def test_a_layer_with_weights_is_called_once_and_others_as_often_as_wanted():
    register_node(Twice, lambda _: Affine(torch.full((4,), 2.0)))
    register_node(SignConv, as_binary)
    twice, conv = Twice(), SignConv(4, 4, 3, padding=1)
    held(around(nn.Sequential(twice, nn.PReLU(4), twice)))
    with pytest.raises(UserError, match=r"layer\.0 cannot be packed: it is called a second time"):
        pack(around(nn.Sequential(conv, nn.PReLU(4), conv)), **OPTIONS)


def test_a_registered_class_is_known_and_its_last_form_counts():
    assert Twice not in registered()
    register_node(Twice, lambda _: Affine(torch.full((4,), 7.0)))
    register_node(Twice, lambda _: [Affine(torch.full((4,), 2.0))])
    assert registered() == (Twice,)
    ((module, given, found),) = parts_of(Twice(), "layer", SHAPE)
    assert type(module) is Affine
    assert given == found == SHAPE


def raising(_):
    raise AttributeError("'Twice' object has no attribute 'factor'.\nMore")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda _: Affine(torch.full((4,), 2.5)), r"Twice differs .* with, by up to [\d.]+\. Write"),
        (lambda _: nn.Flatten(), r"Twice differs .* with in shape\. Write"),
        (
            lambda _: Affine(torch.full((3,), 2.0)),
            r"Twice .* as Affine, which does not accept .* \(4, 8, 8\) \(The size",
        ),
        (lambda _: xl.BinaryConv2d(3, 4, 1, binarizer="BNN"), r"Twice .* as BinaryConv2d, which does not accept"),
        (lambda _: nn.MaxPool2d(1, return_indices=True), r"Twice .* as MaxPool2d, which does not return one tensor"),
        (lambda _: nn.Sigmoid(), r"Twice is registered as Sigmoid\. Expected one or more of Affine, Shift"),
        (lambda _: [Affine(torch.ones(4)), 3], "Twice is registered as int"),
        (lambda _: (), "Twice is registered as nothing"),
        (lambda _: None, "Twice is registered as NoneType"),
        (lambda _: "Affine", "Twice is registered as str"),
        (lambda _: torch.ones(4), "Twice is registered as Tensor"),
        (lambda _: Affine, "Twice is registered as type"),
        (lambda _: Concat(), "Twice is registered as Concat"),
        (lambda layer: layer, "Twice is registered as Twice"),
        (
            raising,
            r"the form .* Twice .* raised AttributeError \('Twice' object has no attribute 'factor'\)\. Correct it",
        ),
        (lambda: 1, r"the form .* Twice .* raised TypeError \("),
        (lambda _: Affine(torch.ones(2, 2)), r"raised UserError \(Affine: the shape is \(2, 2\)"),
        (3, "raised TypeError"),
    ],
)
def test_a_form_has_to_give_modules_that_compute_the_same(form, message):
    register_node(Twice, form)
    with pytest.raises(UserError, match=f"^layer cannot be packed: .*{message}"):
        pack(around(Twice()), **OPTIONS)


@pytest.mark.parametrize(
    ("forward", "form"),
    [
        (lambda m, x: F.conv2d(x.sign(), m.layers[0].weight.sign(), padding=1), lambda m: as_binary(m.layers[0])),
        (lambda m, x: x.clamp(-8, 8), lambda _: Affine(torch.ones(4))),
        (lambda m, x: torch.where(x.abs() > 0.05, x, 0), lambda _: Affine(torch.ones(4))),
    ],
    ids=["at zero", "for large values", "for small values"],
)
def test_a_difference_that_only_some_values_show_is_found(forward, form):
    register_node(Own, form)
    with pytest.raises(UserError, match="Own differs from the modules"):
        parts_of(Own(forward, SignConv(4, 4, 3, padding=1, bias=False)), "layer", SHAPE)


def test_what_a_form_returns_stays_as_it_is():
    kept = nn.Sequential(nn.BatchNorm2d(4).double().train())
    register_node(Own, lambda _: kept)
    parts_of(Own(lambda m, x: m.layers[0](x), nn.BatchNorm2d(4)).eval(), "layer", SHAPE)
    assert kept.training
    assert kept[0].weight.dtype == torch.float64


@pytest.mark.parametrize("wrong", [Twice(), dict, "Twice"])
def test_only_a_module_class_is_registered(wrong):
    with pytest.raises(UserError, match=r"is not a module class\. Give the class of the layer, not a layer"):
        register_node(wrong, lambda _: Shift(torch.zeros(3)))
    assert registered() == ()
