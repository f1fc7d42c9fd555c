"""Every example in the documents works: Python blocks run, and each command line parses."""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import jsonargparse
import numpy as np
import pytest

from tests.export.conftest import photos, trained  # noqa: F401
from xnorlit.commands import main as commands
from xnorlit.packed import load
from xnorlit.packed.trained import list_trained, located

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "experiments").rglob("README.md"))
LANGUAGES = {
    "python": "run, page by page",
    "console": "read by the command's own parser",
    "sh": "make targets and variables that exist",
    "yaml": "loaded",
    "text": "output, or a picture of something",
    "c": "compiled: tests/packed/test_c_builds.py",
    "cmake": "configured: tests/packed/test_c_builds.py",
}
VARIABLES = {"DATA", "NETWORK", "EXPERIMENT", "GRID", "SEED", "ARGS", "PYTHON", "PAIR", "BENCH", "RUNS"}


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of all pages, those of some languages or of any."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(page, line, match[2], match[3]))
    return [block for block in found if not languages or block.language in languages]


def commands_of(block: Block) -> Iterator[str]:
    """The command lines of a console block, without their comments, continued lines joined."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield shlex.join(shlex.split(line[2:], comments=True))


CONSOLE = [(block, line) for block in blocks("console") for line in commands_of(block)]
SHELL = blocks("sh")
PYTHON = sorted({block.page for block in blocks("python")})


def test_every_block_says_what_it_is_and_so_how_it_is_checked():
    assert {block.name: block.language for block in blocks() if block.language not in LANGUAGES} == {}
    assert len(CONSOLE) > 15
    assert len(PYTHON) > 3


@pytest.fixture
def place(tmp_path, monkeypatch, trained):  # noqa: F811
    """A folder with what the examples name: recipes, images, the runs of a pair, a grid."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "runs").mkdir()
    for experiment in ("synthetic", "cifar10"):
        (tmp_path / "runs" / experiment).symlink_to(trained / "cifar10")
    for name in ("photos", "DIR", "holidays"):
        (tmp_path / name).symlink_to(trained.parent / "photos")
    for block in blocks("yaml"):
        if "method: grid" in block.text:
            (tmp_path / "rates.yaml").write_text(block.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xnorlit"])
    return tmp_path


class Read(BaseException):
    """Raised when a command has parsed its arguments, instead of running it."""


@pytest.fixture
def only_read(monkeypatch):
    """Stop each command when its outermost parser is done."""
    depth = 0
    for parser in (argparse.ArgumentParser, jsonargparse.ArgumentParser):

        def parse_args(self, *args, _original=parser.parse_args, **kwargs):
            nonlocal depth
            depth += 1
            try:
                found = _original(self, *args, **kwargs)
            finally:
                depth -= 1
            if not depth:
                raise Read
            return found

        monkeypatch.setattr(parser, "parse_args", parse_args)


@pytest.mark.parametrize(("block", "line"), CONSOLE, ids=[f"{block.name}:{line}" for block, line in CONSOLE])
def test_a_command_reads_the_lines_that_the_documents_give_it(block, line, place, only_read, capsys):
    program, *words = shlex.split(line)
    assert program == "xnorlit", "console blocks hold xnorlit's own commands; others go into sh blocks"
    runs = iter(["runs/cifar10/pair-0/xnor/seed-0", "runs/cifar10/pair-0/float/seed-0"])
    words = [
        next(runs) if word == "RUN" else word.replace("RUN/", "runs/cifar10/pair-0/xnor/seed-0/") for word in words
    ]
    try:
        status = commands.main(words)
    except Read:
        return
    pytest.fail(f"{line}: status {status}, {capsys.readouterr().err}")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.name)
def test_shell_examples_name_targets_and_variables_that_exist(block):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            variables = {word.partition("=")[0] for word in words[1:] if "=" in word}
            assert {word for word in words[1:] if "=" not in word} <= targets
            assert variables <= VARIABLES
            assert all(re.search(rf"\$\((call quote,\$\()?{name}\b|{name} \?=", makefile) for name in variables)
        elif words[:1] == ["xnorlit"]:
            assert words[1] in commands.COMMANDS


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, place):
    text = "".join(block.text for block in blocks("python") if block.page == page)
    exec(compile(text, str(page), "exec"), {"__name__": "__main__"})


def test_the_reader_of_the_format_computes_what_the_engine_does():
    (block,) = (block for block in blocks("python") if block.page.name == "packed-format.md")
    assert sum(1 for line in block.text.splitlines() if line.strip()) <= 150
    assert set(re.findall(r"^(?:import|from) (\w+)", block.text, re.MULTILINE)) <= sys.stdlib_module_names
    page: dict = {}
    exec(block.text, page)
    for file in sorted((ROOT / "tests/packed/corpus").glob("*.safetensors")):
        network, image = load(file), np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
        theirs = np.float32(page["run"](*page["read"](file), image.reshape(-1, 3).tolist()))
        np.testing.assert_allclose(theirs, network(image)[0], rtol=1e-5, atol=1e-5, err_msg=file.name)
        if network.graph.nodes:
            np.testing.assert_array_equal(theirs, network(image)[0], err_msg=file.name)


@pytest.mark.slow
def test_the_reader_of_the_format_classifies_as_a_trained_network_does():
    (block,) = (block for block in blocks("python") if block.page.name == "packed-format.md")
    page: dict = {}
    exec(block.text, page)
    # Larger images take minutes in plain Python.
    small = {name: network for name in list_trained() if (network := load(name)).graph.image_size == 32}
    assert small
    for name, network in small.items():
        image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
        theirs = page["run"](*page["read"](located(name)), image.reshape(-1, 3).tolist())
        assert np.argsort(theirs)[::-1].tolist() == np.argsort(network(image)[0])[::-1].tolist()


# Only the wheel has xnorlit/experiments: the build puts the recipes there.
NAMED = re.compile(r"`(xnorlit(?:\.\w+)+|(?!xnorlit/experiments)(?:xnorlit|tests|scripts|experiments)/[\w./-]+)`")
NAMES = sorted({(page.relative_to(ROOT), name) for page in PAGES for name in NAMED.findall(page.read_text())})
NAMES = [(page, name) for page, name in NAMES if not re.search(r"/(VERB|NAME)\.", name)]  # placeholders


@pytest.mark.parametrize(("page", "name"), NAMES, ids=str)
def test_everything_that_a_page_names_exists(page, name):
    if "/" in name:
        assert (ROOT / name).exists()
    else:
        resolve_name(name)
