"""Weights, steps and metadata of a packed graph, as every format gets them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.packed.graphs import GRAPHS
from tests.packed.graphs import graph as graph_of
from tests.packed.tiny import NETWORKS, graph
from xnorlit.errors import UserError
from xnorlit.export.lower import _each, _Value, _Walk, metadata, planes_of, weight_of
from xnorlit.packed.layer import Map, Weights


def test_a_format_says_where_its_network_comes_from_and_how_pictures_are_prepared():
    given = replace(graph(NETWORKS["signs"], classes=2), crop=0.875, squash=True, mean=(1.0, 2.5, 3.0))
    assert metadata(given) == {
        "network": "tiny",
        "source": given.source.words,
        "classes": "class 0\nclass 1",
        "crop": "0.875",
        "squash": "true",
        "mean": "1.0 2.5 3.0",
        "std": "64.0 64.0 64.0",
    }
    assert metadata(replace(given, squash=False))["squash"] == "false"


@pytest.mark.parametrize(("factors", "divisor"), [((1,), 1), ((1, 2), 1), ((1, 1), 2), ((1, 2, -1), 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_weights_are_what_their_planes_add_up_to(factors, divisor, groups):
    layer = replace(NETWORKS["signs"][2], weights=Weights("planes", factors, divisor), groups=groups)
    channels = 22 // groups  # not a multiple of eight
    bits = np.random.default_rng(0).integers(0, 2, (len(factors), 3, 2, 2, channels)).astype(bool)
    planes = planes_of(layer, np.packbits(bits, axis=-1, bitorder="little"), Map(4, 4, 22))
    np.testing.assert_array_equal(planes, bits)
    expected = sum(f * (2.0 * plane - 1) for f, plane in zip(factors, bits, strict=True)) / divisor
    np.testing.assert_array_equal(weight_of(layer, planes), expected)


def test_numbers_of_places_are_turned_for_the_runtimes():
    values = np.arange(24).reshape(2, 3, 4)
    assert _each(values).shape == (4, 2, 3)
    assert _each(values)[1, 0, 2] == values[0, 2, 1]
    assert _each(values).flags.c_contiguous
    assert _each(values[0, 0]).tolist() == [0, 1, 2, 3]


def test_an_operation_that_no_format_knows_is_named():
    class Odd:
        """Of a later version."""

    given = graph_of(GRAPHS["residual"])
    walk = _Walk(given, {}, SimpleNamespace(named=lambda x, name: x))
    walk._values["stem"] = _Value("x", given.flows()["stem"].map)
    with pytest.raises(UserError, match=r"^norm cannot be exported: the exporter does not know Odd"):
        walk._other(replace(given.nodes[1], op=Odd()))
