"""Load mutated packed files, and run those that load: every file is refused by name or runs.

    python tests/packed/fuzz.py --files 100000 --seed 0

The kernels are built with address and undefined-behaviour sanitizers and loaded into a separate Python process. The
files to mutate are in tests/packed/corpus. C gets each file as well.

A finding is any error other than UserError, a message or class name that cannot be encoded, a crash, a sanitizer's
report, a file that only one of Python and C loads, logits that differ between the two or depend on the number of
threads, a single allocation above 1 GiB, or a file that exceeds the time limit. The exit status is then 1, and the file
is kept.
"""

import argparse
import faulthandler
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g"
SECONDS = 60  # for one file; the slowest takes one under the sanitizers on an idle machine
MOST_PRODUCTS = 2**26  # in one image; what takes longer loads but does not run
EVERY = 1000  # files between two lines of progress


def main() -> int:
    """Run the fuzzer in a separate process, whose death is a finding too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="how many mutated files (default: 100,000)")
    parser.add_argument("--seed", type=int, default=0, help="every file follows from it and its number (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: 0)")
    parser.add_argument("--build", type=Path, help="folder of the sanitized kernels; kept (default: a temporary one)")
    parser.add_argument("--plain", action="store_true", help="the installed kernels instead, without sanitizers")
    parser.add_argument("--finding", type=Path, default=Path("finding.xnor"), help="where a finding is kept")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return fuzz(given.files, given.seed, given.first, given.finding.resolve())
    with tempfile.TemporaryDirectory() as folder:
        environment, package = dict(os.environ), ROOT
        if not given.plain:
            package = Path(folder)
            copied(package, built((given.build or package / "build").resolve()))
            environment |= sanitizers()
        environment |= {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]), "PYTHONSAFEPATH": "1"}
        command = [sys.executable, str(HERE / "fuzz.py"), "--inside", "--finding", str(given.finding.resolve())]
        command += ["--files", str(given.files), "--seed", str(given.seed), "--first", str(given.first)]
        status = subprocess.run(command, env=environment).returncode
    if status:
        once_more = f"python tests/packed/fuzz.py --seed {given.seed} --first {number_of(given.finding)} --files 1"
        print(f"fuzz: a finding (status {status}), kept as {given.finding}. Once more: {once_more}")
    return int(status != 0)


def number_of(finding: Path) -> str:
    """The number of the current file when the process ended."""
    note = finding.with_suffix(".number")
    return note.read_text() if note.exists() else "?"


def built(folder: Path) -> Path:
    """The kernels with sanitizers, built in a folder."""
    import nanobind

    command = ["cmake", "-S", ROOT / "xnorlit/packed/kernels", "-B", folder, f"-DCMAKE_CXX_FLAGS={FLAGS}"]
    command += [
        "-DXNORLIT_PYTHON=ON",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dnanobind_DIR={nanobind.cmake_dir()}",
    ]
    print(f"fuzz: building the kernels with sanitizers in {folder} (a minute or two)", flush=True)
    for step in (command, ["cmake", "--build", folder, "--parallel", "2"]):
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"fuzz: {' '.join(map(str, step))} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return next(folder.glob("_kernels*.so"))


def copied(folder: Path, kernels: Path) -> None:
    """The package's Python beside other kernels."""
    shutil.copytree(ROOT / "xnorlit", folder / "xnorlit", ignore=shutil.ignore_patterns("_kernels*.so", "__pycache__"))
    shutil.copy(kernels, folder / "xnorlit" / "packed")


def sanitizers() -> dict[str, str]:
    """Environment for a Python without sanitizers: preload their libraries, and C++'s for its exceptions."""
    libraries = [
        subprocess.run(
            ["g++", f"-print-file-name={name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan", "libubsan", "libstdc++")
    ]
    return {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:max_allocation_size_mb=1024:allocator_may_return_null=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def fuzz(files: int, seed: int, first: int, finding: Path) -> int:
    """Every file by its number, until one is a finding."""
    from tests.packed.mutation import Corpus

    corpus = Corpus(CORPUS)
    # In memory where the system has such a place: a hundred thousand files are written.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    path, number, began = folder / "file.xnor", finding.with_suffix(".number"), time.monotonic()
    loaded = ran = 0
    try:
        for index in range(first, first + files):
            content = corpus.mutated(random.Random(f"{seed} {index}"))
            path.write_bytes(content)
            finding.write_bytes(content)
            number.write_text(str(index))
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                here = tried(path)
            except Exception:
                traceback.print_exc()
                return 1
            loaded, ran = loaded + (here > 0), ran + (here > 1)
            done = index + 1 - first
            if done % EVERY == 0 or done == files:
                seconds = time.monotonic() - began
                print(f"fuzz: {done} files, {loaded} loaded, {ran} ran, {seconds:.0f} s, no finding", flush=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(folder)
    finding.unlink(missing_ok=True)
    number.unlink(missing_ok=True)
    return 0


def tried(path: Path) -> int:
    """0 if the file was refused, 1 if it loaded, 2 if it also ran."""
    import numpy as np

    from tests.packed import door
    from xnorlit.errors import UserError
    from xnorlit.packed import load

    content = path.read_bytes()
    refused = door.refusal(content)
    try:
        network = load(path)
    except UserError as error:
        str(error).encode()
        if not refused:
            raise AssertionError(f"C loads what Python refuses: {error}") from None
        return 0
    "".join([network.graph.network, *network.graph.classes]).encode()
    assert refused is None, f"C refuses what Python loads: {refused}"
    if products_of(network.graph) > MOST_PRODUCTS:
        return 1
    size = network.graph.image_size
    image = np.arange(size * size * 3, dtype=np.uint32).astype(np.uint8).reshape(1, size, size, 3)
    one, two = (network(image, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, door.Network(content)(image))
    return 2


def products_of(graph) -> int:
    """Rough cost of one image: multiply-adds and moved values."""
    from xnorlit.packed.graph import POOLS
    from xnorlit.packed.layer import Layer

    flows, products = graph.flows(), 0
    for node in graph.steps:
        at = flows[node.inputs[0]].map
        products += math.prod(flows[node.name].map) + math.prod(at)
        if isinstance(node.op, Layer):
            window = math.prod(node.op.looks(at).kernel)
            products += math.prod(node.op.sums(at)) * window * at.channels // node.op.groups
        elif isinstance(node.op, POOLS):
            products += math.prod(flows[node.name].map) * node.op.kernel**2
    return products


if __name__ == "__main__":
    sys.exit(main())
