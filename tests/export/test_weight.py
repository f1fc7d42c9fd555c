"""The size of few-bit layers counts everything that the file holds for them, and nothing else."""

import pytest

from tests.packed.graphs import GRAPHS
from tests.packed.graphs import graph as graph_of
from tests.packed.graphs import tensors_of as tensors_of_graph
from tests.packed.tiny import NETWORKS, graph, tensors_of
from xnorlit.export.pack import Packed
from xnorlit.export.weight import Weight, weigh


def test_layers_of_bits_by_hand():
    """conv2 reads 12 channels and has 40 filters of 3 x 3; conv3 two groups of 20; the linear ones flatten a map."""
    given = graph(NETWORKS["signs"], classes=5)
    tensors = tensors_of(given)
    found = weigh(given, tensors)
    held = sum(values.nbytes for name, values in tensors.items() if not name.startswith("conv1."))
    # 8 x 8 pixels; conv1 has a stride of 2, conv2 a pool of 2 x 2 with a stride of 1.
    weights = 40 * 9 * 12 + 36 * 9 * 20 + 33 * 3 * 3 * 36 + 5 * 33
    assert found == Weight(4, "binary", held, 4 * weights)
    assert found.ratio == 4 * weights / held


@pytest.mark.parametrize(
    ("name", "layers", "kind"), [("codes", 3, "few-bit"), ("int8", 1, "binary"), ("reals", 3, "few-bit")]
)
def test_a_layer_of_more_bits_makes_the_network_one_of_few_bits(name, layers, kind):
    given = graph(NETWORKS[name], classes=5)
    found = weigh(given, tensors_of(given))
    assert (found.layers, found.kind) == (layers, kind)


def test_nodes_other_than_layers_weigh_nothing():
    given = graph_of(GRAPHS["residual"])
    found = weigh(given, tensors_of_graph(given))
    assert (found.layers, found.float32) == (2, 4 * (36 * 9 * 36 + 70 * 9 * 36))


@pytest.mark.parametrize(
    ("name", "said"),
    [("signs", "its 4 binary layers "), ("int8", "its 1 binary layer "), ("codes", "its 3 few-bit layers ")],
)
def test_a_packed_network_says_its_size_in_mib(name, said):
    given = graph(NETWORKS[name], classes=5)
    packed = Packed(given, tensors_of(given))
    few = packed.weight
    assert packed.bytes == len(packed.content)
    assert str(packed) == (
        f"{packed.bytes / 2**20:.3g} MiB; {said}{few.packed / 2**20:.3g} MiB, {few.float32 / few.packed:.1f} times "
        f"smaller than in fp32 ({few.float32 / 2**20:.3g} MiB)"
    )
    assert repr(packed) == f"<Packed tiny: {packed}>"
