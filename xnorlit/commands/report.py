"""The command `xnorlit report`: a pair's page, and then, where somebody is logged in, its dashboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from xnorlit.commands.dashboard import SETTINGS, put_on_wandb
from xnorlit.comparison.comparison import Comparison
from xnorlit.comparison.selection import compared
from xnorlit.errors import UserError
from xnorlit.output.console import say
from xnorlit.report.html.page import Page, write
from xnorlit.report.wandb.server import LOG_IN
from xnorlit.report.wandb.settings import Settings
from xnorlit.runs.login import wandb_mode


def report(
    what: Sequence[str] = (),
    *,
    out: Path | None = None,
    bench: Path | None = None,
    data: Path | None = None,
    root: Path = Path("runs"),
    wandb: Literal["auto", "on", "off"] = "auto",
    settings: Path = SETTINGS,
) -> Path:
    """Writes a pair's page: one HTML file with the comparison, its uncertainty, curves, sizes, and where arms disagree.

    The page needs no network, to write or to read. With a W&B login, the dashboard there is built too.

    Args:
        what: EXPERIMENT/PAIR or its folder; or run directories of two or more arms; none for the newest pair.
        out: The page (default: report.html in the pair's folder).
        bench: What xnorlit bench --json wrote, for CPU times.
        data: Folder of the images (default: where the runs found them).
        root: Folder of all runs.
        wandb: The dashboard on W&B: for a whole pair where a login is found (auto), or as said; auto never fails.
        settings: What the dashboard shows.

    Returns:
        The page's file.

    Raises:
        UserError: There is nothing to compare, or, with `--wandb on`, the dashboard could not be built: the page is
            there all the same.
    """
    by_hand = len(what) > 1
    if wandb == "on" and by_hand:
        raise UserError(
            "The dashboard is of a whole pair, and runs were named one by one. Name the pair, or --wandb off."
        )
    comparison = compared(what, root=root)
    page = write(comparison, out=out, bench=bench, data=data, again=_again(what, bench, data, root))
    say("report", f"{page.path} ({page.path.stat().st_size / 2**20:.2g} MiB; any browser opens it, no network needed)")
    for note in comparison.notes:
        say("", f"note: {note}")
    if wandb == "on" or (wandb == "auto" and not by_hand):
        _put_on_wandb(comparison, page, settings, asked=wandb == "on")
    return page.path


def _put_on_wandb(comparison: Comparison, page: Page, settings: Path, *, asked: bool) -> None:
    """Builds the dashboard; where nobody asked for it, what stands in the way is said and no error."""
    if not asked and wandb_mode() != "online":
        say("W&B", f"no login: for the pair's page there too, {LOG_IN}, then make sync report")
        return
    try:
        put_on_wandb(comparison, page.record, Settings.load(settings))
    except UserError as error:
        if asked:
            raise
        say("W&B", f"{error}\nThe page above is whole without it.")


def _again(what: Sequence[str], bench: Path | None, data: Path | None, root: Path) -> list[str]:
    options = [("--bench", bench), ("--data", data), ("--root", root if root != Path("runs") else None)]
    return ["report", *what, *(word for name, value in options if value is not None for word in (name, str(value)))]
