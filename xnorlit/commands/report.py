"""The command `xnorlit report`: write a pair's page, then build its dashboard with a W&B login."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import xnorlit as xl
from xnorlit.commands.dashboard import SETTINGS, put_on_wandb
from xnorlit.comparison.comparison import Comparison
from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.report.html.measured import PACKED
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
    live: bool = False,
    wandb: Literal["auto", "on", "off"] = "auto",
    settings: Path = SETTINGS,
) -> Path:
    """Write a pair's page: one HTML file with the comparison, its uncertainty, curves, sizes and disagreements.

    The page needs no network connection. With a W&B login, the command also builds the dashboard on W&B.

    Args:
        what: EXPERIMENT/PAIR, its folder, or run directories of at least two arms (default: the newest pair).
        out: The page (default: report.html in the pair's folder).
        bench: Output of xnorlit bench --json, for CPU times.
        data: Folder of the images (default: the folder that the runs used).
        root: Folder of all runs.
        live: Add a section in which the pair's packed network runs: drop a photo on the page (in a checkout, make
            web builds the engine).
        wandb: Build the dashboard on W&B. auto does so for a whole pair with a login, and never fails.
        settings: The dashboard's settings.

    Returns:
        The page's file.

    Raises:
        UserError: There is nothing to compare, `--live` finds no packed network or no engine, or `--wandb on` could not
            build the dashboard (the page is written anyway).
    """
    by_hand = len(what) > 1
    if wandb == "on" and by_hand:
        raise UserError(
            "single runs were given with --wandb on, but a dashboard shows a whole pair. Give the pair, or use --wandb "
            "off."
        )
    comparison = xl.compare(what, root=root)
    network = _packed(comparison) if live else None
    again = [*_again(what, out, bench, data, root), *(["--live"] if live else [])]
    page = write(comparison, out=out, bench=bench, data=data, again=again, network=network)
    say("report", f"{page.path} ({page.path.stat().st_size / 2**20:.2g} MiB; opens in any browser)")
    for note in comparison.notes:
        say("", f"note: {note}")
    if wandb == "on" or (wandb == "auto" and not by_hand):
        _put_on_wandb(comparison, page, settings, asked=wandb == "on")
    return page.path


def _packed(comparison: Comparison) -> bytes:
    """The first packed network of the comparison's runs.

    Raises:
        UserError: No run is packed, or the file is no packed network.
    """
    runs = [Path(seed.run) for arm in comparison.arms for seed in arm.seeds]
    files = [file for run in runs for name in PACKED if (file := run / name).is_file()]
    if not files:
        raise UserError(
            f"--live needs a packed network, and none of the {len(runs)} runs has one. Pack a run of a binary arm "
            "first: xnorlit pack RUN."
        )
    xl.load(files[0])
    return files[0].read_bytes()


def _put_on_wandb(comparison: Comparison, page: Page, settings: Path, *, asked: bool) -> None:
    """Build the dashboard. If it was not asked for, print what prevents it instead of raising an error."""
    if not asked and wandb_mode() != "online":
        say("W&B", f"not logged in, so no dashboard. To build it, {LOG_IN}, then run xnorlit sync and xnorlit report")
        return
    try:
        put_on_wandb(comparison, page.record, Settings.load(settings))
    except UserError as error:
        if asked:
            raise
        say("W&B", f"{error}\nThe page above is complete without the dashboard.")


def _again(what: Sequence[str], out: Path | None, bench: Path | None, data: Path | None, root: Path) -> list[str]:
    """The command that writes the page again."""
    other_root = root if root != Path("runs") else None
    options = [("--out", out), ("--bench", bench), ("--data", data), ("--root", other_root)]
    return ["report", *what, *(word for name, value in options if value is not None for word in (name, str(value)))]
