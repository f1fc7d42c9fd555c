"""A run that is being written is distinguished from one that is not."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from xnorlit.runs.lock import is_under_way


def _printed(code: str, folder: Path) -> str:
    """Check from another process, because a lock does not exclude its own holder."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout


def test_a_run_is_under_way_while_its_training_holds_the_lock(tmp_path):
    assert not is_under_way(tmp_path)  # a run that was copied here without its lock
    code = "from pathlib import Path; from xnorlit.runs.lock import is_under_way; print(is_under_way(Path.cwd()))"
    with (tmp_path / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _printed(code, tmp_path) == "True\n"
    assert not is_under_way(tmp_path)


def test_a_process_forked_of_a_training_does_not_hold_its_lock_when_it_has_ended(tmp_path):
    code = (
        "import os, time; from pathlib import Path; from xnorlit.runs.lock import take; lock = take(Path.cwd())\n"
        "if forked := os.fork(): print(forked)\n"
        "else: os.closerange(0, 3); time.sleep(600)"
    )
    reader = int(_printed(code, tmp_path))
    try:
        os.kill(reader, 0)  # it lives
        assert not is_under_way(tmp_path)
    finally:
        os.kill(reader, signal.SIGKILL)
