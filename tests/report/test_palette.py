"""An arm has one colour, on the page and in a notebook."""

import re
from pathlib import Path

from xnorlit.report import html as page
from xnorlit.report import palette
from xnorlit.report.html import pictures
from xnorlit.report.palette import COLOURS, MARKERS, looks


def test_they_are_those_of_the_style_sheet():
    light, _, _ = (Path(page.__file__).parent / "style.css").read_text().partition("@media")
    assert tuple(colour for _, colour in sorted(re.findall(r"--arm-(\d): (#\w{6})", light))) == COLOURS


def test_the_notebooks_cycle_is_the_same():
    style = (Path(palette.__file__).parent / "style.mplstyle").read_text()
    colours, markers = re.findall(r"\[(.*?)\]", re.search(r"^axes.prop_cycle: (.*)$", style, re.M)[1])
    assert tuple(f"#{colour}" for colour in re.findall(r"\w{6}", colours)) == COLOURS
    assert tuple(re.findall(r'"(.)"', markers)) == MARKERS


def test_the_reference_is_blue_and_an_arm_has_the_pages_place():
    arms = ["bwn", "float", "xnor"]
    found = looks(arms, "float")
    assert {arm: look["color"] for arm, look in found.items()} == {
        "float": "#0969da", "bwn": "#bc4c00", "xnor": "#1a7f37",
    }  # fmt: skip
    assert {arm: look["marker"] for arm, look in found.items()} == {"float": "o", "bwn": "s", "xnor": "^"}
    assert pictures.colours(arms, "float") == {"float": "arm-0", "bwn": "arm-1", "xnor": "arm-2"}


def test_the_seventh_arm_has_the_second_ones_colour_and_never_the_references():
    found = looks([f"arm-{i}" for i in range(7)], "arm-0")
    assert found["arm-6"] == found["arm-1"]
    assert [look["color"] for look in found.values()].count(COLOURS[0]) == 1
