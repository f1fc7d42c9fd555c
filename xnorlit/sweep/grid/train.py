"""A grid's runs from Python: read the finished ones, or train the missing ones first."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from xnorlit.data import probe
from xnorlit.data.sources import NAMED
from xnorlit.edge.console import say
from xnorlit.edge.names import at_home
from xnorlit.errors import UserError
from xnorlit.sweep import Job
from xnorlit.sweep.cluster import Submitted
from xnorlit.sweep.grid.argv import Base
from xnorlit.sweep.grid.grid import Grid
from xnorlit.sweep.grid.outcome import Outcome, outcomes
from xnorlit.sweep.grid.plan import Trial, checked, compared, planned
from xnorlit.sweep.work import run_jobs


def read(
    grid: Grid | Path | str, *, data: str | None = None, experiment: str | None = None, root: Path | None = None
) -> list[Outcome]:
    """The finished runs of a grid. Nothing is trained.

    Args:
        grid: The grid, its file, or the name of one in experiments/ablations.
        data: Folder of images, or a named set (default: the recipe's own).
        experiment: Recipe (default: the grid's own).
        root: Folder of all runs (default: the grid's own, runs).

    Raises:
        UserError: There is no such grid, or its command lines are refused.
    """
    grid = _as_grid(grid)
    trials = planned(grid, Base(data, experiment, root))
    if all(trial.job.state != "finished" for trial in trials):
        return []
    return outcomes(grid, checked(grid, trials))


def trained(
    grid: Grid | Path | str,
    *,
    data: str | None = None,
    experiment: str | None = None,
    root: Path | None = None,
    jobs: int = 1,
    again: bool = False,
) -> list[Outcome]:
    """Every run of a grid. Missing runs are trained, stopped runs are resumed.

    Args:
        grid: The grid, its file, or the name of one in experiments/ablations.
        data: Folder of images, or a named set (default: the recipe's own).
        experiment: Recipe (default: the grid's own).
        root: Folder of all runs (default: the grid's own, runs).
        jobs: Number of runs that train at the same time.
        again: Move existing runs with another configuration aside and retrain them.

    Raises:
        UserError: A command line is refused, an existing run has another configuration, or a run failed (after the
            others were trained).
    """
    grid = _as_grid(grid)
    trials = checked(grid, planned(grid, Base(data, experiment, root)))
    refuse_missing_images(trials)
    failed, trials = train_trials(trials, jobs, again)
    if failed:
        raise UserError(failure_report(failed, len(trials)))
    return outcomes(grid, trials)


def train_trials(
    trials: Sequence[Trial], jobs: int, again: bool, start: Callable[[Job], Submitted] | None = None
) -> tuple[list[Job], list[Trial]]:
    """Train the unfinished runs; return the failed jobs, and the trials compared with what is on disk afterwards.

    Args:
        trials: A grid's runs, checked.
        jobs: Number of runs that train at the same time.
        again: Retrain runs that were started with another configuration.
        start: A function that submits a job to a cluster (default: train on this machine).

    Raises:
        UserError: A run was started with another configuration, and `again` is false.
    """
    if not again:
        refuse_others(trials)
    todo = [replace(trial.job, again=bool(trial.other)) for trial in trials]
    failed = run_jobs(todo, at_once=jobs, tag="ablate", start=start)
    return failed, [compared(trial) for trial in trials]  # A job that failed may have left a run of the former grid.


def refuse_missing_images(trials: Sequence[Trial]) -> None:
    """Refuse images that are not there before the first run, instead of once in each run.

    Args:
        trials: A grid's runs, checked.

    Raises:
        UserError: A run that is not finished, or is to be trained again, reads images that this machine does not have.
    """
    keys = ("data.source", "data.root", "data.holdout")
    todo = [trial for trial in trials if trial.other or trial.job.state != "finished"]
    for folder, source, root, holdout in {(each.job.folder, *(each.config[key] for key in keys)) for each in todo}:
        place = source if source in NAMED else str(folder / at_home(source))
        probe(place, folder / at_home(root), need_val=not holdout)


def refuse_others(trials: Sequence[Trial]) -> None:
    """Refuse existing runs whose configuration differs from the grid.

    Raises:
        UserError: There are such runs; the message names them and the keys.
    """
    others = [trial for trial in trials if trial.other]
    for trial in others:
        lines = "\n".join(trial.other[:4])
        say("other", f"{trial.job.place.path} differs from the grid:\n{lines}")
    if others:
        raise UserError(
            f"{len(others)} of {len(trials)} runs were started with a configuration that differs from the grid. "
            "Move them aside and retrain them (xnorlit ablate --again), restore the former grid, or change "
            "--run.experiment in its command."
        )


def failure_report(failed: Sequence[Job], count: int) -> str:
    """The failed runs and their logs."""
    lines = "\n".join(f"  {job.place.path}: see {job.log}" for job in failed)
    return f"{len(failed)} of {count} runs failed:\n{lines}\nRepeat the command to try them again."


def _as_grid(grid: Grid | Path | str) -> Grid:
    return grid if isinstance(grid, Grid) else Grid.load(grid)
