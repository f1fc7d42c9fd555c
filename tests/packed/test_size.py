"""What a summary counts as packed is what the packed file holds."""

import pytest

from tests.packed.networks import unkind
from xnorlit.models import Block, Network, network_named, summarize
from xnorlit.packed.export import pack

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


@pytest.mark.parametrize("name", TABLES)
def test_the_summary_counts_what_the_file_holds(name):
    table = TABLES[name]
    model = unkind(table, classes=16)
    _, tensors = pack(model, image_size=table.image_size, classes=[str(label) for label in range(16)])
    for layer in summarize(model).layers:
        held = {key: values for key, values in tensors.items() if key.startswith(f"{layer.name}.")}
        if layer.name == "fc8" and layer.weight_bits == 32:
            assert (held.pop("fc8.scale0") == 1).all()  # The engine's last layer could scale; a float one does not.
        assert 8 * sum(values.nbytes for values in held.values()) == layer.packed_bits, layer.name
