"""Runs that W&B holds: its offline directories, several of which may be one run, and its server's."""

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

COMPARISON = "comparison"
"""The job type of the run in which the dashboard keeps a pair's gap and sizes: no arm of the pair."""


class ApiRun(Protocol):
    """What is asked of a run of `wandb.Api()`."""

    id: str
    state: str
    group: str | None
    job_type: str | None
    config: Mapping[str, Any]
    path: list[str]

    def scan_history(self) -> Iterable[Mapping[str, Any]]:
        """Every row that was logged, oldest first."""
        ...


class Api(Protocol):
    """What is asked of `wandb.Api()`."""

    def runs(self, path: str) -> Iterable[ApiRun]:
        """The runs of `entity/project`."""
        ...


@dataclass
class _Part:
    """One offline directory's share of a run."""

    folder: Path
    run: Mapping[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[Mapping[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    problem: str = ""


def offline(root: Path | str) -> list[LoggedRun]:
    """The runs in W&B's directories anywhere under `root`, in the order of their pairs, arms and seeds.

    A resumed run has a directory for each time it was gone on with: they are one record, later rows winning. A run
    whose last directory has no exit code 0 is unfinished; a directory that cannot be read is a record of its own.

    Args:
        root: A folder of runs, one run, or a folder `wandb`.

    Raises:
        UserError: There is no such folder, or the wandb command is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. Expected one that holds runs, or W&B's own folder wandb.")
    files = sorted({*root.rglob("run-*.wandb")})
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
    """The runs of a W&B project, as the same records; a pair's own comparison, which trained nothing, is none of them.

    Args:
        api: `wandb.Api()`.
        path: `entity/project`.

    Raises:
        UserError: The server cannot be asked: no login, no network, or no such project.
    """
    try:
        return [_of_server(run) for run in api.runs(path) if run.job_type != COMPARISON]
    except UserError:
        raise
    except Exception as error:  # wandb raises errors of its own, of requests and of the standard library
        raise UserError(
            f"W&B cannot be asked for the runs of {path}: {error}. Log in (wandb login), check the name, or read the "
            "run directories: they hold the same and need no network."
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
        reason="" if finished else f"W&B says that the run is {run.state}.",
        config=config,
        curves=curves_of(run.scan_history()),
    )


def _read(file: Path) -> _Part:
    """What one transaction log holds, as `wandb leet inspect` prints it; an incomplete log gives what there is."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    part = _Part(file.parent)
    if "No module named" in done.stderr:
        raise UserError("W&B's files are read by the wandb package, which is missing here: pip install wandb.")
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
            continue  # a line that is no record says nothing


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
        return f"{part.folder} ends without an exit code: the run is under way, or was killed."
    return f"{part.folder} ends with exit code {part.exit_code}: the run was stopped, or failed."


def _damaged(part: _Part, file: Path) -> LoggedRun:
    why = part.problem or "it holds no run"
    return LoggedRun(str(part.folder), "", "", "", None, "damaged", f"{file} cannot be read: {why}.", {}, Curves({}))


def _seed(config: Mapping[str, Any]) -> int | None:
    seed = config.get("seed", config.get("seed_everything"))
    return seed if type(seed) is int else None
