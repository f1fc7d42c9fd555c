"""What the program says to the person at the terminal: short lines with a tag in front."""

import os
from typing import Any

from rich.console import Console
from rich.markup import escape


def terminal(**settings: Any) -> Console:
    """A console that prints plain text into a pipe; with NO_COLOR set, plain text everywhere, bold included.

    Args:
        settings: Of `rich.console.Console`.
    """
    return Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto", **settings)


def say(tag: str, text: str) -> None:
    """Prints `[tag]    text` from the first process of a distributed run, and nothing from the others.

    Colour is left out by itself where the output is piped or NO_COLOR is set; lines are never wrapped, so that paths
    can be copied.

    Args:
        tag: One word: what the line is about. Empty for a continued line.
        text: The rest of the line; further lines are indented below it.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    label = escape(f"{f'[{tag}]' if tag else '':<10}")
    lines = escape(text).replace("\n", f"\n{'':10}")
    terminal(soft_wrap=True).print(f"[bold]{label}[/bold]{lines}")
