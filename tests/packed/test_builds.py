"""Other builds of the kernels also match the oracle: under sanitizers, and for emulated 64-bit Arm."""

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.packed.layers import Layer
from tests.packed.oracle import convolve, sign
from xnorlit.export.operands import packed_bits, weight_planes
from xnorlit.packed import _kernels

KERNELS = Path(__file__).parents[2] / "xnorlit" / "packed" / "kernels"
DRIVER = Path(__file__).with_name("standalone.cpp")
COMPARISON = Path(__file__).with_name("isas.cpp")
# Without Python's interface, and without what reads packed files, which test_c_builds.py builds.
READERS = {"assembly", "c_door", "check", "document", "fields", "json", "memory", "network", "plan", "tensorfile"}
SOURCES = [
    file
    for file in sorted(KERNELS.glob("*.cpp"))
    if file.stem not in READERS and file.stem not in ("bindings", "settings")
]
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-pthread", "-ffp-contract=off", f"-I{KERNELS}"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vpopcntdq", "-mavx512vnni"]
OWN_FLAGS = {"isa_avx2": AVX2, "isa_avx512": AVX512}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
ARM, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
on_x86 = platform.machine() in ("x86_64", "AMD64")
pytestmark = pytest.mark.slow


WEIGHTS = [(-1, 1), (-1, 1), (-1, 0, 1), (-3, -1, 1, 3), tuple(range(-4, 4))]
SIGNS, SCALED, CODES, REALS = range(4)  # what a layer reads, see standalone.cpp


def random_layer(random):
    """A layer, its input, and the bits of its input."""
    groups = random.choice([1, 1, 2])
    kernel = random.integers(1, 5, 2)
    padding = [int(random.integers(0, side)) for side in kernel]
    size = [int(random.integers(side, 8)) for side in kernel]
    channels, outputs = groups * int(random.integers(1, 90)), groups * int(random.integers(1, 90))
    reads = int(random.integers(0, 4))
    bits = int(random.integers(1, 4)) if reads == CODES else 1
    shape = random.integers(1, 4), *size, channels
    # Whole numbers, or halves and no zeros: every sum of reals is exact, and every sign is plain.
    values = random.integers(0, 2**bits, shape) if reads == CODES else random.integers(-4, 4, shape) + 0.5
    weights = random.choice(WEIGHTS[random.integers(len(WEIGHTS))], (outputs, *kernel, channels // groups))
    stride = tuple(int(s) for s in random.integers(1, 3, 2))
    return Layer(values.astype(np.float32), weights, stride, tuple(padding), int(groups)), reads, bits


def expected_of(layer, reads):
    values = layer.values if reads in (CODES, REALS) else sign(layer.values)
    kind = layer.stride, layer.padding
    sums = convolve((2 * values).astype(int), layer.weights, *kind, layer.groups) / 2
    if reads == SCALED:
        magnitudes = np.abs(2 * layer.values).astype(int).sum(axis=3, keepdims=True)
        box = np.ones((1, *layer.weights.shape[1:3], 1), int)
        return sums * convolve(magnitudes, box, *kind) / (2 * layer.shape[2] * box.size)
    return sums


def built(folder, compiler, flags, own_flags):
    """The folder of the drivers, with the kernels, each file with flags of its own as in CMakeLists.txt."""
    objects = {}
    for source in [DRIVER, COMPARISON, *SOURCES]:
        objects[source] = folder / f"{source.stem}.o"
        own = own_flags.get(source.stem, [])
        subprocess.run([compiler, *FLAGS, *flags, *own, "-c", source, "-o", objects[source]], check=True)
    for driver, other in ((DRIVER, COMPARISON), (COMPARISON, DRIVER)):
        linked = [file for source, file in objects.items() if source != other]
        subprocess.run([compiler, *flags, "-pthread", *linked, "-o", folder / driver.stem], check=True)
    return folder


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    return [built(tmp_path_factory.mktemp("sanitized"), "g++", SANITIZERS, OWN_FLAGS if on_x86 else {})]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    if not shutil.which(ARM) or not shutil.which(EMULATOR):
        pytest.skip(f"needs {ARM} and {EMULATOR}")
    return [EMULATOR, built(tmp_path_factory.mktemp("arm"), ARM, ["-static"], {})]


def check(command):
    """Sixty random layers give the oracle's sums, and nothing is said on standard error.

    And what graphs are made of gives the bits that the portable ones give.
    """
    *emulator, folder, isa = command
    compared = subprocess.run([*emulator, folder / COMPARISON.stem, isa], capture_output=True, text=True)
    assert (compared.returncode, compared.stdout, compared.stderr) == (0, "equal\n", "")
    command = [*emulator, folder / DRIVER.stem, isa]
    random = np.random.default_rng(0)
    layers = [random_layer(random) for _ in range(60)]
    stream = b""
    for layer, reads, bits in layers:
        planes, weights = weight_planes(torch.from_numpy(layer.weights), "a layer")
        head = [len(layer.values), *layer.shape, *layer.window, layer.groups, layer.outputs]
        head += [reads, bits, len(planes), *weights.factors, weights.divisor]
        stream += np.array(head, "<i4").tobytes() + layer.values.tobytes() + packed_bits(planes).tobytes()
    done = subprocess.run(command, input=stream, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()[-3000:]
    found = np.frombuffer(done.stdout, "<i4")
    for layer, reads, _ in layers:
        expected = expected_of(layer, reads)
        here = found[: expected.size].view("<f4" if reads in (SCALED, REALS) else "<i4").reshape(expected.shape)
        np.testing.assert_allclose(here, expected, rtol=1e-5 if reads == SCALED else 0)
        found = found[expected.size :]
    assert not found.size


@pytest.mark.parametrize("isa", _kernels.isas())
def test_under_address_and_undefined_behaviour_sanitizers(sanitized, isa):
    check([*sanitized, isa])


@pytest.mark.parametrize("isa", ["neon", "portable"])
@pytest.mark.skipif(platform.machine() == "aarch64", reason="this processor runs the kernels without emulation")
def test_on_arm_in_emulation(emulated, isa):
    check([*emulated, isa])
