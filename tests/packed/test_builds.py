"""The kernels compute the oracle's integers in other builds too: under sanitizers, and for 64-bit Arm in emulation."""

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.packed.layers import Layer
from tests.packed.oracle import convolve, pack, sign
from xnorlit.packed import _kernels

KERNELS = Path(__file__).parents[2] / "xnorlit" / "packed" / "kernels"
DRIVER = Path(__file__).with_name("standalone.cpp")
SOURCES = [file for file in sorted(KERNELS.glob("*.cpp")) if file.name not in ("bindings.cpp", "settings.cpp")]
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-pthread", f"-I{KERNELS}"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vpopcntdq", "-mavx512vnni"]
OWN_FLAGS = {"path_avx2": AVX2, "path_avx512": AVX512}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
ARM, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
on_x86 = platform.machine() in ("x86_64", "AMD64")
pytestmark = pytest.mark.slow


def random_layer(random):
    groups = random.choice([1, 1, 2])
    kernel = random.integers(1, 5, 2)
    padding = [int(random.integers(0, side)) for side in kernel]
    size = [int(random.integers(side, 8)) for side in kernel]
    channels, outputs = groups * int(random.integers(1, 90)), groups * int(random.integers(1, 90))
    values = random.standard_normal((random.integers(1, 4), *size, channels)).astype(np.float32)
    weights = random.choice([-1, 1], (outputs, *kernel, channels // groups))
    return Layer(values, weights, tuple(int(s) for s in random.integers(1, 3, 2)), tuple(padding), int(groups))


def built(folder, compiler, flags, own_flags):
    """The driver and the kernels, each file with flags of its own as in CMakeLists.txt."""
    objects = []
    for source in [DRIVER, *SOURCES]:
        objects.append(folder / f"{source.stem}.o")
        own = own_flags.get(source.stem, [])
        subprocess.run([compiler, *FLAGS, *flags, *own, "-c", source, "-o", objects[-1]], check=True)
    subprocess.run([compiler, *flags, "-pthread", *objects, "-o", folder / "standalone"], check=True)
    return folder / "standalone"


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
    """Forty random layers give the oracle's sums, and nothing is said on standard error."""
    random = np.random.default_rng(0)
    layers = [random_layer(random) for _ in range(40)]
    stream = b""
    for layer in layers:
        head = [len(layer.values), *layer.shape, *layer.window, layer.groups, layer.outputs]
        stream += np.array(head, "<i4").tobytes() + layer.values.tobytes() + pack(layer.weights).tobytes()
    done = subprocess.run(command, input=stream, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()[-3000:]
    found = np.frombuffer(done.stdout, "<i4")
    for layer in layers:
        expected = convolve(sign(layer.values), layer.weights, layer.stride, layer.padding, layer.groups)
        np.testing.assert_array_equal(found[: expected.size].reshape(expected.shape), expected)
        found = found[expected.size :]
    assert not found.size


@pytest.mark.parametrize("path", _kernels.paths())
def test_under_address_and_undefined_behaviour_sanitizers(sanitized, path):
    check([*sanitized, path])


@pytest.mark.parametrize("path", ["neon", "portable"])
@pytest.mark.skipif(platform.machine() == "aarch64", reason="this processor runs the kernels without emulation")
def test_on_arm_in_emulation(emulated, path):
    check([*emulated, path])
