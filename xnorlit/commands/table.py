"""The command `xnorlit table`: train the missing runs, then write the table of the finished ones."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from xnorlit.comparison.images import evaluated_differently
from xnorlit.data import probe
from xnorlit.data.listing import check_held_out
from xnorlit.data.sources import NAMED
from xnorlit.edge.console import say
from xnorlit.edge.names import at_home
from xnorlit.errors import UserError
from xnorlit.runs import Run, read
from xnorlit.runs.config import differing
from xnorlit.runs.place import Place, experiment_on
from xnorlit.runs.recipes import TWIN, Recipe
from xnorlit.runs.settings import merged
from xnorlit.sweep import Job
from xnorlit.sweep.process import Process
from xnorlit.sweep.settings import settings
from xnorlit.sweep.table.markdown import around, put, rendered
from xnorlit.sweep.table.plan import jobs
from xnorlit.sweep.table.rows import Row, row
from xnorlit.sweep.table.steps import Times, measurement, times
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
    """Train the missing arms of an experiment, and write its table into its README.

    Runs are trained one after the other, each with a log beside it. Ctrl-C saves the current run; the same command
    resumes it. Finished runs stay, also if the recipe has changed since; a note names them. The table of a packaged
    recipe is written beside its runs.

    Args:
        experiment: A recipe, such as cifar10, or a folder of further overlays on it, such as cifar10/search.
        data: Folder of images, or a named set (default: the recipe's own).
        arms: Comma-separated overlays of the recipe (default: all of them).
        seeds: Seeds per arm.
        thorough: Arms with more seeds, comma-separated.
        thorough_seeds: Seeds per arm of --thorough.
        holdout: Share of the training images to hold out and evaluate on, for choosing among arms.
        root: Folder of all runs.
        pair: Name of the pair.
        experiments: Folder of recipes (default: experiments/ here or in a folder above, then the packaged one).
        no_training: Only write the table of the finished runs.

    Raises:
        UserError: There is no such recipe or arm, the twin is not among the arms, the README has no place for the
            table, or a run failed. The other runs are in the table.
    """
    recipe = Recipe.find(experiment, experiments)
    for option, count in (("seeds", seeds), ("thorough-seeds", thorough_seeds)):
        if count < 1:
            raise UserError(f"--{option} is {count}. Expected a number of seeds, 1 or more.")
    chosen, more = recipe.chosen(arms), recipe.chosen(thorough) if thorough else []
    if TWIN not in chosen:
        raise UserError(f"--arms is {arms}. The table shows gaps to the float twin; name it too: --arms {TWIN},{arms}")
    if other := [arm for arm in more if arm not in chosen]:
        raise UserError(f"--thorough names {', '.join(other)}, which --arms {arms} omits. Name an arm in both.")
    check_held_out("--holdout", holdout)
    counts = {arm: thorough_seeds if arm in more else seeds for arm in chosen}
    counts[TWIN] = max(counts.values())  # Each seed has a gap, and some arms learn from the twin of their seed.
    own = None if data in NAMED else data
    first = Place(root, experiment_on(recipe.base.parent.name, own), pair, TWIN, 0)
    options = (*(("--data.source", data) if data else ()), *(("--data.holdout", str(holdout)) if holdout else ()))
    readme = (recipe.folder if recipe.own else first.pair_path) / "README.md"
    around(readme)  # Refuses one without a place for the table, before hours of training.
    todo = list(jobs(recipe, counts, first, options))
    failed = []
    if not no_training and any(job.state != "finished" for job in todo):
        _refuse_missing_images(recipe, data, need_val=not holdout)
        failed = run_jobs(todo, at_once=1, tag="table")
    finished = {job: read(job.place.path) for job in todo if job.state == "finished"}
    by_arm = _by_arm(finished.values())
    if not no_training:
        _note_other_settings(finished)
    if failed and TWIN not in by_arm:
        raise UserError(f"there is no table without the float twin. {_failure(failed, todo)}")
    if not by_arm:
        raise UserError(f"no run in {first.pair_path} has finished, so there is no table. Omit --no-training.")
    if TWIN not in by_arm:
        raise UserError(f"the table shows gaps to the float twin, which has not finished. Train it: --arms {TWIN},...")
    _refuse_other_images([run for runs in by_arm.values() for run in runs])
    rows = _rows(by_arm, _times(by_arm, first.pair_path / "steps.json", measured=no_training))
    files = {arm: os.path.relpath(recipe.overlays[arm], readme.parent) for arm in counts}
    put(rendered(rows, files, {arm: recipe.remark(arm) for arm in counts}), readme)
    say("table", f"{len(rows)} of {len(counts)} arms: {readme}")
    if failed:
        raise UserError(_failure(failed, todo))


def _refuse_missing_images(recipe: Recipe, data: str | None, *, need_val: bool) -> None:
    """Refuse an image set that is not there before the first run, instead of once in each run."""
    about = merged([recipe.base]).get("data") or {}
    if source := data or about.get("source"):
        probe(source, at_home(about.get("root", "data")), need_val=need_val)


def _note_other_settings(finished: Mapping[Job, Run]) -> None:
    """Note finished runs that have other settings than the recipe has now. They are not trained again."""
    others = []
    for run, now in zip(finished.values(), settings(list(finished)), strict=True):
        if isinstance(now, str):  # It needs a checkpoint that is no longer there.
            continue
        keys = differing(now, run.flat_config)
        if keys := [key for key in keys if not key.startswith("data.source:")]:  # The images themselves are compared.
            others.append(f"{run.path}: {'; '.join(keys[:4])}")
    if others:
        listed = "\n".join(others)
        run, have = ("run", "has") if len(others) == 1 else ("runs", "have")
        say("", f"note: {len(others)} finished {run} {have} other settings than the recipe has now:\n{listed}")
        say("", "Restore the recipe, or delete what is named here to train it again.")


def _failure(failed: Sequence[Job], todo: Sequence[Job]) -> str:
    return (
        f"{len(failed)} of {len(todo)} runs failed: {', '.join(str(job.place.path) for job in failed)}. "
        f"See their logs ({failed[0].log}, ...). The same command tries them again."
    )


def _by_arm(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each arm, in their order: the float twin first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.place.arm, []).append(run)
    return found


def _times(by_arm: Mapping[str, Sequence[Run]], file: Path, *, measured: bool) -> dict[str, Times]:
    """The times of each arm. They are measured unless `measured` or stored; older files lack the times of an image."""
    firsts = [runs[0] for runs in by_arm.values()]
    found = times(firsts, file)
    if measured or (found.keys() == by_arm.keys() and any(each.image for each in found.values())):
        return found
    log = file.with_suffix(".log")
    say("table", f"measuring a training step and an image of {len(firsts)} arms, in turns; log: {log}")
    process = Process(measurement(firsts, file), folder=Path(), log=log, threads=threads(1))
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.interrupt()
        raise
    if status != 0:
        say("", f"note: the times could not be measured: {process.last_line()}")
    return times(firsts, file)


def _rows(by_arm: Mapping[str, Sequence[Run]], found: Mapping[str, Times]) -> list[Row]:
    rows = [row(runs, by_arm[TWIN], found.get(arm)) for arm, runs in by_arm.items()]
    return sorted(rows, key=lambda row: (row.arm != TWIN, -row.mean))


def _refuse_other_images(runs: Sequence[Run]) -> None:
    """Refuse runs that were evaluated on different images, such as a held-out part and the test split."""
    for other in runs[1:]:
        if problem := evaluated_differently(runs[0], other):
            raise UserError(
                f"{runs[0].path} and {other.path} were evaluated {problem}, so one table cannot compare them. "
                "Give each combination of data and holdout its own pair (--pair NAME)."
            )
