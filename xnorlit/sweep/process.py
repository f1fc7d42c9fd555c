"""A command as a child process that keeps its words in a log and is interrupted once."""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Process:
    """A started command, in a process group of its own: Ctrl-C reaches it when its parent says so, and only once.

    A second Ctrl-C tells a training not to save first; a terminal sends one to a whole group, and its parent another.

    Args:
        command: Program and words.
        folder: Where it is run.
        log: File that its output is added to.
        threads: Processor cores that it may keep busy.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, log: Path, threads: int) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as output:
            output.write(f"$ {shlex.join(command)}\n")
            output.flush()
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "NO_COLOR": "1"},  # A notebook forces colours.
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Ctrl-C: a training saves a checkpoint and ends."""
        if self.ended() is None:
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Waits for its end and gives its exit status."""
        return self._process.wait()

    def last_line(self) -> str:
        """The last line of the log that says something."""
        return last_line(self.log)


def last_line(log: Path) -> str:
    """The last line of a file that is not blank; of its last 4 KiB, for it may be long.

    Args:
        log: The file; empty where there is none.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
