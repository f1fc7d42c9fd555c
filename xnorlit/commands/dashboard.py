"""The commands `xnorlit dashboard`, a pair on W&B, and `xnorlit report`, its page and then the dashboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xnorlit.commands import report as page
from xnorlit.comparison.comparison import Comparison
from xnorlit.errors import UserError
from xnorlit.output.console import say
from xnorlit.report.html.record import record
from xnorlit.report.wandb.publish import publish
from xnorlit.report.wandb.server import LOG_IN
from xnorlit.report.wandb.settings import Settings
from xnorlit.runs.login import wandb_mode

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
    comparison = page.comparison_of([pair] if pair else [], root)
    _publish(comparison, record(comparison, bench=bench), shown)


def report(words: Sequence[str]) -> None:
    """`xnorlit report`: the page, which needs no network, and then, where somebody is logged in, the dashboard.

    Args:
        words: Of the command line.

    Raises:
        UserError: The words are not understood, there is nothing to compare, or, with `--wandb on`, the dashboard could
            not be built: the page is there all the same.
    """
    parser = page.parser()
    parser.add_argument(
        "--wandb",
        choices=("auto", "on", "off"),
        default="auto",
        help="the dashboard on W&B: for a whole pair where a login is found (auto), or as said; auto never fails",
    )
    parser.add_argument(
        "--settings", type=Path, default=SETTINGS, metavar="YAML", help=f"of the dashboard (default: {SETTINGS})"
    )
    try:
        known = parser.parse_args(words)
    except SystemExit:  # after --help
        return
    by_hand = len(known.what) > 1
    if known.wandb == "on" and by_hand:
        raise UserError(
            "The dashboard is of a whole pair, and runs were named one by one. Name the pair, or --wandb off."
        )
    written = page.write(known.what, out=known.out, bench=known.bench, data=known.data, root=known.root)
    if known.wandb == "on":
        _publish(written.comparison, written.record, Settings.load(known.settings))
    elif known.wandb == "auto" and not by_hand:
        _publish_if_logged_in(written, known.settings)


def _publish_if_logged_in(written: page.Written, settings: Path) -> None:
    if wandb_mode() != "online":
        say("W&B", f"no login: for the pair's page there too, {LOG_IN}, then make sync report")
        return
    try:
        _publish(written.comparison, written.record, Settings.load(settings))
    except UserError as error:
        say("W&B", f"{error}\nThe page above is whole without it.")


def _publish(comparison: Comparison, shown: dict[str, Any], settings: Settings) -> None:
    done = publish(comparison, shown, settings)
    say("W&B", f"{done.report}   (the report)\n{done.view}   (the saved view)")
    if done.missing:
        say("", f"note: not on W&B, so without curves there: {', '.join(done.missing)}. Upload: make sync")
