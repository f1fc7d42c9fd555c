"""Format version 3: a graph reads back; a mistake is refused by the name of its field."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.packed import tiny
from tests.packed.graphs import GRAPHS, graph, layer, step, tensors_of
from tests.packed.test_file import at
from xnorlit.edge.fields import FieldError
from xnorlit.packed import PackedNetwork, _kernels
from xnorlit.packed.document import check, document, parse, written
from xnorlit.packed.graph import Add, Affine, Flatten, GlobalAverage, MaxPool, Sign, Subsample


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_written_values_read_back(nodes):
    whole = graph(nodes)
    assert document(whole)["version"] == 3
    check(whole, tensors_of(whole))
    assert parse(json.loads(written(whole))) == whole


def test_a_chain_is_written_as_version_2_without_the_fields_of_graphs():
    whole = tiny.graph(tiny.NETWORKS["signs"])
    written = document(whole)
    assert (written["version"], "nodes" in written) == (2, False)
    assert set(written["layers"][0]) == {"name", "outputs", "window", "groups", "pool", "operand", "weights", "ending"}


def test_the_layers_of_a_chain_are_nodes_that_read_the_one_before():
    steps = tiny.graph(tiny.NETWORKS["signs"]).steps
    assert [node.inputs for node in steps] == [("pixels",), ("conv1",), ("conv2",), ("conv3",), ("fc6",)]


def refusal(whole, place=None, value=None, tensors=None):
    found = copy.deepcopy(document(whole))
    if place:
        at(found, place, value)
    with pytest.raises(FieldError) as caught:
        _kernels.Plan(json.dumps(found), tensors_of(whole) if tensors is None else tensors)
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("version", 2, "layers: missing"),
        ("nodes", [], "nodes: expected a list of 1 to 4096"),
        ("nodes", [None] * 5000, "nodes: expected a list of 1 to 4096"),
        ("nodes.1.name", "stem", "nodes[1].name: 'stem' is the name of nodes[0] too"),
        ("nodes.1.name", "pixels", "nodes[1].name: 'pixels' is the name of the image too"),
        ("nodes.1.inputs", ["add2"], "nodes[1].inputs[0]: the value 'add2' is made later, by nodes[13]"),
        ("nodes.1.inputs", ["norm"], "nodes[1].inputs[0]: the value 'norm' is made later, by nodes[1]"),
        ("nodes.1.inputs", ["nothing"], "nodes[1].inputs[0]: the value 'nothing' is made by no node"),
        ("nodes.1.inputs", [], "nodes[1].inputs: expected a list of 1 to 64"),
        ("nodes.1.inputs", ["stem", "stem"], "nodes[1].inputs: expected one value, found 2"),
        ("nodes.1.inputs", ["pixels"], "nodes[1].inputs[0]: reads reals, where its value is pixels"),
        ("nodes.6.inputs", ["norm1"], "nodes[6].inputs: expected two values, found 1"),
        ("nodes.6.inputs", ["norm1", "norm"], "nodes[6].inputs[1]: (8, 8, 36) does not fit (4, 4, 36)"),
        ("nodes.6.inputs", ["pool", "pool"], "nodes[5]: no node reads the value 'norm1'"),
        ("nodes.4.inputs", ["pool"], "nodes[4].op.operand: reads signs, where its value gives reals"),
        ("nodes.3.inputs", ["sign1"], "nodes[3].inputs[0]: the value 'sign1' is made later"),
        ("nodes.4.op.kind", "layers", "nodes[4].op.kind: expected one of layer, affine"),
        ("nodes.1.op.more", 1, "nodes[1].op: unknown key 'more'"),
        ("nodes.1.more", 1, "nodes[1]: unknown key 'more'"),
        ("nodes.2.op.kernel", 99, "nodes[2].op: 99 is larger than its map of 8 x 8"),
        ("nodes.2.op.kernel", 0, "nodes[2].op.kernel: expected a whole number of 1 to 4096"),
        ("nodes.2.op.padding", 2, "nodes[2].op: size 3, stride 2 and padding 2 make no pool"),
        ("nodes.4.op.border", "zeros", "nodes[4].op.border: expected one of absent, ones"),
        ("nodes.0.op.border", "ones", "nodes[0].op.border: ones requires signs"),
        ("nodes.4.op.accumulate", "fp64", "nodes[4].op.accumulate: fp64 requires float weights"),
        ("nodes.0.op.window_sum", True, "nodes[0].op.window_sum: requires signs"),
        ("nodes.4.op.window_sum", True, "nodes[4]: tensor 'conv1.sum_scale' is missing"),
        ("nodes.4.op.window_sum", 1, "nodes[4].op.window_sum: expected true or false"),
        ("nodes.4.op.groups", 5, "nodes[4].op.groups: 5 does not divide"),
        ("nodes.4.op.outputs", 2**20, "tensor 'conv1.weight'"),
        ("nodes.4.op.ending.slopes", [], "tensor 'conv1.scale0': belongs to no node"),
        ("classes", ["a"], "nodes: end with reals of (1, 1, 5), where 1 classes"),
        ("nodes.15", ..., "nodes: end with reals of (1, 1, 70)"),
        ("nodes.7", ..., "nodes[7].inputs[0]: the value 'sign2' is made by no node"),
    ],
)
def test_a_residual_graph_that_does_not_fit_is_refused_by_name(place, value, message):
    assert message in refusal(graph(GRAPHS["residual"]), place, value)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("slopes", "nodes.4.op.above", 1e9, "nodes[4].op.above: expected a number of -1e+06 to 1e+06"),
        ("slopes", "nodes.4.op.above", None, "nodes[4]: tensor 'slope.above' is missing"),
        ("slopes", "nodes.4.op.below", ..., "nodes[4].op.below: missing"),
        ("slopes", "nodes.14.op.low", 2, "nodes[14].op.low: 2 is above high, 1"),
        ("slopes", "nodes.14.op.high", float("inf"), "nodes[14].op.high: expected a number"),
        ("slopes", "nodes.12.inputs", ["left.add"], "nodes[12].inputs: expected two or more values, found 1"),
        ("slopes", "nodes.12.inputs", ["left.add", "stem"], "tensor 'maxout.above'"),
        ("slopes", "nodes.12.inputs", ["left.add", "flat"], "nodes[12].inputs[1]: the value 'flat' is made later"),
        ("ones", "nodes.7.op.stride", 0, "nodes[7].op.stride: expected a whole number of 1"),
        ("ones", "nodes.7.op.before", 3, "nodes[8].inputs[1]: (4, 4, 15) does not fit (4, 4, 16)"),
        ("ones", "nodes.7.op.after", 2**62, "nodes[7].op.after: expected a whole number of 0 to 1048576"),
        ("ones", "nodes.6.op.pool", [2, 1, 0], "nodes[6].op.window_sum: requires signs"),
        (
            "ones",
            "nodes.6.op.ending.per_position",
            True,
            "nodes[6].op.window_sum: requires an ending with the same num",
        ),
        ("ones", "nodes.6.op.ending.form", "signs", "nodes[6].op.ending.levels: missing"),
        ("bytes", "nodes.5.op.window.padding", [1, 1], "nodes[5].op.window.padding: reals with int8 weights have none"),
        ("bytes", "nodes.4.op.groups", 2, "nodes[4].op.weights: int8 takes a convolution or a linear layer of reals"),
        ("bytes", "nodes.4.op.operand.step", ..., "nodes[4].op.operand.step: missing"),
    ],
)
def test_other_operations_that_do_not_fit_are_refused_by_name(name, place, value, message):
    assert message in refusal(graph(GRAPHS[name]), place, value)


def test_no_tensor_is_missing_or_extra():
    whole = graph(GRAPHS["residual"])
    tensors = tensors_of(whole)
    assert "tensor 'more': belongs to no node" in refusal(whole, tensors={**tensors, "more": tensors["norm.scale"]})
    del tensors["norm.scale"]
    assert "nodes[1]: tensor 'norm.scale' is missing" in refusal(whole, tensors=tensors)
    tensors["norm.scale"] = tensors["norm.shift"] * float("nan")
    assert "tensor 'norm.scale': holds a number that is not finite" in refusal(whole, tensors=tensors)


def test_tensors_in_memory_are_arrays_of_the_formats_numbers():
    whole = graph(GRAPHS["residual"])
    tensors = tensors_of(whole)
    scale = tensors["norm.scale"]
    for wrong in (scale.astype(np.float64), scale.astype(">f4"), scale.astype(bool), scale.tolist(), None):
        with pytest.raises(FieldError, match=r"tensor 'norm\.scale': expected an array"):
            PackedNetwork(whole, {**tensors, "norm.scale": wrong})
    with pytest.raises(FieldError, match="a tensor's name: expected text"):
        PackedNetwork(whole, {**tensors, 1: scale})


@pytest.mark.parametrize("change", [{"classes": (Path("a"),)}, {"crop": np.float32(1)}], ids=str)
def test_a_value_that_json_lacks_is_refused(change):
    with pytest.raises(FieldError, match="is neither text nor a number"):
        written(replace(graph(GRAPHS["residual"]), **change))


def test_tensors_in_memory_may_have_any_layout():
    whole = graph(GRAPHS["residual"])
    tensors = tensors_of(whole)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = PackedNetwork(whole, tensors)(images)
    turned = {name: np.asfortranarray(values) for name, values in tensors.items()}
    spaced = {name: np.repeat(values, 2, axis=-1)[..., ::2] for name, values in tensors.items()}
    for found in (turned, spaced):
        np.testing.assert_array_equal(PackedNetwork(whole, found)(images), expected)


def test_a_map_that_grows_without_end_is_refused():
    """Channels of zeros cost nothing in the file."""
    nodes = [layer("stem", "pixels", 1, tiny.PIXELS, tiny.FLOAT)]
    for i in range(20):
        nodes.append(step(f"skip{i}", Subsample(1, 2**20, 0), nodes[-1].name))
    assert "nodes[1]: a map of (8, 8, 1048577) has more than 1048576 channels" in refusal(graph(nodes))


def test_a_thousand_nodes_of_nothing_are_refused():
    """Each map of 4 MB costs a few bytes in the file, and all of them are needed at once."""
    nodes = [layer("stem", "pixels", 64, tiny.PIXELS, tiny.FLOAT)]
    nodes += [step(f"pool{i}", MaxPool(1, 1), "stem") for i in range(1000)]
    for i in range(1000):
        nodes.append(step(f"add{i}", Add(), f"pool{i}", nodes[-1].name))
    nodes += [step("mean", GlobalAverage(), nodes[-1].name)]
    message = refusal(graph(nodes, 128, 64))
    assert "nodes: the maps that are needed at once take more than 536870912 bytes" in message


def test_fields_of_one_form_are_refused_in_the_other():
    stem = layer("stem", "pixels", 5, tiny.PIXELS, tiny.FLOAT)
    for op in (Affine(), Flatten(), GlobalAverage(), Sign()):
        nodes = stem, step("signs", Sign(), "stem"), step("next", op, "signs")
        assert "nodes[2].inputs[0]: reads reals, where its value is signs" in refusal(graph(nodes))
