"""What a summary counts as packed is what the packed file holds."""

import pytest
import torch

from tests.packed.networks import unkind
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.lsq import LSQ
from xnorlit.binarize.reactnet import ReActNet
from xnorlit.export.pack import pack
from xnorlit.models import Block, Network, build, network_named, summarize

# Channels fill their bytes here; elsewhere the file holds some bits that mean nothing.
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
