"""The command of a combination is the one that W&B's agent runs, word for word, except for the interpreter."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb import wandb_agent

from xnorlit.commands.resolve import resolved
from xnorlit.errors import UserError
from xnorlit.sweep.grid import Grid
from xnorlit.sweep.grid.argv import Base, arguments, argv_of, home, place
from xnorlit.sweep.grid.plan import planned
from xnorlit.training.place import RunPlace

ROOT = Path(__file__).parents[3]
AGENT = ("${env}", "${interpreter}", "-m", "xnorlit", "fit")
FILES = sorted((ROOT / "experiments" / "ablations").glob("*.yaml"))
# https://docs.wandb.ai, "Sweep configuration options": keys, and what a parameter of a grid may have.
KEYS = {"program", "entity", "project", "description", "name", "method", "metric", "parameters", "command", "run_cap"}

pytestmark = pytest.mark.usefixtures("checkout")


@pytest.fixture
def checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def by_the_agent(command: list[str], cell: dict[str, Any], monkeypatch, folder: Path) -> list[str]:
    """The command that the agent of the installed wandb starts for some parameters, as its server sends them."""
    started = []

    class Started:
        def __init__(self, command, **_):
            started.append(command)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Started)
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "r")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "p")
    agent = wandb_agent.Agent(None, None)
    agent._sweep_command = list(command)
    args = {name: {"value": cell[name]} for name in sorted(cell)}
    agent._command_run({"type": "run", "run_id": "r", "program": None, "args": args})
    return started[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_wandbs_agent_runs_the_same_command(file, tmp_path, monkeypatch):
    sweep = yaml.safe_load(file.read_text())
    grid = Grid.load(file)
    for trial in planned(grid, Base()):
        theirs = by_the_agent(sweep["command"], trial.parameters, monkeypatch, tmp_path)
        assert theirs[:2] == ["/usr/bin/env", "python"]
        assert trial.job.command[1:] == theirs[2:]


def test_booleans_and_texts_are_written_as_the_agent_writes_them(tmp_path, monkeypatch):
    cell = {
        "b": True,
        "a.c": "{class_path: XNOR, init_args: {scale: none}}",
        "a": 1e-20,
        "d": "null",
        "e": 3,
        "f": "x y",
    }
    theirs = by_the_agent(["${args}"], cell, monkeypatch, tmp_path)
    assert arguments(cell) == theirs
    assert theirs[0] == "--a=1e-20", "a class comes before its settings"
    assert "--b=True" in theirs


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_grid_is_a_valid_wandb_sweep(file):
    """Its schema, as far as it concerns grids, which is in another package than wandb.

    That one, sweeps 0.3.0, accepts every file, and its own grid search gives the same combinations.
    """
    sweep = yaml.safe_load(file.read_text())
    assert sweep.keys() <= KEYS
    assert sweep["method"] == "grid"
    assert sweep["name"] == file.stem
    assert sweep["description"]
    assert sweep["metric"] == {"name": "val/top1", "goal": "maximize"}
    assert all(isinstance(word, str) for word in sweep["command"])
    for name, about in sweep["parameters"].items():
        assert name.replace(".", "").replace("_", "").isalnum()
        assert set(about) in ({"values"}, {"value"})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_run_of_a_grid_is_accepted_and_stored_where_expected(file):
    """Parsed by the real parser; the configuration has the grid's values."""
    grid = Grid.load(file)
    trials = planned(grid, Base())
    values = [
        parameter["values"]
        for parameter in yaml.safe_load(file.read_text())["parameters"].values()
        if "values" in parameter
    ]
    assert len(trials) == len(list(itertools.product(*values)))
    for trial, answer in zip(trials, resolved([trial.job.argv for trial in trials]), strict=True):
        assert "error" not in answer, answer
        filed = answer["config"]["run"]
        recorded = Path(filed["root"], filed["experiment"], filed["pair"], filed["arm"])
        assert trial.job.place.path == recorded / f"seed-{answer['config']['seed_everything']}"
        assert filed["experiment"] == grid.name


def test_other_images_and_another_recipe_are_filed_apart(tmp_path):
    grid = Grid.load("ends")
    line = argv_of(grid, grid.cells[0], Base(str(tmp_path), "cifar10"), Path())
    assert line[:4] == ("-c", "experiments/cifar10/base.yaml", "-c", "experiments/cifar10/xnor.yaml")
    assert f"--data.source={tmp_path}" in line
    assert place(line, Path()).experiment == f"ends@cifar10@{tmp_path.name}"
    with pytest.raises(UserError, match=r"no recipe named cifar11 .*Did you mean cifar10\?"):
        argv_of(grid, grid.cells[0], Base(experiment="cifar11"), Path())


def test_a_recipe_in_the_current_folder_is_exchanged_for_one_beside_it(monkeypatch):
    monkeypatch.chdir(ROOT / "experiments" / "synthetic")
    grid = replace(Grid.load("smallest"), command=(*AGENT, "-c", "base.yaml", "--run.arm={model.binarizer}", "${args}"))
    assert argv_of(grid, grid.cells[0], Base(experiment="cifar10"), Path())[:2] == ("-c", "../cifar10/base.yaml")
    with pytest.raises(UserError, match=r"no recipe named cifar11 .*Did you mean cifar10\?"):
        argv_of(grid, grid.cells[0], Base(experiment="cifar11"), Path())


def test_runs_are_looked_for_where_training_writes_them_if_the_recipe_names_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("run: {root: ~/runs}")
    line = ("-c", str(tmp_path / "base.yaml"), "--run.arm=xnor")
    written = RunPlace(root=Path("~/runs"), arm="xnor").at(0)
    assert place(line, Path()).path == written == tmp_path / "runs/unnamed/pair-0/xnor/seed-0"


@pytest.mark.parametrize("setting", ["arm: 8", "experiment: 2024", "pair: 0"])
def test_a_number_as_a_runs_name_is_refused_as_training_refuses_it(tmp_path, setting):
    (tmp_path / "base.yaml").write_text(f"run: {{{setting}}}")
    key, value = setting.split(": ")
    with pytest.raises(UserError, match=rf"run\.{key} is {value}\. Expected a text"):
        place(("-c", str(tmp_path / "base.yaml")), Path())


def test_a_named_set_keeps_its_name_beside_a_folder_of_that_name(monkeypatch):
    monkeypatch.chdir(ROOT / "experiments")
    assert Path("cifar10").is_dir()
    grid = Grid.load("ablations/smallest.yaml")
    for base, source in (
        (Base("cifar10"), "cifar10"),
        (Base("./cifar10"), str(ROOT / "experiments" / "cifar10")),
    ):
        assert f"--data.source={source}" in planned(grid, base)[0].job.argv


def test_from_a_folder_below_the_paths_of_the_command_are_found(monkeypatch):
    monkeypatch.chdir(ROOT / "notebooks")
    assert Grid.load("smallest") == Grid.load(ROOT / "experiments" / "ablations" / "smallest.yaml")
    grid = Grid.load("../experiments/ablations/smallest.yaml")
    assert home(grid) == ROOT
    trials = planned(grid, Base(root=Path("../runs")))
    assert trials[0].job.folder == ROOT
    assert f"--run.root={ROOT / 'runs'}" in trials[0].job.argv
    assert trials[0].job.place.path == ROOT / "runs" / "smallest" / "pair-0" / "Float" / "seed-0"


def test_two_combinations_never_share_a_place(tmp_path):
    sweep = yaml.safe_load((ROOT / "experiments" / "ablations" / "smallest.yaml").read_text())
    sweep["command"] = [word.replace("{model.binarizer}", "all") for word in sweep["command"]]
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(sweep))
    with pytest.raises(
        UserError, match=r"3 combinations would share the folder .*into the arm's name: --run\.arm=\{model\.bin"
    ):
        planned(Grid.load(tmp_path / "one.yaml"), Base())
