"""What has come of a grid's runs: parameters beside the finished run that tried them."""

from collections.abc import Sequence
from dataclasses import dataclass

from xnorlit.runs import Run, read
from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.grid.plan import Trial


@dataclass(frozen=True)
class Outcome:
    """A combination of a grid that was trained to its end.

    Attributes:
        parameters: Options with their values, as in the grid's file.
        varied: Those that the grid varies, by their short names; the seed's is `seed`.
        run: The finished run.
    """

    parameters: dict[str, Value]
    varied: dict[str, Value]
    run: Run


def outcomes(grid: Grid, trials: Sequence[Trial]) -> list[Outcome]:
    """The trials that have finished as the grid asks, in its order.

    Args:
        grid: The grid.
        trials: Its runs, checked.
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
