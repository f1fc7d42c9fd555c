"""One run to be trained: where it lies, the command that trains it, and how far it has got."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xnorlit.runs.lock import is_under_way, state_of
from xnorlit.runs.place import Place

State = Literal["finished", "running", "unfinished", "missing"]


@dataclass(frozen=True)
class Job:
    """One run, and the words of the `xnorlit fit` that trains it.

    Attributes:
        place: Where the run is filed; what the words say about it is the same.
        words: What follows `xnorlit fit`.
        folder: Where the command is run; paths in its words are relative to it. The working directory by default.
        again: Whether a run that is there is moved aside and trained again.
    """

    place: Place
    words: tuple[str, ...]
    folder: Path = Path()
    again: bool = False

    @property
    def state(self) -> State:
        """Whether it has finished, is being trained now, has a checkpoint to go on from, or is to be begun."""
        if is_under_way(self.place.path):
            return "running"
        if self.again:
            return "missing"
        found = state_of(self.place.path)
        return "missing" if found == "begun" else found

    @property
    def command(self) -> list[str]:
        """The program and words that train it, or go on with it."""
        started = (self.place.path / "config.yaml").is_file()
        more: dict[State, list[str]] = {
            "unfinished": ["--run.resume", "true"],
            "missing": ["--run.fresh", "true"] if started else [],
        }
        return [sys.executable, "-m", "xnorlit", "fit", *self.words, *more.get(self.state, [])]

    @property
    def log(self) -> Path:
        """Where what the command says is kept: beside the run, for it may be moved aside or never begin."""
        return self.place.path.with_name(f"{self.place.path.name}.log")
