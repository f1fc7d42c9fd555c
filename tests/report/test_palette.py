"""Colours have a single source. An arm has the same colour on the page and in a notebook."""

import re
from pathlib import Path

from xnorlit.report import html, palette
from xnorlit.report.html import pictures
from xnorlit.report.palette import COLOURS, DARK, LIGHT, MARKERS, style_of, style_sheet


def test_no_other_file_of_the_page_names_a_colour():
    """The style sheet, the templates and the script use the palette's names."""
    folder = Path(html.__file__).parent
    files = [file for kind in ("*.css", "*.jinja", "*.js", "*.py") for file in folder.rglob(kind)]
    assert len(files) > 20
    assert [file.name for file in files if re.search(r"#[0-9a-fA-F]{6}\b", file.read_text())] == []


def test_the_style_sheet_names_each_colour_for_both_schemes():
    light, _, dark = style_sheet().partition("@media")
    assert "prefers-color-scheme: dark" in dark
    for scheme, text in ((LIGHT, light), (DARK, dark)):
        assert dict(re.findall(r"--([\w-]+): (#\w{6});", text)) == scheme
    assert LIGHT.keys() == DARK.keys()
    used = set(re.findall(r"var\(--([\w-]+)\)", (Path(html.__file__).parent / "style.css").read_text()))
    assert used - {"c", "heat", "share"} <= LIGHT.keys()


def test_the_notebooks_cycle_is_the_same():
    style = (Path(palette.__file__).parent / "style.mplstyle").read_text()
    colours, markers = re.findall(r"\[(.*?)\]", re.search(r"^axes.prop_cycle: (.*)$", style, re.M)[1])
    assert tuple(f"#{colour}" for colour in re.findall(r"\w{6}", colours)) == COLOURS
    assert tuple(re.findall(r'"(.)"', markers)) == MARKERS
    others = re.findall(r"^[\w.]+: ([0-9a-f]{6})$", style, re.M)
    assert {f"#{colour}" for colour in others} == {LIGHT["rule"], LIGHT["soft"]}


def test_the_reference_is_blue_and_an_arm_has_the_pages_place():
    arms = ["bwn", "float", "xnor"]
    found = style_of(arms, "float")
    assert {arm: look["color"] for arm, look in found.items()} == {
        "float": "#0969da", "bwn": "#bc4c00", "xnor": "#1a7f37",
    }  # fmt: skip
    assert {arm: look["marker"] for arm, look in found.items()} == {"float": "o", "bwn": "s", "xnor": "^"}
    assert pictures.colours(arms, "float") == {"float": "arm-0", "bwn": "arm-1", "xnor": "arm-2"}


def test_the_seventh_arm_has_the_second_ones_colour_and_never_the_references():
    found = style_of([f"arm-{i}" for i in range(7)], "arm-0")
    assert found["arm-6"] == found["arm-1"]
    assert [look["color"] for look in found.values()].count(COLOURS[0]) == 1
