"""Terminal output of the data room, from the first process only."""

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from xnorlit.edge import console
from xnorlit.edge.processes import is_first

_log = logging.getLogger("xnorlit.data")
T = TypeVar("T")


def say(text: str) -> None:
    """Print a line with the tag [data], and log it; only in the first process."""
    if not is_first():
        return
    console.say("data", text)
    _log.info(text)


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yields the items with a progress bar; none without a terminal."""
    return console.progress(items, total, "data", label)
