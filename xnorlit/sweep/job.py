"""One run to train: its place, its command and its state."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xnorlit.runs.lock import is_under_way, state_of
from xnorlit.runs.place import Place

State = Literal["finished", "running", "unfinished", "missing"]


@dataclass(frozen=True)
class Job:
    """One run, and the `xnorlit fit` command line that trains it.

    Attributes:
        place: The run's place, which agrees with its command line.
        argv: The arguments of `xnorlit fit`.
        folder: Working directory of the command; its paths are relative to it (default: the current one).
        again: Whether to move an existing run aside and retrain it.
    """

    place: Place
    argv: tuple[str, ...]
    folder: Path = Path()
    again: bool = False

    @property
    def state(self) -> State:
        """Whether the run has finished, is training now, can resume from a checkpoint, or has not started."""
        if is_under_way(self.place.path):
            return "running"
        if self.again:
            return "missing"
        found = state_of(self.place.path)
        return "missing" if found == "begun" else found

    @property
    def command(self) -> list[str]:
        """The command that trains or resumes the run."""
        started = (self.place.path / "config.yaml").is_file()
        more: dict[State, list[str]] = {
            "unfinished": ["--run.resume", "true"],
            "missing": ["--run.fresh", "true"] if started else [],
        }
        return [sys.executable, "-m", "xnorlit", "fit", *self.argv, *more.get(self.state, [])]

    @property
    def log(self) -> Path:
        """The command's log. It is beside the run's folder, which may be moved aside or never exist."""
        return self.place.path.with_name(f"{self.place.path.name}.log")
