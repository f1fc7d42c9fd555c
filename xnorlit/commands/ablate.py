"""The command `xnorlit ablate`: print the plan, train the missing runs, print the tables."""

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table

from xnorlit.commands.arguments import goes_with
from xnorlit.edge.console import say, terminal
from xnorlit.errors import UserError
from xnorlit.sweep import Job
from xnorlit.sweep.cluster import Cluster, Submitted, executor_for
from xnorlit.sweep.grid.argv import Base
from xnorlit.sweep.grid.duration import Duration, duration, duration_text
from xnorlit.sweep.grid.grid import Grid
from xnorlit.sweep.grid.outcome import outcomes
from xnorlit.sweep.grid.plan import Trial, checked, planned
from xnorlit.sweep.grid.sheet import sheets, shown, write
from xnorlit.sweep.grid.train import failure_report, refuse_missing_images, train_trials
from xnorlit.sweep.work import threads


def ablate(
    file: str,
    *,
    dry_run: bool = False,
    jobs: int | None = None,
    on: Literal["here", "local", "slurm"] = "here",
    slurm: str | None = None,
    data: str | None = None,
    experiment: str | None = None,
    root: Path | None = None,
    again: bool = False,
) -> None:
    """Train every combination of a grid of settings (a W&B sweep file with method: grid) and tabulate the results.

    No W&B account is needed. Finished runs are skipped and stopped runs are resumed. Ctrl-C saves the current run. All
    command lines are checked before the first run starts. The same file runs on many machines with wandb sweep.

    Args:
        file: The grid: a file, or the name of one in experiments/ablations.
        dry_run: Only list the runs with their state and expected time.
        jobs: Number of runs at the same time (default: one here, all on a cluster).
        on: Where to train: here, or as submitit jobs on slurm or on this machine (local). A job that reaches its time
            limit is requeued. Jobs need pip install 'xnorlit[slurm]'.
        slurm: Resources of a job under submitit's names, such as timeout_min=720,gpus_per_node=1,slurm_partition=gpu.
        data: Folder of images, or a named set (default: the recipe's own).
        experiment: Recipe, such as cifar10 (default: the grid's own).
        root: Folder of all runs (default: the grid's own, runs).
        again: Move existing runs with another configuration aside and retrain them.

    Raises:
        UserError: The grid cannot be run, or a run failed. The other runs were trained and are in the tables.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs is {jobs}. Expected a number of simultaneous runs, 1 or more.")
    goes_with("--on slurm or --on local", on != "here", slurm=slurm)
    grid = Grid.load(file)
    trials = planned(grid, Base(data, experiment, root))
    _print_question(grid, trials)
    start = None if on == "here" else _start(on, slurm, _folder(trials), grid.name)
    jobs = jobs or (1 if on == "here" else len(trials))
    trials = checked(grid, trials)
    expected = duration(trials, jobs)
    _print_remaining(trials, expected, jobs)
    if dry_run:
        terminal().print(_listed(grid, trials, expected))
        return
    if on != "slurm":  # The machines of a cluster may see other folders than this one.
        refuse_missing_images(trials)
    failed, trials = train_trials(trials, jobs, again, start)
    _print_results(grid, trials)
    if failed:
        raise UserError(failure_report(failed, len(trials)))


def _start(on: Cluster, settings: str | None, folder: Path, name: str) -> Callable[[Job], Submitted]:
    """The function that submits a job to a cluster."""
    executor = executor_for(on, settings, folder / "submitit", name)
    return lambda job: Submitted(executor, job)


def _state(trial: Trial) -> str:
    return "other configuration" if trial.other else trial.job.state


def _print_question(grid: Grid, trials: Sequence[Trial]) -> None:
    """Print the question and the folder of the grid. Checking its command lines afterwards takes seconds."""
    varied = "; ".join(
        f"{label} {', '.join(shown(value) for value in grid.parameters[name])}" for name, label in grid.labels.items()
    )
    title = f"{grid.name}: {grid.description}".removesuffix(": ")
    runs = f"{grid.size} runs: {varied}" if varied else "1 run"
    say("ablate", f"{title}\n{runs}\nin {_folder(trials)}")


def _folder(trials: Sequence[Trial]) -> Path:
    place = trials[0].job.place
    return place.root.joinpath(*place.group)


def _print_remaining(trials: Sequence[Trial], expected: Duration, jobs: int) -> None:
    states = Counter(_state(trial) for trial in trials)
    say("state", ", ".join(f"{count} {state}" for state, count in states.items()))
    if any(trial.job.state != "finished" for trial in trials):
        cores = f"{jobs} at once, {threads(jobs)} threads each" if jobs > 1 else f"{threads(jobs)} threads"
        known = expected.total is not None
        say("time", f"about {duration_text(expected.total)} ({cores}; {expected.source})" if known else expected.source)


def _listed(grid: Grid, trials: Sequence[Trial], expected: Duration) -> Table:
    table = Table("", *grid.labels.values(), "state", "time", box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for number, (trial, seconds) in enumerate(zip(trials, expected.each, strict=True), start=1):
        values = (shown(trial.parameters[name]) for name in grid.labels)
        time = "" if trial.job.state == "finished" else duration_text(seconds)
        place = trial.job.place
        table.add_row(str(number), *values, _state(trial), time, f"{place.arm}/{place.path.name}")
    return table


def _print_results(grid: Grid, trials: Sequence[Trial]) -> None:
    found = outcomes(grid, trials)
    if not found:
        return
    console = terminal()
    for sheet in sheets(found):
        console.print()
        console.print(sheet.rich())
    console.print()
    files = write(grid, found, _folder(trials))
    place = trials[0].job.place
    say("done", f"{len(found)} of {len(trials)} runs: {files[0]}, {files[1].name}")
    options = ["--experiment", place.experiment, "--pair", place.pair, "--root", str(place.root)]
    say("next", shlex.join(["xnorlit", "compare", *options]))
