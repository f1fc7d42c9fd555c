"""The time of a step of each arm, measured by `xnorlit steps` in one process. Separate runs give no reliable ratio."""

import sys
from collections.abc import Sequence
from pathlib import Path

from xnorlit.edge.fields import Fields, read_json
from xnorlit.runs import Run


def ratios(runs: Sequence[Run], file: Path) -> dict[str, float]:
    """The ratio of each arm's step to the first arm's; empty if the file is missing or older than a run.

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


def _medians(fields: Fields) -> dict[str, float]:
    arms = fields.object("arms")
    return {arm: arms.object(arm).object("ratio").number("median") for arm in arms.names()}


def measurement(runs: Sequence[Run], file: Path) -> list[str]:
    """The command line that measures the arms in turns.

    Args:
        runs: See `ratios`.
        file: Output file.
    """
    return [sys.executable, "-m", "xnorlit", "steps", *(str(run.path) for run in runs), "--json", str(file)]
