"""The log of a run as one record, read from its directory, from W&B's files or from W&B's server."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xnorlit.runs.curves import Curves, Points
from xnorlit.runs.run import Run

MOST_STEPS = 2**53  # larger integers are not exact as floats; no run is that long

State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True)
class LoggedRun:
    """Configuration and curves of a run. Only run directories have per-image predictions.

    Args:
        origin: Source of the record: a directory, or W&B's path of the run.
        id: W&B's id of the run; empty for a run directory.
        pair: `EXPERIMENT/PAIR`.
        arm: Name of the arm.
        seed: The run's seed; None if unknown.
        state: `finished`; `unfinished` if running, stopped or killed; `damaged` if unreadable.
        reason: Why the run is not finished, in one sentence; empty for a finished run.
        config: The resolved configuration under dotted keys.
        curves: By metric, over optimizer steps.
    """

    origin: str
    id: str
    pair: str
    arm: str
    seed: int | None
    state: State
    reason: str
    config: Mapping[str, Any]
    curves: Curves

    @staticmethod
    def of(run: Run) -> "LoggedRun":
        """The record of a finished run's directory."""
        pair = f"{run.place.experiment}/{run.place.pair}"
        return LoggedRun(
            str(run.path), "", pair, run.place.arm, run.place.seed, "finished", "", run.flat_config, run.curves
        )


def curves_of(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """The curves in W&B's history: rows of `{trainer/global_step, epoch, metric: number}`, oldest first.

    A resumed run logged some steps twice; the later row is kept, as in metrics.csv. Rows without a step, W&B's own keys
    and values that are not numbers are ignored.
    """
    points = Points()
    for row in rows:
        step, epoch = _whole(row.get("trainer/global_step")), _whole(row.get("epoch"))
        if step is None:
            continue
        names = [name for name in row if name not in ("trainer/global_step", "epoch") and not name.startswith("_")]
        points.add(step, epoch, {name: value for name in names if (value := _number(row[name])) is not None})
    return points.curves()


def _whole(value: object) -> int | None:
    found = _number(value)
    return int(found) if found is not None and abs(found) < MOST_STEPS else None


def _number(value: object) -> float | None:
    if value in ("NaN", "Infinity", "-Infinity"):  # W&B's spelling of numbers that JSON lacks
        return float(str(value))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
