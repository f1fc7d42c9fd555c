"""Smoke runs: train the binary arms of the published ImageNet recipes for some minutes on local photographs.

    python scripts/smoke.py DIR --minutes 8

A recipe keeps its hyper-parameters and its whole schedule, scaled to ten short epochs. Images have 128 pixels and
batches 64 images, which suits a machine without a GPU. A trial of 8 steps measures how many steps the minutes allow,
`--steps` at most. An arm that starts from another arm's weights starts from that arm's smoke run. A run shows that a
recipe works, not how accurate it becomes: the loss falls, the accuracy is above chance, no layer is dead, nothing is
NaN. Ctrl-C saves the current run; the same command continues it and skips finished runs. The exit status is 1 if a run
fails, does not finish or does not learn.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.edge import atomic
from xnorlit.errors import UserError
from xnorlit.runs import Run, read
from xnorlit.runs.lock import state_of
from xnorlit.runs.place import Place
from xnorlit.runs.recipes import TWIN, Recipe, names
from xnorlit.runs.settings import read_config

SIZE, BATCH, EPOCHS, TRIAL = 128, 64, 10, 8
MARGIN = 0.9  # of the minutes; the rest is for a machine that becomes slower
FALL = 0.05  # least fall of the loss, as a share of its first value
COLUMNS = ("recipe", "arm", "steps", "loss, first -> last tenth", "top-1 % (chance)", "dead, worst layer", "alive")


def main() -> int:
    """Train the missing runs, then print the table; return exit status 1 unless every run is alive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of class folders")
    parser.add_argument("--minutes", type=float, default=8, help="minutes after which a run is stopped")
    parser.add_argument("--steps", type=int, default=600, help="greatest number of steps of a run")
    published = [name for name in names() if name == "imagenet" or name.startswith("imagenet-")]
    parser.add_argument("--recipes", nargs="*", default=published, help="recipes, such as imagenet-larq")
    parser.add_argument("--root", type=Path, default=Path("runs/smoke"), help="folder of the runs")
    parser.add_argument("--no-training", action="store_true", help="only print the table of the finished runs")
    given = parser.parse_args()
    rows, omitted = [], []
    recipes = [Recipe.find(name) for name in given.recipes]
    planned = [(recipe, arm) for recipe in recipes for arm in binary_arms(recipe)]
    for pair in planned:
        refuse_others(*pair, given)
    for recipe, arm in planned:
        # A smoke run of a teacher would teach nothing.
        if needed := taught_by(recipe, arm):
            omitted.append(f"{recipe.name}: {arm} learns from the outputs of {needed}")
            continue
        failure = "not run" if given.no_training else train(recipe, arm, given)
        run = folder(recipe, arm, given)
        finished = state_of(run) == "finished"
        rows.append((recipe.name, arm, *(alive(read(run)) if finished else ("-", "-", "-", "-", failure))))
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.writelines(f"Omitted: {each}.\n" for each in omitted)
    return int(not rows or any(row[-1] != "yes" for row in rows))


def binary_arms(recipe: Recipe) -> list[str]:
    """The arms whose weights and inputs both have few bits, each behind the one from whose weights it starts."""
    found = [arm for arm in recipe.overlays if arm != TWIN and _binarizer(recipe, arm) not in ("Float", "BWN")]
    return sorted(found, key=lambda arm: starts_from(recipe, arm) in found)


def _binarizer(recipe: Recipe, arm: str) -> str:
    found = read_config(recipe.overlay(arm)).get("model", {}).get("binarizer", "Float")
    return found if isinstance(found, str) else found["class_path"]


def starts_from(recipe: Recipe, arm: str) -> str:
    """The arm from whose weights another one starts; empty if there is none."""
    return str(read_config(recipe.overlay(arm))["model"].get("init_from") or "")


def taught_by(recipe: Recipe, arm: str) -> str:
    """The arm from whose outputs an arm learns, or the one that it starts from; empty if there is none."""
    losses = read_config(recipe.overlay(arm))["model"].get("losses") or []
    found = next((str(each) for loss in losses if (each := loss.get("init_args", {}).get("teacher"))), "")
    before = starts_from(recipe, arm)
    return found or (taught_by(recipe, before) if before else "")


def folder(recipe: Recipe, arm: str, given: argparse.Namespace, pair: str = "smoke") -> Path:
    """The folder of an arm's run."""
    return Place(given.root, recipe.name, pair, arm, 0).path


def _inputs(given: argparse.Namespace) -> dict[str, Any]:
    """What else than the recipe determines a run."""
    return {"data": str(given.data.resolve()), "minutes": given.minutes, "most": given.steps}


def refuse_others(recipe: Recipe, arm: str, given: argparse.Namespace) -> None:
    """Refuse a folder whose run of an arm had other images, minutes or steps."""
    plan = given.root / recipe.name / f"{arm}.plan.json"
    if plan.is_file() and (found := json.loads(plan.read_text())) | _inputs(given) != found:
        raise UserError(
            f"{plan} was made for other images, minutes or steps: {found}. Now: {_inputs(given)}. Give the same again, "
            "or another folder (--root)."
        )


def train(recipe: Recipe, arm: str, given: argparse.Namespace) -> str:
    """Train an arm unless its run is finished; what went wrong, or an empty text."""
    before = starts_from(recipe, arm)
    if before and state_of(folder(recipe, before, given)) != "finished":
        return f"it starts from {before}, which is not finished"
    if state_of(folder(recipe, arm, given)) == "finished":
        return ""
    plan, inputs = given.root / recipe.name / f"{arm}.plan.json", _inputs(given)
    if not plan.is_file():
        started = time.perf_counter()
        short = {"trainer.max_epochs": 1, "trainer.check_val_every_n_epoch": 1, "run.pair": "trial"}
        short |= {"trainer.limit_train_batches": TRIAL}
        if status := subprocess.call(words(recipe, arm, {**settings(recipe, arm, given, TRIAL), **short})):
            return f"the trial failed, exit status {status}"
        trial = read(folder(recipe, arm, given, "trial")).summary.step_seconds
        around = time.perf_counter() - started - TRIAL * trial
        fit = int((MARGIN * 60 * given.minutes - around) / trial)
        if fit < EPOCHS:
            return f"a step takes {trial:.1f} s and the rest {around:.0f} s: {given.minutes:g} minutes are too few"
        with atomic.path(plan) as unfinished:
            unfinished.write_text(json.dumps({"steps": min(fit, given.steps), **inputs}))
    steps = json.loads(plan.read_text())["steps"]
    with subprocess.Popen(words(recipe, arm, settings(recipe, arm, given, steps))) as process:
        try:
            status = process.wait(60 * given.minutes)
        except subprocess.TimeoutExpired:
            process.terminate()  # the run saves before its next step
            return f"stopped after {given.minutes:g} minutes; the same command continues it"
    return f"failed, exit status {status}" if status else ""


def settings(recipe: Recipe, arm: str, given: argparse.Namespace, steps: int) -> dict[str, Any]:
    """The settings of a run of some steps, by their dotted names; epochs in the schedule are scaled."""
    files = [read_config(recipe.base), read_config(recipe.overlay(arm))]
    epochs = next(each["trainer"]["max_epochs"] for each in files[::-1] if "max_epochs" in each.get("trainer", {}))
    schedule = next(each["model"]["schedule"] for each in files[::-1] if "schedule" in each.get("model", {}))
    scale, arguments, scaled = EPOCHS / epochs, schedule.get("init_args", {}), {}
    before = starts_from(recipe, arm)
    if "factors" in arguments:
        scaled["factors"] = json.dumps({round(scale * int(at)): factor for at, factor in arguments["factors"].items()})
    if "every" in arguments:
        scaled["every"] = max(1, round(scale * arguments["every"]))
    if "warmup" in arguments:
        scaled["warmup"] = scale * arguments["warmup"]
    return {
        "trainer.max_epochs": EPOCHS,
        "data.source": given.data,
        "data.image_size": SIZE,
        "data.batch_size": BATCH,
        "trainer.limit_train_batches": max(1, steps // EPOCHS),
        "trainer.check_val_every_n_epoch": EPOCHS,
        **{f"model.schedule.init_args.{name}": value for name, value in scaled.items()},
        "run.root": given.root,
        "run.experiment": recipe.name,
        "run.pair": "smoke",
        "run.wandb": "off",
        "run.resume": "auto",
    } | ({"model.init_from": folder(recipe, before, given) / "checkpoints" / "last.ckpt"} if before else {})


def words(recipe: Recipe, arm: str, chosen: dict[str, Any]) -> list[str]:
    """The command of a run."""
    files = ("-c", str(recipe.base), "-c", str(recipe.overlay(arm)))
    return [sys.executable, "-m", "xnorlit", "fit", *files, *(f"--{key}={value}" for key, value in chosen.items())]


def alive(run: Run) -> tuple[str, str, str, str, str]:
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
        "NaN": bool(np.isfinite(loss).all()),
        "the loss does not fall": not last > (1 - FALL) * first,
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
