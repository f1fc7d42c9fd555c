"""Where metrics go: metrics.csv always, W&B beside it."""

import csv
import warnings
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from xnorlit.runs import login
from xnorlit.training.place import RunPlace


class MetricsFile(CSVLogger):
    """Lightning's CSV logger on `<folder>/metrics.csv`, which goes on where a resumed run's checkpoint stands.

    Lightning's own deletes the file of a former process.

    Args:
        folder: The run's folder.
        until_step: Rows of a former process up to this step are kept; later ones will be logged again.
    """

    def __init__(self, folder: Path, until_step: int = 0) -> None:
        former = folder / "metrics.csv"
        rows = list(csv.DictReader(former.read_text().splitlines())) if former.is_file() else []
        super().__init__(save_dir=folder, name="", version="")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Experiment logs directory")
            writer = self.experiment
        kept = [row for row in rows if int(row["step"]) < until_step]
        writer.metrics = [{key: value for key, value in row.items() if value != ""} for row in kept]
        writer.save()


def wandb_logger(place: RunPlace, folder: Path, seed: int, config: dict[str, Any], run_id: str, mode: str) -> Logger:
    """W&B's logger for one arm of a pair: group = pair, job type = arm; nothing is ever asked.

    Args:
        place: Where the run is filed.
        folder: The run's folder, which holds W&B's own offline files too.
        seed: The run's seed.
        config: Resolved configuration, flattened.
        run_id: W&B's name of the run; a resumed run keeps it.
        mode: online or offline.
    """
    import wandb

    pair = f"{place.experiment}/{place.pair}"
    run = wandb.init(
        project="xnorlit",
        name=f"{pair}/{place.arm}/seed-{seed}",
        id=run_id,
        resume="allow",
        dir=folder,
        mode=mode,
        group=pair,
        job_type=place.arm,
        tags=[place.experiment, place.pair, place.arm],
        config={"pair_id": pair, "arm": place.arm, "seed": seed, **config},
        # W&B notes the machine's name by itself; a run says what it was trained on (environment.json), not on whose.
        settings=wandb.Settings(silent=True, console="off", host="not recorded"),
    )
    # Lightning's step counts optimizer steps, W&B's counts calls; only the former joins the parts of a resumed run.
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=run)


def wandb_mode(wanted: Literal["auto", "online", "offline", "off"]) -> Literal["online", "offline", "off"]:
    """What `auto` comes to: WANDB_MODE if it is set, else online where a login is found, else offline.

    Args:
        wanted: The run's setting.
    """
    return login.wandb_mode() if wanted == "auto" else wanted
