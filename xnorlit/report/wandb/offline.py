"""A pair's own run as an offline log, whole on the disk."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from xnorlit.report.wandb.figures import Figures
from xnorlit.report.wandb.upload import Part
from xnorlit.runs.wandb import COMPARISON

_NOTES = "No training: the gap by epoch, sizes and times of the pair, as xnorlit dashboard took them from its record."


def log_offline(figures: Figures, project: str, folder: Path) -> Part:
    """Logs the pair's own run into a folder.

    It is W&B's service that writes a log, and `finish` returns before it has: on a busy machine the file may still be
    empty then. What a service was given is on the disk once it has ended. This process may have runs of its own under
    way, in a notebook, so the run is logged in another one, with a service that ends with it.

    Args:
        figures: What the run says.
        project: `ENTITY/PROJECT`.
        folder: Where W&B may make its directory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        log = child.submit(_log, figures, project, folder).result()
    return Part(folder, "", figures.id, log)


def _log(figures: Figures, project: str, folder: Path) -> Path:
    os.environ.pop("WANDB_SERVICE", None)  # which leads to the service of the parent
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
