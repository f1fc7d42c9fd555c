"""The command `xnorlit dashboard`: a pair on W&B, a report and a saved view."""

from pathlib import Path
from typing import Any

from xnorlit.comparison.comparison import Comparison
from xnorlit.comparison.selection import compared
from xnorlit.output.console import say
from xnorlit.report.html.record import record
from xnorlit.report.wandb.publish import publish
from xnorlit.report.wandb.settings import Settings

SETTINGS = Path("experiments/dashboard.yaml")


def dashboard(
    pair: str | None = None,
    *,
    bench: Path | None = None,
    settings: Path = SETTINGS,
    root: Path = Path("runs"),
) -> None:
    """Builds a pair's dashboard on W&B, a report and a saved view, or brings the one that is there up to date.

    Its figures are those of `xnorlit report`. It shows the curves of the runs that are on W&B: `xnorlit sync` uploads
    those that were trained offline.

    Args:
        pair: EXPERIMENT/PAIR or its folder; the newest pair unless given.
        bench: What `xnorlit bench --json` wrote, for CPU times.
        settings: What is shown, and in which colours.
        root: Folder of all runs.

    Raises:
        UserError: There is nothing to compare, nobody is logged in, or the server refuses.
    """
    shown = Settings.load(settings)
    comparison = compared([pair] if pair else [], root=root)
    put_on_wandb(comparison, record(comparison, bench=bench), shown)


def put_on_wandb(comparison: Comparison, shown: dict[str, Any], settings: Settings) -> None:
    """Builds the dashboard of a comparison, and says where it is.

    Args:
        comparison: Of the pair's runs.
        shown: The record of its page.
        settings: What is shown.

    Raises:
        UserError: The server refuses.
    """
    done = publish(comparison, shown, settings)
    say("W&B", f"{done.report}   (the report)\n{done.view}   (the saved view)")
    if done.missing:
        say("", f"note: not on W&B, so without curves there: {', '.join(done.missing)}. Upload: make sync")
