"""The place of a run: `<root>/<experiment>/<pair>/<arm>/seed-<n>`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_SEED = re.compile(r"seed-(\d+)")
_ASIDE = re.compile(r"seed-\d+\.until-.*")


def name_of_images(data: str) -> str:
    """The part after the `@` in the experiment of runs on some images: `photos` for the folder `my/photos`.

    Args:
        data: A folder of images, a .beton file, or a named set.
    """
    path = Path(data).resolve()
    return path.stem if path.is_file() else path.name


def experiment_on(recipe: str, data: str | None) -> str:
    """The experiment of a recipe's runs: `RECIPE@IMAGES` on images of your own, otherwise `RECIPE`.

    Args:
        recipe: Name of the recipe.
        data: Your own folder of images or .beton file; None for the recipe's images or another named set.
    """
    return f"{recipe}@{name_of_images(data)}" if data else recipe


def recipe_and_images(experiment: str) -> tuple[str, str]:
    """The two parts of `experiment_on`; the second is empty without images of your own.

    Args:
        experiment: The experiment of a run.
    """
    recipe, _, images = experiment.partition("@")
    return recipe, images


def aside(run: Path, time: str) -> Path:
    """Where `--run.fresh` moves a run: `seed-0.until-TIME` beside it.

    Args:
        run: The run's directory.
        time: The time, as text.
    """
    return run.with_name(f"{run.name}.until-{time}")


def is_aside(path: Path) -> bool:
    """Whether a path is or lies in a run that `--run.fresh` moved aside, which was abandoned on purpose.

    Args:
        path: A folder or file.
    """
    return any(_ASIDE.fullmatch(part) for part in path.parts)


@dataclass(frozen=True, order=True)
class Place:
    """The names that locate a run, in folder order. Places sort by them, with seeds as numbers."""

    root: Path
    experiment: str
    pair: str
    arm: str
    seed: int

    @property
    def path(self) -> Path:
        """`<root>/<experiment>/<pair>/<arm>/seed-<n>`."""
        return self.pair_path / self.arm / f"seed-{self.seed}"

    @property
    def pair_path(self) -> Path:
        """`<root>/<experiment>/<pair>`, which also has the times of the pair's steps."""
        return self.root / self.experiment / self.pair

    @property
    def group(self) -> tuple[str, str]:
        """(experiment, pair): comparable runs share both."""
        return self.experiment, self.pair

    @staticmethod
    def of(path: Path) -> "Place | None":
        """The place from the last four names of a path, or None.

        Args:
            path: A folder, which need not exist.
        """
        full = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links out of the root
        seed = _SEED.fullmatch(full.name)
        if seed is None or len(full.parts) < 5:
            return None
        experiment, pair, arm = full.parts[-4:-1]
        return Place(full.parents[3], experiment, pair, arm, int(seed[1]))
