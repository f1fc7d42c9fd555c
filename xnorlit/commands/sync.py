"""The command `xnorlit sync`: upload runs that were trained offline to W&B."""

from collections.abc import Sequence
from pathlib import Path

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.report.wandb.server import Server
from xnorlit.report.wandb.upload import Part, upload, waiting
from xnorlit.runs.login import REFUSED, UNREACHABLE


def sync(where: Path | None = None, *, dry_run: bool = False) -> None:
    """Upload the runs under a folder that W&B logged offline, each of them once.

    The parts of a resumed run become one run. The only local change is an empty file beside each uploaded log,
    *.wandb.synced, like W&B's own. If the command is stopped, running it again continues with the rest.

    Args:
        where: A folder of runs, a pair, an arm or one run (default: the folder runs).
        dry_run: Only list what would be uploaded.

    Raises:
        UserError: There is no such folder, there is no login, or not everything could be uploaded.
    """
    where = where or Path("runs")
    if not where.is_dir():
        raise UserError(
            f"{where} is not a folder; a folder of runs is expected. Train first (make train-xnor) or name the folder."
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
        raise UserError(f"{error}\nNothing was uploaded; {_runs(todo)} in {where} are waiting.") from error
    _upload_all(todo)
    say("next", "make report   (the pair's page, and its dashboard on W&B)")


def _upload_all(todo: Sequence[Part]) -> None:
    """Upload part by part. After a part fails, the later parts of its run are not tried."""
    failed: dict[Path, str] = {}
    done: list[Part] = []
    for number, part in enumerate(todo, start=1):
        where = f"{number}/{len(todo)}  {_name(part)}"
        if part.run in failed:
            say("sync", f"{where}: not tried, because an earlier part of the run failed")
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
            f"{len(done)} of {len(todo)} uploaded; these were not, and are unchanged:\n{names}\n"
            f"Why: {next(iter(failed.values()))} Run the same command again to continue."
        )
    say("sync", f"{_runs(done)} uploaded")


def _name(part: Part) -> str:
    return f"{part.run} (started {part.started})"


def _runs(found: Sequence[Part]) -> str:
    count = len({part.run for part in found})
    return f"{count} run{'s' if count > 1 else ''}"
