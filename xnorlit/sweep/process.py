"""A command as a child process with a log. It is interrupted only once."""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Process:
    """A started command in its own process group, so that it gets Ctrl-C exactly once.

    In a shared group, the terminal would send one Ctrl-C and the parent another. The second would end a training before
    it has saved.

    Args:
        command: The program and its arguments.
        folder: Working directory of the command.
        log: File to which the output is appended.
        threads: Number of CPU threads that the command may use.
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
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "NO_COLOR": "1"},  # Notebooks force colours.
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """The exit status, or None while the command runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Send Ctrl-C; a training then saves a checkpoint and exits."""
        if self.ended() is None:
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Wait until the command exits, and return its exit status."""
        return self._process.wait()

    def last_line(self) -> str:
        """The last non-blank line of the log."""
        return last_line(self.log)


def last_line(log: Path) -> str:
    """The last non-blank line of a file, within its last 4 KiB; empty if the file is missing.

    Args:
        log: The file.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
