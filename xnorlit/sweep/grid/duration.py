"""The expected time of a grid's runs, from the times of finished runs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from xnorlit.errors import UserError
from xnorlit.runs import Curves, Run, find
from xnorlit.runs.recipes import located
from xnorlit.runs.settings import config_files
from xnorlit.sweep.grid.plan import Trial
from xnorlit.sweep.work import threads

# Settings that determine the time of an epoch, besides the machine and the binarizer.
_ALIKE = ("model.network", "data.source", "data.image_size", "data.batch_size")


@dataclass(frozen=True)
class Duration:
    """Expected seconds of training.

    Attributes:
        each: Seconds of each trial, in order; 0 for a finished one, None if unknown.
        total: Seconds of all trials, with several at once; None if unknown.
        source: Basis of the estimate.
    """

    each: tuple[float | None, ...]
    total: float | None
    source: str


def duration(trials: Sequence[Trial], at_once: int) -> Duration:
    """The expected time of the remaining training.

    The time of an epoch, per core, is the median over finished runs of the grid, or else over other finished runs of
    the same network and images. A stopped run still needs the epochs that it has not started.

    Args:
        trials: A grid's runs, checked.
        at_once: Number of runs that train at the same time.
    """
    measured, source = _measured(trials)
    if not measured:
        return Duration((None,) * len(trials), None, f"no comparable run has finished here; {_recipe(trials[0])}")
    epoch = statistics.median(_core_seconds(run) for run in measured) / threads(at_once)
    each = tuple(0.0 if trial.job.state == "finished" else epoch * _epochs_left(trial) for trial in trials)
    return Duration(each, max([sum(each) / at_once, *each]), source)


def _measured(trials: Sequence[Trial]) -> tuple[list[Run], str]:
    root, group = trials[0].job.place.root, trials[0].job.place.group
    found = [run for run in (find(root) if root.is_dir() else []) if isinstance(run, Run)]
    alike = [run for run in found if all(run.flat_config.get(key) == trials[0].config.get(key) for key in _ALIKE)]
    ours = [run for run in found if run.place.group == group]
    if ours:
        return ours, f"from its {_count(ours)}"
    return alike, f"from {_count(alike)} of the same network and images" if alike else ""


def _count(runs: Sequence[Run]) -> str:
    return f"{len(runs)} finished run{'s' if len(runs) > 1 else ''}"


def _core_seconds(run: Run) -> float:
    """Core-seconds of an epoch, including its validation."""
    return run.summary.train_seconds / max(1, run.summary.epochs) * max(1, run.environment.threads)


def _epochs_left(trial: Trial) -> int:
    epochs = int(trial.config["trainer.max_epochs"])
    if trial.job.state != "unfinished":
        return epochs
    try:
        curves = Curves.load(trial.job.place.path / "metrics.csv")
        return max(0, epochs - max(int(series.epoch[-1]) for series in curves.series.values()) - 1)
    except (UserError, ValueError):
        return epochs


def _recipe(trial: Trial) -> str:
    """The training time in the header of the recipe."""
    for file in config_files(trial.job.argv):
        for line in located(trial.job.folder / file).read_text(encoding="utf-8").splitlines():
            if line.startswith("# Hardware:"):
                return f"its recipe, {file}, says: {line.removeprefix('# Hardware:').strip()}"
    return "its recipe does not state a training time"


def duration_text(seconds: float | None) -> str:
    """`41 s`, `3 min`, `2 h 5 min`; `?` if unknown."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
