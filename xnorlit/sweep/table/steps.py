"""The times of each arm, measured by `xnorlit steps` in one process. Separate runs give no reliable ratio."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from xnorlit.edge.fields import Fields, read_json
from xnorlit.runs import Run


class Times(NamedTuple):
    """The times of an arm.

    Attributes:
        step: A training step relative to the first arm's.
        image: Seconds of one image on one thread; None for a network without a packed form, or in an older file.
    """

    step: float
    image: float | None


def times(runs: Sequence[Run], file: Path) -> dict[str, Times]:
    """The times of the arms that were measured since they were trained; empty if the twin was not.

    Ages are the recorded ones, because a copy or a checkout of the files has other dates.

    Args:
        runs: One run of each arm, the twin first.
        file: JSON file from `xnorlit steps`.

    Raises:
        UserError: The file is damaged.
    """
    if not file.is_file():
        return {}
    measured, arms = read_json(file, _measured, advice="Delete it to measure again.")
    current = [run.place.arm for run in runs if run.place.arm in arms and run.environment.started <= measured]
    # The ratios of another first arm would be to that one.
    return {arm: arms[arm] for arm in current} if current[:1] == [*arms][:1] == [runs[0].place.arm] else {}


def _measured(fields: Fields) -> tuple[datetime, dict[str, Times]]:
    arms = fields.object("arms")
    return fields.object("machine").moment("started"), {arm: _of_arm(arms.object(arm)) for arm in arms.names()}


def _of_arm(arm: Fields) -> Times:
    image = arm.object("image_seconds").number("median") if "image_seconds" in arm.names() else None
    return Times(arm.object("ratio").number("median"), image)


def measurement(runs: Sequence[Run], file: Path) -> list[str]:
    """The command line that measures the arms in turns.

    Args:
        runs: See `times`.
        file: Output file.
    """
    return [sys.executable, "-m", "xnorlit", "steps", *(str(run.path) for run in runs), "--json", str(file)]
