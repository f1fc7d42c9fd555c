"""What a step of each arm costs, as `xnorlit steps` measured it in one run: times of separate runs are no ratio."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from xnorlit.errors import UserError
from xnorlit.runs import Run


def ratios(runs: Sequence[Run], file: Path) -> dict[str, float]:
    """The ratio of each arm's step to the first arm's; empty where the file is missing, or older than one of the runs.

    Args:
        runs: One of each arm, the twin first.
        file: JSON of `xnorlit steps`.

    Raises:
        UserError: The file is damaged.
    """
    if not file.is_file():
        return {}
    try:
        arms = {
            arm: float(cost["ratio"]["median"])
            for arm, cost in json.loads(file.read_text(encoding="utf-8"))["arms"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is not what xnorlit steps writes ({error!r}). Remove it, and it is made anew."
        ) from error
    when = file.stat().st_mtime
    same = list(arms) == [run.place.arm for run in runs]
    return arms if same and all((run.path / "summary.json").stat().st_mtime < when for run in runs) else {}


def measurement(runs: Sequence[Run], file: Path) -> list[str]:
    """The words of the command that measures the arms by turns.

    Args:
        runs: As in `ratios`.
        file: Where it writes.
    """
    return [sys.executable, "-m", "xnorlit", "steps", *(str(run.path) for run in runs), "--json", str(file)]
