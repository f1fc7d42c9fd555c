"""The C library builds without Python, under sanitizers and for other processors, and gives Python's bits."""

import platform
import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.packed import fuzz
from tests.packed.mutation import Corpus
from xnorlit.errors import UserError
from xnorlit.packed import load
from xnorlit.packed.trained import list_trained, located

ROOT = Path(__file__).parents[2]
KERNELS, EXAMPLE = ROOT / "xnorlit/packed/kernels", ROOT / "examples/c"
DRIVER = Path(__file__).with_name("door.c")
FILES = sorted(fuzz.CORPUS.glob("*.safetensors"))
TRAINED = [located(name) for name in list_trained()]
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g -O1"
# Compilers of other processors, and who runs what they build. qemu emulates without the other system's libraries.
OTHERS = {
    "aarch64": ("aarch64-linux-gnu", "qemu-aarch64"),
    "armv7": ("arm-linux-gnueabihf", "qemu-arm"),
    "riscv64": ("riscv64-linux-gnu", "qemu-riscv64"),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("g++") or not shutil.which("cmake"), reason="needs g++ and cmake"),
]


def done(*command):
    found = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert found.returncode == 0, f"{command}: {found.stdout[-2000:]}{found.stderr[-3000:]}"
    return found.stdout


def built(folder, flags="", system=()):
    """A project that uses the library: the example, and the driver; in the release also one that counts allocations."""
    release = not flags and not system
    project = (
        f"cmake_minimum_required(VERSION 3.18)\nproject(tried LANGUAGES C CXX)\nadd_subdirectory({EXAMPLE} example)\n"
    )
    for name in ("door", "counted") if release else ("door",):
        project += f"add_executable({name} {DRIVER})\ntarget_link_libraries({name} PRIVATE xnorlit::xnorlit)\n"
    if release:
        project += "target_compile_definitions(counted PRIVATE COUNTED)\n"
    folder.mkdir(exist_ok=True)
    (folder / "CMakeLists.txt").write_text(project)
    # What is not the release builds in half the time.
    kind = "Release" if release else "None"
    given = [f"-DCMAKE_BUILD_TYPE={kind}", *(f"-DCMAKE_{one}_FLAGS={flags or '-O1'}" for one in ("C", "CXX"))]
    done("cmake", "-S", folder, "-B", folder / "build", *given, *system)
    done("cmake", "--build", folder / "build", "--parallel", "2")
    return folder / "build"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return built(tmp_path_factory.mktemp("c"))


def expected(path):
    """What the driver prints of a file that Python loads."""
    network = load(path)
    size = network.graph.image_size
    pixels = (37 * np.arange(size * size * 3) % 251).astype(np.uint8).reshape(1, size, size, 3)
    return [float(value) for value in network(pixels)[0]]


def check(output, files):
    """The driver's lines for files that load: Python's logits, bit for bit."""
    lines = output.splitlines()
    assert len(lines) == len(files)
    for line, path in zip(lines, files, strict=True):
        code, *logits = line.split()
        assert code == "0", f"{path.name}: {line}"
        np.testing.assert_array_equal([float.fromhex(value) for value in logits], expected(path), err_msg=path.name)


@pytest.mark.parametrize("threads", [1, 3])
def test_it_gives_pythons_bits_and_allocates_nothing_after_loading(plain, threads):
    check(done(plain / "counted", threads, *FILES, *TRAINED), [*FILES, *TRAINED])


def test_the_example_classifies_as_python_does(plain, tmp_path):
    assert len((EXAMPLE / "classify.c").read_text().splitlines()) < 100
    path = located("cifar10-best")
    network, chance = load(path), np.random.default_rng(0)
    size = network.graph.image_size
    for index, side in enumerate((size, size, 3 * size)):
        small = chance.integers(0, 256, (1, size, size, 3), np.uint8)
        # Pixels three times as large: the nearest ones are the network's own again.
        large = small[0].repeat(side // size, axis=0).repeat(side // size, axis=1)
        picture = tmp_path / f"{index}.ppm"
        picture.write_bytes(f"P6 # a comment\n{side} {side}\n255\n".encode() + large.tobytes())
        logits = network(small)[0]
        best = np.argsort(-logits, kind="stable")[:5]
        found = [line.rsplit(maxsplit=3) for line in done(plain / "example/classify", path, picture).splitlines()]
        assert [row[0].strip() for row in found] == [network.classes[i] for i in best]
        assert [np.float32(row[3]) for row in found] == logits[best].tolist()


def test_the_example_says_what_is_wrong(plain, tmp_path):
    whole = FILES[0].read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-5])
    (tmp_path / "small.ppm").write_bytes(b"P6 8 8 255\n" + bytes(191))
    for words, message in (
        (["none", "none"], "none cannot be read"),
        ([tmp_path / "cut", "none"], "cut: tensor "),
        ([FILES[0], tmp_path / "cut"], "cut is not a whole PPM"),
        ([FILES[0], tmp_path / "small.ppm"], "small.ppm is not a whole PPM"),
    ):
        found = subprocess.run([plain / "example/classify", *words], capture_output=True, text=True)
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr.startswith("error: ")
        assert message in found.stderr


def test_the_sources_on_the_page_compile(plain, tmp_path):
    text = (ROOT / "docs/c.md").read_text()
    (code,), (project,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("c", "cmake"))
    (tmp_path / "yours.c").write_text(code + "int main(void) { return classify(NULL, 0, NULL) == -1 ? 0 : 1; }\n")
    library = plain / "example/xnorlit/libxnorlit.a"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{KERNELS / 'include'}"]
    done("gcc", *flags, "-c", tmp_path / "yours.c", "-o", tmp_path / "yours.o")
    done("g++", "-pthread", tmp_path / "yours.o", library, "-o", tmp_path / "yours")
    assert subprocess.run([tmp_path / "yours"], capture_output=True).returncode == 0
    (tmp_path / "CMakeLists.txt").write_text(project.replace("path/to/xnorlit/packed/kernels", str(KERNELS)))
    done("cmake", "-S", tmp_path, "-B", tmp_path / "build")


def test_it_installs_and_is_found(plain, tmp_path):
    done("cmake", "--install", plain / "example/xnorlit", "--prefix", tmp_path / "there")
    done("cmake", "-S", EXAMPLE, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'there'}")
    done("cmake", "--build", tmp_path / "build")
    assert not (tmp_path / "build/xnorlit").exists(), "the installed library is used"
    assert subprocess.run([tmp_path / "build/classify"], capture_output=True).returncode == 2


def test_under_sanitizers_every_file_runs_or_is_refused(tmp_path):
    """Address, leak and undefined-behaviour sanitizers find nothing in good files nor in a thousand damaged ones."""
    driver = built(tmp_path / "sanitized", SANITIZERS) / "door"
    check(done(driver, 2, *FILES, *TRAINED), [*FILES, *TRAINED])
    corpus, files, refused = Corpus(fuzz.CORPUS), [], []
    for index in range(1000):
        path = tmp_path / f"{index:04}.safetensors"
        path.write_bytes(corpus.mutated(random.Random(f"sanitized {index}")))
        try:
            graph = load(path).graph
        except UserError:
            refused.append(path)
        else:
            if fuzz.products_of(graph) <= fuzz.MOST_PRODUCTS // 16:
                files.append(path)
    lines = done(driver, 2, *refused).splitlines()
    assert len(lines) == len(refused) > 500
    assert {line.split()[0] for line in lines} == {"2"}
    check(done(driver, 1, *files), files)


@pytest.mark.parametrize("processor", OTHERS)
def test_it_runs_on_other_processors_in_emulation(processor, tmp_path):
    prefix, emulator = OTHERS[processor]
    if platform.machine() == processor:
        pytest.skip("this processor runs it without emulation")
    for tool in (f"{prefix}-g++", f"{prefix}-gcc", emulator):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")
    system = [
        "-DCMAKE_SYSTEM_NAME=Linux",
        f"-DCMAKE_SYSTEM_PROCESSOR={processor}",
        f"-DCMAKE_C_COMPILER={prefix}-gcc",
        f"-DCMAKE_CXX_COMPILER={prefix}-g++",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    ]
    folder = built(tmp_path / processor, system=system)
    # Real layers that are summed in fp32 may add in another order there; those of the corpus's graphs have fp64.
    exact = [path for path in FILES if path.stem.startswith("graph-")]
    check(done(emulator, folder / "door", 2, *exact), exact)
    files = [*FILES, *TRAINED]
    for line, path in zip(done(emulator, folder / "door", 1, *files).splitlines(), files, strict=True):
        code, *logits = line.split()
        assert code == "0", f"{path.name}: {line}"
        logits = np.array([float.fromhex(value) for value in logits])
        np.testing.assert_allclose(logits, expected(path), rtol=1e-4, atol=1e-4, err_msg=path.name)
        assert np.argsort(-logits)[:5].tolist() == np.argsort(-np.array(expected(path)))[:5].tolist()
    for path, content in (("cut", FILES[0].read_bytes()[:-5]), ("hostile", b"\xff" * 100)):
        (tmp_path / path).write_bytes(content)
        assert done(emulator, folder / "door", 1, tmp_path / path).startswith("2 ")
