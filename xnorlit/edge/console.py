"""Terminal output: short lines with a tag, and progress bars."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xnorlit.edge.names import printable
from xnorlit.edge.processes import is_first

_Item = TypeVar("_Item")


def terminal(**settings: Any) -> Console:
    """A console that prints plain text to pipes and notebooks, and everywhere if NO_COLOR is set.

    Args:
        settings: Arguments of `rich.console.Console`.
    """
    plain: dict[str, Any] = {"color_system": None if os.environ.get("NO_COLOR") else "auto", "force_jupyter": False}
    if "ipykernel" in sys.modules:  # It sets FORCE_COLOR, which makes rich assume a terminal.
        plain["force_terminal"] = False
    return Console(highlight=False, **{**plain, **settings})


def say(tag: str, text: str) -> None:
    """Print `[tag]    text`; only the first process of a distributed run prints.

    Lines are never wrapped, so that paths can be copied.

    Args:
        tag: One word for the subject of the line; empty for a continued line.
        text: The rest of the line; further lines are indented below it.
    """
    if not is_first():
        return
    label = escape(f"{f'[{tag}]' if tag else '':<10}")
    lines = escape(printable(text)).replace("\n", f"\n{'':10}")
    terminal(soft_wrap=True).print(f"[bold]{label}[/bold]{lines}")


def progress(items: Iterable[_Item], total: int, tag: str, label: str, *, stderr: bool = False) -> Iterator[_Item]:
    """Yield the items and show a progress bar if the output is a terminal.

    Args:
        items: The items.
        total: Their number.
        tag: See `say`.
        label: Text beside the bar.
        stderr: Show the bar on standard error, so that it does not mix with output.
    """
    console = terminal(stderr=stderr)
    columns = (
        TextColumn(f"{f'[{tag}]':<10}{{task.description}}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with Progress(*columns, console=console, disable=quiet, transient=True, redirect_stdout=not stderr) as bar:
        yield from bar.track(items, total=total, description=label)
