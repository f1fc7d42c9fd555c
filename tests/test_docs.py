"""The documents name what there is: a binarizer, a network or a setting that nobody finds might as well be missing."""

import inspect
import re
from pathlib import Path

import pytest

from xnorlit.binarize import Binarizer, binarizers
from xnorlit.models import networks

ROOT = Path(__file__).parents[1]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ((?:[a-z0-9-]+ ?)+)", page.read_text(), re.MULTILINE)
    assert {word for words in named for word in words.split()} - targets == set()
