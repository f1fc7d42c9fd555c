"""The documents mention every binarizer, network and setting."""

import inspect
import re
import runpy
from pathlib import Path

import pytest

import xnorlit
from xnorlit.binarize import Binarizer, binarizers
from xnorlit.commands.ablate import ablate
from xnorlit.commands.arguments import parser_of
from xnorlit.commands.main import COMMANDS
from xnorlit.models import networks
from xnorlit.runs.arm import readable
from xnorlit.runs.recipes import is_base
from xnorlit.sweep.grid import Grid
from xnorlit.sweep.grid.argv import Base, argv_of, place

ROOT = Path(__file__).parents[1]
ABLATIONS = ROOT / "docs" / "ablations.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def rows_of(page: str, name: str) -> str:
    """The tables' rows that begin with a name."""
    rows = re.findall(rf"^\| `{re.escape(name)}`.*$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert rows, f"docs/{page} has no row for {name}"
    return "\n".join(rows)


@pytest.mark.parametrize("binarizer", [b for b in binarizers().values() if b.__module__.startswith("xnorlit.")])
def test_the_table_of_binarizers_names_each_and_what_can_be_set(binarizer: type[Binarizer]) -> None:
    row = rows_of("binarizers.md", binarizer.__name__)
    alike = {"SwishSign", "Heaviside", "LatentFree", "HWGQ"}  # rows that say "as XNOR", and settings of an optimizer
    if binarizer.__name__ not in alike:
        settings = [
            p.name for p in inspect.signature(binarizer).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        inherited = {"gradient", "center", "clip", "scale"} if "as `XNOR`" in row else set()
        assert [name for name in settings if f"`{name}`" not in row and name not in inherited] == []


@pytest.mark.parametrize("network", networks())
def test_the_table_of_networks_names_each(network: str) -> None:
    stem = re.sub(r"(-p?relu|-cbap|-duo|-decoupled)+$", "", network)
    text = (ROOT / "docs" / "networks.md").read_text()
    assert f"`{network}`" in text or f"`{stem}`" in text


def test_the_table_of_grids_names_each_with_its_runs_and_its_question() -> None:
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(.*?\) \| (\d+) \| (.*) \|$", ABLATIONS.read_text(), re.MULTILINE)
    grids = [Grid.load(file) for file in sorted((ROOT / "experiments" / "ablations").glob("*.yaml"))]
    assert sorted(rows) == [(grid.name, str(grid.size), grid.description) for grid in grids]


def test_the_ablations_commands_have_the_options_that_the_page_gives_them() -> None:
    lines = re.findall(r"^xnorlit (ablate .*?)(?: +#.*)?$", ABLATIONS.read_text(), re.MULTILINE)
    parser = parser_of(ablate, prog="xnorlit ablate", example="")
    for line in lines:
        assert parser.parse_args(line.split()[1:]).file == "bits"
    assert len(lines) == 3


def test_the_ablations_own_grid_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", ABLATIONS.read_text(), re.DOTALL)
    (tmp_path / "rates.yaml").write_text(text)
    grid = Grid.load(tmp_path / "rates.yaml")
    places = {place(argv_of(grid, cell, Base(), ROOT), ROOT).path.parent.name for cell in grid.cells}
    assert places == {"Float-0.001", "Float-0.003", "XNOR-0.001", "XNOR-0.003"}
    assert readable("{class_path: DoReFa, init_args: {weight_bits: 2}}") == "DoReFa-2"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ((?:[a-z0-9-]+ ?)+)", page.read_text(), re.MULTILINE)
    assert {word for words in named for word in words.split()} - targets == set()


def test_the_api_page_has_each_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    shown = set(re.findall(r"^::: xnorlit\.(\w+)$", page, re.MULTILINE))
    assert shown == set(xnorlit.__all__) - {"Binarizer", *binarizers()}


def test_a_docstrings_doctests_are_headed_as_the_site_reads_them() -> None:
    """mkdocstrings knows the section `Examples:`; below `Example:` it shows `>>>` as a quotation."""
    files = sorted((ROOT / "xnorlit").rglob("*.py"))
    assert [str(f) for f in files if re.search(r"^ +Example:$", f.read_text(), re.MULTILINE)] == []


def test_the_site_has_each_commands_help() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "site.py"))["_commands"]()
    for name in COMMANDS:
        assert f"\n## xnorlit {name}\n" in f"\n{page}"
        assert f"usage: xnorlit {name} " in page
    assert str(ROOT) not in page


HEADERS = [
    (file, command.strip())
    for file in sorted((ROOT / "experiments").rglob("*.yaml"))
    for command in re.findall(
        r"^# Command: +((?:make|xnorlit) .*?)(?:  .*|;.*|, or .*)?$", file.read_text(), re.MULTILINE
    )
]


@pytest.mark.parametrize(("file", "command"), HEADERS, ids=[f"{file.parent.name}/{file.name}" for file, _ in HEADERS])
def test_the_command_in_a_recipes_header_exists(file: Path, command: str) -> None:
    program, what, *others = command.split()
    if program == "make":
        assert re.search(rf"^{what}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert what in COMMANDS
    if what == "train":
        assert is_base(file) or file.stem == others[0]
        assert file.parent == ROOT / "experiments" / others[others.index("--experiment") + 1]
