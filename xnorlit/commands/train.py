"""`xnorlit train ARM`: the recipe that fits the images, then `xnorlit fit` with it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from xnorlit.commands.arguments import Parser, reader
from xnorlit.data import probe
from xnorlit.output.console import say
from xnorlit.runs.recipes import Recipe, names

SMALL_IMAGE = 64  # alexnet-small is made for images up to this side, pixels.


def train(arguments: Sequence[str]) -> None:
    """Picks the recipe, says which and how to choose another, and runs the `fit` command that it stands for.

    Args:
        arguments: `ARM [--data SOURCE] [--experiment NAME] [--seed N]`, then options of `xnorlit fit`.

    Raises:
        UserError: There is no such recipe or arm, or `fit` says no.
    """
    parser = Parser(
        "xnorlit train",
        "Trains one arm of a pair with the recipe that fits the images; further options go to xnorlit fit.",
        "xnorlit train xnor --data photos/ --seed 1 --trainer.max_epochs 5",
    )
    parser.add_argument("arm", metavar="ARM", help="overlay of the recipe: xnor, float, bwn, ...")
    parser.add_argument(
        "--data", metavar="SOURCE", help="folder of images or .beton files, or a named set (default: the recipe's own)"
    )
    parser.add_argument(
        "--experiment", metavar="NAME", help="recipe, a folder of --experiments (default: by the images' sizes)"
    )
    parser.add_argument(
        "--experiments",
        metavar="DIR",
        type=Path,
        help="folder of recipes (default: experiments/ here or in a folder above, then the packaged one)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=reader(int), default=0, help="seed of weights, order and augmentation (default: 0)"
    )
    try:
        known, further = parser.parse_known_args(arguments)
    except SystemExit:  # after --help
        return
    chosen, why = (known.experiment, "as asked") if known.experiment else _fitting(known.data)
    recipe = Recipe.find(chosen, known.experiments)
    words = ["-c", str(recipe.base), "-c", str(recipe.overlay(known.arm))]
    words += ["--seed_everything", str(known.seed)]
    if known.data:
        words += ["--data.source", known.data]
        if Path(known.data).exists():
            words += ["--run.experiment", f"{recipe.base.parent.name}@{Path(known.data).resolve().stem}"]
    words += further
    others = ", ".join(name for name in names(known.experiments) if name != chosen)
    say(
        "recipe",
        f"{chosen}, {why}; others: {others} (--experiment NAME, make EXPERIMENT=NAME)\nxnorlit fit {shlex.join(words)}",
    )
    from xnorlit.commands.fit import run

    run("fit", words)


def _fitting(data: str | None) -> tuple[str, str]:
    """The recipe for a source and the reason, from the sizes of a sample of its images."""
    if data is None or data == "synthetic":
        return "synthetic", "the built-in images"
    side = probe(data).shorter_side
    if side <= SMALL_IMAGE:
        return "cifar10", f"for images of {side} pixels"
    return "imagenet", f"for images of {side} pixels"
