"""A pair as a W&B report, arranged by the settings."""

# wandb_workspaces re-exports its classes but does not list them:
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterator, Sequence
from typing import Any

import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2 as wr

from xnorlit.report.wandb import panels
from xnorlit.report.wandb.settings import Section, Settings
from xnorlit.report.wandb.subject import Subject
from xnorlit.report.wandb.text import text

Block = wr.H2 | wr.MarkdownBlock | wr.PanelGrid

_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8  # of 24 columns of a grid


def report(subject: Subject, settings: Settings, entity: str) -> wr.Report:
    """The report, not yet saved.

    Args:
        subject: The pair.
        settings: The sections to show.
        entity: The owner of the project.
    """
    return wr.Report(
        entity=entity,
        project=settings.project,
        title=subject.title,
        description=mark(subject.figures.pair),
        blocks=[block for section in settings.sections for block in _blocks(section, subject, settings, entity)],
        width="fluid",
    )


def mark(pair: str) -> str:
    """The line below the report's title. It explains the report, and lets the next call find it."""
    return f"{_written_for(pair)}The next call replaces it."


def is_marked(description: str | None, pair: str) -> bool:
    """Whether a report's description is the mark of the pair, in this or an earlier version's words."""
    return (description or "").startswith(_written_for(pair))


def _written_for(pair: str) -> str:
    return f"Written by xnorlit dashboard for {pair}. "


def _blocks(section: Section, subject: Subject, settings: Settings, entity: str) -> Iterator[Block]:
    yield wr.H2(section.title)
    for kind in section.text:
        yield wr.MarkdownBlock(text(kind, subject.comparison))
    curves = [panels.curve(panel) for panel in section.panels if panel.curve]
    if curves:
        yield _grid(curves, _trained(subject, settings, entity), _colours_of_groups(subject))
    figures = [shown for panel in section.panels if (shown := panels.own(panel, subject))]
    if figures:
        yield _grid(figures, _own(subject, settings, entity), {})


def _grid(shown: Sequence[wr.LinePlot | wr.BarPlot], runs: wr.Runset, colours: dict[Any, Any]) -> wr.PanelGrid:
    for number, panel in enumerate(shown):
        row, column = divmod(number, _COLUMNS)
        panel.layout = wr.Layout(x=column * _WIDTH, y=row * _HEIGHT, w=_WIDTH, h=_HEIGHT)
    return wr.PanelGrid(runsets=[runs], panels=list(shown), custom_run_colors=colours)


def _trained(subject: Subject, settings: Settings, entity: str) -> wr.Runset:
    """The compared runs only, without abandoned runs of the pair; grouped by pair, then by arm."""
    return wr.Runset(
        entity=entity,
        project=settings.project,
        name="the pair's runs",
        filters=expr.And(expr.Metric("ID").isin(list(subject.colour_of_runs))),
        groupby=["config.pair_id", "config.arm"],
        order=[wr.OrderBy("Name", ascending=True)],
        run_settings={run: wr.RunSettings(color=colour) for run, colour in subject.colour_of_runs.items()},
    )


def _colours_of_groups(subject: Subject) -> dict[Any, Any]:
    pair = wr.RunsetGroupKey("pair_id", subject.figures.pair)
    return {
        wr.RunsetGroup("the pair's runs", (pair, wr.RunsetGroupKey("arm", arm))): subject.colours[arm]
        for arm in subject.run_ids
    }


def _own(subject: Subject, settings: Settings, entity: str) -> wr.Runset:
    return wr.Runset(
        entity=entity,
        project=settings.project,
        name="the pair's comparison",
        filters=expr.And(expr.Metric("ID").isin([subject.figures.id])),
    )
