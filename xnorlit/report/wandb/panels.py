"""The panels of the settings as W&B panels, of the training runs and of the pair's own run."""

import wandb_workspaces.reports.v2 as wr

from xnorlit.report.wandb.figures import bar_name, bars, gap_names
from xnorlit.report.wandb.settings import Panel
from xnorlit.report.wandb.subject import Subject

EPOCH = "epoch"
"""Every panel's x axis: logged with each value, and comparable between arms with different batch sizes."""


def curve(panel: Panel) -> wr.LinePlot:
    """A metric of the training runs by epoch: the mean over each arm's seeds, with their range as a band."""
    return wr.LinePlot(
        title=panel.title or panel.curve,
        x=EPOCH,
        y=[panel.curve],
        title_x=EPOCH,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        smoothing_type="none",
    )


def gap(panel: Panel, subject: Subject) -> wr.LinePlot | None:
    """The gap by epoch, from the pair's own run: a line per arm, with dotted lines for the smallest and largest seed.

    None if no run logged its accuracy by epoch.
    """
    names = {match["arm"]: gap_names(match["arm"]) for match in subject.record["curves"]["gaps"]}
    if not names:
        return None
    keys = {f"{subject.figures.id}:{name}": (arm, name) for arm, of_arm in names.items() for name in of_arm}
    middle = {of_arm[0] for of_arm in names.values()}
    return wr.LinePlot(
        title=panel.title or "gap in top-1, points",
        x=EPOCH,
        y=[name for _, name in keys.values()],
        title_x=EPOCH,
        title_y=f"{subject.comparison.reference} minus arm, points",
        smoothing_type="none",
        aggregate=False,
        line_colors={key: subject.colours[arm] for key, (arm, _) in keys.items()},
        line_marks={key: "solid" if name in middle else "dotted" for key, (_, name) in keys.items()},
        line_titles={
            key: f"{subject.comparison.reference} − {arm}" + ("" if name in middle else f", {name.rpartition('/')[2]}")
            for key, (arm, name) in keys.items()
        },
    )


def bar(panel: Panel, subject: Subject) -> wr.BarPlot | None:
    """A size or a time from the pair's own run, with a bar per arm; None if it was not measured."""
    arms = [arm for arm, _ in bars(subject.record, panel.bars)]
    if not arms:
        return None
    keys = {arm: f"{subject.figures.id}:{bar_name(panel.bars, arm)}" for arm in arms}
    return wr.BarPlot(
        title=panel.title or panel.bars,
        metrics=[bar_name(panel.bars, arm) for arm in arms],
        orientation="h",
        aggregate=False,
        line_colors={key: subject.colours[arm] for arm, key in keys.items()},
        line_titles={key: arm for arm, key in keys.items()},
    )


def own(panel: Panel, subject: Subject) -> wr.LinePlot | wr.BarPlot | None:
    """A panel of the pair's own run; None for a curve of the training runs, or without data."""
    if panel.gap:
        return gap(panel, subject)
    return bar(panel, subject) if panel.bars else None
