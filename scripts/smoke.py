"""Smoke runs: train the binary arm of each published ImageNet recipe for some minutes on local photographs.

    python scripts/smoke.py DIR --minutes 8 --steps 600

A recipe keeps its hyper-parameters and its whole schedule, scaled to ten epochs. Epochs are shortened so that a run has
`--steps` steps in all. Images have 128 pixels and batches 64 images, which suits a machine without a GPU. A run shows
that a recipe works, not how accurate it becomes: the loss falls, the accuracy is above chance, no layer is dead, and
nothing is NaN. A run that needs more minutes is stopped and saved. The same command resumes it and skips finished runs.
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
    """Train the missing runs, then print the table; return exit status 1 if a recipe fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of class folders")
    parser.add_argument("--minutes", type=float, default=8, help="minutes after which a run is stopped")
    parser.add_argument("--steps", type=int, default=600, help="approximate number of steps of a run")
    parser.add_argument("--recipes", nargs="*", default=[name for name in names() if name.startswith("imagenet")])
    parser.add_argument("--root", type=Path, default=Path("runs/smoke"))
    parser.add_argument("--no-training", action="store_true", help="only print the table of the finished runs")
    given = parser.parse_args()
    rows = []
    for name in given.recipes:
        if name == "imagenette":
            continue  # trained in full elsewhere
        recipe = Recipe.find(name)
        # A stage that starts from another arm's weights needs that arm first.
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
        "not above chance": over,
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
