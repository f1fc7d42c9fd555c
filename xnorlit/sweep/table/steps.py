"""The times of each arm, measured by `xnorlit steps` in one process. Separate runs give no reliable ratio."""

import sys
from collections.abc import Sequence
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
    """The times of each arm; empty if the file is missing or older than a run.

    Args:
        runs: One run of each arm, the twin first.
        file: JSON file from `xnorlit steps`.

    Raises:
        UserError: The file is damaged.
    """
    if not file.is_file():
        return {}
    arms = read_json(file, _medians, advice="Delete it to measure again.")
    when = file.stat().st_mtime
    same = list(arms) == [run.place.arm for run in runs]
    return arms if same and all((run.path / "summary.json").stat().st_mtime < when for run in runs) else {}


def _medians(fields: Fields) -> dict[str, Times]:
    arms = fields.object("arms")
    return {arm: _of_arm(arms.object(arm)) for arm in arms.names()}


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
