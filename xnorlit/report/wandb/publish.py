"""Publish a pair's comparison on W&B: its own run, the view and the report. Existing ones are replaced."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorlit.comparison.comparison import Comparison
from xnorlit.errors import UserError
from xnorlit.report.wandb.figures import Figures
from xnorlit.report.wandb.offline import log_offline
from xnorlit.report.wandb.server import Server, plain_errors
from xnorlit.report.wandb.settings import Settings
from xnorlit.report.wandb.subject import Subject
from xnorlit.report.wandb.upload import upload


@dataclass(frozen=True)
class Published:
    """The addresses of the dashboard, and the runs whose curves it lacks, as `ARM/seed-N`."""

    report: str
    view: str
    missing: tuple[str, ...]


def publish(comparison: Comparison, record: dict[str, Any], settings: Settings) -> Published:
    """Build or update a pair's dashboard on the server of the login.

    Args:
        comparison: The comparison of the pair's runs.
        record: The page's record of the comparison.
        settings: What the dashboard shows.

    Raises:
        UserError: There is no login, the server refuses or does not answer, or it has none of the pair's runs.
    """
    Subject.of(comparison, record, settings, {})  # Check the settings before anything is sent.
    server = Server.of_login()
    project = f"{server.entity}/{settings.project}"
    with plain_errors("The dashboard was not written"):
        ids, missing = _on_server(server, project, _ids(comparison))
        subject = Subject.of(comparison, record, settings, ids)
        _upload_figures(server, project, subject.figures)
        return Published(
            report=_save_report(server, project, subject, settings),
            view=_save_view(server, subject, settings),
            missing=missing,
        )


def _ids(comparison: Comparison) -> dict[str, dict[str, str | None]]:
    """W&B's id of each run, by arm and by `seed-N`; None for a run that was not logged to W&B."""
    return {
        arm: {f"seed-{run.place.seed}": run.summary.wandb_id for run in runs} for arm, runs in comparison.runs.items()
    }


def _on_server(
    server: Server, project: str, ids: Mapping[str, Mapping[str, str | None]]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The ids of the runs on the server, by arm, and the names of the missing runs."""
    logged = [run for of_arm in ids.values() for run in of_arm.values() if run]
    try:
        there = {run.id for run in server.api.runs(project, filters={"name": {"$in": logged}})} if logged else set()
    except ValueError as error:  # wandb raises it for a missing project
        if "Could not find project" not in str(error):
            raise
        there = set()
    if not there:
        how = "Upload them: xnorlit sync." if logged else "They were trained with --run.wandb off; train with W&B."
        raise UserError(f"The dashboard was not written: W&B has no run of this pair in the project {project}. {how}")
    found = {arm: tuple(run for run in of_arm.values() if run and run in there) for arm, of_arm in ids.items()}
    missing = [f"{arm}/{seed}" for arm, of_arm in ids.items() for seed, run in of_arm.items() if run not in there]
    return found, tuple(missing)


def _upload_figures(server: Server, project: str, figures: Figures) -> None:
    """Upload the pair's own run, unless the server has the same one.

    A run that is logged without `resume` replaces the server's run of the same id.
    """
    for run in server.api.runs(project, filters={"name": {"$in": [figures.id]}}, lazy=False):
        if run.id == figures.id and run.config.get("contents") == figures.contents:
            return
    with tempfile.TemporaryDirectory() as scratch:
        problem = upload(log_offline(figures, project, Path(scratch)))
    if problem:
        raise UserError(f"The dashboard was not written: its figures could not be uploaded: {problem}")


def _save_report(server: Server, project: str, subject: Subject, settings: Settings) -> str:
    from xnorlit.report.wandb.report import is_marked, report

    made = report(subject, settings, server.entity)
    former = [found for found in server.api.reports(project) if is_marked(found.description, subject.figures.pair)]
    if former:
        made.id = former[0].id
    # W&B puts the title into a report's address unescaped, so a slash in it would break the address.
    project_page = made.save().url.partition("/reports/")[0]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", made.title)
    return f"{project_page}/reports/{slug}--{made.id.rstrip('=')}"


def _save_view(server: Server, subject: Subject, settings: Settings) -> str:
    import wandb_workspaces.workspaces as ws

    from xnorlit.report.wandb.view import name_of, view

    made, name = view(subject, settings, server.entity), name_of(subject.figures.pair)
    address = f"{server.api.settings['base_url']}/{server.entity}/{settings.project}?nw={name}"
    try:
        made._internal_id = ws.Workspace.from_url(address)._internal_id
    except ValueError as error:
        if "not found" not in str(error):
            raise
    made._internal_name = f"nw-{name}-v"
    return made.save().url
