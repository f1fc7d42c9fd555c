"""Write a pair's own run as a complete offline log."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from xnorlit.report.wandb.figures import Figures
from xnorlit.report.wandb.upload import Part
from xnorlit.runs.wandb import COMPARISON

_NOTES = "Not a training: xnorlit dashboard logged the pair's gap by epoch, its sizes and its times."


def log_offline(figures: Figures, project: str, folder: Path) -> Part:
    """Log the pair's own run into a folder.

    W&B's service writes the log, but `finish` returns before it is done: on a busy machine the file may still be empty.
    The log is complete once the service has ended. The current process, such as a notebook, may have its own W&B runs.
    So another process logs the pair's run, and its service ends with it.

    Args:
        figures: The run's contents.
        project: `ENTITY/PROJECT`.
        folder: Folder in which W&B creates its directory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        log = child.submit(_log, figures, project, folder).result()
    return Part(folder, "", figures.id, log)


def _log(figures: Figures, project: str, folder: Path) -> Path:
    os.environ.pop("WANDB_SERVICE", None)  # Otherwise W&B would connect to the parent's service.
    import wandb

    run = wandb.init(
        project=project.rpartition("/")[2],
        entity=project.partition("/")[0],
        name=f"{figures.pair}/{COMPARISON}",
        id=figures.id,
        dir=folder,
        mode="offline",
        group=figures.pair,
        job_type=COMPARISON,
        tags=[COMPARISON],
        notes=_NOTES,
        config={"pair_id": figures.pair, "arm": COMPARISON, "contents": figures.contents},
        settings=wandb.Settings(
            silent=True, console="off", host="not recorded", x_disable_stats=True, x_disable_machine_info=True
        ),
    )
    run.define_metric("*", step_metric="epoch")
    for row in figures.rows:
        run.log(row)
    run.summary.update(figures.bars)
    log = Path(run.dir).parent / f"run-{figures.id}.wandb"
    run.finish()
    wandb.teardown()
    return log
