"""Lower rooms never import higher ones, and `xnorlit --help` runs without loading torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "xnorlit"


class Room(NamedTuple):
    below: tuple[str, ...] = ()
    """The rooms directly below; their own rooms below follow."""
    foreign: tuple[str, ...] | None = None
    """Other packages that the room may import besides the standard library; None for any."""
    lazy: bool = False
    """Whether functions may import more than the module itself."""


# A new room is one line here, and one in the map of CONTRIBUTING.md.
ROOMS = {
    "errors": Room(foreign=()),
    "edge": Room(foreign=("rich", "yaml")),
    "binarize": Room(foreign=("torch", "typing_extensions")),
    "layers": Room(("binarize",)),
    "models": Room(("layers",)),
    "data": Room(),
    "runs": Room(foreign=("numpy", "rich", "safetensors", "scipy", "wandb", "yaml")),
    "training": Room(("models", "data", "runs")),
    "packed": Room(foreign=("numpy",)),
    "export": Room(("training", "packed")),
    "bench": Room(("export",)),
    "comparison": Room(("runs",), foreign=("numpy", "rich", "scipy")),
    "report": Room(
        ("comparison", "data"),
        foreign=("jinja2", "markupsafe", "numpy", "PIL", "rich", "safetensors", "scipy", "wandb", "wandb_workspaces"),
    ),
    "sweep": Room(("comparison", "data"), foreign=("rich", "submitit")),
    "commands": Room(("__init__", "bench", "report", "sweep"), lazy=True),
    "__main__": Room(("commands",), foreign=()),
    "__init__": Room(("export", "comparison"), foreign=("lazy_loader",), lazy=True),
}
LEAVES = {"errors", "edge"}
MOST_ROOMS, MOST_ARROWS = 20, 66
HEAVY = {"torch", "pytorch_lightning", "lightning", "torchvision", "torchmetrics"}


def room_of(dotted: str) -> str | None:
    """The room of a module, given without `xnorlit.`: `data` for `data.folder`; None if it is in no room."""
    parts = dotted.split(".")
    return next((r for n in range(len(parts), 0, -1) if (r := ".".join(parts[:n])) in ROOMS), None)


def within_reach(room: str) -> set[str]:
    """Every room that lies below."""
    return set(ROOMS[room].below).union(*(within_reach(lower) for lower in ROOMS[room].below))


def imports(node: ast.AST, here: list[str], deferred: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Absolute name, line, and whether a function's body holds it, for each import under `node`.

    Args:
        node: The tree of a module, or a part of one.
        here: The names of the package that holds the module, outermost first.
        deferred: Whether `node` is inside a function.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = here[: len(here) - child.level + 1] if child.level else []
            stem = ".".join([*base, *([child.module] if child.module else [])])
            yield from ((f"{stem}.{alias.name}", child.lineno, deferred) for alias in child.names)
        else:
            inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, here, inside)


def arrows(package: Path) -> set[tuple[str, str]]:
    """The rooms that each room imports, anywhere in its files."""
    found = set()
    for file in package.rglob("*.py"):
        inner = file.relative_to(package).with_suffix("").parts
        room = room_of(".".join(inner))
        for name, _, _ in imports(ast.parse(file.read_text()), [package.name, *inner[:-1]]):
            top, _, rest = name.partition(".")
            if top == package.name and (target := room_of(rest) or "__init__") != room:
                found.add((room, target))
    return found


def violations(package: Path) -> list[str]:
    """One line for each import under `package` that points upwards, sideways or out of the room's list."""
    found = []
    for file in sorted(package.rglob("*.py")):
        inner = file.relative_to(package).with_suffix("").parts
        room = room_of(".".join(inner))
        if room is None:
            found.append(f"{file.relative_to(package)}: in no room; add its line to ROOMS")
            continue
        allowed = {room} | LEAVES | within_reach(room)
        for name, line, deferred in imports(ast.parse(file.read_text()), [package.name, *inner[:-1]]):
            where = f"{file.relative_to(package)}:{line}: {room} imports"
            top, _, rest = name.partition(".")
            if ROOMS[room].lazy and deferred:
                continue
            if top == package.name:
                target = room_of(rest) or "__init__"
                if target not in allowed:
                    found.append(f"{where} {target}")
            elif ROOMS[room].foreign is not None and top not in {*sys.stdlib_module_names, *ROOMS[room].foreign}:
                found.append(f"{where} {top}")
    return found


def test_no_room_imports_a_higher_one():
    assert violations(PACKAGE) == []


def test_the_number_of_rooms_and_arrows_stays_small():
    assert len(ROOMS) <= MOST_ROOMS
    assert len(arrows(PACKAGE)) <= MOST_ARROWS


def made_up(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "xnorlit"
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("data/folder.py", "from xnorlit.models import alexnet", "data/folder.py:1: data imports models"),
        ("data/folder.py", "from xnorlit import training", "data/folder.py:1: data imports training"),
        ("binarize/xnor.py", "from ..layers import Conv", "binarize/xnor.py:1: binarize imports layers"),
        ("binarize/xnor.py", "import numpy", "binarize/xnor.py:1: binarize imports numpy"),
        ("layers/norms.py", "from .. import models", "layers/norms.py:1: layers imports models"),
        ("models/__init__.py", "from ..training import fit", "models/__init__.py:1: models imports training"),
        ("models/build.py", "def f():\n    import xnorlit.data", "models/build.py:2: models imports data"),
        ("runs/read.py", "import torch.nn", "runs/read.py:1: runs imports torch"),
        ("runs/read.py", "from xnorlit import report", "runs/read.py:1: runs imports report"),
        ("report/html.py", "if True:\n    import torch", "report/html.py:2: report imports torch"),
        ("packed/engine.py", "from ..export import pack", "packed/engine.py:1: packed imports export"),
        ("packed/engine.py", "from xnorlit.models import build", "packed/engine.py:1: packed imports models"),
        ("data/cli.py", "from xnorlit import commands", "data/cli.py:1: data imports commands"),
        ("edge/say.py", "import torch", "edge/say.py:1: edge imports torch"),
        ("errors.py", "import xnorlit.edge.atomic, xnorlit.data", "errors.py:1: errors imports data"),
        ("stray.py", "", "stray.py: in no room; add its line to ROOMS"),
    ],
)  # fmt: skip
def test_an_import_in_the_wrong_direction_is_reported(tmp_path, file, text, complaint):
    assert violations(made_up(tmp_path, {file: text})) == [complaint]


def test_arrows_the_right_way_pass(tmp_path):
    package = made_up(
        tmp_path,
        {
            "__init__.py": "def __getattr__(name):\n    import torch, xnorlit.data",
            "binarize/xnor.py": "import math\nimport torch\nfrom xnorlit.errors import UserError\nfrom .base import B",
            "training/module.py": "from xnorlit import binarize\nfrom ..models import build\nimport torch",
            "report/pair.py": "from xnorlit.runs import Run\nfrom safetensors.numpy import load",
            "export/pack.py": "from xnorlit.packed.engine import run\nfrom xnorlit.models import build",
            "commands/main.py": "import sys\nfrom xnorlit import errors\ndef fit():\n    import torch, xnorlit.data",
        },
    )
    assert violations(package) == []


def test_the_rooms_form_no_cycle():
    for room in ROOMS:  # a cycle would not return
        assert room not in within_reach(room)


def loaded(code: str) -> set[str]:
    """The heavy packages that a new process has loaded after running `code`."""
    probe = f"{code}\nimport sys\nprint('loaded:', *sorted({HEAVY} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def modules(room: str) -> list[str]:
    """The names of the modules in a room that has files; none for a room still to be built."""
    files = sorted(PACKAGE.rglob("*.py"))
    dotted = [".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in files]
    return [f"xnorlit.{name}".removesuffix(".__init__") for name in dotted if room_of(name) == room]


@pytest.mark.parametrize(
    "room",
    [
        room
        for room, rules in ROOMS.items()
        if rules.foreign is not None and not HEAVY & set(rules.foreign) and modules(room)
    ],
)
def test_a_light_room_loads_neither_torch_nor_lightning(room):
    assert loaded("".join(f"import {name}\n" for name in modules(room) if name != "xnorlit.__main__")) == set()


def test_the_probe_sees_torch():
    assert "torch" in loaded("import torch")


def test_help_answers_without_loading_torch():
    command = Path(sys.executable).with_name("xnorlit")
    done = subprocess.run([sys.executable, "-X", "importtime", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "compare" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "xnorlit" in imported
    assert not imported & HEAVY
