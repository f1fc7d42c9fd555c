"""The offline logs of W&B, part by part, and the upload of one part."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xnorlit.report.wandb.server import set_timeouts
from xnorlit.runs.lock import is_under_way
from xnorlit.runs.login import UNSENT, reason
from xnorlit.runs.place import is_aside

_NAME = re.compile(r"(offline-)?run-(\d{8}_\d{6})-(.+)")
_LOGS = "wandb/*run-*/run-*.wandb"


@dataclass(frozen=True, order=True)
class Part:
    """A W&B directory: one start of a run, first or resumed, that was logged offline or not sent completely.

    Args:
        run: The run's directory.
        started: `YYYYMMDD_HHMMSS`; parts of a run sort by it.
        id: W&B's id of the run, which its parts share.
        log: The transaction log.
    """

    run: Path
    started: str
    id: str
    log: Path

    @property
    def note(self) -> Path:
        """The empty file beside the log that marks it as uploaded."""
        return self.log.with_suffix(".wandb.synced")


def parts(run: Path) -> Iterator[Part]:
    """The directories of a run that were logged offline or may not be sent completely, oldest first.

    Args:
        run: The run's directory.
    """
    found = []
    for log in run.glob(_LOGS):
        named = _NAME.fullmatch(log.parent.name)
        if named and (named[1] or _unsent(log).exists()):
            found.append(Part(run, named[2], named[3], log))
    return iter(sorted(found))


def _unsent(log: Path) -> Path:
    """The marker file beside the log of an online run. Training removes it when the server has the whole log."""
    return log.with_name(log.name + UNSENT)


def waiting(root: Path) -> tuple[list[Part], list[Path]]:
    """The parts under a folder to upload, in order, and the runs that are still training.

    Runs that `--run.fresh` moved aside were abandoned on purpose and are ignored.

    Args:
        root: A folder of runs, one run, or anything between.
    """
    runs = {log.parents[2] for log in root.rglob(_LOGS) if not is_aside(log)}
    found = [part for run in sorted(runs) for part in parts(run) if not part.note.exists()]
    under_way = sorted({part.run for part in found if is_under_way(part.run)})
    return [part for part in found if part.run not in under_way], under_way


def upload(part: Part) -> str:
    """Upload a part; return an empty text, or why the upload is incomplete.

    Upload the parts of a run in order: training logs with resume="allow", so a later part continues the server's run
    under the same id. An interrupted upload starts again. Rows that are sent twice have the same trainer/global_step:
    W&B draws one over the other, and `xnorlit.runs` reads the later one.

    `wandb sync` always exits with 0, and marks a log as uploaded even if the server accepted none of its rows. So it
    gets a copy. The original is marked only if its debug log has no error. An interrupted upload leaves no mark.

    Args:
        part: The offline directory.
    """
    set_timeouts()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(part.log.parent, Path(scratch, part.log.parent.name))) / part.log.name
        copy.with_suffix(".wandb.synced").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", "--no-skip-online", str(copy)],
            env={**os.environ, "WANDB_DIR": scratch, "WANDB_SILENT": "false"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        reported = [line.partition("ERROR ")[2] for line in done.stdout.splitlines() if "ERROR " in line]
        errors = [*_errors(Path(scratch)), *reported]
        finished = copy.with_suffix(".wandb.synced").exists()
    if finished and not errors:
        part.note.touch()
        _unsent(part.log).unlink(missing_ok=True)
        return ""
    return reason(" ".join(errors) or done.stdout or "wandb sync gave no reason")


def _errors(scratch: Path) -> Iterator[str]:
    """The errors that `wandb sync` logged about the runs that it uploaded."""
    for file in scratch.rglob("debug-sync.*.log"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and str(said.get("level")).startswith("ERROR") and "sync_path" in said:
                yield str(said.get("msg"))
