"""`import xnorlit as xl` is fast and does not load torch; every public name exists, is typed and has an example."""

import doctest
import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import xnorlit as xl
from tests.runs.factory import write_run
from xnorlit.binarize import binarizers

FACE = Path(xl.__file__)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_importing_loads_nothing_but_the_stub_of_its_names():
    """docs/benchmarks.md states the time: that of reading the stub, while none of our modules is loaded."""
    modules = run("import sys; before = set(sys.modules); import xnorlit; print(*(set(sys.modules) - before))").split()
    assert [name for name in modules if name.startswith("xnorlit")] == ["xnorlit"]
    assert {name.partition(".")[0] for name in modules} - {*sys.stdlib_module_names} == {"xnorlit", "lazy_loader"}
    slow = {"asyncio", "multiprocessing", "unittest", "email", "http", "xml", "sqlite3", "logging", "doctest"}
    assert not slow & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("name", xl.__all__)
def test_each_name_resolves_to_its_object(name):
    """Or, where its modules were imported before, to the callable package of that name: `xnorlit.export`."""
    found = getattr(xl, name)
    assert callable(found)
    assert found.__name__.removeprefix("xnorlit.") == name


def test_every_binarizer_is_a_public_name():
    ours = {name: kind for name, kind in binarizers().items() if kind.__module__.startswith("xnorlit.")}
    assert {name: getattr(xl, name) for name in ours} == ours


def test_an_unknown_name_is_reported_with_the_near_miss():
    with pytest.raises(AttributeError, match=r"no attribute 'XNORR'\. Did you mean XNOR\?"):
        xl.XNORR  # noqa: B018


def test_the_version_is_the_installed_packages():
    assert xl.__version__ == version("xnorlit")


def test_the_package_says_that_it_is_typed():
    assert (FACE.parent / "py.typed").exists()


def test_a_packed_network_is_loaded_where_torch_cannot_be_imported():
    code = "import sys; sys.modules['torch'] = None; import xnorlit as xl; print(xl.load.__name__)"
    assert run(code) == "load"


@pytest.mark.parametrize("name", xl.__all__)
def test_the_example_of_each_name_runs(name, tmp_path, monkeypatch):
    for arm, right in (("xnor", 700), ("float", 760)):
        write_run(tmp_path / "runs", arm, right=right)
    monkeypatch.chdir(tmp_path)
    found = getattr(xl, name)
    module = importlib.import_module(found.__module__)
    examples = doctest.DocTestFinder(recurse=False).find(found, name, module, globs={})
    assert any(test.examples for test in examples), f"{name} has no example in its docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in examples:
        assert runner.run(test).failed == 0, f"see the printed difference of {name}"
