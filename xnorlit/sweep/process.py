"""A command as a child process with a log, which is interrupted only once."""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Process:
    """A started command in its own process group, so that its parent passes on Ctrl-C exactly once.

    A second Ctrl-C would tell a training not to save. A terminal sends one to the whole group, and the parent another.

    Args:
        command: Program and words.
        folder: Where it runs.
        log: File to append its output to.
        threads: Number of processor cores that it may use.
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
        """Its exit status, or None while running."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Sends Ctrl-C: a training saves a checkpoint and exits."""
        if self.ended() is None:
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Waits until it exits; returns its exit status."""
        return self._process.wait()

    def last_line(self) -> str:
        """The last line of the log that is not blank."""
        return last_line(self.log)


def last_line(log: Path) -> str:
    """The last line of a file that is not blank, within its last 4 KiB.

    Args:
        log: The file; the result is empty if it is missing.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
