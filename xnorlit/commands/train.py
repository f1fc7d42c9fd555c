"""The command `xnorlit train ARM`: choose the recipe for the images, and run `xnorlit fit` with it."""

import shlex
from pathlib import Path

from xnorlit.data import probe
from xnorlit.data.sources import NAMED, recipe_for
from xnorlit.edge.console import say
from xnorlit.runs.place import experiment_on
from xnorlit.runs.recipes import Recipe, names
from xnorlit.runs.settings import config_files, given, merged

SMALL_IMAGE = 64  # largest side of the images for alexnet-small, pixels


def train(
    arm: str,
    *further: str,
    data: str | None = None,
    experiment: str | None = None,
    experiments: Path | None = None,
    seed: int = 0,
) -> None:
    """Train one arm of a pair with the recipe that fits the images.

    It prints the equivalent `xnorlit fit` command, then runs it.

    Args:
        arm: Overlay of the recipe: xnor, float, bwn, ...
        further: All options of xnorlit fit are accepted too.
        data: Folder of images or .beton files, or a named set (default: the recipe's own).
        experiment: Recipe, a folder in --experiments (default: chosen by the classes and sizes of the images).
        experiments: Folder of recipes (default: experiments/ here or in a folder above, then the packaged one).
        seed: Seed of the initial weights, the sample order and the augmentation.

    Raises:
        UserError: There is no such recipe or arm, or `fit` refuses the settings.
    """
    chosen, why = (experiment, "as asked") if experiment else _fitting(data)
    recipe = Recipe.find(chosen, experiments)
    argv = ["-c", str(recipe.base), "-c", str(recipe.overlay(arm))]
    argv += ["--seed_everything", str(seed)]
    if data:
        argv += ["--data.source", data]
    argv += further
    if data and data not in NAMED and given(argv, "run.experiment") is None:
        # A variant of the base, such as another image size, is an experiment of its own.
        filed = merged(config_files(argv)).get("run") or {}
        argv += ["--run.experiment", experiment_on(filed.get("experiment", recipe.base.parent.name), data)]
    others = ", ".join(name for name in names(experiments) if name != chosen)
    say("recipe", f"{chosen}, {why}; others: {others} (--experiment NAME)\nxnorlit fit {shlex.join(argv)}")
    from xnorlit.commands.fit import run

    run("fit", argv)


def _fitting(data: str | None) -> tuple[str, str]:
    """The recipe for a source, and the reason: the recipe names that image set, or fits the size of its images."""
    if data is None or data == "synthetic":
        return "synthetic", "the built-in images"
    found = probe(data)
    if data in NAMED and (recipe := NAMED[data].recipe):
        return recipe, "the recipe of this image set"
    side = found.shorter_side
    if side <= SMALL_IMAGE:
        return "cifar10", f"for images of {side} pixels"
    if recipe := recipe_for(found.classes):
        return recipe, f"for images of {side} pixels with its {len(found.classes)} classes"
    return "imagenet", f"for images of {side} pixels"
