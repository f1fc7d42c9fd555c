"""Runs for a demonstration: the newest stored ones or, without any, brief ones on the built-in images."""

from pathlib import Path

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.runs import Pair, Run, find, newest_pair
from xnorlit.runs.place import Place
from xnorlit.runs.recipes import TWIN, Recipe
from xnorlit.sweep.table.plan import jobs
from xnorlit.sweep.work import run_jobs

EPOCHS = 4
"""Epochs of a brief pair: enough for both arms to beat chance clearly and to differ, too few to converge."""

OPTIONS = ("--trainer.max_epochs", str(EPOCHS), "--run.wandb", "off")
"""Options of `xnorlit fit` that shorten a recipe."""

RECIPE, NAME = "synthetic", "brief"


def pair(stored: Path, brief: Path, *, experiments: Path | None = None) -> Pair:
    """The newest pair among the stored runs. Without one, a brief pair is trained, and a printed line says so.

    Args:
        stored: The folder of runs.
        brief: The folder of the brief pair, which is reused.
        experiments: Folder of recipes (default: the user's own, then the packaged one).

    Raises:
        UserError: The training failed.
    """
    try:
        return newest_pair(stored)
    except UserError as error:
        why = str(error).partition("\n")[0]
    return brief_pair(brief, why=why, experiments=experiments)


def brief_pair(brief: Path, *, why: str = "", experiments: Path | None = None) -> Pair:
    """The brief pair of xnor and float on the built-in images, trained if missing.

    Args:
        brief: Folder of the brief runs.
        why: Text to print before training.
        experiments: Folder of recipes (default: the user's own, then the packaged one).

    Raises:
        UserError: The training failed.
    """
    _train(brief, {TWIN: 1, "xnor": 1}, why, experiments)
    return newest_pair(brief, experiment=NAME)


def binary_run(stored: Path, brief: Path, *, experiments: Path | None = None) -> Run:
    """The newest stored run with few-bit inputs in some layer. Without one, the xnor run of the brief pair.

    Args:
        stored: The folder of runs.
        brief: The folder of the brief pair, which is reused.
        experiments: Folder of recipes (default: the user's own, then the packaged one).

    Raises:
        UserError: The training failed.
    """
    runs = [run for run in find(stored) if isinstance(run, Run)] if stored.is_dir() else []
    suitable = [run for run in runs if any(inputs < 32 for _, inputs in (run.summary.codes or {}).values())]
    if suitable:
        return max(suitable, key=lambda run: run.environment.started)
    why = f"{stored} has no finished run with few-bit inputs."
    return next(run for run in brief_pair(brief, why=why, experiments=experiments).runs if run.place.arm == "xnor")


def argv(arm: str, brief: Path, *, experiments: Path | None = None) -> list[str]:
    """The `xnorlit fit` command line of one more arm of a brief pair, without its binarizer.

    Args:
        arm: The arm's name.
        brief: Folder of the brief runs.
        experiments: Folder of recipes (default: the user's own, then the packaged one).
    """
    base = Recipe.find(RECIPE, experiments).base
    place = ["--run.root", str(brief), "--run.experiment", NAME, "--run.arm", arm]
    return ["-c", str(base), *place, *OPTIONS]


def _train(brief: Path, seeds: dict[str, int], why: str, experiments: Path | None) -> None:
    recipe = Recipe.find(RECIPE, experiments)
    todo = list(jobs(recipe, seeds, Place(brief, NAME, "pair-0", TWIN, 0), OPTIONS))
    if all(job.state == "finished" for job in todo):
        say("brief", f"{why} Showing the earlier ones: {brief / NAME}".strip())
        return
    say(
        "brief",
        f"{why} Training {' and '.join(seeds)} for {EPOCHS} epochs on the built-in images. This is a demonstration, "
        f"not a measurement: {brief / NAME}".strip(),
    )
    if failed := run_jobs(todo, at_once=len(todo), tag="brief"):
        raise UserError(f"{', '.join(str(job.place.path) for job in failed)} failed; see the messages above.")
