"""The bench's opponents run the package's own float twin, with nothing added."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.tables import DESIGNS
from xnorlit.bench.subject import GraphTwin, layers_of, named_twin, of_file, pixels, twin_of
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.export.pack import pack
from xnorlit.layers import BatchNorm2d, BinaryConv2d, BinaryLayer, Conv2d, Linear
from xnorlit.models import create
from xnorlit.packed.graph import Graph
from xnorlit.packed.trained import located


def graph_of(name, size):
    classes = tuple(map(str, range(10)))
    return Graph(name, size, (127.5,) * 3, (127.5,) * 3, crop=1.0, squash=False, classes=classes)


def images(size):
    return torch.from_numpy(np.ascontiguousarray(pixels(2, size).transpose(0, 3, 1, 2)))


def relus(network):
    return sum(isinstance(module, nn.ReLU) for module in network.modules())


def count(modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@torch.no_grad()
def folding(network, given):
    """The norms that read what a convolution without bias gives, by running the network."""
    sums, found = {}, []

    def look(module, inputs, y):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if id(inputs[0]) in sums:
                found.append(module)
        elif isinstance(module, BinaryLayer | nn.Conv2d):
            assert module.bias is None
            sums[id(y)] = y  # which keeps the tensor, and so its identity

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    network(given)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", DESIGNS)
def test_the_twin_of_a_named_network_has_the_relus_and_parameters_of_its_float_network(name):
    """But for folded norms: a scale and a shift per channel, if learned, become a bias."""
    size = 64 if "quicknet" in name else 32
    graph = graph_of(name, size)
    twin, network = twin_of(graph), named_twin(graph)
    rectified = sum(layer.binarizer.rectify for _, layer in network.layers())
    assert relus(twin) == relus(network) + rectified
    norms = folding(network, images(size))
    biases = sum(norm.num_features for norm in norms)
    assert norms
    assert count([twin]) == count([network]) - count(norms) + biases


@pytest.mark.parametrize("name", DESIGNS)
def test_its_values_are_of_a_size_that_costs_no_time(name):
    """Denormal numbers would slow the opponents down."""
    size = 64 if "quicknet" in name else 32
    twin, smallest = twin_of(graph_of(name, size)), []

    def look(module, inputs, y):
        assert torch.isfinite(y).all()
        magnitudes = y.abs()[y != 0]
        smallest.append(magnitudes.quantile(0.01) if magnitudes.numel() < 1e6 else magnitudes.median())

    for module in twin.modules():
        if not list(module.children()):
            module.register_forward_hook(look)
    with torch.no_grad():
        twin(images(size))
    assert min(smallest) > 1e-20


class Shortcut(nn.Module):
    """A user's network with a shortcut and an activation in front of its second sign."""

    def __init__(self):
        super().__init__()
        self.stem = Conv2d(3, 8, 3, padding=1)
        self.conv1, self.conv2 = (BinaryConv2d(8, 8, 3, padding=1, bias=False, binarizer="XNOR") for _ in range(2))
        self.norm = BatchNorm2d(8)
        self.fc = Linear(8, 2)

    def forward(self, x):
        x = self.stem(x)
        x = x + nn.functional.hardtanh(self.norm(self.conv1(x)))
        return self.fc((x + self.conv2(x)).mean((2, 3)))


def test_a_network_without_a_name_is_stood_for_by_its_operations():
    graph, _ = pack(Shortcut().eval(), image_size=8, classes=["ant", "bee"], mean=[127] * 3, std=[64] * 3)
    twin = twin_of(graph)
    assert isinstance(twin, GraphTwin)
    assert relus(twin) == 2  # one for each sign
    assert sum(isinstance(module, nn.Conv2d) for module in twin.modules()) == 3
    assert twin(images(8)).shape == (2, 2)


@pytest.mark.parametrize(
    ("binarizer", "both"),
    [("XNOR", True), ("BNN", True), ("BWN", False), ("ReActNet", False), (DoReFa(1, 2, 32), False)],
)
def test_a_file_is_measured_with_other_ends_only_if_they_leave_its_computation(binarizer, both, tmp_path):
    model, file = create("alexnet-small", binarizer=binarizer, classes=3), tmp_path / "a.safetensors"
    pack(model, file, image_size=32, classes=list("abc"))
    subject = of_file(file)
    assert list(subject.packed) == (["float", "int8"] if both else ["float"])
    assert ("with float ends alone: its method is not XNOR" in subject.weights) is not both
    few = [{layer.operand for layer, _ in layers_of(graph) if layer.binary} for graph, _ in subject.packed.values()]
    assert all(each == few[0] for each in few)


def test_a_file_of_a_trained_network_has_both_kinds_of_ends():
    subject = of_file(located("cifar10-best"))
    assert list(subject.packed) == ["float", "int8"]
    assert subject.graph.source.weights == "trained"
