"""The command `xnorlit table`: trains what is missing, then writes the table from what has finished."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.runs import Run, read
from xnorlit.runs.place import Place
from xnorlit.runs.recipes import TWIN, Recipe
from xnorlit.sweep import Job
from xnorlit.sweep.process import Process
from xnorlit.sweep.table.markdown import put, rendered
from xnorlit.sweep.table.plan import jobs
from xnorlit.sweep.table.rows import Row, row
from xnorlit.sweep.table.steps import measurement, ratios
from xnorlit.sweep.work import run_jobs, threads


def table(
    experiment: str,
    *,
    data: str | None = None,
    arms: str | None = None,
    seeds: int = 1,
    thorough: str | None = None,
    thorough_seeds: int = 3,
    holdout: float = 0.0,
    root: Path = Path("runs"),
    pair: str = "pair-0",
    experiments: Path | None = None,
    no_training: bool = False,
) -> None:
    """Trains an experiment's arms and writes their table into its README; finished runs are skipped, others resumed.

    One run after the other, each with a log beside it; Ctrl-C saves the one under way, and the same command goes on.
    The table of a packaged recipe is written beside its runs.

    Args:
        experiment: A recipe, such as cifar10, or a folder of further overlays on it, such as cifar10/search.
        data: Folder of images or named set; the recipe's own by default.
        arms: Comma-separated overlays of the recipe; all of them by default.
        seeds: How many seeds each arm is trained with.
        thorough: Arms that are trained with more seeds, comma-separated.
        thorough_seeds: How many seeds those are trained with.
        holdout: Share of the training images that is held out and measured on instead: for choosing among arms.
        root: Folder of all runs.
        pair: Name of the pair that the runs belong to.
        experiments: Folder of recipes; experiments here or in a folder above, then the packaged one, by default.
        no_training: Write the table from what has finished.

    Raises:
        UserError: There is no such recipe or arm, or a run failed: the table holds the others.
    """
    recipe = Recipe.find(experiment, experiments)
    for option, count in (("seeds", seeds), ("thorough-seeds", thorough_seeds)):
        if count < 1:
            raise UserError(f"--{option} is {count}. Expected how many seeds, 1 or more.")
    more = recipe.chosen(thorough) if thorough else []
    counts = {arm: thorough_seeds if arm in more else seeds for arm in recipe.chosen(arms)}
    name = recipe.base.parent.name
    if data and Path(data).exists():
        name = f"{name}@{Path(data).resolve().stem}"
    options = (*(("--data.source", data) if data else ()), *(("--data.holdout", str(holdout)) if holdout else ()))
    todo = list(jobs(recipe, counts, Place(root, name, pair, TWIN, 0), options))
    failed = [] if no_training else run_jobs(todo, at_once=1, tag="table")
    by_arm = _finished(todo)
    if not by_arm:
        raise UserError(f"no run of {root / name / pair} has finished, so there is no table. Leave out --no-training.")
    rows = _rows(by_arm, _steps(by_arm, root / name / pair / "steps.json", measured=no_training))
    readme = (recipe.folder if recipe.own else root / name / pair) / "README.md"
    files = {arm: os.path.relpath(recipe.overlays[arm], readme.parent) for arm in counts}
    put(rendered(rows, files, {arm: recipe.remark(arm) for arm in counts}), readme)
    say("table", f"{len(rows)} of {len(counts)} arms: {readme}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(todo)} runs failed: {', '.join(str(job.place.path) for job in failed)}. "
            f"What they said is in {failed[0].log}, ...; the same command tries them again."
        )


def _finished(todo: Sequence[Job]) -> dict[str, list[Run]]:
    """The finished runs of each arm, the twin's first.

    Raises:
        UserError: There are some, but none of the twin; or they are of different images.
    """
    by_arm: dict[str, list[Run]] = {}
    for job in todo:
        if job.state == "finished":
            by_arm.setdefault(job.place.arm, []).append(read(job.place.path))
    if by_arm and TWIN not in by_arm:
        raise UserError(f"no float twin has finished, and the table is of gaps to it. Train it too: --arms {TWIN},...")
    _refuse_other_images([run for runs in by_arm.values() for run in runs])
    return by_arm


def _steps(by_arm: Mapping[str, Sequence[Run]], file: Path, *, measured: bool) -> dict[str, float]:
    """What a step of each arm costs; measured now unless it was `measured` before, or only that is wanted."""
    firsts = [runs[0] for runs in by_arm.values()]
    if not measured and not ratios(firsts, file):
        log = file.with_suffix(".log")
        say("table", f"{len(firsts)} arms take turns, for what a training step costs; log: {log}")
        process = Process(measurement(firsts, file), folder=Path(), log=log, threads=threads(1))
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.interrupt()
            raise
        if status != 0:
            say("", f"note: steps were not measured: {process.last_line()}")
    return ratios(firsts, file)


def _rows(by_arm: Mapping[str, Sequence[Run]], steps: Mapping[str, float]) -> list[Row]:
    rows = [row(runs, by_arm[TWIN], steps.get(arm)) for arm, runs in by_arm.items()]
    return sorted(rows, key=lambda row: (row.arm != TWIN, -row.mean))


def _refuse_other_images(runs: Sequence[Run]) -> None:
    """Accuracies on different images have no gap: those of a search on a held-out part, and of the test split."""
    seen = {run.predictions.listing_sha256: run for run in runs}
    if len(seen) > 1:
        first, second, *_ = (run.path for run in seen.values())
        raise UserError(
            f"{first} and {second} were measured on different images, so they are no table. Give the runs of one data "
            "and holdout a pair of their own (--pair NAME)."
        )
