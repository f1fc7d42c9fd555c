"""The current runs on a terminal: one live progress line for each."""

from collections.abc import Mapping

from rich.live import Live
from rich.text import Text

from xnorlit.edge.console import say, terminal
from xnorlit.sweep.cluster import Submitted
from xnorlit.sweep.job import Job
from xnorlit.sweep.process import Process


class Display:
    """Live lines below all other output. Without a terminal, nothing is shown.

    Args:
        running: The current jobs, read at each refresh.
    """

    def __init__(self, running: Mapping[Job, Process | Submitted]) -> None:
        self._running = running
        console = terminal()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, tag: str, text: str) -> None:
        """Print a permanent line above the live ones; see `xnorlit.edge.console.say`."""
        if self._live:
            self._live.update(Text(), refresh=True)
        say(tag, text)

    def refresh(self) -> None:
        """Show the last line of each log."""
        if self._live:
            lines = [f"  {job.place.arm}, seed {job.place.seed}   {p.last_line()}" for job, p in self._running.items()]
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
