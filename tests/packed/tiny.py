"""Tiny networks with every kind of layer and random tensors, as bytes of packed files; without torch."""

import json
import struct
from pathlib import Path

import numpy as np

from tests.packed.shapes import expected_tensors
from xnorlit.packed.document import document
from xnorlit.packed.graph import Graph
from xnorlit.packed.layer import Ending, Layer, Operand, Weights, Window
from xnorlit.packed.tensorfile import METADATA

PIXELS, SIGNS, REALS, K = Operand("pixels"), Operand("signs"), Operand("reals"), Operand("signs", scale="K")
FLOAT, INT8, PLANE = Weights("float"), Weights("int8"), Weights("planes", (1,), 1)
TERNARY, TWO_BITS = Weights("planes", (1, 1), 2), Weights("planes", (1, 2), 1)
BITS, LINEAR = Ending("signs"), Ending("reals", slopes=(1.0,))
THREE = Window((3, 3), (1, 1), (1, 1))


def codes(bits):
    return Operand("codes", bits)


def levels(bits, **more):
    return Ending("codes", bits, 2**bits - 1, **more)


FC = Layer("fc", 5, REALS, FLOAT, LINEAR)
NETWORKS = {
    "signs": (
        Layer("conv1", 12, PIXELS, FLOAT, BITS, Window((3, 3), (2, 2), (1, 1))),
        Layer("conv2", 40, SIGNS, PLANE, BITS, THREE, pool=(2, 1, 0)),
        Layer("conv3", 36, SIGNS, PLANE, BITS, THREE, groups=2),
        Layer("fc6", 33, SIGNS, PLANE, Ending("signs", per_position=True)),
        Layer("fc7", 5, SIGNS, PLANE, LINEAR),
    ),
    "codes": (
        Layer("conv1", 9, PIXELS, FLOAT, levels(2), THREE, pool=(3, 2, 1)),
        Layer("conv2", 10, codes(2), TWO_BITS, levels(3), THREE),
        Layer("conv3", 8, codes(3), TERNARY, levels(1), Window((2, 3), (1, 2), (0, 1)), groups=2),
        Layer("fc6", 20, codes(1), PLANE, Ending("reals", slopes=(0.0, None))),
        FC,
    ),
    "scaled": (
        Layer(
            "conv1", 8, PIXELS, FLOAT, Ending("reals", slopes=(0.0,)), Window((5, 5), (2, 2), (2, 2)), pool=(2, 1, 0)
        ),
        Layer("conv2", 34, K, PLANE, Ending("reals", slopes=(1.0,), per_position=True), THREE),
        Layer("conv3", 6, K, TERNARY, Ending("signs", per_position=True), THREE, groups=2, pool=(3, 2, 0)),
        Layer("fc", 5, SIGNS, FLOAT, LINEAR),
    ),
    "int8": (
        Layer("conv1", 11, PIXELS, INT8, BITS, Window((3, 3), (2, 2), (1, 1)), pool=(2, 2, 0)),
        Layer("conv2", 20, SIGNS, PLANE, Ending("reals", slopes=(0.0,)), THREE),
        Layer("fc", 5, Operand("reals", step=0.25), INT8, LINEAR),
    ),
    "reals": (
        Layer("conv1", 8, PIXELS, PLANE, Ending("reals", slopes=(None,)), THREE, pool=(3, 2, 1)),
        Layer("conv2", 18, REALS, TWO_BITS, levels(2, per_position=True), THREE, groups=2),
        Layer("conv3", 6, codes(2), FLOAT, Ending("reals", slopes=(1.0, 0.0)), THREE, groups=3),
        Layer("fc6", 17, REALS, TERNARY, BITS),
        Layer("fc", 5, SIGNS, FLOAT, LINEAR),
    ),
}


def graph(layers, size=8, classes=5):
    """A network of these layers."""
    names = tuple(f"class {i}" for i in range(classes))
    return Graph("tiny", size, (128.0,) * 3, (64.0,) * 3, 1.0, False, names, tuple(layers))


def tensors_of(graph, seed=0):
    """Random tensors of every layer."""
    random, at, found = np.random.default_rng(seed), graph.input, {}
    for layer in graph.layers:
        for name, (dtype, shape) in expected_tensors(layer, at).items():
            if dtype == "f4":
                found[name] = random.normal(size=shape).astype("<f4")
            elif dtype == "i4":
                found[name] = random.integers(-9, 10, shape).astype("<i4")
            else:
                found[name] = random.integers(0, 256, shape).astype("u1").view(dtype)
        at = layer.output(at)
    return found


def images(count, size=8):
    """Random pixels."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def packed(graph, tensors):
    """The bytes of a file, as safetensors says."""
    header, data = {}, b""
    for name, values in tensors.items():
        dtype = {"f4": "F32", "i4": "I32", "u1": "U8", "i1": "I8"}[values.dtype.str[1:]]
        offsets = [len(data), len(data) + values.nbytes]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        data += values.tobytes()
    return joined(header, document(graph), data)


def parts(content):
    """Header, JSON graph and tensor bytes of a file."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"][METADATA]), content[8 + length :]


def joined(header, graph, data):
    """The file of them; a graph may be text."""
    header = {**header, "__metadata__": {METADATA: graph if isinstance(graph, str) else json.dumps(graph)}}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def write_corpus(folder):
    """The files that the fuzzer begins with, one of each network; `python -m tests.packed.tiny` makes them again."""
    from tests.packed import graphs

    folder.mkdir(exist_ok=True)
    for name, nodes in graphs.GRAPHS.items():
        whole = graphs.graph(nodes)
        (folder / f"graph-{name}.safetensors").write_bytes(packed(whole, graphs.tensors_of(whole)))
    for name, layers in NETWORKS.items():
        whole = graph(layers)
        (folder / f"{name}.safetensors").write_bytes(packed(whole, tensors_of(whole)))


if __name__ == "__main__":
    write_corpus(Path(__file__).with_name("corpus"))
