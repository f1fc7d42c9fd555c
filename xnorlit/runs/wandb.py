"""Runs stored by W&B, in its offline directories and on its server. Several directories may form one run."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from xnorlit.errors import UserError
from xnorlit.runs.curves import Curves
from xnorlit.runs.logged import LoggedRun, curves_of
from xnorlit.runs.place import is_aside

COMPARISON = "comparison"
"""The job type of the W&B run in which the dashboard stores a pair's gap and sizes. It is not an arm."""


class ApiRun(Protocol):
    """The part of a run of `wandb.Api()` that is used here."""

    id: str
    state: str
    group: str | None
    job_type: str | None
    config: Mapping[str, Any]
    path: list[str]

    def scan_history(self) -> Iterable[Mapping[str, Any]]:
        """Every logged row, oldest first."""
        ...


class Api(Protocol):
    """The part of `wandb.Api()` that is used here."""

    def runs(self, path: str) -> Iterable[ApiRun]:
        """The runs of `entity/project`."""
        ...


@dataclass
class _Part:
    """The part of a run in one offline directory."""

    folder: Path
    run: Mapping[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[Mapping[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    problem: str = ""


def offline(root: Path | str) -> list[LoggedRun]:
    """The runs in W&B's directories anywhere under `root`, ordered by pair, arm and seed.

    A resumed run has one directory for each part. Together they form one record, in which later rows override earlier
    ones. A run is unfinished if its last directory lacks exit code 0. An unreadable directory is a record of its own.
    Runs that `--run.fresh` moved aside are left out.

    Args:
        root: A folder of runs, one run, or a folder `wandb`.

    Raises:
        UserError: There is no such folder, or the wandb command is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}. Expected a folder of runs, or W&B's own folder wandb.")
    files = sorted(file for file in root.rglob("run-*.wandb") if not is_aside(file))
    parts: dict[str, list[_Part]] = {}
    damaged = []
    for file in files:
        part = _read(file)
        run_id = part.run.get("run_id")
        if isinstance(run_id, str) and run_id:
            parts.setdefault(run_id, []).append(part)
        else:
            damaged.append(_damaged(part, file))
    found = [_merged(run_id, of_run) for run_id, of_run in parts.items()]
    return sorted(
        [*found, *damaged], key=lambda run: (run.pair, run.arm, -1 if run.seed is None else run.seed, run.origin)
    )


def online(api: Api, path: str) -> list[LoggedRun]:
    """The runs of a W&B project, as the same records. The dashboard's own runs, which train nothing, are left out.

    Args:
        api: `wandb.Api()`.
        path: `entity/project`.

    Raises:
        UserError: The server cannot be read: no login, no network connection, or no such project.
    """
    try:
        return [_of_server(run) for run in api.runs(path) if run.job_type != COMPARISON]
    except UserError:
        raise
    except Exception as error:  # wandb raises its own errors, and those of requests and the standard library.
        raise UserError(
            f"cannot read the runs of {path} from W&B: {error}. Log in (wandb login), check the name, or read the run "
            "directories, which hold the same data and need no network."
        ) from error


def _of_server(run: ApiRun) -> LoggedRun:
    config = {key: value for key, value in run.config.items() if not key.startswith("_")}
    finished = run.state == "finished"
    return LoggedRun(
        origin="/".join(run.path),
        id=run.id,
        pair=str(run.group or config.get("pair_id") or ""),
        arm=str(run.job_type or config.get("arm") or ""),
        seed=_seed(config),
        state="finished" if finished else "unfinished",
        reason="" if finished else f"W&B reports the run as {run.state}.",
        config=config,
        curves=curves_of(run.scan_history()),
    )


def _read(file: Path) -> _Part:
    """The content of one transaction log, from `wandb leet inspect`. An incomplete log yields its readable part."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    part = _Part(file.parent)
    if "No module named" in done.stderr:
        raise UserError("reading W&B's files needs the wandb package: pip install wandb.")
    if done.returncode != 0:
        part.problem = " ".join(done.stderr.split()) or f"wandb leet inspect ended with status {done.returncode}"
    for kind, entry in _entries(done.stdout):
        if kind == "run":
            part.run = {**part.run, **entry}
            config = entry.get("config")
            part.config |= _mapping(config.get("update") if isinstance(config, dict) else None)
        elif kind == "config":
            part.config |= _mapping(entry.get("update"))
        elif kind == "history":
            part.history.append(_mapping(entry.get("item")))
        elif kind == "exit" and isinstance(entry.get("exit_code", 0), int):
            part.exit_code = entry.get("exit_code", 0)
    return part


def _entries(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in text.splitlines():
        try:
            record = json.loads(line)
            kind = record["type"]
            yield kind, _mapping(record[kind])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # skip lines that are not records


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _merged(run_id: str, parts: list[_Part]) -> LoggedRun:
    parts = sorted(parts, key=lambda part: str(part.run.get("start_time", "")))
    last = parts[-1]
    config = {key: value for part in parts for key, value in part.config.items() if not key.startswith("_")}
    finished = last.exit_code == 0
    return LoggedRun(
        origin=str(last.folder),
        id=run_id,
        pair=str(last.run.get("run_group") or config.get("pair_id") or ""),
        arm=str(last.run.get("job_type") or config.get("arm") or ""),
        seed=_seed(config),
        state="finished" if finished else "unfinished",
        reason="" if finished else _why_unfinished(last),
        config=config,
        curves=curves_of(row for part in parts for row in part.history),
    )


def _why_unfinished(part: _Part) -> str:
    if part.exit_code is None:
        return f"{part.folder} has no exit code: the run is still training or was killed."
    return f"{part.folder} has exit code {part.exit_code}: the run was stopped or failed."


def _damaged(part: _Part, file: Path) -> LoggedRun:
    why = part.problem or "it contains no run"
    return LoggedRun(str(part.folder), "", "", "", None, "damaged", f"{file} cannot be read: {why}.", {}, Curves({}))


def _seed(config: Mapping[str, Any]) -> int | None:
    seed = config.get("seed", config.get("seed_everything"))
    return seed if type(seed) is int else None
