"""Lines and progress bars for the person at the terminal: once per run, and plain where nobody watches."""

import logging
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_log = logging.getLogger("xnorlit.data")
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # as torchrun, Lightning and Slurm set them
T = TypeVar("T")


def say(text: str) -> None:
    """Prints `[data]   text` and logs it, on the first process only."""
    if any(os.environ.get(rank, "0") != "0" for rank in _RANKS):
        return
    Console().print(f"[data]   {text}", markup=False, highlight=False, soft_wrap=True)
    _log.info(text)


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yields the items behind a progress bar; without a terminal there is none."""
    console = Console()
    columns = (
        TextColumn("[data]   {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield from bar.track(items, total=total, description=label)
