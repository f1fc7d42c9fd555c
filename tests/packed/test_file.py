"""A packed file is intact, or it is refused with the reason before any length in it is trusted."""

import copy
import json
import multiprocessing
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.packed.networks import NETWORKS, unkind
from tests.processes import status_of
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.twn import TWN
from xnorlit.binarize.weights_only import WeightsOnly
from xnorlit.binarize.xnor import XNOR
from xnorlit.edge.fields import FieldError
from xnorlit.errors import UserError
from xnorlit.export.pack import pack, write
from xnorlit.packed import load
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Ending, Layer, Operand, Weights
from xnorlit.packed.origin import Accuracy, Source
from xnorlit.packed.tensorfile import METADATA


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("packed") / "good.xnor"
    model = unkind(NETWORKS["pool-before-norm"])
    write(path, *pack(model, image_size=20, classes=list("abcdefg"), source=Source("random")))
    return path.read_bytes()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The bytes of a good file with the other kinds of layers and endings."""
    layers = {"conv1": WeightsOnly(), "conv2": DoReFa(2, 3), "conv3": XNOR(input_scale="K"), "fc7": DoReFa(1, 2)}
    model = unkind(NETWORKS["pool-before-norm"], binarizer=TWN(), layers=layers)
    model.fc7.add_module("slopes", torch.nn.PReLU(33))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), np.uint8)
    packed = pack(model, image_size=20, classes=list("abcdefg"), ends="int8", calibration=pixels)
    path = tmp_path_factory.mktemp("packed") / "mixed.xnor"
    write(path, *packed)
    return path.read_bytes()


def parts(content):
    """Header, JSON graph and tensor bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"][METADATA]), content[8 + length :]


def together(header, graph, data):
    header = {**header, "__metadata__": {METADATA: graph if isinstance(graph, str) else json.dumps(graph)}}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def refusal(tmp_path, content):
    path = tmp_path / "bad.xnor"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value).encode().startswith(str(path).encode())
    return str(caught.value)


def test_written_values_read_back(whole, tmp_path):
    path = tmp_path / "again.xnor"
    path.write_bytes(together(*parts(whole)))
    network = load(path)
    assert network.graph.classes == tuple("abcdefg")
    assert network(np.zeros((2, 20, 20, 3), np.uint8)).shape == (2, 7)


def test_origin_and_accuracy_read_back(tmp_path):
    origin = Source("trained", "runs/a/b/xnor/seed-0", "best.ckpt", 3, "a" * 40, True, "1.2.3")
    model = unkind(NETWORKS["binary-to-the-end"])
    graph, tensors = pack(model, image_size=20, classes=list("abcdefg"), crop=0.875, squash=True, source=origin)
    graph = replace(graph, accuracy=Accuracy(**ACCURACY))
    write(tmp_path / "file", graph, tensors)
    assert load(tmp_path / "file").graph == graph


def test_what_does_not_fit_is_not_written(tmp_path):
    graph, tensors = pack(unkind(NETWORKS["binary-to-the-end"]), image_size=20, classes=list("abcdefg"))
    with pytest.raises(FieldError, match="6 classes need as many reals"):
        write(tmp_path / "file", replace(graph, classes=graph.classes[1:]), tensors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "refused"), [(1024, False), (1025, True)])
def test_a_layer_whose_window_the_engine_refuses_is_not_written(tmp_path, size, refused):
    last = Layer("last", 1, Operand("pixels"), Weights("float"), Ending("reals", slopes=(1.0,)))
    graph = Graph("wide", size, (0.0,) * 3, (1.0,) * 3, 1.0, False, ("one",), (last,))
    tensors = {"last.weight": np.zeros((1, size, size, 3), np.float32)}
    tensors |= {f"last.{name}0": np.ones(1, np.float32) for name in ("scale", "shift")}
    if refused:
        with pytest.raises(FieldError, match=r"layers\[0\]: window: more than 2\^20 positions"):
            write(tmp_path / "file", graph, tensors)
        assert not list(tmp_path.iterdir())
    else:
        write(tmp_path / "file", graph, tensors)
        assert load(tmp_path / "file").graph == graph


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.xnor: cannot be read \(No such file"):
        load(tmp_path / "none.xnor")


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1, -1000])
def test_a_truncated_file_is_refused(whole, tmp_path, length):
    refusal(tmp_path, whole[:length])


def headed(header):
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1234567", "7 bytes are too few for a packed network"),
        (b"\0" * 64, "its header is not JSON"),
        (b"\xff" * 64, "its header claims 18446744073709551615 bytes, the file has 64"),
        (b"PK\3\4" * 20, "its header claims"),
        (struct.pack("<Q", 2**24 + 1) + bytes(2**24 + 1), "its header claims 16777217 bytes"),
        (headed(b"[]"), "its header is not a JSON object"),
        (headed(b"[" * 10**6), "nested too deeply"),
        (headed(b'{"\xff": 1}'), "no UTF-8"),
        (headed(b"{} {}"), "its header is not JSON"),
        (headed(b'{"__metadata__": 1}'), "__metadata__ is not an object of strings"),
        (headed(b'{"__metadata__": {"a": 1}}'), "__metadata__ is not an object of strings"),
        (headed(b"{}"), f"metadata {METADATA}: missing"),
        (headed(b'{"__metadata__": {"xnorlit.packed": "{"}}'), f"metadata {METADATA}: not JSON"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, content, message):
    assert message in refusal(tmp_path, content)


def test_bytes_of_no_tensor_are_refused(whole, tmp_path):
    assert "4 bytes after the last tensor" in refusal(tmp_path, whole + b"more")


HUGE = 2**62
ACCURACY = {"top1": 0.5, "top5": 0.75, "images": 8, "data": "photos", "split": "val", "listing_sha256": "0" * 64}


@pytest.mark.parametrize(
    ("tensor", "entry", "message"),
    [
        ("fc8.shift0", {"shape": [HUGE]}, " of shape ["),
        ("fc8.shift0", {"shape": [-7]}, "not lists of counts"),
        ("fc8.shift0", {"shape": [7.0]}, "not lists of counts"),
        ("fc8.shift0", {"shape": [1] * 99 + [7]}, "not lists of counts"),
        ("fc8.shift0", {"dtype": "F64"}, "dtype 'F64'"),
        ("fc8.shift0", {"dtype": ["F32"]}, "U8, I8, I32"),
        ("fc8.shift0", {"data_offsets": [0, 28]}, "its bytes begin at"),
        ("fc8.shift0", {"data_offsets": [HUGE, HUGE + 28]}, " of shape ["),
        ("fc8.shift0", {"data_offsets": [28, 0]}, " of shape ["),
        ("fc8.shift0", {"shape": [1, 7]}, "float32 [1, 7], expected float32 [7]"),
        ("fc8.shift0", {"more": 1}, "expected dtype, shape and data_offsets"),
    ],
)
def test_a_tensor_that_contradicts_its_header_is_refused(whole, tmp_path, tensor, entry, message):
    header, graph, data = parts(whole)
    header[tensor] |= entry
    found = refusal(tmp_path, together(header, graph, data))
    assert message in found
    assert tensor in found or "bytes begin" in message


def test_overlapping_tensors_are_refused(whole, tmp_path):
    header, graph, data = parts(whole)
    header["fc8.shift0"]["data_offsets"] = header["fc8.shift0"]["data_offsets"]
    header["other"] = dict(header["fc8.shift0"])
    assert "its bytes begin at" in refusal(tmp_path, together(header, graph, data))


def at(document, place, value):
    """Sets `place`, such as `layers.1.window.kernel`, to a value, or removes it where the value is Ellipsis."""
    *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    for step in way:
        document = document[step]
    if value is ...:
        del document[last]
    else:
        document[last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("version", 1, "version: this xnorlit reads versions 2 and 3, found 1"),
        ("version", True, "version: this xnorlit reads versions 2 and 3, found true"),
        ("version", ..., "version: missing"),
        ("surplus", 1, "unknown key 'surplus'"),
        ("layers", [], "layers: expected a list of 1"),
        ("layers", {"0": None}, "layers: expected a list"),
        ("classes", ["a", 1], "classes: expected a list"),
        ("classes", list("abcdef"), "6 classes need as many reals"),
        ("image.size", HUGE, "image.size: expected a whole number of 1 to 4096"),
        ("image.size", 24, "tensor 'fc6.weight': uint8 [1, 70, 3, 3, 7], expected uint8 [1, 70, 4, 4, 7]"),
        ("image.std", [0, 1, 1], "image.std[0]: expected a number of 1e-06 to 1e+06"),
        ("image.mean", [float("nan"), 1, 1], "image.mean[0]: expected a number"),
        (
            "layers.0.operand.form",
            "softmax",
            "layers[0].operand.form: expected one of pixels, signs, codes, reals, found 'softmax'",
        ),
        ("layers.0.weights.form", ["planes"], "layers[0].weights.form"),
        ("layers.0.operand.form", "reals", "layers[0].operand: reads reals, where the layer before it gives pixels"),
        ("layers.1.operand.scale", "K", "layers[1].operand: reads reals, where the layer before it gives signs"),
        ("layers.1.weights.factors", [], "layers[1].weights.factors: expected a list of 1 to 16"),
        ("layers.1.weights.factors", [1, 1], "tensor 'conv2.weight'"),
        ("layers.1.weights.factors", [HUGE], "layers[1].weights.factors[0]"),
        ("layers.1.weights.factors", [2**24], "sums of 216 products may exceed"),
        ("layers.1.weights.divisor", 0, "layers[1].weights.divisor"),
        ("layers.1.weights.divisor", 2, "layers[1].weights.factors: add up to 1, which divisor 2 does not divide"),
        ("layers.1.ending.levels", 2, "tensor 'conv2.threshold'"),
        ("layers.1.ending.levels", HUGE, "layers[1].ending.levels"),
        ("layers.1.ending.per_position", True, "tensor 'conv2.threshold'"),
        ("layers.4.ending.slopes", [], "layers[4].ending.slopes: expected a list of 1 to 8"),
        ("layers.4.ending.slopes", [float("inf")], "layers[4].ending.slopes[0]"),
        ("layers.4.ending.slopes", [None], "tensor 'fc7.slope0' is missing"),
        ("layers.1.outputs", HUGE, "layers[1].outputs: expected a whole number of 1 to 1048576"),
        ("layers.1.outputs", 36, "tensor 'conv2.weight'"),
        ("layers.1.outputs", 37.0, "layers[1].outputs"),
        ("layers.1.groups", 0, "layers[1].groups"),
        ("layers.1.groups", 5, "layers[1].groups: 5 does not divide"),
        ("layers.1.window.kernel", [HUGE, HUGE], "layers[1].window.kernel[0]"),
        ("layers.1.window.kernel", [4096, 4096], "layers[1].window: kernel 4096"),
        ("layers.1.window.stride", [0, 1], "layers[1].window.stride[0]"),
        ("layers.1.window.padding", [3, 3], "layers[1].window: kernel 3 with padding 3"),
        ("layers.1.window.padding", [1], "layers[1].window.padding: expected a list of 2"),
        ("layers.1.window", None, "layers[1].pool: 3 is larger than its map of 1 x 1"),
        ("layers.1.pool", [99, 1, 0], "layers[1].pool: 99 is larger than its map"),
        ("layers.1.pool", [3, 0, 0], "layers[1].pool: size 3, stride 0 and padding 0 make no pool"),
        ("layers.1.pool", [3, 1, 2], "layers[1].pool: size 3, stride 1 and padding 2 make no pool"),
        ("layers.1.name", "conv1", "layers[1].name: 'conv1' is the name of another layer too"),
        ("layers.1.name", "conv9", "tensor 'conv9.weight' is missing"),
        ("layers.1.ending.form", "reals", "layers[1].ending.slopes: missing"),
        ("layers.1.pool", False, "layers[1].pool: expected a list of 3, found false"),
        ("layers.1", ..., "tensor 'conv3.weight': uint8 [1, 50, 3, 3, 5], expected uint8 [1, 50, 3, 3, 3]"),
        ("image.crop", 0, "image.crop: expected a number of 1e-06 to 1"),
        ("image.squash", 1, "image.squash: expected true or false"),
        ("source", [], "source: expected an object"),
        ("source.weights", "good", "source.weights: expected one of trained, random"),
        ("source.run", "runs/a", "source.weights: random weights cannot come from a run"),
        ("source.commit", "g" * 40, "source.commit: expected 40 or 64 hexadecimal digits"),
        ("source.epoch", -1, "source.epoch: expected a whole number"),
        ("source.more", "", "source: unknown key 'more'"),
        ("accuracy", [], "accuracy: expected an object"),
        ("accuracy", {**ACCURACY, "top1": 1.5}, "accuracy.top1: expected a number of 0 to 1"),
        ("accuracy", {**ACCURACY, "top1": 0.3}, "accuracy.top1: no whole number of 8 images is right"),
        ("accuracy", {**ACCURACY, "top5": 0.25}, "accuracy.top5: 0.25 is below top1, 0.5"),
        ("accuracy", {**ACCURACY, "images": 0}, "accuracy.images: expected a whole number of 1"),
        ("accuracy", {"top1": 1}, "accuracy.top5: missing"),
    ],
)
def test_an_invalid_graph_is_refused_by_the_name_of_its_field(whole, tmp_path, place, value, message):
    header, graph, data = parts(whole)
    at(graph, place, value)
    assert message in refusal(tmp_path, together(header, graph, data))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("layers.0.operand.form", "codes", "layers[0].operand.bits: missing"),
        ("layers.0.ending.bits", 2, "tensor 'conv1.flip'"),
        ("layers.0.ending.bits", 9, "layers[0].ending.bits: expected a whole number of 1 to 8"),
        ("layers.0.ending.form", "signs", "layers[0]"),
        ("layers.0.ending.levels", 6, "tensor 'conv1.threshold'"),
        ("layers.1.operand.bits", 2, "layers[1].operand: reads codes of 2 bits"),
        ("layers.1.operand.bits", ..., "layers[1].operand.bits: missing"),
        ("layers.1.operand.scale", "K", "layers[1].operand: unknown key 'scale'"),
        ("layers.1.operand.form", "signs", "layers[1].operand.scale: missing"),
        ("layers.1.weights.factors", [1, 2, 4], "tensor 'conv2.weight'"),
        ("layers.1.weights.factors", [2**24, 2**24], "sums of 216 products may exceed"),
        ("layers.1.weights.form", "int8", "layers[1].weights: unknown key"),
        ("layers.1.weights", {"form": "int8"}, "layers[1].weights: int8 takes pixels or reals, found codes"),
        ("layers.2.operand.scale", "none", "layers[2].operand: reads signs, where the layer before it gives reals"),
        ("layers.2.operand.scale", "L", "layers[2].operand.scale: expected one of none, K"),
        ("layers.2.weights", {"form": "float"}, "layers[2].operand.scale: K requires weights of planes"),
        (
            "layers.3.operand",
            {"form": "pixels"},
            "layers[3].operand: reads pixels, where the layer before it gives reals",
        ),
        ("layers.3.weights.divisor", 3, "layers[3].weights.divisor"),
        ("layers.4.ending.slopes", [1.0], "tensor 'fc7."),
        ("layers.5.operand.step", 0, "layers[5].operand.step"),
        ("layers.5.operand.step", ..., "layers[5].operand.step: missing"),
        ("layers.5.groups", 3, "layers[5].groups"),
    ],
)
def test_invalid_kinds_are_refused_by_the_name_of_their_field(mixed, tmp_path, place, value, message):
    header, graph, data = parts(mixed)
    at(graph, place, value)
    assert message in refusal(tmp_path, together(header, graph, data))


@pytest.mark.parametrize("graph", ["", "null", "[[", "[" * 10**5, '{"version": 1, "version": 1}'])
def test_metadata_that_is_no_graph_is_refused(whole, tmp_path, graph):
    header, _, data = parts(whole)
    refusal(tmp_path, together(header, graph, data))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deeply_nested_values_are_refused(whole, tmp_path, opening):
    """JSON nested almost to Python's limit is read, and must still be printable."""
    header, graph, data = parts(whole)
    closing = {"[": "]", '{"a":': "}"}[opening]
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit()):
        deep = opening * depth + ("1" if closing == "}" else "") + closing * depth
        for field in ("version", "network", "source"):
            text = json.dumps({**graph, field: "here"}).replace('"here"', deep)
            refusal(tmp_path, together(header, text, data))


@pytest.mark.parametrize("field", ["network", "classes.0", "layers.1.name", "source.xnorlit"])
def test_text_that_cannot_be_encoded_is_refused(whole, tmp_path, field):
    header, graph, data = parts(whole)
    at(graph, field, "half a character: \ud83d")
    assert field.partition(".")[0] in refusal(tmp_path, together(header, graph, data))
    header["\ud83d"] = {"dtype": "U8", "shape": [1], "data_offsets": [1, 3]}
    assert "tensor '\\ud83d'" in refusal(tmp_path, together(header, graph, data))


@pytest.mark.parametrize("shape", [[0], [2**62, 0], [2**62, 2**62, 0]])
def test_a_tensor_without_values_is_refused(whole, tmp_path, shape):
    """Beside a 0 the other extents may have any value, even more than numpy accepts."""
    header, graph, data = parts(whole)
    header["none"] = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    assert "tensor 'none': its shape" in refusal(tmp_path, together(header, graph, data))


def test_an_extra_layer_is_refused(whole, tmp_path):
    header, graph, data = parts(whole)
    graph["layers"].append({**graph["layers"][-1], "name": "fc9"})
    assert "tensor 'fc9.weight' is missing" in refusal(tmp_path, together(header, graph, data))
    graph["layers"] = graph["layers"][:-1] * 300
    assert "layers: expected a list of 1 to 1000" in refusal(tmp_path, together(header, graph, data))


@pytest.mark.parametrize("tensor", ["conv1.threshold", "conv1.weight", "fc8.shift0", "fc7.scale0"])
def test_an_invalid_number_is_refused(whole, tmp_path, tensor):
    header, graph, data = parts(whole)
    start = header[tensor]["data_offsets"][0]
    data = data[:start] + struct.pack("<f", float("nan")) + data[start + 4 :]
    assert f"tensor '{tensor}': holds a number that is not finite" in refusal(tmp_path, together(header, graph, data))


def mutations(content, count, seed):
    """Good files with bytes, bits, numbers or whole stretches changed."""
    chance = random.Random(seed)
    length = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(count):
        found = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            # Mostly in the header: the tensors' bytes may be anything.
            place = chance.randrange(length if chance.random() < 0.9 else len(found))
            kind = chance.randrange(5)
            if kind == 0:
                found[place] ^= 1 << chance.randrange(8)
            elif kind == 1:
                found[place] = chance.choice(b'0123456789-.eE[]{}",:')
            elif kind == 2:
                del found[place : place + chance.randint(1, 16)]
            elif kind == 3:
                found[place:place] = chance.choice([b"0", b"9" * 18, b"-1", b"null", b"1e999", b"\0", b"NaN", b"[]"])
            else:
                other = chance.randrange(length)
                found[place : place + 8] = found[other : other + 8]
        if chance.random() < 0.8:  # a header whose length is right gets further
            grown = len(found) - len(content)
            found[:8] = struct.pack("<Q", max(0, length - 8 + grown))
        yield bytes(found)


def load_or_refuse(content, path):
    path.write_bytes(content)
    try:
        network = load(path)
    except UserError:
        return False
    size = network.graph.image_size
    if size <= 64:
        network(np.zeros((1, size, size, 3), np.uint8), threads=1)
    return True


def survive(content, path, count, seed):
    """Load mutated files with a gibibyte of memory more. Some must load, or the test is void."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    passed = sum(load_or_refuse(mutated, path) for mutated in mutations(content, count, seed))
    assert 0 < passed < count
    return passed


@pytest.mark.parametrize("count", [200, pytest.param(50_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["whole", "mixed"])
def test_mutated_files_never_crash_nor_take_memory(kind, tmp_path, count, request):
    content = request.getfixturevalue(kind)
    assert status_of(lambda: survive(content, tmp_path / "bad.xnor", count, 0)) == 0


def test_loading_and_running_needs_neither_torch_nor_safetensors(whole, tmp_path):
    path = tmp_path / "good.xnor"
    path.write_bytes(whole)
    code = (
        "import sys, numpy\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from xnorlit.packed import load\n"
        f"load({str(path)!r})(numpy.zeros((1, 20, 20, 3), numpy.uint8))\n"
        "assert not {'torch', 'pytorch_lightning', 'safetensors', 'scipy', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- pickled, as pools of processes do ------------------------------------------------------------------------------
def images_for(network):
    size = network.graph.image_size
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_loaded_network_pickles_as_the_path_of_its_file(whole, tmp_path, protocol, monkeypatch):
    path = tmp_path / "packed"
    path.write_bytes(whole)
    monkeypatch.chdir(tmp_path)
    network = load("packed")
    sent = pickle.dumps(network, protocol)
    monkeypatch.chdir("/")
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert again.graph == network.graph
    assert np.array_equal(again(images_for(network)), network(images_for(network)))


def test_a_network_built_in_memory_pickles_with_its_tensors(whole, tmp_path):
    path = tmp_path / "packed"
    path.write_bytes(whole)
    graph, tensors = load(path).graph, load(path).tensors
    network = PackedNetwork(graph, tensors)
    path.unlink()
    for again in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert np.array_equal(again(images_for(network)), network(images_for(network)))


def test_a_spawned_pool_answers_as_this_process(whole, tmp_path):
    path = tmp_path / "packed"
    path.write_bytes(whole)
    network = load(path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answers = pool.apply(network, (images_for(network),))
    assert np.array_equal(answers, network(images_for(network)))


@pytest.mark.parametrize("change", [Path.unlink, lambda path: os.utime(path, ns=(0, 0))])
def test_a_file_that_changed_before_the_other_process_read_it_is_refused(whole, tmp_path, change):
    path = tmp_path / "packed"
    path.write_bytes(whole)
    sent = pickle.dumps(load(path))
    change(path)
    with pytest.raises(UserError, match=r"packed(: cannot be read| has changed since)"):
        pickle.loads(sent)


def numbers_in(value, place=()):
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers_in(part, (*place, key))
    elif type(value) in (int, float):
        yield place


def test_true_is_not_one(whole, mixed, tmp_path):
    """JSON's true equals 1 in Python, so a field would take it for a number."""
    refused = 0
    for content in (whole, mixed):
        header, graph, data = parts(content)
        for place in numbers_in(graph):
            document = json.loads(json.dumps(graph))
            inner = document
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = True
            message = refusal(tmp_path, together(header, document, data))
            assert str(place[-1]) in message or "expected" in message
            refused += 1
    assert refused > 30


def test_a_duplicate_name_in_the_graph_is_refused(whole, tmp_path):
    header, graph, data = parts(whole)
    text = json.dumps(graph)
    field = '"size":'
    assert text.count(field) == 1
    assert "duplicate name" in refusal(tmp_path, together(header, text.replace(field, f"{field} 1, {field}"), data))
