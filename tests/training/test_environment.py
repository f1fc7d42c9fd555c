"""The environment that a run records."""

import json
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from xnorlit.training.environment import changes_since, environment


def test_the_processor_the_versions_and_the_backend_are_those_of_here():
    found = environment("folder")
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"] == version("torch")
    assert found["threads"] == torch.get_num_threads()
    assert found["backend"] == "folder"
    if (info := Path("/proc/cpuinfo")).is_file() and (named := re.search(r"model name\s*: (.+)", info.read_text())):
        assert found["cpu"] == named[1]


def recorded(folder, **changed):
    """This machine's environment.json, with some values changed."""
    file = folder / "environment.json"
    file.write_text(json.dumps({**environment("folder"), **changed}))
    return file


def test_an_environment_that_has_not_changed_is_not_mentioned(tmp_path):
    assert changes_since(recorded(tmp_path)) == ""


def test_versions_and_a_commit_that_have_changed_are_named(tmp_path):
    here = environment("folder")
    packages = {**here["packages"], "torch": "2.0"}
    del packages["numpy"]
    git = {"commit": "0123456789", "dirty": False}
    named = [f"torch 2.0 -> {version('torch')}", f"numpy absent -> {here['packages']['numpy']}"]
    if here["git"]["commit"]:
        named.append(f"git 0123456 -> {here['git']['commit'][:7]}")
    assert changes_since(recorded(tmp_path, packages=packages, git=git)) == ", ".join(named)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"packages": {}, "git": null}'])
def test_a_damaged_file_is_left_to_its_reader(tmp_path, content):
    (tmp_path / "environment.json").write_text(content)
    assert changes_since(tmp_path / "environment.json") == ""


def test_outside_of_a_checkout_there_is_no_commit(monkeypatch):
    def without(*_, **__):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", without)
    assert environment("folder")["git"] == {"commit": None, "dirty": False}
