"""Write a pair's own run as a complete offline log."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from xnorlit.report.wandb.figures import Figures
from xnorlit.report.wandb.upload import Part
from xnorlit.runs.wandb import COMPARISON

_NOTES = "No training: xnorlit dashboard took the gap by epoch, the sizes and the times from the pair's record."


def log_offline(figures: Figures, project: str, folder: Path) -> Part:
    """Log the pair's own run into a folder.

    W&B's service writes the log, and `finish` returns earlier: on a busy machine the file may still be empty then. The
    log is complete once its service has ended. This process, such as a notebook, may have its own W&B runs, so another
    process logs the pair's run, with a service that ends with it.

    Args:
        figures: The run's contents.
        project: `ENTITY/PROJECT`.
        folder: Where W&B creates its directory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        log = child.submit(_log, figures, project, folder).result()
    return Part(folder, "", figures.id, log)


def _log(figures: Figures, project: str, folder: Path) -> Path:
    os.environ.pop("WANDB_SERVICE", None)  # It would connect to the parent's service.
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
