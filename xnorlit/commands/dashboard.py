"""The command `xnorlit dashboard`: put a pair on W&B as a report and a saved view."""

from pathlib import Path
from typing import Any

import xnorlit as xl
from xnorlit.comparison.comparison import Comparison
from xnorlit.edge.console import say
from xnorlit.report.html.record import record
from xnorlit.report.wandb.publish import publish
from xnorlit.report.wandb.settings import Settings

SETTINGS = Path("experiments/dashboard.yaml")


def dashboard(
    pair: str | None = None, *, bench: Path | None = None, settings: Path = SETTINGS, root: Path = Path("runs")
) -> None:
    """Build or update a pair's dashboard on W&B: a report and a saved view.

    The figures are those of `xnorlit report`. The curves are those of the runs on W&B; `xnorlit sync` uploads runs that
    were trained offline.

    Args:
        pair: EXPERIMENT/PAIR or its folder (default: the newest pair).
        bench: Output of `xnorlit bench --json`, for CPU times.
        settings: Sections and colours of the dashboard.
        root: Folder of all runs.

    Raises:
        UserError: There is nothing to compare, there is no login, or the server refuses.
    """
    shown = Settings.load(settings)
    comparison = xl.compare([pair] if pair else [], root=root)
    put_on_wandb(comparison, record(comparison, bench=bench), shown)


def put_on_wandb(comparison: Comparison, shown: dict[str, Any], settings: Settings) -> None:
    """Build the dashboard of a comparison and print its address.

    Args:
        comparison: The comparison of the pair's runs.
        shown: The record of the pair's page.
        settings: The dashboard's settings.

    Raises:
        UserError: The server refuses.
    """
    done = publish(comparison, shown, settings)
    say("W&B", f"{done.report}   (the report)\n{done.view}   (the saved view)")
    if done.missing:
        missing = ", ".join(done.missing)
        say("", f"note: these runs are not on W&B and have no curves there: {missing}. Upload them: xnorlit sync")
