"""What is being trained, on a terminal: a line for each run that says how far it is."""

from collections.abc import Mapping

from rich.live import Live
from rich.text import Text

from xnorlit.output.console import say, terminal
from xnorlit.sweep.job import Job
from xnorlit.sweep.process import Process


class Display:
    """Lines below everything else that is said, which are replaced; without a terminal there are none.

    Args:
        running: What is being trained now; it is looked at each time.
    """

    def __init__(self, running: Mapping[Job, Process]) -> None:
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
        """Says a line that stays, above those that are replaced; see `xnorlit.output.console.say`."""
        if self._live:
            self._live.update(Text(), refresh=True)
        say(tag, text)

    def refresh(self) -> None:
        """Shows the last line of each log."""
        if self._live:
            lines = [f"  {job.place.arm}, seed {job.place.seed}   {p.last_line()}" for job, p in self._running.items()]
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
