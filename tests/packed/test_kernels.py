"""The kernels of every instruction set compute the oracle's integers, bit for bit, for any shape."""

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packed.layers import EVERY_ISA, Layer, affine, frame, one_bit, plain, planes, random_layers, run, signs
from tests.packed.oracle import convolve, max_pool, pack, sign, unpack
from xnorlit.errors import UserError
from xnorlit.packed import _kernels
from xnorlit.packed.isa import chosen_isa

every_isa = pytest.mark.parametrize("isa", EVERY_ISA)
few = settings(max_examples=25, deadline=None)


def engine_of_signs(isa, layer):
    engine = _kernels.Engine(isa)
    engine.add_sign(layer.shape)
    return engine


@every_isa
@few
@given(layer=random_layers(), threads=st.integers(1, 3))
def test_sums_are_the_oracles(isa, layer, threads):
    engine = engine_of_signs(isa, layer)
    engine.add_binary(*layer.described(), plain())
    expected = convolve(sign(layer.values), layer.weights, layer.stride, layer.padding, layer.groups)
    found = run(engine, layer.values, np.int32, threads)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@every_isa
@few
@given(layer=random_layers(), data=st.data())
def test_bits_are_thresholds_flips_and_pools_of_the_sums(isa, layer, data):
    sums = convolve(sign(layer.values), layer.weights, layer.stride, layer.padding, layer.groups)
    size = data.draw(st.integers(1, min(3, *sums.shape[1:3])))
    stride, padding = data.draw(st.integers(1, 3)), data.draw(st.integers(0, size // 2))
    pooled = max_pool(sums, size, stride, padding)
    shape = data.draw(st.sampled_from([pooled.shape[3:], pooled.shape[1:]]))  # per channel, or per feature
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # Thresholds that are hit exactly, missed by one, and out of reach on both sides.
    near = random.choice(pooled.ravel(), shape) + random.integers(-1, 2, shape)
    reach = layer.weights[0].size + 1
    thresholds = np.where(random.random(shape) < 0.1, random.choice([-reach, reach], shape), near).astype(np.int32)
    flips = random.integers(0, 2, shape).astype(np.uint8)

    engine = engine_of_signs(isa, layer)
    per_position = thresholds.ndim == 3
    engine.add_binary(*layer.described(), one_bit(thresholds, flips, [size, stride, padding], per_position))
    words = run(engine, layer.values, np.uint32).reshape(*pooled.shape[:3], -1)
    np.testing.assert_array_equal(unpack(words, layer.outputs), (pooled >= thresholds) ^ flips)


@every_isa
def test_rows_too_long_for_the_stack_are_pooled_too(isa):
    random = np.random.default_rng(0)
    layer = Layer(
        random.standard_normal((2, 5, 36, 1), np.float32), random.choice([-1, 1], (2016, 1, 1, 1)), (1, 1), (0, 0), 1
    )
    pooled = max_pool(convolve(sign(layer.values), layer.weights, layer.stride, layer.padding), 3, 2, 1)
    thresholds, flips = random.integers(-1, 3, 2016).astype(np.int32), random.integers(0, 2, 2016).astype(np.uint8)
    engine = engine_of_signs(isa, layer)
    engine.add_binary(*layer.described(), one_bit(thresholds, flips, [3, 2, 1]))
    words = run(engine, layer.values, np.uint32).reshape(*pooled.shape[:3], -1)
    np.testing.assert_array_equal(unpack(words, 2016), (pooled >= thresholds) ^ flips)


@every_isa
@few
@given(first=random_layers(flat=False), seed=st.integers(0, 2**32), padded=st.booleans())
def test_bits_flow_into_the_next_layer_and_its_border(isa, first, seed, padded):
    random = np.random.default_rng(seed)
    sums = convolve(sign(first.values), first.weights, first.stride, first.padding, first.groups)
    flips = random.integers(0, 2, first.outputs).astype(np.uint8)
    kernel = (3, 3) if padded else sums.shape[1:3]
    padding = (1, 1) if padded else (0, 0)
    weights = random.choice([-1, 1], (40, *kernel, first.outputs))

    engine = engine_of_signs(isa, first)
    engine.add_binary(*first.described(), one_bit(np.zeros(first.outputs, np.int32), flips))
    window = [*kernel, 1, 1, *padding]
    engine.add_binary(frame(sums.shape[1:], window, 1, 40), signs(), planes(pack(weights)), plain())
    passed = np.where((sums >= 0) ^ flips, 1, -1)
    expected = convolve(passed, weights, (1, 1), padding)
    for _ in range(2):  # the second time in used memory
        found = run(engine, first.values, np.int32, threads=2)
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@every_isa
@few
@given(layer=random_layers(), data=st.data())
def test_reals_are_affine_maps_of_the_sums(isa, layer, data):
    sums = convolve(sign(layer.values), layer.weights, layer.stride, layer.padding, layer.groups)
    size = data.draw(st.integers(1, min(3, *sums.shape[1:3])))
    pooled = max_pool(sums, size, 2)
    per_position = data.draw(st.booleans())
    shape = pooled.shape[1:] if per_position else pooled.shape[3:]
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    maps = []
    for slope in data.draw(st.lists(st.sampled_from([0, 1, -0.5, "channels"]), min_size=1, max_size=3)):
        slopes = random.standard_normal(shape) if slope == "channels" else slope
        maps.append([np.float32(v) for v in (*random.standard_normal((2, *shape)), slopes)])
    expected = pooled.astype(float)
    for scale, shift, slope in maps:
        expected = expected * scale + shift
        expected = np.maximum(expected, 0) + slope * np.minimum(expected, 0)

    engine = engine_of_signs(isa, layer)
    engine.add_binary(*layer.described(), affine(*maps, pool=[size, 2, 0], per_position=per_position))
    found = run(engine, layer.values, np.float32).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


@every_isa
def test_long_sums_do_not_overflow(isa):
    """More products than 16 bits can count, all of one sign: the largest sums of every intermediate counter."""
    channels = 70_001
    for images in (1, 2, 5):
        values = np.ones((images, 1, 1, channels), np.float32)
        weights = np.full((3, 1, 1, channels), -1)
        weights[1] = 1
        engine = _kernels.Engine(isa)
        engine.add_sign([1, 1, channels])
        engine.add_binary(frame([1, 1, channels], [1, 1, 1, 1, 0, 0], 1, 3), signs(), planes(pack(weights)), plain())
        found = run(engine, values, np.int32)
        np.testing.assert_array_equal(found, [[-channels, channels, -channels]] * images)


def linear(features, matrix):
    """The arguments of `add_real` for a product of reals, up to the ending."""
    return frame([1, 1, features], [1, 1, 1, 1, 0, 0], 1, len(matrix)), _kernels.Operand("reals"), matrix


@every_isa
@few
@given(seed=st.integers(0, 2**32), data=st.data())
def test_the_float_ends_are_the_convolution_and_the_product(isa, seed, data):
    random = np.random.default_rng(seed)
    outputs, kernel, stride = data.draw(st.integers(1, 110)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    padding = data.draw(st.integers(0, kernel - 1))
    side = data.draw(st.integers(kernel, 12))
    pixels = random.integers(0, 256, (2, side, side, 3), np.uint8)
    # Powers of two throughout: every sum is exact in any order, and its threshold can be hit.
    mean, std = np.array([128, 64, 32], np.float32), np.array([64, 32, 64], np.float32)
    weights = (random.integers(-8, 9, (outputs, kernel, kernel, 3)) / 8).astype(np.float32)
    normal = np.pad((pixels - mean) / std, [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)])
    whole = (normal * 64).astype(int), (weights * 8).astype(int)
    sums = convolve(*whole, (stride, stride), (0, 0)) / 512
    size = data.draw(st.integers(1, min(3, sums.shape[1])))
    pooled = max_pool(sums, size, 2)
    thresholds = random.choice(pooled.ravel(), outputs).astype(np.float32)
    flips = random.integers(0, 2, outputs).astype(np.uint8)

    engine = _kernels.Engine(isa)
    window = [kernel, kernel, stride, stride, padding, padding]
    ending = one_bit(thresholds, flips, [size, 2, 0])
    pixel = _kernels.Operand("pixels", mean=mean, std=std)
    engine.add_real(frame([side, side, 3], window, 1, outputs), pixel, weights, ending)
    words = run(engine, pixels, np.uint32, threads=2).reshape(*pooled.shape[:3], -1)
    np.testing.assert_array_equal(unpack(words, outputs), (pooled >= thresholds) ^ flips)

    features, classes = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 40))
    x = random.standard_normal((data.draw(st.integers(0, 5)), 1, 1, features)).astype(np.float32)
    matrix, bias = (random.standard_normal(s).astype(np.float32) for s in ((classes, features), classes))
    engine = _kernels.Engine(isa)
    engine.add_real(*linear(features, matrix), affine((np.ones(classes), bias, 1)))
    expected = x[:, 0, 0].astype(float) @ matrix.T + bias
    np.testing.assert_allclose(run(engine, x, np.float32), expected, rtol=1e-5, atol=1e-4)


@every_isa
@few
@given(seed=st.integers(0, 2**32), data=st.data())
def test_the_byte_ends_are_the_convolution_and_the_product_of_bytes(isa, seed, data):
    random = np.random.default_rng(seed)
    outputs, kernel, stride = data.draw(st.integers(1, 110)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    padding = data.draw(st.integers(0, kernel - 1))
    side = data.draw(st.integers(kernel, 12))
    pixels = random.integers(0, 256, (2, side, side, 3), np.uint8)
    pixels[random.random(pixels.shape) < 0.3] = 255  # extremes, where narrow sums would saturate
    weights = random.integers(-128, 128, (outputs, kernel, kernel, 3), np.int8)
    weights[random.random(outputs) < 0.2] = random.choice([-128, 127])
    fill = random.integers(0, 256, 3, np.uint8)
    whole = np.empty((2, side + 2 * padding, side + 2 * padding, 3), int)
    whole[:] = fill
    whole[:, padding : padding + side, padding : padding + side] = pixels
    sums = convolve(whole, weights.astype(int), (stride, stride), (0, 0))
    size = data.draw(st.integers(1, min(3, sums.shape[1])))
    pooled = max_pool(sums, size, 2)
    thresholds = random.choice(pooled.ravel(), outputs).astype(np.int32)
    flips = random.integers(0, 2, outputs).astype(np.uint8)

    engine = _kernels.Engine(isa)
    window = [kernel, kernel, stride, stride, padding, padding]
    ending = one_bit(thresholds, flips, [size, 2, 0])
    engine.add_byte_conv(frame([side, side, 3], window, 1, outputs), weights, fill, ending)
    words = run(engine, pixels, np.uint32, threads=2).reshape(*pooled.shape[:3], -1)
    np.testing.assert_array_equal(unpack(words, outputs), (pooled >= thresholds) ^ flips)

    features, classes = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 140))
    x = random.uniform(-0.1, 1.2, (data.draw(st.integers(0, 6)), 1, 1, features)).astype(np.float32)
    matrix = random.integers(-128, 128, (classes, features), np.int8)
    scale, bias = random.standard_normal((2, classes)).astype(np.float32)
    step = np.float32(1 / 255)
    engine = _kernels.Engine(isa)
    whole = frame([1, 1, features], [1, 1, 1, 1, 0, 0], 1, classes)
    engine.add_byte_linear(whole, step, matrix, affine((scale, bias, 1)))
    levels = np.clip(np.rint(x[:, 0, 0] / step), 0, 255).astype(int)
    expected = (levels @ matrix.T.astype(int)) * scale.astype(float) + bias
    np.testing.assert_allclose(run(engine, x, np.float32), expected, rtol=1e-5, atol=1e-3)


def test_an_engine_that_has_run_may_grow():
    engine = _kernels.Engine()
    engine.add_sign([5, 5, 300])
    values = np.ones((3, 5, 5, 300), np.float32)
    assert run(engine, values, np.uint32).shape == (3, 5 * 5 * 10)
    weights = np.full((2, 5, 5, 38), 255, np.uint8)
    engine.add_binary(frame([5, 5, 300], [5, 5, 1, 1, 0, 0], 1, 2), signs(), planes(weights), plain())
    np.testing.assert_array_equal(run(engine, values, np.int32), np.full((3, 2), 7500))


@every_isa
def test_several_threads_share_one_engine(isa):
    random = np.random.default_rng(0)
    engine = _kernels.Engine(isa)
    engine.add_sign([9, 9, 40])
    weights = random.choice([-1, 1], (100, 3, 3, 40))
    engine.add_binary(frame([9, 9, 40], [3, 3, 1, 1, 1, 1], 1, 100), signs(), planes(pack(weights)), plain())
    inputs = [random.standard_normal((n, 9, 9, 40)).astype(np.float32) for n in (1, 2, 3, 40)]
    expected = [run(engine, x, np.int32) for x in inputs]
    wrong = []

    def work(which):
        for round in range(30):
            if not np.array_equal(run(engine, inputs[which], np.int32, threads=1 + round % 3), expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_has_threads_of_its_own():
    code = """
import os, numpy as np
from xnorlit.packed import _kernels
engine = _kernels.Engine()
frame = _kernels.Frame(shape=[1, 1, 64], window=[1, 1, 1, 1, 0, 0], outputs=500)
ending = _kernels.Ending.reals(scales=[], shifts=[], slopes=[])
engine.add_real(frame, _kernels.Operand("reals"), np.ones((500, 64), np.float32), ending)
def run():
    out = np.zeros((3, 500), np.float32)
    engine.run(np.ones((3, 1, 1, 64), np.float32), out, 2)
    return (out == 64).all()
assert run()
child = os.fork()
if not child:
    os._exit(0 if run() else 1)
assert os.waitpid(child, 0)[1] == 0 and run()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux what each thread does")
def test_idle_threads_sleep():
    code = """
import time, numpy as np
from pathlib import Path
from xnorlit.packed import _kernels
engine = _kernels.Engine()
frame = _kernels.Frame(shape=[1, 1, 64], window=[1, 1, 1, 1, 0, 0], outputs=500)
ending = _kernels.Ending.reals(scales=[], shifts=[], slopes=[])
engine.add_real(frame, _kernels.Operand("reals"), np.ones((500, 64), np.float32), ending)
engine.run(np.ones((1, 1, 1, 64), np.float32), np.zeros((1, 500), np.float32), 4)
tasks = sorted(Path("/proc/self/task").iterdir(), key=lambda task: int(task.name))[1:]
for _ in range(10):
    time.sleep(0.05)
    print(*(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in tasks))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert set(done.stdout.splitlines()) == {"S S S"}, "R would be a thread that waits actively"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="asks Linux which processors a thread may use")
@pytest.mark.parametrize("alone", [True, False])
def test_threads_keep_the_processors_that_the_process_may_use(alone):
    code = f"""
import os, time, numpy as np
from xnorlit.packed import _kernels
if {alone}:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
allowed = os.sched_getaffinity(0)
engine = _kernels.Engine()
engine.add_sign([9, 9, 40])
for _ in range(300):
    engine.run(np.ones((4, 9, 9, 40), np.float32), np.zeros((4, engine.output_elements), np.uint32), 3)
time.sleep(0.2)  # one may just be moving
tasks = [int(task) for task in os.listdir("/proc/self/task")]
print(len(tasks), all(os.sched_getaffinity(task) == allowed for task in tasks))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["3", "True"]


def test_the_environment_chooses_the_kernels(monkeypatch):
    monkeypatch.delenv("XNORLIT_KERNEL", raising=False)
    assert chosen_isa() == _kernels.isas()[0]
    monkeypatch.setenv("XNORLIT_KERNEL", "portable")
    assert chosen_isa() == "portable"


@pytest.mark.parametrize("name", ["sse9", "neon" if "avx2" in _kernels.isas() else "avx2"])
def test_kernels_that_cannot_run_are_refused_with_those_that_can(monkeypatch, name):
    monkeypatch.setenv("XNORLIT_KERNEL", name)
    with pytest.raises(UserError, match=rf"{name}.*This processor runs: .*portable"):
        chosen_isa()
    with pytest.raises(ValueError, match="portable"):
        _kernels.Engine(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [0, 9, 40]}, "shape"),
        ({"shape": [9, 9]}, "shape"),
        ({"shape": [2**31 - 1, 2**31 - 1, 2**31 - 1]}, "shape"),
        ({"window": [3, 3, 0, 1, 1, 1]}, "window"),
        ({"window": [3, 3, 1, 1, 3, 1]}, "window"),
        ({"window": [12, 3, 1, 1, 0, 0]}, "window"),
        ({"groups": 3}, "groups"),
        ({"outputs": 101}, "weights"),
        ({"outputs": -1}, "outputs"),
        ({"shape": [9, 10, 40]}, "does not read"),
    ],
)
def test_truncated_input_is_refused_before_it_is_read(change, message):
    given = {"shape": [9, 9, 40], "window": [3, 3, 1, 1, 1, 1], "groups": 1, "outputs": 100} | change
    engine = _kernels.Engine()
    engine.add_sign([9, 9, 40])
    with pytest.raises(ValueError, match=message):
        engine.add_binary(frame(**given), signs(), planes(np.zeros((100, 3, 3, 5), np.uint8)), plain())


def test_arrays_of_another_kind_are_refused():
    engine = _kernels.Engine()
    engine.add_sign([9, 9, 40])
    weights = np.zeros((100, 3, 3, 5), np.uint8)
    engine.add_binary(frame([9, 9, 40], [3, 3, 1, 1, 1, 1], 1, 100), signs(), planes(weights), plain())
    out = np.zeros((2, 8100), np.int32)
    good = np.zeros((2, 9, 9, 40), np.float32)
    engine.run(good, out, 1)
    with pytest.raises(ValueError, match="kind"):
        engine.run(np.zeros((2, 9, 9, 40), np.uint8), out, 1)
    with pytest.raises(ValueError, match="images"):
        engine.run(good[:, :8].copy(), out, 1)
    with pytest.raises(ValueError, match="out"):
        engine.run(good, out[:1], 1)
    with pytest.raises(ValueError, match="threads"):
        engine.run(good, out, 0)
    for other in (good.astype(np.float64), good[:, :, ::-1]):
        with pytest.raises(TypeError):
            engine.run(other, out, 1)


def test_nothing_but_numpy_is_needed():
    heavy = "torch", "pytorch_lightning", "safetensors", "scipy"
    code = f"import sys\nimport xnorlit.packed.isa\nassert not set(sys.modules) & set({heavy!r})"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_the_stub_names_what_the_extension_has():
    tree = ast.parse(Path(_kernels.__file__).with_name("_kernels.pyi").read_text())
    stated = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    numbers = {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    assert stated.keys() | numbers == {name for name in dir(_kernels) if not name.startswith("_")}
    for kind in (node for node in stated.values() if isinstance(node, ast.ClassDef)):
        members = {member.name for member in kind.body if isinstance(member, ast.FunctionDef)}
        assert members - {"__init__"} == {name for name in vars(getattr(_kernels, kind.name)) if name[0] != "_"}
