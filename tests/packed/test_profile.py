"""A profile has a time for every part of the call; together they do not exceed the time of the call."""

import time

import numpy as np
import pytest

from tests.packed import tiny
from tests.packed.graphs import GRAPHS, classifier, graph, layer, step, tensors_of
from tests.packed.tiny import FLOAT, PIXELS
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.graph import Concat, Sign
from xnorlit.packed.layer import Layer, Window

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)


def profiled(network, threads=1):
    """The profile and the seconds of the whole call."""
    start = time.perf_counter()
    found = network.profile(IMAGES, threads=threads)
    return found, time.perf_counter() - start


@pytest.mark.parametrize("layers", tiny.NETWORKS.values(), ids=tiny.NETWORKS)
def test_each_layer_of_a_chain_has_its_time(layers):
    chain = tiny.graph(layers)
    found, whole = profiled(PackedNetwork(chain, tiny.tensors_of(chain)), threads=2)
    assert list(found) == [layer.name for layer in chain.layers]
    assert min(found.values()) > 0
    assert sum(found.values()) < whole


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_each_layer_of_a_graph_has_its_time_among_the_others(nodes, fuse):
    whole = graph(nodes)
    found, seconds = profiled(PackedNetwork(whole, tensors_of(whole), fuse=fuse))
    assert found.keys() >= {node.name for node in whole.nodes if isinstance(node.op, Layer)}
    assert {name.removesuffix(" border") for name in found} <= {node.name for node in whole.nodes}
    assert min(found.values()) > 0
    assert sum(found.values()) < seconds


def test_signs_with_many_borders_have_a_time_and_bytes_for_each_copy():
    windows = {f"conv{side}": Window((side, side), (1, 1), (side // 2, side // 2)) for side in (1, 3, 5, 7)}
    copies = ["sign border", "sign border 3", "sign border 4"]  # one of the nodes has the second name
    whole = graph(
        (
            layer("stem", "pixels", 8, PIXELS, FLOAT),
            step("sign", Sign(), "stem"),
            *(layer(name, "sign", 8, window=window) for name, window in windows.items()),
            step("sign border 2", Concat(), *windows),
            *classifier("sign border 2"),
        )
    )
    network = PackedNetwork(whole, tensors_of(whole), fuse=False)
    assert set(profiled(network)[0]) == {*(node.name for node in whole.nodes), *copies}
    assert set(network.step_bytes) == set(profiled(network)[0])
    assert sum(network.step_bytes.values()) == network.resident_bytes


def test_no_image_takes_no_time():
    chain = tiny.graph(next(iter(tiny.NETWORKS.values())))
    found = PackedNetwork(chain, tiny.tensors_of(chain)).profile(IMAGES[:0])
    assert set(found.values()) == {0.0}


def test_images_are_checked_as_for_a_call():
    chain = tiny.graph(next(iter(tiny.NETWORKS.values())))
    with pytest.raises(ValueError, match=r"images: expected the shape \[N, 8, 8, 3\], found \[1, 9, 8, 3\]"):
        PackedNetwork(chain, tiny.tensors_of(chain)).profile(np.zeros((1, 9, 8, 3), np.uint8))
