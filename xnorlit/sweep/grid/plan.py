"""The runs that a grid needs: one for each combination, with its own place and a valid command line."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xnorlit.errors import UserError
from xnorlit.runs.config import differing, flatten, load_config
from xnorlit.sweep import Job
from xnorlit.sweep.grid.argv import Base, argv_of, home, place
from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.settings import settings


@dataclass(frozen=True)
class Trial:
    """One combination of a grid, and its run.

    Attributes:
        parameters: Options with their values.
        job: The run.
        config: The run's configuration under dotted keys, once its command line is checked.
        other: The keys in which an existing run differs from the grid, each with both values.
    """

    parameters: dict[str, Value]
    job: Job
    config: dict[str, Any] = field(default_factory=dict)
    other: tuple[str, ...] = ()


def planned(grid: Grid, base: Base) -> list[Trial]:
    """A grid's combinations and their runs, in the grid's order. Nothing is written.

    Args:
        grid: The grid.
        base: Settings that replace the grid's own.

    Raises:
        UserError: A command line does not run `xnorlit fit`, or two combinations share a place.
    """
    folder = home(grid)
    base = base.beside(folder)
    trials = []
    for cell in grid.cells:
        line = argv_of(grid, cell, base, folder)
        trials.append(Trial(cell, Job(place(line, folder), line, folder)))
    _refuse_shared_places(grid, trials)
    return trials


def checked(grid: Grid, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, with command lines checked by the parser of `xnorlit fit` and compared with existing runs.

    One process parses all of them before anything is trained.

    Args:
        grid: The grid.
        trials: The grid's runs, planned.

    Raises:
        UserError: The parser refuses a command line; its message is repeated.
    """
    return [
        compared(replace(trial, config=config)) for trial, config in zip(trials, _resolved(grid, trials), strict=True)
    ]


def compared(trial: Trial) -> Trial:
    """A checked trial, compared with the run that is on disk now.

    Args:
        trial: A trial with its configuration.
    """
    return replace(trial, other=_other(trial.config, trial.job.place.path))


def _refuse_shared_places(grid: Grid, trials: Sequence[Trial]) -> None:
    counts = Counter(trial.job.place.path for trial in trials)
    path, count = counts.most_common(1)[0]
    if count > 1:
        ours = [trial.parameters for trial in trials if trial.job.place.path == path][:2]
        differ = [name for name in grid.parameters if ours[0][name] != ours[1][name]]
        braces = "-".join(f"{{{name}}}" for name in differ)
        raise UserError(
            f"{grid.file}: {count} combinations would share the folder {path}. They differ in "
            f"{', '.join(differ)}. Put that into the arm's name: --run.arm={braces} in the command."
        )


def _resolved(grid: Grid, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The configuration that each trial's run would record, under dotted keys."""
    try:
        answers = settings([trial.job for trial in trials])
    except UserError as error:
        raise UserError(f"{grid.file}: {error}") from error
    found = []
    for trial, answer in zip(trials, answers, strict=True):
        if isinstance(answer, str):
            raise UserError(f"{grid.file}, {_spelled(trial)}: {answer}")
        found.append(answer)
    return found


def _spelled(trial: Trial) -> str:
    return ", ".join(f"{name} {value}" for name, value in trial.parameters.items())


def _other(ours: dict[str, Any], path: Path) -> tuple[str, ...]:
    if not (path / "config.yaml").is_file():
        return ()
    return differing(ours, flatten(load_config(path / "config.yaml")))
