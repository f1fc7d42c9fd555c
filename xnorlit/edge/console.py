"""Terminal output: short lines with a tag, and progress bars."""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xnorlit.edge.names import printable
from xnorlit.edge.processes import is_first

_Item = TypeVar("_Item")

SECONDS_PER_LINE = 30  # of a progress that nobody watches, such as in a log


def terminal(**settings: Any) -> Console:
    """A console that prints plain text to pipes and notebooks, and everywhere if NO_COLOR is set.

    Args:
        settings: Arguments of `rich.console.Console`.
    """
    plain: dict[str, Any] = {"color_system": None if os.environ.get("NO_COLOR") else "auto", "force_jupyter": False}
    if "ipykernel" in sys.modules:  # It sets FORCE_COLOR, which makes rich assume a terminal.
        plain["force_terminal"] = False
    return Console(highlight=False, **{**plain, **settings})


def say(tag: str, text: str, *, stderr: bool = False) -> None:
    """Print `[tag]    text`; only the first process of a distributed run prints.

    Lines are never wrapped, so that paths can be copied.

    Args:
        tag: One word for the subject of the line; empty for a continued line.
        text: The rest of the line; further lines are indented below it.
        stderr: Print on standard error, so that the line does not mix with output.
    """
    if not is_first():
        return
    label = escape(f"{f'[{tag}]' if tag else '':<10}")
    lines = escape(printable(text)).replace("\n", f"\n{'':10}")
    terminal(soft_wrap=True, stderr=stderr).print(f"[bold]{label}[/bold]{lines}")


def progress(
    items: Iterable[_Item], total: int | None, tag: str, label: str, *, stderr: bool = False
) -> Generator[_Item]:
    """Yield the items and show a progress bar, or a line every half minute if the output is no terminal.

    Args:
        items: The items.
        total: Their number, if it is known.
        tag: See `say`.
        label: Text beside the bar.
        stderr: Show the bar on standard error, so that it does not mix with output.
    """
    console = terminal(stderr=stderr)
    if not console.is_terminal:
        yield from _in_lines(items, total, tag, label, stderr=stderr)
        return
    columns = (
        TextColumn(f"{f'[{tag}]':<10}{{task.description}}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=not stderr) as bar:
        yield from bar.track(items, total=total, description=label)


def _in_lines(items: Iterable[_Item], total: int | None, tag: str, label: str, *, stderr: bool) -> Iterator[_Item]:
    told, of = time.monotonic(), "" if total is None else f" of {total:,}"
    for done, item in enumerate(items):
        if time.monotonic() - told >= SECONDS_PER_LINE:
            say(tag, f"{label}: {done:,}{of}", stderr=stderr)
            told = time.monotonic()
        yield item


@contextmanager
def parts(total: int, tag: str) -> Iterator[Callable[[str], None]]:
    """Show on standard error which part of a job runs: a progress bar, or a line for each part if it is no terminal.

    Args:
        total: Number of parts.
        tag: See `say`.

    Yields:
        Call it with the name of each part as that part begins.
    """
    console = terminal(stderr=True)
    if not console.is_terminal:
        numbers = count(1)
        yield lambda name: say(tag, f"{next(numbers)} of {total}: {name}", stderr=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, completed=-1)
        yield lambda name: bar.update(task, description=name, advance=1, refresh=True)
