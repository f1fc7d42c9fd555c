"""The command `xnorlit sync`: runs that were trained offline, to W&B."""

from collections.abc import Sequence
from pathlib import Path

from xnorlit.errors import UserError
from xnorlit.output.console import say
from xnorlit.report.wandb.server import REFUSED, UNREACHABLE, Server
from xnorlit.report.wandb.upload import Part, upload, waiting


def sync(where: Path | None = None, *, dry_run: bool = False) -> None:
    """Uploads the runs under a folder that W&B logged offline, and each only once.

    The parts of a resumed run become one run. Nothing local is changed but for an empty file beside each log that is on
    the server, *.wandb.synced, as W&B itself makes it. Stopped at any point, the same command goes on with the rest.

    Args:
        where: A folder of runs, a pair, an arm or one run; the folder runs unless given.
        dry_run: Only list what would be uploaded.

    Raises:
        UserError: There is no such folder, nobody is logged in, or not everything could be uploaded.
    """
    where = where or Path("runs")
    if not where.is_dir():
        raise UserError(f"There is no folder of runs {where}. Train first: make train-xnor; or name the folder.")
    todo, under_way = waiting(where)
    for run in under_way:
        say("sync", f"{run} is being trained: give the same command again when it has ended")
    if not todo:
        say("sync", f"nothing to upload: {where} has no {'other ' if under_way else ''}offline run that W&B lacks")
        return
    if dry_run:
        for part in todo:
            say("sync", f"would upload {_name(part)}")
        return
    try:
        Server.of_login()
    except UserError as error:
        raise UserError(f"{error}\nNothing was uploaded, and {_runs(todo)} of {where} wait for it.") from error
    _upload_all(todo)
    say("next", "make report   (the pair's page, and its dashboard on W&B)")


def _upload_all(todo: Sequence[Part]) -> None:
    """Uploads part by part; what a part of a run failed at, its later parts are not tried with."""
    failed: dict[Path, str] = {}
    done: list[Part] = []
    for number, part in enumerate(todo, start=1):
        where = f"{number}/{len(todo)}  {_name(part)}"
        if part.run in failed:
            say("sync", f"{where}: not tried, for what precedes it is missing")
            continue
        problem = upload(part)
        say("sync", f"{where}: {problem or 'uploaded'}")
        if problem:
            failed[part.run] = problem
        else:
            done.append(part)
        if problem in (REFUSED, UNREACHABLE):  # the next one would fail alike
            break
    if failed:
        left = [part for part in todo if part not in done]
        names = "\n".join(f"  {_name(part)}" for part in left)
        raise UserError(
            f"{len(done)} of {len(todo)} uploaded; these were not, and are as they were:\n{names}\n"
            f"Why: {next(iter(failed.values()))} The same command goes on with them."
        )
    say("sync", f"{_runs(done)} uploaded")


def _name(part: Part) -> str:
    return f"{part.run} (started {part.started})"


def _runs(found: Sequence[Part]) -> str:
    count = len({part.run for part in found})
    return f"{count} run{'s' if count > 1 else ''}"
