"""The command `xnorlit sync`: upload runs that were trained offline to W&B."""

from collections.abc import Sequence
from pathlib import Path

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.report.wandb.server import Server
from xnorlit.report.wandb.upload import Part, upload, waiting
from xnorlit.runs.login import REFUSED, UNREACHABLE


def sync(where: Path | None = None, *, dry_run: bool = False) -> None:
    """Upload to W&B the runs that were logged offline. Each is uploaded only once.

    The parts of a resumed run become one run. The command changes nothing locally, except that it writes an empty file
    *.wandb.synced beside each uploaded log, as W&B does. If the command is stopped, run it again to upload the rest.

    Args:
        where: Folder of runs, of a pair, of an arm, or of one run (default: the folder runs).
        dry_run: Only list what would be uploaded.

    Raises:
        UserError: There is no such folder, there is no login, or an upload failed.
    """
    where = where or Path("runs")
    if not where.is_dir():
        raise UserError(
            f"{where} is not a folder. Expected a folder of runs: train first (xnorlit train xnor), or give the folder."
        )
    todo, under_way = waiting(where)
    for run in under_way:
        say("sync", f"{run} is still training; run the same command again when it has ended")
    if not todo:
        say("sync", f"done: {where} has no {'other ' if under_way else ''}offline run to upload")
        return
    if dry_run:
        for part in todo:
            say("sync", f"would upload {_name(part)}")
        return
    try:
        Server.of_login()
    except UserError as error:
        raise UserError(f"{error}\nNothing was uploaded. Waiting in {where}: {_runs(todo)}.") from error
    _upload_all(todo)
    say("next", "xnorlit report   (the pair's page, and its dashboard on W&B)")


def _upload_all(todo: Sequence[Part]) -> None:
    """Upload part by part. If a part fails, skip the later parts of its run."""
    failed: dict[Path, str] = {}
    done: list[Part] = []
    for number, part in enumerate(todo, start=1):
        where = f"{number}/{len(todo)}  {_name(part)}"
        if part.run in failed:
            say("sync", f"{where}: skipped, because an earlier part of the run failed")
            continue
        problem = upload(part)
        say("sync", f"{where}: {problem or 'uploaded'}")
        if problem:
            failed[part.run] = problem
        else:
            done.append(part)
        if problem in (REFUSED, UNREACHABLE):  # the next one would fail as well
            break
    if failed:
        left = [part for part in todo if part not in done]
        names = "\n".join(f"  {_name(part)}" for part in left)
        raise UserError(
            f"{len(done)} of {len(todo)} uploaded. Not uploaded, and unchanged:\n{names}\n"
            f"Reason: {next(iter(failed.values()))} Run the same command again to continue."
        )
    say("sync", f"{_runs(done)} uploaded")


def _name(part: Part) -> str:
    return f"{part.run} (started {part.started})"


def _runs(found: Sequence[Part]) -> str:
    count = len({part.run for part in found})
    return f"{count} run{'s' if count > 1 else ''}"
