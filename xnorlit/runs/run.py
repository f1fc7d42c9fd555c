"""One run directory, read as a typed record."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xnorlit.errors import UserError, nearest
from xnorlit.runs.config import flatten, load_config
from xnorlit.runs.curves import Curves
from xnorlit.runs.place import Place
from xnorlit.runs.predictions import Predictions
from xnorlit.runs.summary import Environment, Summary


@dataclass(frozen=True)
class Run:
    """A finished run. The small files are read at once, curves and predictions at first use.

    Args:
        path: The run's directory.
        place: The run's place, from its path, or from its configuration if the directory was copied elsewhere.
        config: The resolved configuration, nested.
        summary: The run's results.
        environment: The machine and software that trained it.
    """

    path: Path
    place: Place
    config: dict[str, Any]
    summary: Summary
    environment: Environment

    @cached_property
    def flat_config(self) -> dict[str, Any]:
        """The resolved configuration under dotted keys, such as `model.optimizer.init_args.lr`."""
        return flatten(self.config)

    def checkpoint(self, which: str) -> Path:
        """The file of a checkpoint.

        Args:
            which: `best`, `last`, or a path.

        Raises:
            UserError: There is no such file.
        """
        folder = self.path / "checkpoints"
        path = folder / f"{which}.ckpt" if which in ("best", "last") else Path(which)
        if not path.is_file():
            there = ", ".join(sorted(file.name for file in folder.glob("*.ckpt"))) or "none"
            raise UserError(f"there is no checkpoint {path}. Expected best, last or a file; {self.path} has: {there}.")
        return path

    @cached_property
    def curves(self) -> Curves:
        """The metrics over training."""
        return Curves.load(self.path / "metrics.csv")

    @cached_property
    def predictions(self) -> Predictions:
        """The per-image predictions on the validation set."""
        return Predictions.load(self.path / "predictions.safetensors")


@dataclass(frozen=True)
class BrokenRun:
    """A run directory that cannot be used: damaged, or unfinished.

    Args:
        path: The run's directory.
        place: The run's place; None if its path is not one.
        reason: Why the run cannot be used, in one or two sentences.
        unfinished: True if the run may still be training or can be resumed, False if a file is damaged.
    """

    path: Path
    place: Place | None
    reason: str
    unfinished: bool


def read(path: Path | str) -> Run:
    """The finished run in a directory.

    Raises:
        UserError: There is no such directory, it is not a run, the run has not finished, or a file is damaged.
    """
    path = Path(path)
    _check_is_run(path)
    if not (path / "summary.json").exists():
        raise UserError(
            f"{path} is not finished: it has no summary.json, which a run writes last. It is still training, was "
            f"stopped, or failed{_how_far(path)}. Resume it with the training command and --run.resume auto, or start "
            "again with --run.fresh true."
        )
    config = load_config(path / "config.yaml")
    return Run(
        path=path,
        place=_place(path, config),
        config=config,
        summary=Summary.load(path / "summary.json"),
        environment=Environment.load(path / "environment.json"),
    )


def _how_far(path: Path) -> str:
    """`, in epoch 7 of 20` of an unfinished run; empty if it logged nothing readable."""
    try:
        reached = max(int(series.epoch[-1]) for series in Curves.load(path / "metrics.csv").series.values()) + 1
        planned = load_config(path / "config.yaml")["trainer"]["max_epochs"]
    except (UserError, ValueError, KeyError, TypeError):
        return ""
    return f", in epoch {reached} of {planned}"


def _check_is_run(path: Path) -> None:
    if not path.exists():
        raise UserError(f"there is no run {path}.{_nearest(path)}")
    if not path.is_dir():
        raise UserError(f"{path} is a file. Expected a run directory, such as {path.parent}.")
    if not (path / "config.yaml").exists() and not (path / "summary.json").exists():
        below = sorted(found.parent for found in path.glob("**/seed-*/config.yaml"))
        if below:
            listed = ", ".join(str(run) for run in below[:4]) + (", ..." if len(below) > 4 else "")
            raise UserError(f"{path} is not a run but a folder of runs ({len(below)}). Give one of them: {listed}.")
        raise UserError(
            f"{path} is not a run: it has no config.yaml. A run is a folder RUNS/EXPERIMENT/PAIR/ARM/seed-N that "
            "training wrote."
        )


def _nearest(path: Path) -> str:
    """The nearest name beside the first missing part of a path as a question, or some names beside it."""
    while not path.parent.is_dir():
        path = path.parent
    beside = sorted(each.name for each in path.parent.iterdir() if each.is_dir() and not each.name.startswith("."))
    if near := nearest(path.name, beside):
        return f" Did you mean {path.parent / near}?"
    listed = ", ".join([*beside[:5], *(["..."] if len(beside) > 5 else [])]) or "no folder"
    return f" Found in {path.parent.resolve()}: {listed}. A run is a folder RUNS/EXPERIMENT/PAIR/ARM/seed-N."


def _place(path: Path, config: dict[str, Any]) -> Place:
    spelled = Place.of(path)
    if spelled is not None:
        return spelled
    filed, seed = config.get("run"), config.get("seed_everything")
    if isinstance(filed, dict) and type(seed) is int:
        root, experiment, pair, arm = (filed.get(key) for key in ("root", "experiment", "pair", "arm"))
        if isinstance(experiment, str) and isinstance(pair, str) and isinstance(arm, str):
            return Place(Path(root or "runs"), experiment, pair, arm, seed)
    raise UserError(
        f"{path / 'config.yaml'} does not define the run's place. Expected run.experiment, run.pair, run.arm and "
        "seed_everything. Train the run again."
    )
