"""A grid's finished runs with their parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

from xnorlit.runs import Run, read
from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.grid.plan import Trial


@dataclass(frozen=True)
class Outcome:
    """A finished combination of a grid.

    Attributes:
        parameters: Options with their values, as in the grid's file.
        varied: Values of the varied parameters by short name; the seed's is `seed`.
        run: The finished run.
    """

    parameters: dict[str, Value]
    varied: dict[str, Value]
    run: Run


def outcomes(grid: Grid, trials: Sequence[Trial]) -> list[Outcome]:
    """The trials that have finished with the grid's settings, in the grid's order.

    Args:
        grid: The grid.
        trials: The grid's runs, checked.
    """
    labels = grid.labels
    return [
        Outcome(
            trial.parameters,
            {label: trial.parameters[name] for name, label in labels.items()},
            read(trial.job.place.path),
        )
        for trial in trials
        if not trial.other and trial.job.state == "finished"
    ]
