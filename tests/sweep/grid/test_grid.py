"""A grid has the content of its file. An invalid file is refused with a remedy."""

import itertools
from pathlib import Path

import pytest
import yaml

from xnorlit.errors import UserError
from xnorlit.sweep.grid import Grid

COMMAND = ["${env}", "${interpreter}", "-m", "xnorlit", "fit", "-c", "base.yaml", "--run.arm=x", "${args}"]
PARAMETERS = {"model.lr": {"values": [0.1, 0.2]}, "seed_everything": {"values": [0, 1, 2]}, "flip": {"value": True}}
GRID = {"method": "grid", "parameters": PARAMETERS, "command": COMMAND}


def written(folder: Path, **changes) -> Path:
    file = folder / "grid.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in (GRID | changes).items() if value is not None}))
    return file


def test_its_cells_are_every_combination(tmp_path):
    grid = Grid.load(written(tmp_path))
    by_hand = [
        {"model.lr": lr, "seed_everything": seed, "flip": True} for lr, seed in itertools.product([0.1, 0.2], [0, 1, 2])
    ]
    assert sorted(grid.cells, key=str) == sorted(by_hand, key=str)
    assert grid.size == 6
    assert grid.name == "grid"


def test_labels_are_the_shortest_unique_endings(tmp_path):
    two = {"values": [1, 2]}
    names = ("model.binarizer", "model.binarizer.scale", "data.scale", "seed_everything")
    grid = Grid.load(written(tmp_path, parameters={**dict.fromkeys(names, two), "flip": {"value": True}}))
    assert grid.labels == {
        "model.binarizer": "binarizer",
        "model.binarizer.scale": "binarizer.scale",
        "data.scale": "data.scale",
        "seed_everything": "seed",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "bayes"}, r"method is bayes.* Expected method: grid\. List the values"),
        ({"method": "random"}, r"method is random"),
        ({"method": None}, r"method is None\. Expected `method: grid`"),
        ({"parameters": None}, r"the grid is empty\. Expected `parameters`"),
        ({"parameters": {}}, r"the grid is empty"),
        ({"parameters": {"lr": {}}}, r"parameter lr has no values\. Expected `values: \[\.\.\.\]`"),
        ({"parameters": {"lr": None}}, r"parameter lr has no values"),
        ({"parameters": {"lr": {"values": []}}}, r"parameter lr is \[\]\. Expected"),
        ({"parameters": {"lr": {"values": 3}}}, r"parameter lr is 3\. Expected"),
        ({"parameters": {"lr": {"min": 0, "max": 1}}}, r"parameter lr has no values"),
        ({"parameters": {"lr": {"values": [1], "probabilities": [1]}}}, r"lr has probabilities\. Expected only"),
        ({"parameters": {"model": {"parameters": {"lr": {"value": 1}}}}}, r"parameter model has no values"),
        ({"parameters": {"lr": {"values": [1, 1]}}}, r"parameter lr repeats a value: 1, 1"),
        ({"parameters": {"lr": {"values": [None]}}}, r"lr has the value None\. Expected a string.*'null'"),
        ({"parameters": {"lr": {"values": [{"a": 1}]}}}, r"has the value \{'a': 1\}.*Quote anything else"),
        ({"parameter": {}}, r"unknown key parameter\. Did you mean parameters\?"),
        ({"early_terminate": {"type": "hyperband"}}, r"early_terminate works only on W&B's server"),
        ({"command": None}, r"does not run xnorlit\. Expected \["),
        ({"command": ["python", "train.py", "${args}"]}, r"does not run xnorlit"),
        ({"command": COMMAND[:-1]}, r"its command has no \$\{args\}"),
        ({"command": [*COMMAND[:-1], "${args_no_hyphens}"]}, r"its command has \$\{args_no_hyphens\}"),
        ({"command": [*COMMAND, "--run.root=${envvar:HOME}"]}, r"its command has \$\{args\}, --run\.root=\$\{envvar"),
    ],
)
def test_an_invalid_grid_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        Grid.load(written(tmp_path, **changes))


@pytest.mark.parametrize("name", ["lr-0.1", "lr-0.1.yaml"])
def test_a_name_with_a_dot_is_found_and_no_other(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments" / "ablations"
    folder.mkdir(parents=True)
    written(folder).rename(folder / "lr-0.yaml")
    with pytest.raises(UserError, match=r"no grid lr-0\.1"):
        Grid.load(name)
    written(folder).rename(folder / "lr-0.1.yaml")
    assert Grid.load(name).file.name == "lr-0.1.yaml"


def test_an_unknown_file_is_reported_with_the_known_grids(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    with pytest.raises(UserError, match=r"no grid smalest\. Did you mean smallest\?.*binarizers, bits, blocks, ends"):
        Grid.load("smalest")
