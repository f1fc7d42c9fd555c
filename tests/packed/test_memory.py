"""The engine allocates no more than a file's length justifies, and the stated bound holds for all kernels."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.packed import tiny
from tests.packed.tiny import (
    BITS,
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
from xnorlit.packed import _kernels, check, load
from xnorlit.packed.assembly import add_layer
from xnorlit.packed.document import parse
from xnorlit.packed.layer import Ending, Layer, Map, Operand, Weights, Window
from xnorlit.packed.memory import input_bytes, loaded_bytes, scratch_bytes

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
    ),
    "a border wider than the map": (
        Layer("a", 1, PIXELS, FLOAT, BITS, Window((30, 30), (1, 1), (29, 29))),
        Layer("b", 1, SIGNS, PLANE, BITS, Window((40, 40), (1, 1), (39, 39))),
        Layer("c", 33, SIGNS, PLANE, LINEAR, Window((9, 9), (2, 3), (8, 8))),
    ),
    "bytes of reals": (
        Layer("a", 3, PIXELS, FLOAT, LINEAR, THREE),
        Layer("b", 33, Operand("reals", step=0.5), INT8, LINEAR, Window((3, 2), (1, 2))),
        Layer("c", 1, Operand("reals", step=0.5), INT8, LINEAR, Window((1, 1))),
    ),
    "codes of one channel": (
        Layer("a", 1, PIXELS, FLOAT, replace(EIGHT_BITS, per_position=True), THREE),
        Layer("b", 1, Operand("codes", 8), PLANE, EIGHT_BITS, Window((3, 5), (1, 1), (2, 4))),
        Layer("c", 1, Operand("codes", 8), FLOAT, LINEAR, THREE),
    ),
}


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("layers", [*NETWORKS.values(), *ODD.values()], ids=[*NETWORKS, *ODD])
def test_the_computed_bound_covers_the_kernels_memory(layers, isa):
    whole = graph(layers)
    tensors, at, engine = tensors_of(whole), whole.input, _kernels.Engine(isa)
    maps = scratch = 0
    for i, layer in enumerate(layers):
        before = engine.resident_bytes
        add_layer(engine, layer, at, whole, tensors)
        endings = sum(
            t.nbytes for name, t in tensors.items() if name.split(".")[0] == layer.name and "weight" not in name
        )
        levels = 3 * 256 * 4 if layer.operand.form == "pixels" else 0
        assert engine.resident_bytes - before <= loaded_bytes(layer, at) + 16 * endings + levels + 256
        maps += input_bytes(layer, at) if i else 0
        scratch = max(scratch, scratch_bytes(layer, at))
        assert engine.arena_bytes <= maps + scratch
        at = layer.output(at)


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
    layer, at = Layer("a", 1, SIGNS, PLANE, LINEAR, Window((400, 400), (1, 1), (399, 399))), Map(32, 32, 1)
    whole = graph((layer,))
    engine = _kernels.Engine("")
    names = {"a.weight": np.ones((1, 1, 400, 400, 1), np.uint8), "a.scale0": np.ones(1, np.float32)}
    add_layer(engine, layer, at, whole, {**names, "a.shift0": np.zeros(1, np.float32)})
    assert engine.output_shape == (431, 431, 1)


# Prints how much memory the process took at most while it loaded a file, and then while it ran one image.
MEASURED = """
import resource, sys
import numpy as np
from xnorlit.packed import load
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = most()
network = load(sys.argv[1])
loaded = most()
size = network.graph.image_size
network(np.zeros((1, size, size, 3), np.uint8), threads=1)
print(loaded - before, most() - loaded)
"""


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
    command = [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}{MEASURED}", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, ran = (int(number) for number in done.stdout.split())
    assert loaded <= 64 * path.stat().st_size + check.SPARE_BYTES
    assert ran <= check.LARGEST_ARENA + 2**24


def test_the_tiny_networks_load():
    for layers in NETWORKS.values():
        whole = graph(layers)
        assert parse(tiny.document(whole), tensors_of(whole)) == whole
