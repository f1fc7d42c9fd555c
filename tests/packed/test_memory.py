"""The engine allocates no more than a file's length justifies, and the stated bound holds for all kernels."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.packed import tiny
from tests.packed.tiny import (
    BITS,
    FC,
    FLOAT,
    INT8,
    LINEAR,
    NETWORKS,
    PIXELS,
    PLANE,
    REALS,
    SIGNS,
    THREE,
    K,
    graph,
    tensors_of,
)
from xnorlit.errors import UserError
from xnorlit.packed import _kernels, load
from xnorlit.packed.document import check, parse, written
from xnorlit.packed.layer import Ending, Layer, Operand, Weights, Window
from xnorlit.packed.tensorfile import METADATA

EIGHT_BITS = Ending("codes", 8, 1)
# Small in the file and large in memory: one output in each group, borders wider than the map, bits of one channel.
ODD = {
    "one output in each group": (
        Layer("a", 64, PIXELS, FLOAT, BITS, THREE),
        Layer("b", 64, SIGNS, Weights("planes", (1, 1, 1), 1), BITS, THREE, groups=64),
        Layer("c", 64, SIGNS, PLANE, LINEAR, THREE, groups=64),
        Layer("d", 64, K, PLANE, LINEAR, THREE, groups=64),
        Layer("e", 64, REALS, FLOAT, LINEAR, THREE, groups=64),
        Layer("f", 64, REALS, PLANE, LINEAR, THREE, groups=64),
        FC,
    ),
    "a border wider than the map": (
        Layer("a", 1, PIXELS, FLOAT, BITS, Window((30, 30), (1, 1), (29, 29))),
        Layer("b", 1, SIGNS, PLANE, BITS, Window((40, 40), (1, 1), (39, 39))),
        Layer("c", 33, SIGNS, PLANE, LINEAR, Window((9, 9), (2, 3), (8, 8))),
        FC,
    ),
    "bytes of reals": (
        Layer("a", 3, PIXELS, FLOAT, LINEAR, THREE),
        Layer("b", 33, Operand("reals", step=0.5), INT8, LINEAR, Window((3, 2), (1, 2))),
        Layer("c", 1, Operand("reals", step=0.5), INT8, LINEAR, Window((1, 1))),
        FC,
    ),
    "codes of one channel": (
        Layer("a", 1, PIXELS, FLOAT, replace(EIGHT_BITS, per_position=True), THREE),
        Layer("b", 1, Operand("codes", 8), PLANE, EIGHT_BITS, Window((3, 5), (1, 1), (2, 4))),
        Layer("c", 1, Operand("codes", 8), FLOAT, LINEAR, THREE),
        FC,
    ),
}


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("layers", [*NETWORKS.values(), *ODD.values()], ids=[*NETWORKS, *ODD])
def test_the_computed_bound_covers_the_kernels_memory(layers, isa):
    whole = graph(layers)
    tensors = tensors_of(whole)
    planned = _kernels.Plan(written(whole), tensors)
    network = _kernels.Network(written(whole), tensors, isa)
    assert network.arena_bytes <= planned.arena_bytes
    for layer, taken, most in zip(layers, network.step_bytes, planned.loaded_bytes, strict=True):
        endings = sum(
            t.nbytes for name, t in tensors.items() if name.split(".")[0] == layer.name and "weight" not in name
        )
        levels = 3 * 256 * 4 if layer.operand.form == "pixels" else 0
        assert taken <= most + 16 * endings + levels + 256


def refusal(tmp_path, layers, size=8):
    """The message of `load` for a file with tensors of zeros."""
    whole = graph(layers, size, layers[-1].outputs)
    tensors = {name: np.zeros_like(values) for name, values in tensors_of(whole).items()}
    path = tmp_path / "bad.xnor"
    path.write_bytes(tiny.packed(whole, tensors))
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


CHAIN = (
    Layer("conv", 1, PIXELS, FLOAT, LINEAR, Window((1, 1))),
    *(Layer(f"conv{i}", 1, REALS, FLOAT, LINEAR, Window((1, 1))) for i in range(300)),
    Layer("fc", 1, REALS, FLOAT, LINEAR, Window((999, 999))),
)


def test_many_layers_with_large_maps_are_refused(tmp_path):
    """300 layers of a few bytes each, 4 MB of floats between each two."""
    assert "layers[131]: the maps up to here take more than 536870912 bytes" in refusal(tmp_path, CHAIN, 999)


def test_a_wide_border_of_a_large_kernel_is_refused(tmp_path):
    """1.6 MB of weights; their window overlaps the border in 65,025 ways, in each of 100 groups."""
    window = Window((128, 128), (1, 1), (127, 127))
    layers = (
        Layer("a", 100, PIXELS, FLOAT, BITS, Window((1, 1))),
        Layer("b", 100, SIGNS, PLANE, LINEAR, window, groups=100),
    )
    assert "layers[1]: weights for 100 groups" in refusal(tmp_path, layers, 128)


def test_many_groups_are_refused(tmp_path):
    layers = (
        Layer("a", 2**18, PIXELS, FLOAT, BITS, Window((1, 1))),
        Layer("b", 2**18, SIGNS, PLANE, LINEAR, Window((1, 1)), groups=2**18),
    )
    assert "layers[1]: weights for 262144 groups" in refusal(tmp_path, layers, 1)


def test_a_map_that_is_too_large_is_refused(tmp_path):
    layers = (Layer("a", 1, PIXELS, FLOAT, LINEAR, Window((1, 1))),)
    assert "layers[0]: a map of more than 16777216 values for one image" in refusal(tmp_path, layers, 4096)


def test_sums_of_bytes_that_exceed_31_bits_are_refused(tmp_path):
    layers = (Layer("a", 1, PIXELS, INT8, LINEAR, Window((150, 150))),)
    assert "layers[0]: more than 65793 products of bytes in a sum" in refusal(tmp_path, layers, 150)


def test_the_kernels_refuse_invalid_arguments_from_any_caller():
    engine = _kernels.Engine("")
    weights = _kernels.Planes(np.zeros((1, 256, 128, 128, 1), np.uint8), factors=[1], divisor=1)
    wide = _kernels.Frame(shape=[128, 128, 256], window=[128, 128, 1, 1, 127, 127], groups=256, outputs=256)
    large = _kernels.Frame(shape=[8192, 8192, 1], window=[1, 1, 1, 1, 0, 0], outputs=8)
    ending = _kernels.Ending.sums()
    with pytest.raises(ValueError, match="far more memory than the weights"):
        engine.add_binary(wide, _kernels.Operand("signs"), weights, ending)
    with pytest.raises(ValueError, match="more than 512 MiB for one image"):
        engine.add_real(large, _kernels.Operand("reals"), np.zeros(8, np.float32), ending)


def test_a_border_overlapped_in_200_000_ways_is_prepared_quickly():
    """Its table takes one step for each way, not one for each way and weight, which are 30 billion."""
    weights = _kernels.Planes(np.ones((1, 1, 400, 400, 1), np.uint8), factors=[1], divisor=1)
    frame = _kernels.Frame(shape=[32, 32, 1], window=[400, 400, 1, 1, 399, 399], outputs=1)
    engine = _kernels.Engine("")
    engine.add_binary(frame, _kernels.Operand("signs"), weights, _kernels.Ending.sums())
    assert engine.output_shape == (431, 431, 1)


# The most memory of this process, not of the one that started it, which getrusage counts too.
MOST = """
import sys
import numpy as np
from xnorlit.errors import UserError
from xnorlit.packed import load
def most():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
before = most()
"""
# Prints how much it took while it refused a file.
REFUSED = """
try:
    load(sys.argv[1])
except UserError:
    print(most() - before)
"""
# Prints how much it took while it loaded a file, and then while it ran one image.
MEASURED = """
network = load(sys.argv[1])
loaded = most()
size = network.graph.image_size
network(np.zeros((1, size, size, 3), np.uint8), threads=1)
print(loaded - before, most() - loaded)
"""
on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system reports no process's memory")


def measured(code, path):
    """The numbers that the code prints of a file, in a process of its own."""
    command = [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}{MOST}{code}", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@on_linux
@pytest.mark.parametrize("value", ["0,", "[0],", '"",', '["a"],', '{"a":0},', '"a\\u00e9",', "-1e9,"], ids=str)
def test_a_header_of_nothing_but_values_takes_no_more_than_is_stated(tmp_path, value):
    """The smallest values of JSON make the largest tree for their length, most of all when a list has just grown."""
    path = tmp_path / "file.xnor"
    lists = '{"a":[' + value * (2**20 + 1)
    metadata = json.dumps({"__metadata__": {METADATA: "[" + value * (2**19 + 1)}})
    for text in (lists, metadata):
        path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
        assert measured(REFUSED, path)[0] <= 64 * path.stat().st_size


@on_linux
@pytest.mark.parametrize(
    "layers",
    [
        CHAIN[:100] + CHAIN[-1:],
        (
            Layer("a", 2**14, PIXELS, FLOAT, BITS, Window((1, 1))),
            Layer("b", 2**14, SIGNS, PLANE, LINEAR, Window((1, 1)), groups=2**14),
        ),
        (
            Layer("a", 16, PIXELS, FLOAT, replace(EIGHT_BITS, per_position=True), THREE),
            Layer("b", 9, Operand("codes", 8), PLANE, LINEAR),
        ),
    ],
    ids=["large maps", "many groups", "codes of each position"],
)
def test_the_bound_is_kept(tmp_path, layers):
    size = 999 if len(layers) > 99 else 1 if layers[0].outputs > 16 else 256
    whole = graph(layers, size, layers[-1].outputs)
    path = tmp_path / "file.xnor"
    path.write_bytes(tiny.packed(whole, tensors_of(whole)))
    loaded, ran = measured(MEASURED, path)
    assert loaded <= 64 * path.stat().st_size + _kernels.SPARE_BYTES
    assert ran <= _kernels.LARGEST_ARENA + 2**24


def test_the_tiny_networks_load():
    for layers in NETWORKS.values():
        whole = graph(layers)
        check(whole, tensors_of(whole))
        assert parse(tiny.document(whole)) == whole
