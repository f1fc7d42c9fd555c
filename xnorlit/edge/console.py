"""What the program says to the person at the terminal: short lines with a tag in front."""

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
    """A console that prints plain text into pipes and notebooks; with NO_COLOR set everywhere, bold included.

    Args:
        settings: Of `rich.console.Console`.
    """
    plain: dict[str, Any] = {"color_system": None if os.environ.get("NO_COLOR") else "auto", "force_jupyter": False}
    if "ipykernel" in sys.modules:  # It sets FORCE_COLOR, which rich takes for a terminal with bars.
        plain["force_terminal"] = False
    return Console(highlight=False, **{**plain, **settings})


def say(tag: str, text: str) -> None:
    """Prints `[tag]    text` from the first process of a distributed run, and nothing from the others.

    Colour is left out by itself where the output is piped or NO_COLOR is set; lines are never wrapped, so that paths
    can be copied.

    Args:
        tag: One word: what the line is about. Empty for a continued line.
        text: The rest of the line; further lines are indented below it.
    """
    if not is_first():
        return
    label = escape(f"{f'[{tag}]' if tag else '':<10}")
    lines = escape(printable(text)).replace("\n", f"\n{'':10}")
    terminal(soft_wrap=True).print(f"[bold]{label}[/bold]{lines}")


def progress(items: Iterable[_Item], total: int, tag: str, label: str) -> Iterator[_Item]:
    """Yields the items behind a progress bar; without a terminal there is none.

    Args:
        items: What is worked through.
        total: How many they are.
        tag: One word, as of `say`.
        label: What is being done.
    """
    console = terminal()
    columns = (
        TextColumn(f"{f'[{tag}]':<10}{{task.description}}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield from bar.track(items, total=total, description=label)
