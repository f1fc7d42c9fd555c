"""Without a C++ compiler xnorlit installs and trains; anything that needs the kernels says how to get them."""

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import forget, status_of

ROOT = Path(__file__).parents[2]
WITHOUT = f"import sys\nsys.path[:] = {sys.path!r}\nsys.modules['xnorlit.packed._kernels'] = None\n"


def python(code):
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True)


def test_importing_the_engine_says_what_is_missing_and_what_to_run():
    done = python("import xnorlit.packed")
    last = done.stderr.splitlines()[-1]
    assert "KernelsMissingError: the packed engine's compiled kernels are missing: no C++ compiler worked" in last
    assert "apt install build-essential" in last
    assert "make -B setup" in last


def test_kernels_that_fail_to_load_give_the_reason():
    broken = (
        "del sys.modules['xnorlit.packed._kernels']\n"
        "class Broken:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.endswith('_kernels'):\n"
        "            raise ImportError('libstdc++.so.6: version not found')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    done = python(f"{broken}import xnorlit.packed")
    assert "compiled kernels do not start (libstdc++.so.6: version not found). Install" in done.stderr


def test_it_is_also_an_import_error():
    done = python("try:\n    import xnorlit.packed\nexcept ImportError:\n    print('caught')")
    assert done.stdout == "caught\n", done.stderr


def test_a_command_that_needs_them_prints_that_alone_and_training_does_without(tmp_path, capfd):
    """In a fork, because a new process would import torch and Lightning again."""

    def work():
        forget(["xnorlit.packed._kernels"])
        importlib.import_module("xnorlit.commands.train")
        importlib.import_module("xnorlit.commands.compare")
        importlib.import_module("xnorlit.data.prepare")
        os.chdir(tmp_path)
        main = importlib.import_module("xnorlit.commands.main").main
        for words in (["classify", "a", "b"], ["pack", "--random-weights"], ["bench", "--quick"]):
            assert main(words) == 2
        sys.exit(main(["fit", "--help"]))

    status = status_of(work)
    out, err = capfd.readouterr()
    assert status == 0, err[-2000:]
    assert "usage: xnorlit fit" in out
    said = err.splitlines()
    assert len(said) == 3
    assert all(line.startswith("error: the packed engine's compiled kernels are missing") for line in said)


@pytest.mark.slow
def test_a_wheel_is_built_where_the_compiler_fails_and_holds_everything_but_the_kernels(tmp_path):
    pytest.importorskip("scikit_build_core")
    code = f"from scikit_build_core.build import build_wheel\nprint(build_wheel({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "CC": "/bin/false", "CXX": "/bin/false", "SKBUILD_BUILD_DIR": str(tmp_path / "build")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "xnorlit/packed/engine.py" in names
    assert not [name for name in names if "_kernels" in name or "/kernels/" in name]
