"""Lines and progress bars for the person at the terminal: once per run, and plain where nobody watches."""

import logging
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from xnorlit.output import console

_log = logging.getLogger("xnorlit.data")
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # as torchrun, Lightning and Slurm set them
T = TypeVar("T")


def say(text: str) -> None:
    """Prints a line with the tag [data] and logs it, on the first process of all machines only."""
    if any(os.environ.get(rank, "0") != "0" for rank in _RANKS):
        return
    console.say("data", text)
    _log.info(text)


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yields the items behind a progress bar; without a terminal there is none."""
    return console.progress(items, total, "data", label)
