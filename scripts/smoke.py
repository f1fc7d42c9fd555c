"""Smoke runs: each published ImageNet recipe's binary arm, for some minutes on photographs at hand.

    python scripts/smoke.py DIR --minutes 8 --steps 600

A recipe keeps its own hyper-parameters, and its schedule runs through: its epochs become ten, the epochs at which the
rate changes move likewise, and an epoch is shortened until all have `--steps` steps. Images have 128 pixels and a
batch 64, because these suit a machine without a GPU. A run shows that a recipe is alive, not what it reaches: the
loss falls, the accuracy is over chance, no layer is dead, nothing is NaN. A run that needs more minutes is stopped
and saved; the same command goes on with it and skips finished ones.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from xnorlit.errors import UserError
from xnorlit.runs import Run, read
from xnorlit.runs.recipes import TWIN, Recipe, names
from xnorlit.runs.settings import read_config

SIZE, BATCH, EPOCHS = 128, 64, 10


def main() -> int:
    """Runs what is missing, then prints the table; exit status 1 if a recipe is not alive."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of class folders")
    parser.add_argument("--minutes", type=float, default=8, help="after which a run is stopped")
    parser.add_argument("--steps", type=int, default=600, help="of a run, about")
    parser.add_argument("--recipes", nargs="*", default=[name for name in names() if name.startswith("imagenet")])
    parser.add_argument("--root", type=Path, default=Path("runs/smoke"))
    parser.add_argument("--no-training", action="store_true", help="the table of what has finished")
    given = parser.parse_args()
    rows = []
    for name in given.recipes:
        if name == "imagenette":
            continue  # it is trained in full
        recipe = Recipe.find(name)
        # Stages that start from another arm's weights need that arm first.
        for arm in [each for each in recipe.overlays if each != TWIN and not _needs_another(recipe, each)]:
            run = given.root / name / "smoke" / arm / "seed-0"
            if _binary(recipe, arm) and not (run / "summary.json").is_file() and not given.no_training:
                _for_some_minutes(_words(recipe, arm, given), given.minutes)
            if (run / "summary.json").is_file():
                rows.append((name, arm, *_alive(read(run))))
    sys.stdout.write(
        "| recipe | arm | steps | loss, first -> last tenth | top-1 % (chance) | dead, most of a layer | alive |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for row in rows:
        sys.stdout.write(f"| {' | '.join(map(str, row))} |\n")
    return int(not all(row[-1] == "yes" for row in rows))


def _for_some_minutes(words: list[str], minutes: float) -> None:
    with subprocess.Popen(words) as process:
        try:
            process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            process.terminate()  # the run saves before its next step


def _binary(recipe: Recipe, arm: str) -> bool:
    found = read_config(recipe.overlay(arm)).get("model", {}).get("binarizer", {})
    name = found if isinstance(found, str) else found.get("class_path", "Float")
    return name not in ("Float", "BWN")


def _needs_another(recipe: Recipe, arm: str) -> bool:
    return "init_from" in (read_config(recipe.overlay(arm)).get("model") or {})


def _words(recipe: Recipe, arm: str, given: argparse.Namespace) -> list[str]:
    base = read_config(recipe.base)
    scale = EPOCHS / int(base["trainer"]["max_epochs"])
    settings = {
        "trainer.max_epochs": EPOCHS,
        "data.source": given.data,
        "data.image_size": SIZE,
        "data.batch_size": BATCH,
        "trainer.limit_train_batches": max(1, given.steps // EPOCHS),
        "trainer.check_val_every_n_epoch": EPOCHS,
        "run.root": given.root,
        "run.experiment": recipe.name,
        "run.pair": "smoke",
        "run.wandb": "off",
        "run.resume": "auto",
    }
    schedule = base["model"]["schedule"].get("init_args", {})
    if "factors" in schedule:
        factors = {round(scale * int(epoch)): factor for epoch, factor in schedule["factors"].items()}
        settings["model.schedule.init_args.factors"] = json.dumps(factors)
    if "every" in schedule:
        settings["model.schedule.init_args.every"] = max(1, round(scale * schedule["every"]))
    files = ("-c", str(recipe.base), "-c", str(recipe.overlay(arm)))
    return [sys.executable, "-m", "xnorlit", "fit", *files, *(f"--{key}={value}" for key, value in settings.items())]


def _alive(run: Run) -> tuple[str, str, str, str, str]:
    """Steps, loss, accuracy, dead channels, and the verdict."""
    loss = run.curves["train/loss_epoch"].value
    tenth = max(1, len(loss) // 10)
    first, last = float(np.mean(loss[:tenth])), float(np.mean(loss[-tenth:]))
    label = run.predictions.label
    chance = float(np.bincount(label).max()) / len(label)
    over = run.summary.top1 > chance + 3 * math.sqrt(chance * (1 - chance) / len(label))
    dead = {layer: float(series.value[-1]) for layer, series in run.curves.of_layers("dead").items()}
    worst = max(dead, key=lambda layer: dead[layer], default="")
    checks = {
        "the loss does not fall": last < first,
        "NaN": bool(np.isfinite(loss).all()),
        "not over chance": over,
        "a dead layer": max(dead.values(), default=0.0) < 1,
    }
    failed = [what for what, good in checks.items() if not good]
    return (
        f"{int(run.curves['train/loss_epoch'].step[-1]) + 1}",
        f"{first:.2f} -> {last:.2f}",
        f"{100 * run.summary.top1:.1f} ({100 * chance:.1f})",
        f"{100 * dead.get(worst, 0):.0f} % ({worst})" if worst else "-",
        ", ".join(failed) or "yes",
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
