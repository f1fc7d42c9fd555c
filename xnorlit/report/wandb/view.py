"""A pair as a saved view of the W&B workspace, arranged by the settings."""

import hashlib
from collections.abc import Iterator

import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from xnorlit.report.wandb import panels
from xnorlit.report.wandb.settings import Section, Settings
from xnorlit.report.wandb.subject import Subject
from xnorlit.report.wandb.text import text


def view(subject: Subject, settings: Settings, entity: str) -> ws.Workspace:
    """The view, not yet saved: the report's sections over live runs, which can be filtered and regrouped.

    A workspace has one set of runs: here the compared runs and the pair's own, grouped by pair, then by arm. Without
    the filter on ids, all pairs of the project would share the panels.

    Args:
        subject: The pair.
        settings: The sections to show.
        entity: The owner of the project.
    """
    pair, runs = subject.figures.pair, subject.colour_of_runs
    return ws.Workspace(
        entity=entity,
        project=settings.project,
        name=subject.title,
        sections=[
            ws.Section(name=section.title, panels=list(_panels(section, subject)), is_open=True)
            for section in settings.sections
        ],
        settings=ws.WorkspaceSettings(x_axis=panels.EPOCH, max_runs=max(10, len(runs) + 1)),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("ID").isin([*runs, subject.figures.id])),
            groupby=[expr.Config("pair_id"), expr.Config("arm")],
            run_settings={run: ws.RunSettings(color=colour) for run, colour in runs.items()},
            group_colors={ws.GroupPath(pair, arm): subject.colours[arm] for arm in subject.run_ids},
            pinned_columns=["run:displayName", "config:arm.value", "config:seed.value", "summary:val/top1"],
        ),
    )


def name_of(pair: str) -> str:
    """The view's name in its address, `?nw=...`. It depends only on the pair, so the next call finds the view."""
    return hashlib.sha256(f"xnorlit dashboard, {pair}".encode()).hexdigest()[:11]


def _panels(section: Section, subject: Subject) -> Iterator[wr.MarkdownPanel | wr.LinePlot | wr.BarPlot]:
    for kind in section.text:
        yield wr.MarkdownPanel(markdown=text(kind, subject.comparison))
    for panel in section.panels:
        shown = panels.curve(panel) if panel.curve else panels.own(panel, subject)
        if shown is not None:
            yield shown
