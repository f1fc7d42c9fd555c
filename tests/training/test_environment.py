"""The environment that a run records."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from xnorlit.training import environment as room
from xnorlit.training.environment import changes_since, environment, git_state


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


def test_it_says_what_was_typed_and_on_which_hardware(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/xnorlit", "fit", "--data.source", "my photos"])
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    before = time.time()
    found = environment("ffcv")
    assert shlex.split(found["command"]) == ["xnorlit", "fit", "--data.source", "my photos"]
    assert found["cores"] == 12
    assert found["gpu"] is None or torch.cuda.is_available()
    assert found["platform"] == platform.platform()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", found["started"])
    began = time.mktime(time.strptime(found["started"][:19], "%Y-%m-%dT%H:%M:%S"))
    assert -1 <= began - before <= 60
    assert all(found["packages"].values())
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    found = environment("ffcv")
    assert (found["cores"], found["gpu"]) == (0, "a GPU")


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True).stdout


def test_a_commit_is_that_of_the_checkout_and_dirty_when_something_has_changed(tmp_path, monkeypatch):
    for name in ("package/file.py", "recipes/arm.yaml", "recipes/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(room, "__file__", str(tmp_path / "package" / "file.py"))
    assert git_state() == {"commit": None, "dirty": False}, "no checkout"
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "First")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "recipes" / "README.md").write_text("A table.")
    assert git_state() == {"commit": commit, "dirty": False}, "as xnorlit table leaves it between two runs"
    (tmp_path / "recipes" / "arm.yaml").write_text("run: {}")
    assert git_state() == {"commit": commit, "dirty": True}
    git(tmp_path, "commit", "-q", "-a", "-m", "Second")
    (tmp_path / "package" / "new.py").touch()
    assert git_state()["dirty"]


def test_a_commit_is_compared_only_where_both_are_known(tmp_path, monkeypatch):
    for then, now, said in (
        ("0123456789", None, ""),
        (None, "0123456789", ""),
        ("a" * 40, "a" * 40, ""),
        ("a" * 40, "b" * 40, "git aaaaaaa -> bbbbbbb"),
    ):
        monkeypatch.setattr(room, "git_state", lambda now=now: {"commit": now, "dirty": False})
        assert changes_since(recorded(tmp_path, git={"commit": then, "dirty": True})) == said


def test_a_package_that_is_gone_is_absent(tmp_path, monkeypatch):
    file = recorded(tmp_path)
    monkeypatch.setattr(room, "PACKAGES", (*room.PACKAGES, "gone"))
    content = json.loads(file.read_text())
    content["packages"]["gone"] = "1.0"
    file.write_text(json.dumps(content))
    assert changes_since(file) == "gone 1.0 -> absent"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: A: fast one\n\nprocessor\t: 1\nmodel name\t: B\n", "A: fast one"),
        ("processor\t: 0\nno colon\n\nmodel name\t: B\n", "of python"),
        (None, "of python"),
    ],
)
def test_the_processor_is_the_first_that_linux_names(text, name, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(room, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "of python")
    assert room.processor() == name
