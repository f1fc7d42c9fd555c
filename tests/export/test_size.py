"""The packed size in a summary is the size of the packed file."""

import pytest
import torch

from tests.packed.networks import unkind
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.float import Float
from xnorlit.binarize.lsq import LSQ
from xnorlit.binarize.reactnet import ReActNet
from xnorlit.export.pack import pack
from xnorlit.layers import BinaryLayer
from xnorlit.models import Block, Network, build, create, network_named, summarize

# Here channels fill whole bytes; otherwise the file contains padding bits.
CONV1 = Block("conv1", "conv norm relu pool", 24, kernel=3, binary=False)
TABLES = {
    "alexnet-small": network_named("alexnet-small"),
    "binary to the end": Network(
        "ends", 8, "made up", (CONV1, Block("fc6", "norm flatten linear", 64), Block("fc8", "norm linear"))
    ),
    "a norm behind a ReLU": Network(
        "bent",
        8,
        "made up",
        (CONV1, Block("fc6", "norm flatten linear relu", 40), Block("fc8", "norm linear", binary=False)),
    ),
}


def held(model, image_size):
    """Bits of each layer's tensors in the packed file, by name."""
    _, tensors = pack(model, image_size=image_size, classes=[str(label) for label in range(16)])
    names = [name for name, _ in model.layers()]
    return {name: 8 * sum(v.nbytes for key, v in tensors.items() if key.startswith(f"{name}.")) for name in names}


@pytest.mark.parametrize("name", TABLES)
def test_the_summary_counts_what_the_file_holds(name):
    model = unkind(TABLES[name], classes=16)
    counted = {layer.name: layer.packed_bits for layer in summarize(model).layers}
    assert counted == held(model, TABLES[name].image_size)


@pytest.mark.parametrize("binarizer", [DoReFa(1, 2, 32), LSQ(), BWN(), ReActNet(shortcut=False)], ids=repr)
def test_it_does_so_for_codes_of_more_bits_real_inputs_and_slopes(binarizer):
    model = build(network_named("alexnet-small"), binarizer, classes=16, image_size=32)
    model.train()(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))  # LSQ's steps start by a first batch.
    counted = {layer.name: layer.packed_bits for layer in summarize(model).layers}
    assert counted == held(model, 32)


@pytest.mark.parametrize(
    ("name", "binarizer"), [("resnet20", "IRNet"), ("resnet20", "ReActNet"), ("resnet20", "AdaBin")]
)
def test_the_file_of_a_network_with_shortcuts_holds_what_the_summary_counts_and_its_thresholds(name, binarizer):
    model = create(name, binarizer=binarizer, classes=16).eval()
    _, tensors = pack(model, image_size=32, classes=[str(label) for label in range(16)])
    held: dict[str, int] = {}
    for key, values in tensors.items():
        part = key.rpartition(".")[2]
        held[part] = held.get(part, 0) + values.nbytes
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer | torch.nn.Linear)]
    biases = sum(4 * layer.bias.numel() for layer in layers if layer.bias is not None)
    # Learned shifts, centres and distances of inputs are part of the thresholds and of the tables.
    folded = sum(4 * p.numel() for layer in layers for p in getattr(layer, "binarizer", Float()).parameters())
    made = ("threshold", "flip", "scale0", "shift0", "sum_scale", "window_scale", "constant")
    counted = summarize(model).packed_bits // 8
    assert sum(held.values()) == counted + sum(held.get(part, 0) for part in made) - biases - folded
    codes = sum(layer.weight_bits * layer.weights for layer in summarize(model).layers)
    assert 8 * held["weight"] == codes
