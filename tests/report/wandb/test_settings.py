"""The dashboard's file is read correctly, or its first mistake is reported."""

from pathlib import Path

import pytest
import yaml

from xnorlit.errors import UserError
from xnorlit.report.palette import COLOURS
from xnorlit.report.wandb.settings import BARS, TEXTS, Panel, Settings

FILE = Path(__file__).parents[3] / "experiments" / "dashboard.yaml"


def changed(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(FILE.read_text()), **changes}))
    return file


def test_the_file_of_the_repository_shows_everything_there_is():
    settings = Settings.load(FILE)
    assert settings.project == "xnorlit"
    assert "{pair}" in settings.title
    panels = [panel for section in settings.sections for panel in section.panels]
    assert {panel.bars for panel in panels if panel.bars} == set(BARS)
    assert {text for section in settings.sections for text in section.text} == set(TEXTS)
    assert Panel(curve="val/top1", title="Validation top-1, mean and range over seeds") in panels
    assert [panel.gap for panel in panels if panel.gap] == ["val/top1"]


def test_an_arm_keeps_its_colour_and_others_get_one_that_no_arm_has():
    settings = Settings.load(FILE)
    colours = settings.colours_of(["mine", "xnor", "yours", "float"])
    assert (colours["xnor"], colours["float"]) == (settings.colours["xnor"], settings.colours["float"])
    assert colours == {**settings.colours_of(["float", "xnor"]), "mine": "#8250df", "yours": "#bf3989"}
    assert len(set(colours.values())) == 4


def test_the_colours_are_those_of_the_page():
    settings = Settings.load(FILE)
    assert [settings.colours[arm] for arm in ("float", "xnor", "bwn")] == list(COLOURS[:3])
    assert settings.other_colours[: len(COLOURS) - 3] == COLOURS[3:]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sectoins": []}, r"unknown key 'sectoins'; did you mean 'sections'\? See experiments"),
        ({"entity": "us"}, r"entity: unknown key; the login determines it \(wandb login"),
        ({"project": None}, r"project: expected text, found None"),
        ({"colours": {"xnor": "red"}}, r'colours\.xnor: expected a colour such as "#0969da", in quotes, found \'red\''),
        ({"colours": ["#0969da"]}, r"colours: expected an object, found \['#0969da'\]"),
        ({"other_colours": []}, r"other_colours: expected at least one colour that no arm has, found none"),
        ({"sections": [{"text": ["verdict"]}]}, r"sections\[0\]\.title: missing"),
        ({"sections": [{"title": "A", "text": ["veredict"]}]}, r"text\[0\]: .*; did you mean 'verdict'\?"),
        ({"sections": [{"title": "A", "panls": []}]}, r"sections\[0\]: unknown key 'panls'; did you mean 'panels'\?"),
        ({"sections": [{"title": "A", "panels": [{"title": "x"}]}]}, r"\[0\]: expected one .*, found none"),
        ({"sections": [{"title": "A", "panels": [{"curve": "a", "bars": "step"}]}]}, r"found curve and bars"),
        ({"sections": [{"title": "A", "panels": [{"bars": "steps"}]}]}, r"bars: .*; did you mean 'step'\?"),
        ({"sections": [{"title": "A", "panels": [{"gap": "val/loss"}]}]}, r"gap: expected one of val/top1"),
        ({"sections": "A"}, r"sections: expected a list, found 'A'"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_with_their_place(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        Settings.load(changed(tmp_path, **changes))


def test_a_missing_file_and_a_missing_key_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        Settings.load(tmp_path / "none.yaml")
    (tmp_path / "short.yaml").write_text("project: xnorlit\n")
    with pytest.raises(UserError, match=r"short\.yaml: colours: missing"):
        Settings.load(tmp_path / "short.yaml")
